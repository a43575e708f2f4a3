"""The collector's fixtures."""

from __future__ import annotations

from tests.support.collector import (  # noqa: F401 - pytest finds fixtures by name
    collector,
    shared_collector,
    start_collector,
)
