"""Spools made by hand: partitions that a test appends to, tears, rotates, holds and lets go, byte by byte.

Owns the bytes on disk and the writer's lock, by the rules of the spool's form and not by `kmq`'s writer, so that a test
can make what a writer never would.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from filelock import lock_descriptor

from kmq.durable import create
from kmq.spool import Spool, make_directory, segment_path, writer_lock

if TYPE_CHECKING:
    from pathlib import Path

    from sender.flow import Event, Line
    from sender.reader import SpoolReader

__all__ = ["ManualClock", "Partition", "Reports", "lines_of", "make_spool", "read_all"]


@dataclass
class ManualClock:
    """A monotonic clock that moves only when told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass
class Reports:
    """Collects what a reader reports."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Take note of a fact."""
        self.events.append(event)

    def codes(self) -> list[str]:
        """Return the codes, in order."""
        return [event.code for event in self.events]


class Partition:
    """A partition whose segments a test writes by itself; not held by anybody at first."""

    def __init__(self, spool: Spool, name: str = "20261123T204501Z-4f2a91c3") -> None:
        self.name = name
        self.path = spool.partition(name)
        self.start = 0
        self._lock: int | None = None
        make_directory(self.path)
        os.close(create(writer_lock(self.path), os.O_RDWR))
        self.begin(0)

    def begin(self, start: int) -> None:
        """Start the segment `start`, which becomes the one that is appended to."""
        self.start = start
        os.close(create(self.segment(), os.O_RDWR))

    def segment(self, start: int | None = None) -> str:
        """Return the path of a segment, of the newest without `start`."""
        return segment_path(self.path, self.start if start is None else start)

    def append(self, data: bytes) -> int:
        """Append bytes as they are to the newest segment; return the offset of their first."""
        with open(self.segment(), "ab") as file:
            at = self.start + file.tell()
            file.write(data)
        return at

    def end(self) -> int:
        """Return the offset of the end."""
        return self.start + os.stat(self.segment()).st_size

    def rotate(self) -> None:
        """Seal the newest segment by starting the next one where it ends."""
        self.begin(self.end())

    def hold(self) -> None:
        """Take the writer's lock, as a living writer has it."""
        self._lock = os.open(writer_lock(self.path), os.O_RDWR)
        if not lock_descriptor(self._lock, blocking=False):
            raise AssertionError("somebody else holds it")

    def let_go(self) -> None:
        """Let go of the writer's lock, as a writer does by dying."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def held(self) -> bool:
        """Whether the test holds the lock."""
        return self._lock is not None


def make_spool(path: Path) -> Spool:
    """Make an empty spool directory."""
    path.mkdir(mode=0o770)
    path.chmod(0o2770)
    return Spool(str(path))


def read_all(reader: SpoolReader, clock: ManualClock, *, seconds: float = 2.0) -> list[Line]:
    """Return what `reader` gives while so much time passes, at the pace at which a sender would look."""
    lines: list[Line] = []
    end = clock.now + seconds
    while clock.now < end:
        found = reader.read(1000, 1 << 20)
        lines += found
        if not found:
            clock.advance(max(reader.next_look_s(), 0.001))
    return lines


def lines_of(lines: list[Line]) -> list[bytes]:
    """Return the texts alone."""
    return [line.raw for line in lines]
