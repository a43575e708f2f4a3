"""Writers in the test's own process, whose death can be played without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmq.durable import FILES, Files
from kmq.partition import Place, Rotation
from kmq.spool import Spool
from kmq.writer import Writer
from tests.support.clock import MovableClock

if TYPE_CHECKING:
    from pathlib import Path

    from kmq.partition import Partition

__all__ = ["BOOT", "Writers"]

BOOT = "00000000-0000-4000-8000-000000000001"


class Writers:
    """Makes writers and partitions on one spool; `die` is what the kernel does when their process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = MovableClock()
        self._made: list[Writer] = []
        self._held: list[Partition] = []

    def place(
        self, *, boot: str | None = BOOT, rotation: Rotation | None = None, files: Files = FILES
    ) -> Place:
        """Return where a writer works, by the clock of this test."""
        return Place(Spool(str(self.path)), boot, rotation or Rotation(), self.clock, files)

    def writer(self, place: Place | None = None, *, max_bytes: int = 1 << 32) -> Writer:
        """Return a writer as a process of its own would have it."""
        writer = Writer(place or self.place(), max_bytes)
        self._made.append(writer)
        return writer

    def held(self, partition: Partition) -> Partition:
        """Remember a partition that must be let go at the end."""
        self._held.append(partition)
        return partition

    def die(self, writer: Writer) -> None:
        """Close every descriptor of `writer`, and nothing else."""
        writer._process.forget()  # what a child does with its copies

    def close(self) -> None:
        """Let all of them die."""
        for writer in self._made:
            self.die(writer)
        for partition in self._held:
            partition.forget()
