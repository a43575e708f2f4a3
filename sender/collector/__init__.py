"""The collector: stands in for the tracking API on this machine, keeps what came, answers otherwise when told to.

`server` runs it and needs `kmq[web]`; the rest does not, so it is not among these names.
"""

from __future__ import annotations

from .app import Collector
from .arrivals import Arrivals
from .beacon import Beacon, Settings
from .control import Control
from .moods import Moods

__all__ = ["Arrivals", "Beacon", "Collector", "Control", "Moods", "Settings"]
