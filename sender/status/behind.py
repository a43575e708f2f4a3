"""Since when a partition is behind: how long its oldest undelivered command has waited, without reading any `_t`.

Owns a short memory of where each partition ended at which time. Pure but for that: marks, ends and times are handed in.

The oldest undelivered command was appended after the last moment at which the partition ended at or below the present
mark. One back-dated event cannot pretend to have waited for years, and a partition that is appended to all the time, so
that nobody ever sees it at rest, is not behind for ever.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Behind"]

_REMEMBERED: Final = 64
"""Moments for each partition. When there are more, every second one goes: the lag may then show a little too long."""


class Behind:
    """Remembers; `wall` gives seconds since the epoch, `first_seen` the time of a partition's own file.

    >>> clock = iter([100.0, 101.0, 102.0])
    >>> behind = Behind(lambda: next(clock), lambda name: 50.0)
    >>> behind.look({"p": 0}, {"p": 10}), behind.look({"p": 10}, {"p": 20}), behind.look({"p": 20}, {"p": 20})
    ({'p': 50.0}, {'p': 100.0}, {})
    """

    def __init__(
        self, wall: Callable[[], float], first_seen: Callable[[str], float | None] = lambda _: None
    ) -> None:
        self._wall = wall
        self._first_seen = first_seen
        self._moments: dict[str, deque[tuple[float, int]]] = {}
        self._since: dict[str, float] = {}

    def look(self, marks: Mapping[str, int], ends: Mapping[str, int]) -> dict[str, float]:
        """Return, for each partition whose mark lies below its end now, since when (epoch seconds) it is behind.

        To be called about once a second, with the low-water mark and the end of every partition there is.
        """
        now = self._wall()
        for name in self._moments.keys() - ends.keys():
            del self._moments[name], self._since[name]
        return {
            name: since
            for name, end in ends.items()
            if (since := self._look_at(name, marks.get(name, 0), end, now)) is not None
        }

    def _look_at(self, name: str, mark: int, end: int, now: float) -> float | None:
        moments = self._moments.get(name)
        if moments is None:
            moments = self._moments[name] = deque()
            self._since[name] = self._first(name, now)
        if not moments or moments[-1][1] < end:
            moments.append((now, end))
        while moments and moments[0][1] <= mark:
            self._since[name] = moments.popleft()[0]
        if mark >= end:
            self._since[name] = now
            return None
        if len(moments) > _REMEMBERED:
            self._moments[name] = deque(list(moments)[::2])
        return self._since[name]

    def _first(self, name: str, now: float) -> float:
        seen = self._first_seen(name)
        return now if seen is None else min(seen, now)
