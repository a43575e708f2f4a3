"""One partition: taken, appended to, rotated, and kept until the process dies.

Owns the way in which a process gets a directory of its own in the spool, and the order of its segments. Knows nothing
about threads, caps or commands: whoever appends here is alone, and a line is bytes that end in a newline. Of forks it
knows that a child must neither use nor remove what was its parent's.

Invariants: a partition is written to only in the boot that made it, by whoever holds its `writer.lock`; the name of a
segment is the previous one's start plus that one's size as the file system has it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from . import locks
from .clock import CLOCK, Clock
from .durable import FILES, Files, bears_name, sync_directory
from .errors import LocksUnsupported, SpoolError, SpoolFull, handlers_own, spool_error
from .segment import Segment
from .spool import (
    NEW_PREFIX,
    Spool,
    make_directory,
    new_partition_name,
    partitions,
    segment_path,
    segment_starts,
    writer_lock,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["NameLost", "Partition", "Place", "Rotation", "adopt", "forked", "make", "take"]

_TRIED_AT_MOST: Final = 256
# Calls by lease come here with the first one in a second of the wall clock, as often within a second as after one.
_NAME_CHECK_S: Final = 0.5
_NAMES_TRIED: Final = 3

# No writer gets so far. What bears such a name is foreign, and behind it the names come to an end.
_ADOPTED_UP_TO: Final = 1 << 61

# The kernel's: processes that were forked from one another must not get the same.
_CHANCE: Final = random.SystemRandom()

# A child that a signal handler forked in the middle was at the same name, and faster.
_NAME_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOENT, errno.ENOTEMPTY})

_SEGMENTS_AT_LEAST: Final = 64  # that a cap has room for


class NameLost(Exception):  # noqa: N818 - never leaves kmq: the slot catches it and copies
    """Somebody removed the active segment or its lock, or put another behind it: what it got since must be copied."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a segment is sealed by starting the next one: at so many bytes, or at such an age in seconds."""

    max_bytes: int = 16 << 20
    max_age_s: float = 3_600.0

    @classmethod
    def within(cls, cap_bytes: int) -> Rotation:
        """Return the rules under a cap of so many bytes: what is delivered and not sealed yet must not fill it."""
        usual = cls()
        return replace(usual, max_bytes=min(usual.max_bytes, cap_bytes // _SEGMENTS_AT_LEAST))


@dataclass(frozen=True, slots=True)
class Place:
    """Where partitions are taken and by which rules. `boot` is this boot's id, None where it cannot be read."""

    spool: Spool
    boot: str | None
    rotation: Rotation = field(default_factory=Rotation)
    clock: Clock = CLOCK
    files: Files = FILES
    chance: random.Random = _CHANCE


def forked(path: str) -> OSError:
    """Return the error of a call that was under way when a signal handler forked, for the child's copy of it."""
    return OSError(errno.EBADF, "this is the parent's: a fork came in between", path)


class Partition:
    """A partition that this process holds; `left` says that nothing more is to be appended here."""

    def __init__(
        self, path: str, lock: int, segment: Segment, place: Place, *, durable: bool
    ) -> None:
        self.path = path
        self.segment = segment
        self.left = False
        self._lock = lock
        self._place = place
        self._entries_durable = durable
        self._checked_at = place.clock.monotonic()

    def append(self, line: bytes) -> Segment:
        """Append `line`, and return the segment that it lies in.

        Raises `NameLost`, or `SpoolError` when it is not in the spool: then nothing of it will ever be delivered.
        """
        self._check_name_now_and_then()
        if self.segment.finished or self.rotation_due():
            self._start_next()
        if self._write(line):
            return self.segment
        # Short: a full disk, or a limit on the file's size, that another segment may not meet.
        self._start_next()
        if self._write(line):
            return self.segment
        raise SpoolFull(
            f"cannot append to {self.segment.path}: only a part of {len(line):,} bytes fits; "
            "make room on its file system",
            path=self.segment.path,
            code=errno.ENOSPC,
        )

    def seal(self) -> None:
        """Start the next segment if this one holds anything, so that it can go once it is delivered."""
        if self.segment.size:
            self._start_next()

    def rotation_due(self) -> bool:
        """Say whether the next append starts a new segment because of size or age."""
        segment, rotation = self.segment, self._place.rotation
        age_s = self._place.clock.monotonic() - segment.opened_at
        return segment.size >= rotation.max_bytes or (
            segment.size > 0 and age_s >= rotation.max_age_s
        )

    def room(self) -> int:
        """Return how many bytes its segment may still get before the next one is started."""
        return self._place.rotation.max_bytes - self.segment.size

    def check_name(self) -> None:
        """Raise `NameLost` unless the active segment is the newest, and it and the lock still bear their names.

        Without its lock's name a partition counts as finished, for the sender and for whoever wants to adopt it. Behind
        a segment that another program put there (a copied backup) this one counts as sealed, and is not read any more.
        """
        self._checked_at = self._place.clock.monotonic()
        try:
            named = (
                bears_name(self._lock, writer_lock(self.path))
                and not self._is_followed()
                and self.segment.has_name()
            )
        except OSError as error:
            raise spool_error(error, "look at", self.segment.path) from error
        if not named:
            self._checked_at -= _NAME_CHECK_S  # until it is copied, every append looks again
            raise NameLost

    @property
    def entries_durable(self) -> bool:
        """Whether a power cut leaves the names that lead to the segment."""
        return self._entries_durable

    def make_entries_durable(self) -> None:
        """Sync the directories that lead to the segment, where nobody is known to have done so.

        Whoever made an adopted partition may have died before its sync; an exception may have come before ours.
        """
        if self._entries_durable:
            return
        try:
            sync_directory(self.path, files=self._place.files)
            sync_directory(os.path.dirname(self.path), files=self._place.files)
        except OSError as error:
            raise spool_error(error, "sync the partition", self.path) from error
        self._entries_durable = True

    def forget(self) -> None:
        """In a child of a fork: close the inherited copies, which frees nothing; the lock stays the parent's."""
        self.left = True
        self.segment.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def _check_name_now_and_then(self) -> None:
        if self._place.clock.monotonic() - self._checked_at >= _NAME_CHECK_S:
            self.check_name()

    def _is_followed(self) -> bool:
        try:
            later = [start for start in segment_starts(self.path) if start > self.segment.start]
        except FileNotFoundError:  # the next look finds that the names are gone
            return False
        return any(_is_regular(segment_path(self.path, start)) for start in later)

    def _write(self, line: bytes) -> bool:
        if self.left:
            raise forked(self.path)
        try:
            return self.segment.append(line)
        except OSError as error:
            if error.errno == errno.EFBIG and self.segment.size:
                return False  # at the limit of a file's size to the byte; the next segment is a file of its own
            raise spool_error(error, "append to", self.segment.path) from error

    def _start_next(self) -> None:
        self.check_name()
        before = self.segment
        size = before.real_size()
        if size == 0:
            # An exception came before its first write was done: nothing is torn, and no name is left for a next.
            before.finished = False
            return
        durable, self._entries_durable = self._entries_durable, False
        self.segment = self._created(before.start + size)
        self._sync_entry()
        self._entries_durable = durable

    def _created(self, start: int) -> Segment:
        place = self._place
        try:
            return Segment.create(self.path, start, place.clock.monotonic(), files=place.files)
        except OSError as error:
            # If that name is taken all the same, the segment before it is sealed: a reader may be past it already.
            self.left = os.path.lexists(segment_path(self.path, start))
            raise spool_error(error, "start the next segment in", self.path) from error

    def _sync_entry(self) -> None:
        try:
            sync_directory(self.path, files=self._place.files)
        except OSError as error:
            # The entry may never become durable, and no later sync would prove that it did.
            self.left = True
            raise spool_error(error, "sync the partition", self.path) from error


def take(place: Place) -> Partition:
    """Adopt a partition, or make one. Raises `SpoolError`."""
    return adopt(place) or make(place)


def adopt(place: Place) -> Partition | None:
    """Take a partition of this boot that no process holds, or return None. Tries 256 at most, from a random start.

    Raises `SpoolError` where the spool cannot be listed, or has no locks.
    """
    if place.boot is None:
        return None
    for path in _candidates(place):
        lock = _try_lock(path)
        if lock is None:
            continue
        segment = _continued(path, lock, place.boot, place)
        if segment is None:
            os.close(lock)
            continue
        return Partition(path, lock, segment, place, durable=False)
    return None


def _candidates(place: Place) -> Iterator[str]:
    spool = place.spool
    try:
        names = partitions(spool)
    except OSError as error:
        raise spool_error(error, "list", spool.path) from error
    start = place.chance.randrange(len(names)) if names else 0
    for name in (names[start:] + names[:start])[:_TRIED_AT_MOST]:
        yield spool.partition(name)


def _try_lock(path: str) -> int | None:
    try:
        lock = locks.take(writer_lock(path))
    except LocksUnsupported:
        raise
    except SpoolError:
        # Another user's, from before the spool had its group; or a fault of this one, that making one need not meet.
        return None
    return None if isinstance(lock, locks.Denied) else lock


def _continued(path: str, lock: int, boot: str, place: Place) -> Segment | None:
    try:
        if os.pread(lock, len(boot) + 1, 0) != boot.encode():
            return None
        starts = segment_starts(path)
        if not starts or starts[-1] > _ADOPTED_UP_TO:
            return None
        return Segment.reopen(path, starts[-1], place.clock.monotonic(), files=place.files)
    except OSError:  # no regular file, or not ours to open
        return None


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def make(place: Place) -> Partition:
    """Make a partition that this process holds from its first moment; raises `SpoolError`.

    It is made under a name that nobody reads, and gets its own when it is complete and durable.
    """
    maker = os.getpid()
    for names_left in reversed(range(_NAMES_TRIED)):
        name = new_partition_name(place.clock.wall(), place.chance.randbytes(4).hex())
        try:
            return _Making(place, name, maker).done()
        except OSError as error:
            if handlers_own(error):
                raise
            if error.errno not in _NAME_TAKEN or not names_left:
                raise spool_error(
                    error, "make the partition", place.spool.partition(name)
                ) from error
    raise AssertionError  # pragma: no cover - the last name's error is raised above


class _Making:
    """A partition that is being made: what there is of it is removed again when a step fails."""

    def __init__(self, place: Place, name: str, maker: int) -> None:
        self._place = place
        self._files = place.files
        self._path = place.spool.partition(name)
        self._directory = place.spool.partition(f"{NEW_PREFIX}{name}")
        self._maker = maker

    def done(self) -> Partition:
        with contextlib.ExitStack() as undo:
            lock, segment = self._built(undo)
            self._publish()
            undo.pop_all()
        segment.path = segment_path(self._path, 0)
        return Partition(self._path, lock, segment, self._place, durable=True)

    def _built(self, undo: contextlib.ExitStack) -> tuple[int, Segment]:
        beside, files = self._directory, self._files
        self._check_maker()
        make_directory(beside, files=files)
        undo.callback(self._remove, files.rmdir, "")
        boot = (self._place.boot or "").encode()
        lock = locks.create_held(writer_lock(beside), boot, files=files)
        # Closed after the removal of its name, so that nobody adopts what is being removed.
        undo.callback(os.close, lock)
        undo.callback(self._remove, files.unlink, os.path.basename(writer_lock("")))
        segment = Segment.create(beside, 0, self._place.clock.monotonic(), files=files)
        undo.callback(self._remove, files.unlink, os.path.basename(segment.path))
        return lock, segment

    def _publish(self) -> None:
        sync_directory(self._directory, files=self._files)
        self._check_maker()
        self._files.rename(self._directory, self._path)
        self._directory = self._path
        sync_directory(self._place.spool.path, files=self._files)

    def _check_maker(self) -> None:
        if os.getpid() != self._maker:
            raise forked(self._path)

    def _remove(self, remove: Callable[[str], None], name: str) -> None:
        # A child that a signal handler forked in the middle unmakes nothing: its parent goes on making it.
        if os.getpid() == self._maker:
            with contextlib.suppress(OSError):
                remove(f"{self._directory}/{name}")
