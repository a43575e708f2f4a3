"""The low-water mark: below it every command of a partition is done.

Owns the order of positions of one partition while answers come in any order. Knows nothing about
what done means.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from .lanes import Entry

__all__ = ["Track"]


class Track:
    """The entries of one partition, in the order in which they were read, from the first that is not done."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.open = 0
        """How many of them are not done."""

    def __len__(self) -> int:
        """How many lie beyond the low-water mark, done or not."""
        return len(self._entries)

    def add(self, entry: Entry) -> None:
        """Take in the entry that was read last."""
        self._entries.append(entry)
        self.open += 1

    def low_water(self) -> int | None:
        """Return the start of the first entry that is not done; None if all are."""
        while self._entries and self._entries[0].done:
            self._entries.popleft()
        return self._entries[0].position.start if self._entries else None

    def done_beyond(self) -> int:
        """Return how many entries are done and lie beyond the low-water mark."""
        self.low_water()
        return len(self._entries) - self.open

    def last_touched(self, away: Collection[int]) -> int:
        """Return the start of the last entry that is done, or whose ticket is in `away`; -1 if there is none."""
        return max(
            (entry.position.start for entry in self._entries if entry.done or entry.ticket in away),
            default=-1,
        )
