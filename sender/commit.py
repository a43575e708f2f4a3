"""The order of durability: what makes a delivered command stay delivered.

Owns one rule. First the segments that a checkpoint will cover are synced, and what was rejected
into `rejected/`; then the new checkpoint is written beside the old one, synced, renamed, and the
directory synced; only then is anything removed that it covers. Knows nothing about how commands are
sent.

All that waits for the disk are steps, which may run beside the loop: 1,000 segments take a tenth of a second to sync,
and a bad disk takes minutes. What a step is about is chosen before it, and what came of it counts after it; marks are
taken before the first one, so that each lies in what is synced.

A full disk is no end: what the last durable checkpoint covers goes at once, and if that does not
make room for a new one, delivered sealed segments go, oldest first, since after a crash they are a
gap that is passed.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from kmq.durable import FILES, Files
from kmq.spool import partitions

from . import checkpoint
from .aside import Step
from .flow import Event
from .reserve import Reserve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kmq.spool import Spool

    from .dispatcher import Dispatcher
    from .reader import SpoolReader
    from .rejected import New, RejectedStore
    from .retention import Retention

__all__ = ["Committer"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

# So many looks of retention in a row without a full disk, and with the reserve in its place, are its end. What a
# removal frees, or the reserve, is filled by apps within a second: said each time, both events would have no end.
_CALM_LOOKS: Final = 5


class Committer:
    """Writes checkpoints for what `dispatcher` has done of what `reader` has read."""

    def __init__(  # noqa: PLR0913 - it stands between all of them
        self,
        spool: Spool,
        offsets: Mapping[str, int],
        *,
        reader: SpoolReader,
        dispatcher: Dispatcher,
        rejected: RejectedStore,
        retention: Retention,
        report: Callable[[Event], None],
        files: Files = FILES,
    ) -> None:
        self._spool = spool
        self._reader = reader
        self._dispatcher = dispatcher
        self._rejected = rejected
        self._retention = retention
        self._report = report
        self._files = files
        self._reserve = Reserve(spool, files=files)
        self._full = False
        self._calm_looks = 0
        self._removed: set[str] = set()
        existing = set(partitions(spool))
        # A partition's name is never used again, so that the entry of one that is gone can go too.
        self.durable = {name: offset for name, offset in offsets.items() if name in existing}
        self._written = dict(offsets)

    def done(self) -> dict[str, int]:
        """Return the low-water mark of each partition in which reading has begun, as it stands now."""
        return {**self._reader.positions(), **self._dispatcher.low_water()}

    def marks(self) -> dict[str, int]:
        """Return what a checkpoint of now says: for what was not looked at yet, what the last one said."""
        return {**self.durable, **self.done()}

    def commit(self) -> None:
        """Make durable what was appended, and the marks. Raises OSError; the next call then tries again."""
        _run(self.steps())

    def steps(self) -> Iterator[Step]:
        """Yield the steps of one commit, each to be run before the next is asked for; raises OSError as `commit` does.

        One that is given up half-way leaves what the last checkpoint said.
        """
        marks = self.marks()
        ahead = self._reader.begin_syncs()
        if ahead:
            yield from _checked(ahead.run)
        self._reader.end_syncs(ahead)
        # What is written already needs no sync: to ask 1,000 partitions of which none moved takes some milliseconds.
        moved = {name: mark for name, mark in marks.items() if mark != self._written.get(name)}
        marks |= self._reader.sync(moved)
        # What was rejected below a mark was so before it was taken, and is among what is synced.
        unsynced = self._rejected.begin_sync()
        if unsynced is not None:
            yield from _checked(unsynced.run)
            self._rejected.end_sync(unsynced)
        if marks != self._written:
            yield from self._with_room(lambda: self._save(marks), marks)
            self._written = dict(marks)
        # To make room for it, a partition may have been removed that it still names.
        self.durable = {name: mark for name, mark in marks.items() if name not in self._removed}
        self._reader.covered(marks)

    def keep(self, batch: Sequence[New]) -> None:
        """Put `batch` into `rejected/`. Raises OSError; nothing of it is kept then."""
        _run(self._with_room(lambda: self._rejected.add(batch)))

    def retain(self, *, urgent: bool = False) -> None:
        """Let retention remove what the last durable checkpoint covers.

        An offset of an earlier sender's checkpoint may not fit, and everything is sent again: it covers
        nothing before the low-water mark has come up to it.
        """
        done = self.done()
        believed = {name: mark for name, mark in self.durable.items() if mark <= done.get(name, -1)}
        for name in self._retention.apply(believed, urgent=urgent):
            self._reader.forget(name)
            self._removed.add(name)
            self.durable.pop(name, None)
        if not urgent and self._reserve.set_aside():
            self._look_calmly()

    def _save(self, marks: Mapping[str, int]) -> None:
        checkpoint.save(self._spool, marks, files=self._files)

    def _with_room(
        self, write: Callable[[], object], marks: Mapping[str, int] | None = None
    ) -> Iterator[Step]:
        yield (first := Step(write))
        if not _met_a_full_disk(first):
            return
        self._say_full()
        for _ in self._room_made(marks):
            yield (again := Step(write))
            if not _met_a_full_disk(again):
                return
        first.check()

    def _room_made(self, marks: Mapping[str, int] | None) -> Iterator[None]:
        """Free something at each step, the dearest last; with `marks`, those may be believed."""
        self.retain(urgent=True)
        yield
        if self._reserve.give_up():
            yield
        if marks is None:
            return
        # An open file frees no bytes. What lies below the marks is synced, so that it can be closed.
        self._reader.covered(marks)
        while self._retention.last_resort(marks):
            yield

    def _look_calmly(self) -> None:
        self._calm_looks += 1
        if self._full and self._calm_looks >= _CALM_LOOKS:
            self._full = False
            self._report(Event("room-again"))

    def _say_full(self) -> None:
        self._calm_looks = 0
        if not self._full:
            self._full = True
            self._report(Event("disk-full", detail="what was delivered goes at once"))


def _run(steps: Iterator[Step]) -> None:
    for step in steps:
        step.run()


def _checked(work: Callable[[], object]) -> Iterator[Step]:
    yield (step := Step(work))
    step.check()


def _met_a_full_disk(step: Step) -> bool:
    """Say whether that is why it failed; raises whatever else it failed with."""
    full = isinstance(step.error, OSError) and step.error.errno in _FULL
    if not full:
        step.check()
    return full
