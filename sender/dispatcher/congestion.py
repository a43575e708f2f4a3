"""Congestion: how many commands may be in flight now, up to the cap, judged by how the server bears them.

Owns the window's size. Pure but for its own memory: time and latencies come in with each call. Knows nothing about
commands or the gate, which stops sending where everything fails; this is for a server that is there and has too much.

The rule is that of TCP, which knows no more of what lies between than we do. From Vegas (Brakmo and Peterson, 1995):
the least latency of a round, which is as many answers as the window holds, is held against the floor, the least that
was ever seen; what lies beyond is time spent in a queue that we fill ourselves, and a smaller window loses nothing by
it. From Reno: an answer that says "too much" takes a share of the window at once, it then grows slowly, and what was in
flight at a cut tells nothing more.

Three things differ. A queue is no fault until it is long: up to twice the floor and a tenth of a second more, in two
rounds in a row, nothing happens, so that the noise of a fast server costs nothing. It begins with the whole cap, which
somebody chose. And at the smallest window, where there is no queue of ours, what is measured is the floor: so a way
that has become longer is taken as it is, and the window doubles back.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["Congestion"]

_FEWEST: Final = 4
_TOLERATED: Final = 2.0
_TOLERATED_S: Final = 0.1
_SLOW_ROUNDS: Final = 2
_SMALLEST_CUT: Final = 0.5
_CUT_WHEN_TOLD: Final = 0.7
_SIGNS: Final = 2
_GROWS_EACH_S: Final = 1.0
_GROWS_BY: Final = 1 / 16


class Congestion:
    """A window of at most `most` commands in flight.

    >>> congestion = Congestion(32)
    >>> congestion.told(1.0, certain=True)
    >>> congestion.window
    22
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._fewest = min(_FEWEST, most)
        self._size = float(most)
        self._doubles = False
        self._floor_s = math.inf
        self._grows_at = 0.0
        self._slow_rounds = 0
        self._of_before = 0.0
        """So many answers are still to come of what was in flight at the last cut."""
        self._left = self._size
        self._least_s = math.inf
        self._full = False
        self._signs = 0

    @property
    def window(self) -> int:
        """How many commands may be in flight."""
        return int(self._size)

    def answered(self, count: int, least_s: float, now: float, *, full: bool) -> None:
        """Take in `count` answers; the quickest delivery among them took `least_s` (infinite where there was none).

        `full` says that as many were in flight as were allowed: else more room is of no use.
        """
        if self._of_before > 0:
            self._of_before -= count
            return
        self._least_s = min(self._least_s, least_s)
        self._full |= full
        self._left -= count
        if self._left <= 0:
            self._end_round(now)
            self._begin_round()

    def told(self, now: float, *, certain: bool) -> None:
        """Take in an answer that says "too much": it counts if it is `certain`, or the second one of a round."""
        if self._of_before > 0:
            return
        self._signs += _SIGNS if certain else 1
        if self._signs >= _SIGNS:
            self._cut(_CUT_WHEN_TOLD, now)

    def _begin_round(self) -> None:
        self._left = self._size
        self._least_s = math.inf
        self._full = False
        self._signs = 0

    def _end_round(self, now: float) -> None:
        if self._least_s == math.inf:
            return
        if self._size <= self._fewest and self._least_s > self._tolerated_s():
            self._floor_s, self._doubles = self._least_s, True
        self._floor_s = min(self._floor_s, self._least_s)
        if self._least_s <= self._tolerated_s():
            self._slow_rounds = 0
            self._grow(now)
            return
        self._slow_rounds += 1
        if self._slow_rounds >= _SLOW_ROUNDS:
            self._cut(max(_SMALLEST_CUT, self._tolerated_s() / self._least_s), now)

    def _tolerated_s(self) -> float:
        return _TOLERATED * self._floor_s + _TOLERATED_S

    def _cut(self, share: float, now: float) -> None:
        self._of_before = self._size
        self._size = max(self._fewest, self._size * share)
        self._doubles = False
        self._slow_rounds = 0
        self._grows_at = now + _GROWS_EACH_S
        self._begin_round()

    def _grow(self, now: float) -> None:
        if self._size >= self._most or not self._full:
            return
        if self._doubles:
            self._size = min(2 * self._size, float(self._most))
        elif now >= self._grows_at:
            self._size = min(self._size + 1 + self._size * _GROWS_BY, float(self._most))
            self._grows_at = now + _GROWS_EACH_S
