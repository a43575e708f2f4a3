"""A clock that moves only when a test moves it."""

from __future__ import annotations

from kmq.clock import Clock

__all__ = ["MovableClock"]


class MovableClock(Clock):
    """Both clocks, advancing together; wall time begins at a moment in 2026."""

    def __init__(self, wall: float = 1_795_500_000.0) -> None:
        self._wall = wall
        self._monotonic = 1_000.0
        self.quick = self

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._wall

    def time_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return int(self._wall * 1_000_000_000)

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass on both."""
        self._wall += seconds
        self._monotonic += seconds

    def wait(self, seconds: float) -> None:
        """Let the time pass that somebody would have waited."""
        self.advance(seconds)

    def step(self, seconds: float) -> None:
        """Set the wall clock, as an administrator does; the other goes on."""
        self._wall += seconds
