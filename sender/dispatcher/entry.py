"""A command between reading and its end, what is remembered of one that failed, and the partition that it is of.

Owns the shapes alone. There is an entry for each line that is read ahead: thousands at any time, one for each event. So
it is no dataclass, holds its places as plain numbers, and what only a failed command needs stands in `Trouble`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Entry", "Track", "Trouble"]


@dataclass(slots=True)
class Trouble:
    """How the tries of a command went that has failed: how often, since when, and how often beside deliveries."""

    first_failed_at: float
    deliveries_seen: int
    tries: int = 1
    failures_beside_deliveries: int = 0

    def again(self, delivered: int) -> None:
        """Count one more failure, when `delivered` commands have been delivered in all."""
        self.tries += 1
        self.failures_beside_deliveries += delivered > self.deliveries_seen
        self.deliveries_seen = delivered


class Entry:
    """A line that was read: bytes `start` up to `end` of the partition of `track`; `raw` is what of it is to be sent.

    `person` names its lane, `behind` is the next one there. `open_parts` counts what must still end before it is done:
    itself, and what was cut off before it (a block of zeros that is to be kept in `rejected/`); `cut_off` is how many
    bytes that was. `window`, `sent_at` and `own_key` are there once it was sent.
    """

    __slots__ = (
        "behind",
        "cut_off",
        "end",
        "open_parts",
        "own_key",
        "person",
        "raw",
        "sent_at",
        "start",
        "ticket",
        "track",
        "trouble",
        "window",
    )

    own_key: bool
    sent_at: float
    window: int

    def __init__(self, ticket: int, track: Track, start: int, end: int, raw: bytes) -> None:
        self.ticket = ticket
        self.track = track
        self.start = start
        self.end = end
        self.raw = raw
        self.person = b""
        self.behind: Entry | None = None
        self.trouble: Trouble | None = None
        self.open_parts = 1
        self.cut_off = 0

    @property
    def done(self) -> bool:
        """Whether it was delivered, or rejected and kept."""
        return self.open_parts == 0


class Track:
    """One partition: its entries in the order in which they were read, from the first that is not done.

    `open` counts those that are not. `ready` and `last` belong to the lanes: whose turn it is, and who is last in the
    lane of each person.
    """

    __slots__ = ("entries", "last", "open", "partition", "ready")

    def __init__(self, partition: str) -> None:
        self.partition = partition
        self.entries: deque[Entry] = deque()
        self.open = 0
        self.ready: deque[Entry] = deque()
        self.last: dict[bytes, Entry] = {}

    def last_touched(self, away: Collection[int]) -> int:
        """Return the start of the last entry that is done, or whose ticket is in `away`; -1 if there is none."""
        return max(
            (entry.start for entry in self.entries if entry.done or entry.ticket in away),
            default=-1,
        )
