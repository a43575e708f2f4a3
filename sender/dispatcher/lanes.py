"""Lanes: the commands of one person in one partition go one after another, different lanes side by side.

Owns the order in which commands become ready. Knows nothing about answers: whoever sends says when
a command is back.

KISSmetrics goes by `_t` and needs no order; people who watch their events arrive do. A lane is as
long as what was read ahead of it, which is bounded for all together.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender.flow import Position

__all__ = ["Entry", "Lanes"]


@dataclass(slots=True, eq=False)
class Entry:
    """A command between reading and its end: where it lies, its line, and how its tries went.

    `open_parts` counts what must still end before it is done: itself, and what was cut off before
    it (a block of zeros that is to be kept in `rejected/`); `cut_off` is how many bytes that was.
    """

    ticket: int
    position: Position
    raw: bytes
    person: str
    open_parts: int = 1
    cut_off: int = 0
    own_key: bool = False
    alone: bool = False
    window: int = 0
    sent_at: float = 0.0
    due: float = 0.0
    tries: int = 0
    first_failed_at: float = 0.0
    deliveries_seen: int = 0
    failures_beside_deliveries: int = 0

    @property
    def lane(self) -> tuple[str, str, int]:
        """Whose turn it shares; its own if it is `alone`."""
        return self.position.partition, self.person, self.ticket if self.alone else 0

    @property
    def done(self) -> bool:
        """Whether it was delivered, or rejected and kept."""
        return self.open_parts == 0


class Lanes:
    """Commands in their lanes; the head of each is ready, delayed or away."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, str, int], deque[Entry]] = {}
        self._ready: deque[Entry] = deque()
        self._delayed: list[tuple[float, int, Entry]] = []

    def __bool__(self) -> bool:
        """Whether any command is in a lane."""
        return bool(self._lanes)

    def add(self, entry: Entry) -> None:
        """Put `entry` at the end of its lane; it is ready at once if it is alone there."""
        lane = self._lanes.setdefault(entry.lane, deque())
        lane.append(entry)
        if len(lane) == 1:
            self._ready.append(entry)

    def pop(
        self, now: float, may_go: Callable[[Entry], bool], *, early: bool = False
    ) -> Entry | None:
        """Take the ready head whose turn it is away, to be sent; None if there is none.

        With `early` it is the first delayed one where none is ready.
        Looks at two at most: `may_go` tells one command apart from all others, never more.
        """
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(heapq.heappop(self._delayed)[2])
        for _ in range(min(2, len(self._ready))):
            entry = self._ready.popleft()
            if may_go(entry):
                return entry
            self._ready.append(entry)
        if early and self._delayed and may_go(self._delayed[0][2]):
            return heapq.heappop(self._delayed)[2]
        return None

    def back(self, entry: Entry) -> None:
        """Put `entry`, which keeps its place at the head of its lane, back until `entry.due`."""
        heapq.heappush(self._delayed, (entry.due, entry.ticket, entry))

    def leave(self, entry: Entry) -> None:
        """Remove the head `entry`, which has its end; the next of its lane becomes ready."""
        lane = self._lanes[entry.lane]
        lane.popleft()
        if lane:
            self._ready.append(lane[0])
        else:
            del self._lanes[entry.lane]

    def cut(self, needed: Callable[[Entry], bool]) -> None:
        """Drop what is not `needed` and not away, and let all that is needed go side by side, due now."""
        idle = {entry.ticket for entry in self._ready} | {
            entry.ticket for _, _, entry in self._delayed
        }
        lanes, self._lanes = self._lanes, {}
        self._ready.clear()
        self._delayed.clear()
        for key, lane in lanes.items():
            if lane[0].ticket not in idle:
                self._lanes[key] = deque([lane.popleft()])  # it is away
            for entry in lane:
                if needed(entry):
                    entry.alone = True
                    self.add(entry)

    def hasten(self) -> None:
        """Make all that is delayed ready now, oldest first: what held it up is over."""
        self._ready.extend(entry for _, _, entry in sorted(self._delayed))
        self._delayed.clear()

    def next_due(self, now: float) -> float | None:
        """Return when the next one is ready, at the earliest `now`; None if all are away or there are none."""
        if self._ready:
            return now
        return max(now, self._delayed[0][0]) if self._delayed else None
