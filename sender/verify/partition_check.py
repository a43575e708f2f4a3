"""Reads one partition from its oldest segment to its end, and notes what is wrong with it.

Owns what counts as damage in a segment: a line that is no command, bytes that are missing between two segments or
stand in two. A torn line is none: no call was told that it was written. Knows nothing about checkpoints, modes or the
report.

The partition is listed before it is read, so that only its last segment can grow meanwhile. Whether a line there can
still be finished is asked before the end is read again, and a gap is looked at in a second listing, as the reader does.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kmq import locks
from kmq.command import Unreadable, decode, salvage
from kmq.errors import SpoolError
from kmq.spool import segment_path, segment_starts, writer_lock
from sender.reader.segment_reader import SegmentReader

from .findings import Finding, Findings, unreadable

if TYPE_CHECKING:
    from kmq.spool import Spool
    from sender.flow import Line

__all__ = ["Counts", "check_partition"]

_LINES: Final = 1000
_BYTES: Final = 1 << 16


@dataclass(slots=True)
class Counts:
    """What was read so far."""

    partitions: int = 0
    segments: int = 0
    commands: int = 0
    bytes_read: int = 0


def check_partition(
    spool: Spool, name: str, counts: Counts, findings: Findings, *, writer_lives: bool | None
) -> None:
    """Read the partition `name`; `writer_lives` is None where that is to be found out, if it comes to matter.

    One that vanishes was removed by retention, and is passed over.
    """
    try:
        starts = segment_starts(spool.partition(name))
    except FileNotFoundError:
        return
    except PermissionError as error:
        findings.add(unreadable(name, error, name))
        return
    counts.partitions += 1
    end: int | None = None
    last = -1
    waiting = deque(starts)
    while waiting:
        if end is not None and waiting[0] > end:
            there = _there(spool.partition(name))
            waiting.extendleft([start for start in reversed(there) if last < start < waiting[0]])
            if not there or there[0] >= waiting[0]:
                end = None  # retention, which removes the oldest first, took all that lay before
        last = waiting.popleft()
        end = _Segment(spool, name, last, counts, findings).check(end, writer_lives=writer_lives)


def _there(path: str) -> list[int]:
    # A directory is not read at one moment: of two segments made meanwhile, a listing can hold the later one alone.
    try:
        return segment_starts(path)
    except FileNotFoundError:
        return []


class _Segment:
    """The check of one segment."""

    def __init__(
        self,
        spool: Spool,
        name: str,
        start: int,
        counts: Counts,
        findings: Findings,
    ) -> None:
        self._name = name
        self._path = spool.partition(name)
        self._start = start
        self._counts = counts
        self._findings = findings
        self._writer_lives: bool | None = None

    def check(self, end_before: int | None, *, writer_lives: bool | None) -> int | None:
        """Read it whole; return its end, None if it could not be read to it."""
        self._writer_lives = writer_lives
        try:
            segment = SegmentReader.open(self._name, self._path, self._start)
        except FileNotFoundError:
            return end_before  # removed by retention; if it was not, its place shows as a gap
        except OSError as error:
            self._unreadable(error, self._start)
            return None
        with contextlib.closing(segment):
            self._counts.segments += 1
            if end_before is not None:
                self._seam(end_before)
            return self._read(segment)

    def _read(self, segment: SegmentReader) -> int | None:
        try:
            self._whole_lines(segment)
            if segment.unfinished:
                self._tail(segment)
        except OSError as error:
            self._unreadable(error, segment.at)
            return None
        finally:
            self._counts.bytes_read += segment.at - self._start
        return segment.at

    def _whole_lines(self, segment: SegmentReader) -> None:
        ended = False
        while not ended:
            for line in segment.take(_LINES, _BYTES):
                self._line(line)
            ended = segment.at_end and segment.ends_here()

    def _tail(self, segment: SegmentReader) -> None:
        writer_lives = self._is_newest() and self._asked_whether_writer_lives()
        writer_lives = writer_lives and self._is_newest()
        self._whole_lines(segment)
        for line in segment.give_up():
            if line.fault == "torn":
                self._torn(line, writer_lives=writer_lives)
            else:
                self._line(line)

    def _is_newest(self) -> bool:
        return segment_starts(self._path)[-1:] == [self._start]

    def _asked_whether_writer_lives(self) -> bool:
        if self._writer_lives is not None:
            return self._writer_lives
        try:
            taken = locks.take(writer_lock(self._path))
        except SpoolError:  # this user may not ask; then the line is given the benefit of the doubt
            return True
        if isinstance(taken, int):
            os.close(taken)
        return taken is locks.Denied.HELD

    def _line(self, line: Line) -> None:
        if line.fault is not None:
            size = line.position.end - line.position.start
            self._about(line, "too-long", f"line of {size:,} bytes, longer than a line may be")
            return
        try:
            decode(line.raw)
        except Unreadable as unreadable:
            self._no_command(line, unreadable)
        else:
            self._counts.commands += 1

    def _no_command(self, line: Line, unreadable: Unreadable) -> None:
        if salvage(line.raw) is not None:
            self._counts.commands += 1
            self._about(line, "zeros", "a block of zeros, and an intact command behind it")
            return
        size = line.position.end - line.position.start
        self._about(line, unreadable.code, f"no command, {size:,} bytes: {unreadable.rule}")

    def _torn(self, line: Line, *, writer_lives: bool) -> None:
        size = line.position.end - line.position.start
        if writer_lives:
            self._about(line, "unfinished", f"unfinished line, {size:,} bytes", damage=False)
        else:
            self._about(line, "torn", f"torn line, {size:,} bytes", damage=False)

    def _seam(self, end: int) -> None:
        missing = self._start - end
        if missing > 0:
            self._add("gap", end, f"{missing:,} bytes are missing before it", missing)
        elif missing < 0:
            self._add("overlap", self._start, f"{-missing:,} bytes stand before it too", -missing)

    def _unreadable(self, error: OSError, offset: int) -> None:
        path = segment_path(self._name, self._start)
        self._findings.add(unreadable(path, error, self._name, offset))

    def _about(self, line: Line, code: str, detail: str, *, damage: bool = True) -> None:
        position = line.position
        size = position.end - position.start
        self._add(code, position.start, detail, size, damage=damage)

    def _add(
        self, code: str, offset: int, detail: str, size: int | None, *, damage: bool = True
    ) -> None:
        path = segment_path(self._name, self._start)
        self._findings.add(Finding(code, path, detail, damage, self._name, offset, size))
