"""Lanes: the commands of one person in one partition go one after another, different lanes side by side.

Owns the order in which commands become ready, and fair turns: partitions take turns, so that the backlog of one delays
nobody in another by more than one command of each. Knows nothing about answers: whoever sends says when a command is
back.

KISSmetrics goes by `_t` and needs no order; people who watch their events arrive do. A lane is as long as what was
read ahead of it, which is bounded for all together. It is a chain of its entries, since nearly every lane holds one.
"""

from __future__ import annotations

import heapq
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .entry import Entry, Track

__all__ = ["Lanes"]


class Lanes:
    """Commands in their lanes; the head of each is ready, delayed or away."""

    def __init__(self) -> None:
        self._turns: deque[Track] = deque()
        """Each partition that has something ready, once."""
        self._delayed: list[tuple[float, int, Entry]] = []

    def __bool__(self) -> bool:
        """Whether the head of any lane is not away."""
        return bool(self._turns or self._delayed)

    def add(self, entry: Entry) -> None:
        """Put `entry` at the end of its lane; it is ready at once if it is alone there."""
        last = entry.track.last
        before = last.get(entry.person)
        last[entry.person] = entry
        if before is None:
            self._make_ready(entry)
        else:
            entry.person = before.person  # once for all of a flood
            before.behind = entry

    def wake(self, now: float) -> None:
        """Make ready what was delayed until `now`."""
        while self._delayed and self._delayed[0][0] <= now:
            self._make_ready(heapq.heappop(self._delayed)[2])

    def pop(self) -> Entry | None:
        """Take the ready head whose turn it is away, to be sent; None if there is none."""
        if not self._turns:
            return None
        track = self._turns.popleft()
        entry = track.ready.popleft()
        if track.ready:
            self._turns.append(track)
        return entry

    def pop_one_that(self, may_go: Callable[[Entry], bool], *, early: bool) -> Entry | None:
        """Take away a ready head that `may_go`; with `early`, the first delayed one where none is ready.

        Looks at two at most: `may_go` tells one command apart from all others, never more.
        """
        for _ in range(2):
            entry = self.pop()
            if entry is None:
                break
            if may_go(entry):
                return entry
            self._make_ready(entry)
        if early and self._delayed and may_go(self._delayed[0][2]):
            return heapq.heappop(self._delayed)[2]
        return None

    def back(self, entry: Entry, due: float) -> None:
        """Put `entry`, which keeps its place at the head of its lane, back until `due`."""
        heapq.heappush(self._delayed, (due, entry.ticket, entry))

    def leave(self, entry: Entry) -> None:
        """Remove the head `entry`, which has its end; the next of its lane becomes ready."""
        behind = entry.behind
        if behind is not None:
            entry.behind = None
            self._make_ready(behind)
        elif entry.track.last.get(entry.person) is entry:
            del entry.track.last[entry.person]

    def cut(self, away: Iterable[Entry], needed: Callable[[Entry], bool]) -> None:
        """Drop what is not `needed` and not `away`, and let all that is needed go side by side, due now."""
        kept = [entry for head in self._taken_out() for entry in _unchained(head)]
        kept += [entry for head in away for entry in _unchained(head)[1:]]
        for entry in sorted(filter(needed, kept), key=attrgetter("ticket")):
            self._make_ready(entry)

    def hasten(self) -> None:
        """Make all that is delayed ready now, oldest first: what held it up is over."""
        delayed, self._delayed = sorted(self._delayed), []
        for _, _, entry in delayed:
            self._make_ready(entry)

    def next_due(self, now: float) -> float | None:
        """Return when the next one is ready, at the earliest `now`; None if all are away or there are none."""
        if self._turns:
            return now
        return max(now, self._delayed[0][0]) if self._delayed else None

    def _make_ready(self, entry: Entry) -> None:
        track = entry.track
        if not track.ready:
            self._turns.append(track)
        track.ready.append(entry)

    def _taken_out(self) -> Iterator[Entry]:
        while (entry := self.pop()) is not None:
            yield entry
        delayed, self._delayed = self._delayed, []
        yield from (entry for _, _, entry in delayed)


def _unchained(head: Entry) -> list[Entry]:
    """Return the lane of `head` as a list, and let nobody in it wait for another any more."""
    chain: list[Entry] = []
    entry: Entry | None = head
    while entry is not None:
        chain.append(entry)
        entry.track.last.pop(entry.person, None)
        entry.behind, entry = None, entry.behind
    return chain
