"""One open segment, read forwards: whole lines with the places where they stand, and its sync.

Owns how far it has been read. Knows nothing about which segment comes next, whether a writer still lives, or what a
line says; nor when its file's descriptor rests, but that one at rest is asked for its size before it is read.

Invariant: bytes behind the last newline are never given out as a line. They are read again from the line's start at
the next look, so that no tail is kept in memory; only `give_up`, called by whoever knows that nobody will finish them,
turns them into a faulty line.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from kmq.command import MAX_LINE, salvage
from kmq.durable import FILES, Files
from kmq.spool import segment_path
from sender.flow import Line, Position

from .segment_file import SegmentFile

if TYPE_CHECKING:
    from typing import Self

    from .descriptors import Descriptors
    from .segment_file import Pread

__all__ = ["HEAD_BYTES", "SegmentReader"]

HEAD_BYTES: Final = 1024
"""So much is kept of a line that is longer than a line may be."""

_SCAN_BYTES: Final = 256 * 1024


class SegmentReader:
    """The segment of `partition` that begins at offset `start`, read from offset `at`.

    `at_end` says that the last `take` met the end of the file and left no whole line behind; `unfinished` is then
    the number of bytes that stand behind the last newline.
    """

    def __init__(self, partition: str, start: int, file: SegmentFile) -> None:
        self.partition = partition
        self.start = start
        self.at = start
        self.at_end = False
        self.unfinished = 0
        self._file = file
        self._scanned = start  # no newline stands between `at` and here

    @classmethod
    def open(  # noqa: PLR0913 - three of them are seams, handed in by name
        cls,
        partition: str,
        path: str,
        start: int,
        *,
        pread: Pread = os.pread,
        files: Files = FILES,
        descriptors: Descriptors | None = None,
    ) -> Self:
        """Open the segment `start` in the directory `path`; raises OSError where no regular file bears its name."""
        file = SegmentFile(
            segment_path(path, start), pread=pread, files=files, descriptors=descriptors
        )
        return cls(partition, start, file)

    def seek(self, at: int, *, durable: bool) -> None:
        """Go on at offset `at`, a line's start. With `durable`, what lies below was synced by another process."""
        self.at = self._scanned = at
        if durable:
            self._file.trust(at - self.start)

    def take(self, max_lines: int, max_bytes: int) -> list[Line]:
        """Return the next whole lines, at most `max_lines` of `max_bytes` together; but one, whatever its length.

        An empty list means the end (`at_end`), or that a line of monstrous length is being passed, piece by piece.
        """
        if self.at_end and not self._file.may_hold_more(self._seen_up_to() - self.start):
            return []
        if self._scanned > self.at:
            return self._scan_on()
        data = self._read(max_bytes, self.at)
        self.at_end = len(data) < max_bytes
        end = data.rfind(b"\n") + 1
        if end == 0 and not self.at_end:  # the first line is longer than that
            data = self._read(max_bytes + MAX_LINE, self.at)
            self.at_end = len(data) < max_bytes + MAX_LINE
            end = data.find(b"\n") + 1
        if end == 0:
            return self._nothing_whole(len(data))
        upto = self.at + len(data)
        lines = self._lines(data[:end].split(b"\n", max_lines)[:-1])
        self.at_end = self.at_end and self.at == upto
        return lines

    def ends_here(self) -> bool:
        """Say whether nothing stands behind what was read; asked before anything is concluded from `at_end`.

        A read that met a bad block comes back short, like one at the end; only a read of nothing proves the end.
        """
        return not self._read(1, self.at + self.unfinished)

    def stirs(self) -> bool:
        """Say whether anything may stand behind what was read to its end; asked often, so that it is cheap."""
        return self._file.has_bytes_at(self.at - self.start)

    def give_up(self) -> list[Line]:
        """Return what stands unfinished, if anything does, as a faulty line and pass it: nobody will finish it."""
        if not self.unfinished or self._file.gone:
            self.unfinished = 0
            return []
        if self.unfinished >= MAX_LINE:
            return [
                self._faulty(self.at + self.unfinished, self._read(HEAD_BYTES, self.at), "too-long")
            ]
        raw = self._read(self.unfinished, self.at)
        return [self._faulty(self.at + self.unfinished, raw, "torn")]

    def ends_a_line(self, offset: int) -> bool:
        """Say whether the byte before `offset` is a newline."""
        return self._read(1, offset - 1) == b"\n"

    def end(self) -> int:
        """Return the offset of its end as the file system has it. Raises OSError."""
        return self.start + self._file.size()

    def is_at(self, named: os.stat_result) -> bool:
        """Say whether `named` is this file, and as long as what was read of it."""
        return self._file.is_same(named) and self.start + named.st_size >= self.at

    def out_of_reach(self) -> int:
        """Return how many bytes were seen and can be read no more: it lost its name while its file was closed."""
        return max(0, self.start + self._file.seen - self.at) if self._file.gone else 0

    def sync(self, upto: int) -> bool:
        """Return whether all bytes below `upto` are durable, as `SegmentFile.sync` does."""
        return self._file.sync(upto - self.start)

    def sync_beside(self) -> None:
        """Make durable all that it holds, as `SegmentFile.sync_beside` does."""
        self._file.sync_beside()

    @property
    def sync_failed(self) -> bool:
        """Whether a sync of it ever failed in this process."""
        return self._file.sync_failed

    def close(self) -> None:
        """Close the descriptor."""
        self._file.close()

    def _seen_up_to(self) -> int:
        return max(self._scanned, self.at + self.unfinished)

    def _read(self, size: int, offset: int) -> bytes:
        return self._file.read(size, offset - self.start)

    def _lines(self, raws: list[bytes]) -> list[Line]:
        lines: list[Line] = []
        partition, at = self.partition, self.at
        for raw in raws:
            if len(raw) >= MAX_LINE:
                break  # behind others it waits: what gives it out reads, and may fail
            start, at = at, at + len(raw) + 1
            # The making of these two is half of what reading a line costs; calling their classes takes twice as long.
            position = tuple.__new__(Position, (partition, start, at))
            lines.append(tuple.__new__(Line, (position, raw, None)))
        self.at, self.unfinished = at, 0
        return lines or self._too_long(at + len(raws[0]) + 1)

    def _nothing_whole(self, size: int) -> list[Line]:
        self.unfinished = size
        if size >= MAX_LINE:
            self._scanned = self.at + size
        return []

    def _scan_on(self) -> list[Line]:
        data = self._read(_SCAN_BYTES, self._scanned)
        newline = data.find(b"\n") + 1
        if newline:
            # Reads, and may fail: nothing is passed before it has not, or the next newline would count as this one.
            lines = self._too_long(self._scanned + newline)
            self._scanned, self.at_end = self.at, False
            return lines
        self._scanned += len(data)
        self.unfinished = self._scanned - self.at
        self.at_end = len(data) < _SCAN_BYTES
        return []

    def _too_long(self, end: int) -> list[Line]:
        # A block of zeros can be longer than any line; the command that begins behind it is whole all the same.
        begin = max(self.at, end - MAX_LINE)
        tail = self._read(end - 1 - begin, begin)
        intact = salvage(tail)
        if intact is None:
            return [self._faulty(end, self._read(HEAD_BYTES, self.at), "too-long")]
        head = self._faulty(begin + intact, self._read(HEAD_BYTES, self.at), "too-long")
        self.at = end
        return [head, Line(Position(self.partition, begin + intact, end), tail[intact:])]

    def _faulty(self, end: int, raw: bytes, fault: str) -> Line:
        start, self.at, self.unfinished = self.at, end, 0
        return Line(Position(self.partition, start, end), raw, fault)
