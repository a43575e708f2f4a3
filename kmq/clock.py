"""The two clocks and the waiting, as one object that can be handed in.

Wall time is for what people and KISSmetrics read; every wait and every age within a process goes by the monotonic
clock, which no administrator sets.
"""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["CLOCK", "Clock", "Nanoseconds"]


class Nanoseconds(Protocol):
    """What tells the time as the module `time` does."""

    def time_ns(self) -> int:
        """Nanoseconds since the epoch, UTC."""
        ...


class Clock:
    """Tells the time and waits; a test hands in one that it moves itself.

    `quick` is wall time for the quick way of a call: the module itself, since a method here would cost 60 ns a call.
    """

    quick: Nanoseconds = time

    def wall(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment, never going back."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Return when so many seconds have passed on the monotonic one, also where a signal came in between."""
        time.sleep(seconds)


CLOCK = Clock()
