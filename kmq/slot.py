"""A slot: one partition at a time, and the threads that take turns in it.

Owns in which order threads append and sync, which partition they use, what happens when it is lost, and when a lease on
its open segment is out. Knows nothing about depth: the writer sees to it that no thread enters a slot in which it
already is.

Invariant: a call that returns has its line in a segment that bears its name, as far as the last check could see.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from typing import TYPE_CHECKING, Final

from . import partition as partitions
from . import spool as places
from .errors import SpoolError, SpoolFull, handlers_own
from .forks import same_process
from .group import Group
from .lease import Lease, Leases
from .partition import NameLost, Partition, Place, forked
from .turn import Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .cap import Cap
    from .segment import Segment

__all__ = ["Slot"]

_log = logging.getLogger("kmq")

_PARTITIONS_TRIED: Final = 4

_LEASE_BYTES: Final = 1 << 20
"""So much is appended by a lease, at most, before the cap is asked again, which then measures anew. With each second of
the wall clock names, age and cap are looked at anyway; more often, and the long way would be one call in a thousand."""

_LEASE_BACK_LOOKS: Final = 20
"""A write takes microseconds. What is not back after so many milliseconds is this thread's own, further out, or hangs
with its disk."""

_LEASE_GIVEN_UP_S: Final = 1.0


class _Busy(Exception):  # noqa: N818 - it is what the slot is
    """Somebody is in the middle of a write by the slot's lease."""


class _NotSynced(Exception):  # noqa: N818 - it is what the line is
    """The sync of the segment that the line lies in failed."""


class Slot:
    """Appends lines of the process `pid`, one thread at a time, to a partition of its own.

    An append says False where the slot cannot be used now: by its lease somebody is in the middle of a write, this
    thread further out perhaps, and the line has to go through another slot.
    """

    def __init__(self, place: Place, cap: Cap, pid: int) -> None:
        self.leases = Leases()
        """What the appends after one that went the long way may use."""
        self._place = place
        self._cap = cap
        self._pid = pid
        self.here = same_process()
        self._writing = Turn()
        self._group = Group(
            self._commit, self._commit_one, self.here, lambda: forked(place.spool.path)
        )
        self.append_alone = self._group.append_alone
        """Appends a line and syncs it, if that can be done at once."""
        self._partition: Partition | None = None
        self._refuge: Partition | None = None
        self._taken: list[Partition] = []
        self._news: list[str] = []
        self._leased: Lease | None = None
        self._overdue_since = 0.0

    def append(self, line: bytes) -> bool:
        """Append `line`. Raises `SpoolError`, or OSError in a child that was forked in the middle."""
        appended = self._writing.run(self._append_and_lease, line)
        if self._news:
            self._tell()
        return appended

    def append_durably(self, line: bytes, *, quick: bool) -> bool:
        """Append, and return after the line is durable; where a sync fails, once more in a new segment.

        With `quick` by the lease, if there is one: then names, age and cap are not looked at.
        """
        try:
            self._group.append(line, quick=quick)
        except _Busy:
            return False
        if self._news:
            self._tell()
        return True

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
        self._group.abandon()

    # Leases

    def _append_and_lease(self, line: bytes) -> bool:
        if not self._has_lease_back():
            return False
        self._append(line)
        self._lease_out()
        return True

    def _has_lease_back(self) -> bool:
        """Take the lease back if one is out, with what it got; say whether the slot is this call's alone."""
        lease = self._leased
        if lease is None:
            return True
        if not self.leases.take_back(1 if self._is_overdue() else _LEASE_BACK_LOOKS):
            return self._is_given_up()
        self._overdue_since = 0.0
        self._settle(lease)
        self._leased = None
        self.leases.settled()
        return True

    def _is_overdue(self) -> bool:
        """Whether it did not come back of late; before it is given up it is waited for once more."""
        return self._overdue_since > 0 and not self._is_long_overdue()

    def _is_long_overdue(self) -> bool:
        return self._place.clock.monotonic() - self._overdue_since >= _LEASE_GIVEN_UP_S

    def _is_given_up(self) -> bool:
        """Leave the partition to a lease that does not come back, and say so.

        Its thread hangs in a write, and may yet append the line: only here, to what nobody else appends to. Or an
        exception of a signal handler came between the taking of the lease and its return.
        """
        if not self._overdue_since:
            self._overdue_since = self._place.clock.monotonic()
        if not self._is_long_overdue() or self._partition is None:
            return False
        self._partition.left = True
        self._leased = None
        self._overdue_since = 0.0
        self.leases = Leases()
        return True

    def _settle(self, lease: Lease) -> None:
        self._cap.appended(lease.appended)
        lease.segment.size += lease.appended
        lease.segment.finished = lease.segment.finished or lease.torn

    def _lease_out(self) -> None:
        partition = self._partition
        if partition is None or partition.left or partition.segment.finished:
            return
        left = min(_LEASE_BYTES, self._cap.room(), partition.room())
        if left > 0:
            # Known first: one that is out and not known would be appended by beside the long way.
            self._leased = Lease(partition.segment, left, self.here)
            self.leases.give(self._leased)

    # Commits of a group

    def _commit(self, lines: Sequence[bytes], quick: bool) -> list[Exception | None]:  # noqa: FBT001 - the group's one question
        if quick and self._commit_one(b"".join(lines)):
            return [None] * len(lines)
        errors = self._synced(lines)
        again = [at for at, error in enumerate(errors) if isinstance(error, _NotSynced)]
        if again:
            second = self._synced([lines[at] for at in again])
            for at, error in zip(again, second, strict=True):
                errors[at] = self._not_durable(error)
        return errors

    def _commit_one(self, line: bytes) -> bool:
        """Append by the lease, and sync; say whether that was possible, and did not fail."""
        segment = self.leases.append(line)
        if segment is None or not self._leads_durably_to(segment):
            return False
        if segment.sync():
            return True
        self._writing.run(self._finish, segment)
        return False

    def _finish(self, segment: Segment) -> None:
        self._has_lease_back()
        segment.finish()

    def _leads_durably_to(self, segment: Segment) -> bool:
        partition = self._partition
        return partition is not None and partition.segment is segment and partition.entries_durable

    def _not_durable(self, error: Exception | None) -> Exception | None:
        return _not_durable(self._place.spool.path) if isinstance(error, _NotSynced) else error

    def _synced(self, lines: Sequence[bytes]) -> list[Exception | None]:
        """Append `lines` and sync what they lie in; return for each what went wrong."""
        appended = self._writing.run(self._append_for_sync, lines)
        ends = {each[0]: each[1] for each in appended if not isinstance(each, Exception)}
        lost = {segment for segment, end in ends.items() if not segment.sync(end)}
        for segment in lost:
            self._writing.run(self._finish, segment)
        return [
            each if isinstance(each, Exception) else _NotSynced() if each[0] in lost else None
            for each in appended
        ]

    def _append_for_sync(self, lines: Sequence[bytes]) -> list[tuple[Segment, int] | Exception]:
        if not self._has_lease_back():
            return [_Busy() for _ in lines]
        appended = [self._appended_for_sync(line) for line in lines]
        self._lease_out()
        return appended

    def _appended_for_sync(self, line: bytes) -> tuple[Segment, int] | Exception:
        try:
            segment = self._append(line)
            if self._partition is not None:
                self._partition.make_entries_durable()
        except OSError as error:
            if handlers_own(error):
                raise
            return error
        return segment, segment.size

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

    def _check_name(self) -> None:
        # Without the lease a write is under way; the call after it looks.
        if not self._has_lease_back() or self._partition is None or self._partition.left:
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
