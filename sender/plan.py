"""What a run of the sender is to do, and how it ended: values. Knows nothing about how it is done."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmq.spool import Spool

    from .dispatcher import Window
    from .retention import Limits

__all__ = ["End", "Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do. Sizes in bytes, times in seconds."""

    spool: Spool
    url: str
    transport: str
    window: Window
    limits: Limits
    max_spool: int
    drain: bool = False
    drain_timeout_s: float | None = None


class End(enum.Enum):
    """How a run ended."""

    STOPPED = "a signal asked for it"
    DRAINED = "all that was there at the start is done"
    DRAIN_TIMEOUT = "the time for draining is over"
    LOCK_LOST = "the spool or its sender.lock was moved or removed"
