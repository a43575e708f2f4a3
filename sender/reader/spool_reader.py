"""The spool as a source: all partitions, read in turn, so that none starves and none floods the others.

Owns which partitions there are, whose turn it is, and when to look again. Knows nothing about what stands in a
partition (`sender.partition_reader` does), about commands or about delivery.

Invariant: each whole line of each partition is given once, in order within its partition, from its checkpoint on. What
`positions` returns has been read; only the checkpoint says what was delivered or rejected.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from kmq.durable import FILES, Files
from kmq.spool import partitions

from .descriptors import Descriptors, Shortage, share_of_limit
from .listing import Listing
from .partition_files import QUIET_POLL_S, Surroundings, Troubles
from .partition_reader import PartitionReader
from .rounds import ACTIVE_POLL_S, Rounds
from .syncs import SpoolSyncs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kmq.spool import Spool
    from sender.flow import Event, Line

    from .segment_file import Pread
    from .syncs import PartitionSyncs

__all__ = ["HUNGRY_BYTES", "TURN_BYTES", "SpoolReader"]

TURN_BYTES: Final = 64 * 1024
"""So much is taken from one partition before it is the next one's turn."""

HUNGRY_BYTES: Final = 8 * 1024
"""So much, or one line, is taken beyond the budget from a partition for which nothing is read ahead.

Small, since it is multiplied by the number of partitions; where there are many, they share `_HUNGRY_IN_ALL`."""

_HUNGRY_IN_ALL: Final = 64 * HUNGRY_BYTES
_HUNGRY_LINES: Final = HUNGRY_BYTES  # no limit of its own: a line has at least its newline

_FED_AT_ONCE: Final = 100
"""So many partitions are fed in one call, so that answers do not wait while 1,000 are."""

# Turns of a call that give no line and only pass the end of a segment or a piece of a monstrous line.
_EMPTY_TURNS: Final = 64


