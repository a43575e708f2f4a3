"""What is due once in so many seconds. Pure: the time is handed in. Knows nothing about what is done then."""

from __future__ import annotations

__all__ = ["Every"]


class Every:
    """Due once in so many `seconds` of the monotonic clock, and at the first look."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def due(self, now: float) -> bool:
        """Say whether it is due; if so, it is not again before its time."""
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def put_off(self, until: float) -> None:
        """Take note that it is not due before `until`."""
        self._next = max(self._next, until)

    def left_s(self, now: float) -> float:
        """Return the seconds until it is due."""
        return max(0.0, self._next - now)
