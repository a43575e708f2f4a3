"""A slot: one partition at a time, and the threads that take turns in it.

Owns in which order threads append and sync, which partition they use, and what happens when it is lost. Knows nothing
about depth: the writer sees to it that no thread enters a slot in which it already is.

Invariant: a call that returns has its line in a segment that bears its name, as far as the last check could see.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from . import partition as partitions
from . import spool as places
from .errors import SpoolError, SpoolFull
from .partition import NameLost, Partition, Place, forked

if TYPE_CHECKING:
    from collections.abc import Callable

    from .cap import Cap
    from .segment import Segment

__all__ = ["Slot", "Turn"]

_log = logging.getLogger("kmq")

_PARTITIONS_TRIED: Final = 4

P = ParamSpec("P")
T = TypeVar("T")


class Turn:
    """A lock of threads that the child of a fork can give up.

    A signal handler can fork while its thread waits here. In the child nobody would ever wake it: whoever held the
    lock was left behind with the parent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder = 0

    def run(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `action` alone, and return what it returns."""
        me = threading.get_ident()
        # `with` on the lock itself: no exception of a signal handler comes between the taking and the letting go.
        with self._lock:
            self._holder = me
            try:
                return action(*args, **kwargs)
            finally:
                self._holder = 0

    def abandon(self) -> None:
        """In a child: free it, unless this very thread is inside."""
        if self._lock.locked() and self._holder != threading.get_ident():
            with contextlib.suppress(RuntimeError):  # another thread of the child was faster
                self._lock.release()


class Slot:
    """Appends lines of the process `pid`, one thread at a time, to a partition of its own."""

    def __init__(self, place: Place, cap: Cap, pid: int) -> None:
        self._place = place
        self._cap = cap
        self._pid = pid
        self._writing = Turn()
        self._syncing = Turn()
        self._partition: Partition | None = None
        self._refuge: Partition | None = None
        self._taken: list[Partition] = []
        self._news: list[str] = []

    def append(self, line: bytes) -> None:
        """Append `line`. Raises `SpoolError`, or OSError in a child that was forked in the middle."""
        self._writing.run(self._append, line)
        if self._news:
            self._tell()

    def append_durably(self, line: bytes) -> None:
        """Append, and return after the line is durable; where a sync fails, once more in a new segment."""
        if not self._synced(line) and not self._synced(line):
            raise _not_durable(self._place.spool.path)
        if self._news:
            self._tell()

    def check_name(self) -> None:
        """Look now whether what was appended still has its name, and copy it where not."""
        self._writing.run(self._check_name)
        if self._news:
            self._tell()

    def forget(self) -> None:
        """In a child: close what was inherited, and wake this thread where it waits for one that does not exist."""
        with contextlib.suppress(IndexError):
            while True:
                self._taken.pop().forget()
        self._writing.abandon()
        self._syncing.abandon()

    def _synced(self, line: bytes) -> bool:
        segment, end = self._writing.run(self._append_for_sync, line)
        durable = self._syncing.run(segment.sync, end)
        if not durable:
            self._writing.run(segment.finish)
        return durable

    def _tell(self) -> None:
        # Outside the turn: a logging handler may wait for a thread that waits for us.
        with contextlib.suppress(IndexError):
            while True:
                _log.warning("%s", self._news.pop())

    def _append(self, line: bytes) -> Segment:
        refused: SpoolError | None = None
        for _ in range(_PARTITIONS_TRIED):
            partition = self._admitted(len(line))
            try:
                return partition.append(line)
            except NameLost:
                self._copy(partition)
            except SpoolError as error:
                if not partition.left:
                    raise
                refused = error
        raise refused or _removed_again(self._place.spool.path)

    def _append_for_sync(self, line: bytes) -> tuple[Segment, int]:
        segment = self._append(line)
        if self._partition is not None:
            self._partition.make_entries_durable()
        return segment, segment.size

    def _check_name(self) -> None:
        if self._partition is None or self._partition.left:
            return
        try:
            self._partition.check_name()
        except NameLost:
            self._copy(self._partition)

    def _admitted(self, line_bytes: int) -> Partition:
        partition = self._partition
        if partition is not None and not partition.left:
            self._admit_to(partition, line_bytes)
            return partition
        if os.getpid() != self._pid:
            raise forked(self._place.spool.path)
        places.make(self._place.spool, files=self._place.files)
        self._cap.admit(line_bytes, look=True)
        partition = self._kept(partitions.take(self._place))
        self._partition = partition
        return partition

    def _admit_to(self, partition: Partition, line_bytes: int) -> None:
        try:
            self._cap.admit(line_bytes, look=partition.rotation_due())
        except SpoolFull:
            # Only sealed segments make room: a spool full of what is delivered would else stay full.
            if os.getpid() == self._pid:
                with contextlib.suppress(SpoolError):  # the next call meets it again
                    self._seal(partition)
            raise

    def _seal(self, partition: Partition) -> None:
        try:
            partition.seal()
        except NameLost:
            # Nobody looks again while calls are refused. The copy is exempt from the cap.
            self._copy(partition)

    def _kept(self, partition: Partition) -> Partition:
        self._taken.append(partition)
        if os.getpid() != self._pid:  # forked meanwhile: it is the parent's, and so is its lock
            partition.forget()
            raise forked(partition.path)
        return partition

    def _copy(self, lost: Partition) -> None:
        """Copy what a removed segment holds since it last had its name into a new partition, and go on there.

        Nothing is taken off the old one before all of it stands in the new one: if this fails the next call does it
        again, and what then stands twice counts once. The cap is not asked: all of this was admitted before.
        """
        places.make(self._place.spool, files=self._place.files)
        refuge = self._refuge
        if refuge is None or refuge.left:
            refuge = self._refuge = self._kept(partitions.make(self._place))
        try:
            _copy_lines(lost.segment.since_named(), refuge)
        except NameLost:
            refuge.left = True
            return
        lost.left = True
        self._partition, self._refuge = refuge, None
        self._news.append(
            f"{lost.segment.path} lost its name, or another segment was put behind it, while it was written to: "
            f"what it held since is in {refuge.path}"
        )


def _copy_lines(lines: list[bytes], partition: Partition) -> None:
    # Synced, since some of these lines may have been durable where they were.
    segments: list[Segment] = []
    for line in lines:
        segment = partition.append(line)
        if segment not in segments:
            segments.append(segment)
    for segment in segments:
        if not segment.sync(segment.size):
            partition.left = True
            raise _not_durable(segment.path)


def _not_durable(path: str) -> SpoolError:
    return SpoolError(
        f"cannot sync {path}: what was written may not survive a power cut; look at the disk (dmesg)",
        path=path,
        code=errno.EIO,
    )


def _removed_again(path: str) -> SpoolError:
    return SpoolError(
        f"what is made in {path} is removed again and again while it is written to; stop whatever removes it",
        path=path,
        code=errno.ENOENT,
    )