class SpoolReader:
    """Reads `spool` from the checkpoint's `offsets` on.

    `report` gets facts that are worth a log line and a count. Their codes: `gap`, `overlap`, `segment-gone`,
    `segment-replaced`, `no-segment` (a link, a directory or the like bears a segment's name), `offset-does-not-fit`,
    `spool-unreadable`, `open-failed`, `read-failed`, `lock-failed`, and `works-again`, which ends these;
    `segment-sync-failed`. `max_open` says how many segments may be open at a time.

    >>> reader = SpoolReader(spool, checkpoint.load(spool).offsets, report=log)  # doctest: +SKIP
    >>> [line.raw for line in reader.read(100, 1_000_000)]  # doctest: +SKIP
    [b'{"_p":"bob@bob.com","_t":1234567890,"_n":"Signed Up"}']
    """

    def __init__(  # noqa: PLR0913 - three of them are seams, handed in by name
        self,
        spool: Spool,
        offsets: Mapping[str, int],
        *,
        report: Callable[[Event], None],
        clock: Callable[[], float] = time.monotonic,
        files: Files = FILES,
        pread: Pread = os.pread,
        max_open: Callable[[], int] = share_of_limit,
    ) -> None:
        self._spool = spool
        self._offsets = dict(offsets)  # of partitions that were not found yet
        self._clock = clock
        shortage, descriptors = Shortage(report, clock), Descriptors(max_open)
        self._around = Surroundings(report, files, pread, descriptors, shortage)
        self._troubles = Troubles(None, report, shortage)
        self._listing = Listing(
            spool.path, lambda: descriptors.make_room(lambda: partitions(spool))
        )
        self._found: dict[str, PartitionReader] = {}
        self._ready: deque[PartitionReader] = deque()
        self._rounds = Rounds()
        self._paused: set[str] = set()
        self._parked: dict[str, PartitionReader] = {}
        self._over: set[str] = set()
        self._unsynced: set[PartitionReader] = set()
        self._syncing: list[tuple[PartitionReader, PartitionSyncs | None]] = []
        self._turned = True
        self._names_durable = False

    def __len__(self) -> int:
        """How many partitions there are."""
        return len(self._found)

    def read(
        self,
        max_lines: int,
        max_bytes: int,
        hungry: Callable[[str], bool] | None = None,
    ) -> list[Line]:
        """Return lines that are there now, of all partitions in turn; never waits, never raises for what is on disk.

        At most `max_lines`, and no further line once `max_bytes` are reached. Beyond that budget partitions that are
        `hungry` give `HUNGRY_BYTES` or one line each, so that the flood of one does not hold up the others.
        """
        now = self._clock()
        self._find(now)
        self._ready.extend(self._rounds.stirring(now))
        self._turned = False
        lines, served = self._in_turn(max_lines, max_bytes, now)
        if hungry is not None:
            lines += self._feed(hungry, served, now)
        return lines

    def pause(self, partition: str, paused: bool) -> None:  # noqa: FBT001 - a state that is set, as in `settimeout`
        """Leave `partition` out, or take it in again."""
        if paused:
            self._paused.add(partition)
            return
        self._paused.discard(partition)
        parked = self._parked.pop(partition, None)
        if parked is not None:
            self._ready.append(parked)
            self._turned = True

    def next_look_s(self) -> float:
        """Return the seconds until `read` may find something: 0 when more is known to be there.

        Where the last call had no room for anything, more is not worth a call at once: then it is the pace of active
        partitions.
        """
        if any(reader.name not in self._paused for reader in self._ready):
            return 0.0 if self._turned else ACTIVE_POLL_S
        return max(0.0, min(self._rounds.due() - self._clock(), QUIET_POLL_S))

    def sync(self, marks: Mapping[str, int]) -> dict[str, int]:
        """Make durable what lies below `marks`; return the marks that may be written, lower where a sync failed."""
        return {
            name: self._found[name].sync(mark) if name in self._found else mark
            for name, mark in marks.items()
        }

    def sync_ahead(self) -> None:
        """Make durable what apps have appended so far, read or not, and the names under which it lies."""
        syncs = self.begin_syncs()
        syncs.run()
        self.end_syncs(syncs)

    def begin_syncs(self) -> SpoolSyncs:
        """Return what makes durable all that apps have appended so far, read or not, and the names under which it lies.

        The first time that includes the name of the checkpoint that was loaded: whoever wrote it may have been killed
        between its rename and the sync of that.
        """
        now = self._clock()
        # Of 1,000 that nobody appends to, each look that finds it so would be a few thousandths of a core.
        due = [
            reader
            for reader in self._found.values()
            if reader in self._unsynced or reader not in self._rounds
        ]
        self._unsynced.clear()
        self._syncing = [(reader, reader.begin_syncs(now)) for reader in due]
        directory = None if self._names_durable else self._spool.path
        self._names_durable = True  # unless it fails, or a partition is found meanwhile
        partitions = [syncs for _, syncs in self._syncing if syncs is not None]
        return SpoolSyncs(self._around.files, partitions, directory)

    def end_syncs(self, syncs: SpoolSyncs) -> None:
        """Take note of what came of `syncs`."""
        for reader, of_one in self._syncing:
            if of_one is None or not reader.end_syncs(of_one):
                self._unsynced.add(reader)
        self._syncing = []
        self._unsynced.intersection_update(self._found.values())
        self._names_durable &= syncs.named or syncs.directory is None

    def covered(self, marks: Mapping[str, int]) -> None:
        """Take note that a checkpoint with `marks` is durable: what lies whole below is closed."""
        for name, mark in marks.items():
            if name in self._found:
                self._found[name].covered(mark)

    def forget(self, partition: str) -> None:
        """Take note that `partition` was removed."""
        self._offsets.pop(partition, None)
        self._parked.pop(partition, None)
        self._paused.discard(partition)
        self._over.discard(partition)
        reader = self._found.pop(partition, None)
        if reader is not None:
            reader.close()
            self._unsynced.discard(reader)
            self._ready = deque(other for other in self._ready if other is not reader)
            self._rounds.remove(reader)

    def positions(self) -> dict[str, int]:
        """Return how far each partition has been read; those in which reading has begun only."""
        return {
            name: reader.offset
            for name, reader in self._found.items()
            if reader.placed and reader.offset is not None
        }

    def at_end(self, partition: str) -> bool:
        """Say whether each whole line that was there at the last look was given out; true of one that is not there."""
        reader = self._found.get(partition)
        return reader is None or reader.at_end()

    def unfinished(self, partition: str) -> int:
        """Return how many bytes stood behind the last newline at the last look, neither given out nor given up."""
        reader = self._found.get(partition)
        return 0 if reader is None else reader.unfinished()

    def ends(self) -> dict[str, int]:
        """Return the offset of each partition's end as of now; one that cannot be looked into is left out.

        Where nothing is left to read, it is as of the last look, a quarter of a second ago at most.
        """
        self._find(self._clock())
        ends = {}
        for name, reader in self._found.items():
            try:
                ends[name] = reader.end(looked=reader in self._rounds)
            except OSError:
                continue  # it is gone, or reading it has reported why it cannot be looked into
        return ends

    def close(self) -> None:
        """Close every descriptor."""
        for reader in self._found.values():
            reader.close()

    # Turns

    def _in_turn(self, max_lines: int, max_bytes: int, now: float) -> tuple[list[Line], set[str]]:
        lines: list[Line] = []
        served: set[str] = set()
        size = empty = 0
        while self._ready and len(lines) < max_lines and size < max_bytes and empty < _EMPTY_TURNS:
            reader = self._ready.popleft()
            taken = self._turn(reader, max_lines - len(lines), max_bytes - size, now)
            if taken:
                lines += taken
                size += sum(len(line.raw) + 1 for line in taken)
                served.add(reader.name)
            else:
                empty += reader.more
        return lines, served

    def _feed(self, hungry: Callable[[str], bool], served: set[str], now: float) -> list[Line]:
        lines: list[Line] = []
        fed = 0
        share = min(HUNGRY_BYTES, _HUNGRY_IN_ALL // max(1, len(self._ready)))
        for _ in range(len(self._ready)):
            reader = self._ready.popleft()
            if fed < _FED_AT_ONCE and reader.name not in served and hungry(reader.name):
                lines += self._turn(reader, _HUNGRY_LINES, share, now)
                fed += 1
            else:
                self._ready.append(reader)
        return lines

    def _turn(self, reader: PartitionReader, lines: int, size: int, now: float) -> list[Line]:
        if reader.name in self._paused:
            self._parked[reader.name] = reader
            return []
        self._turned = True
        self._unsynced.add(reader)
        taken = reader.take(lines, min(size, TURN_BYTES), now)
        self._queue(reader, now)
        return taken

    def _queue(self, reader: PartitionReader, now: float) -> None:
        if reader.more:
            self._ready.append(reader)
        elif reader.exhausted():
            self._over.add(reader.name)
        else:
            self._rounds.add(reader, now)

    # Which partitions there are

    def _find(self, now: float) -> None:
        try:
            anew = self._listing.look(now)
        except OSError as error:
            self._cannot_list(error)
            return
        if anew:
            self._troubles.over("spool-unreadable")
            self._take_note(self._listing.entries)

    def _cannot_list(self, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            self._listing.forget()  # moved away and back again, its time tells nothing
        self._troubles.met("spool-unreadable", error, None)

    def _take_note(self, names: list[str]) -> None:
        for name in names:
            if name not in self._found:
                self._add(name)
        there = set(names)
        for name, reader in self._found.items():
            self._compare(reader, is_there=name in there)

    def _add(self, name: str) -> None:
        offset = self._offsets.pop(name, None)
        reader = PartitionReader(name, self._spool.partition(name), offset, self._around)
        self._found[name] = reader
        self._names_durable = False
        self._ready.append(reader)

    def _compare(self, reader: PartitionReader, *, is_there: bool) -> None:
        if not is_there:
            reader.vanish()
            return
        reader.come_back()
        if reader.name in self._over:
            self._over.discard(reader.name)
            self._ready.append(reader)
