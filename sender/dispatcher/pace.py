"""The pace: how many requests may go now, so that no second holds more than was asked for.

Owns the times of the last requests. Pure but for its own memory: time comes in with each call. Knows nothing about
commands; a retry counts like any other request.

Two rules together. A schedule, as of a leaky bucket: one request each 1/rate seconds, and a turn of the loop that comes
late catches up with what was due in the last 20 ms, never with more, so that no pause is followed by a burst. And a
count: of `rate` requests the last goes a whole second after the one before the first, whatever the schedule would
allow. Both are a little slower than was asked for, since what leaves here evenly does not arrive so: 1.5 and 1 percent
make up for 15 and 10 ms between the quickest and the slowest way.
"""

from __future__ import annotations

from collections import deque
from typing import Final

__all__ = ["Pace"]

_SLOWER: Final = 1.015
_LONGER: Final = 1.01
_CATCH_UP_S: Final = 0.02


class Pace:
    """At most `rate` requests in any second; where `rate` is no whole number, n in any n / rate seconds, n below it.

    >>> pace = Pace(0.5)
    >>> pace.allowed(10.0)
    1
    >>> pace.sent(10.0, 1)
    >>> pace.allowed(12.0), round(pace.due(), 2), pace.allowed(12.04)
    (0, 12.03, 1)
    """

    def __init__(self, rate: float) -> None:
        self._step_s = _SLOWER / rate
        self._most = max(1, int(rate))
        self._span_s = _LONGER * self._most / rate
        self._next_at = 0.0
        self._free_at = 0.0
        self._sent: deque[tuple[float, int]] = deque()
        self._within_span = 0

    def allowed(self, now: float) -> int:
        """Return how many requests may go at `now`."""
        if now < self._next_at:
            return 0
        self._forget(now - self._span_s)
        begin = self._begin(now)
        return min(int((now - begin) / self._step_s) + 1, self._most - self._within_span)

    def sent(self, now: float, count: int) -> None:
        """Take note that `count` requests went at `now`, as many as were allowed or fewer."""
        if not count:
            return
        self._next_at = self._begin(now) + count * self._step_s
        self._sent.append((now, count))
        self._within_span += count
        if self._within_span >= self._most:
            self._free_at = self._sent[0][0] + self._span_s

    def due(self) -> float:
        """Return when the next request may go, on the clock of the caller."""
        return max(self._next_at, self._free_at)

    def _begin(self, now: float) -> float:
        return max(self._next_at, now - _CATCH_UP_S if self._within_span else now)

    def _forget(self, before: float) -> None:
        while self._sent and self._sent[0][0] <= before:
            self._within_span -= self._sent.popleft()[1]
