"""Sending again: from the spool or from files, through the same dispatcher, without a checkpoint.

Owns the sources, the filters and the loop of a replay. Knows nothing about how its course is shown.
"""

from __future__ import annotations

from .filters import Filter
from .loop import Replay
from .source import ReplaySource

__all__ = ["Filter", "Replay", "ReplaySource"]
