"""The low-water mark: below it every command of a partition is done.

Owns the order of positions of each partition while answers come in any order, and how much of them is waiting. Knows
nothing about what done means.

Nothing here that is done for an event, or for a turn of the loop, looks at all partitions, or at all commands of one:
a partition in which all is done is not remembered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .entry import Entry, Track

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["MAX_BEYOND", "Tracks"]

MAX_BEYOND: Final = 100_000
"""Commands of one partition beyond its low-water mark, at most: what one that hangs may make the sender send twice."""


class Tracks:
    """The partitions in which something is not done."""

    def __init__(self) -> None:
        self.waiting_lines = 0
        self.waiting_bytes = 0
        self._tracks: dict[str, Track] = {}
        self._crowded: set[str] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._tracks)

    def __contains__(self, partition: object) -> bool:
        """Whether something of it is not done."""
        return partition in self._tracks

    def enter(self, ticket: int, partition: str, start: int, end: int, raw: bytes) -> Entry:
        """Take in the line that was read last in `partition`; return its entry."""
        track = self._tracks.get(partition)
        if track is None:
            track = self._tracks[partition] = Track(partition)
        entry = Entry(ticket, track, start, end, raw)
        track.entries.append(entry)
        track.open += 1
        self.waiting_lines += 1
        self.waiting_bytes += len(raw)
        if len(track.entries) >= MAX_BEYOND:
            self._crowded.add(partition)
        return entry

    def cut_off(self, entry: Entry, size: int) -> None:
        """Take so many bytes off the head of `entry`."""
        entry.raw, entry.cut_off = entry.raw[size:], size
        self.waiting_bytes -= size

    def end_part(self, entry: Entry) -> None:
        """Take note that a part of `entry` has its end; with the last one, it is done, and the mark may pass it."""
        entry.open_parts -= 1
        if entry.open_parts:
            return
        self.waiting_lines -= 1
        self.waiting_bytes -= len(entry.raw)
        entry.raw = entry.person = b""
        track = entry.track
        track.open -= 1
        if track.entries[0] is entry:
            self._advance(track)

    def low_water(self) -> dict[str, int]:
        """Return, for each partition with something not done, the offset below which everything is."""
        return {name: track.entries[0].start for name, track in self._tracks.items()}

    def crowded(self) -> set[str]:
        """Return the partitions of which too much lies beyond the low-water mark for reading on."""
        return set(self._crowded)

    def done_beyond(self) -> int:
        """Return how many entries are done and lie beyond a low-water mark."""
        return sum(len(track.entries) - track.open for track in self._tracks.values())

    def last_touched(self, away: Collection[int]) -> dict[str, int]:
        """Return, for each partition, the start of its last entry that is done or `away`; -1 if there is none."""
        return {name: track.last_touched(away) for name, track in self._tracks.items()}

    def _advance(self, track: Track) -> None:
        entries = track.entries
        while entries and not entries[0].open_parts:
            entries.popleft()
        if not entries:
            del self._tracks[track.partition]
        if self._crowded and len(entries) < MAX_BEYOND:
            self._crowded.discard(track.partition)
