"""The commands that can never be delivered, kept in `rejected/`: put there, listed, let go, never in silence.

Owns what is appended where, and when it is durable. What a line holds is in `rejection`, what the files say in
`kept`, whose turn it is in `rejected_lock`. Knows nothing about why a command is rejected, or how one is sent again.

Every program has a file a day of its own and appends to it one batch at a time, under `rejected/lock`. A batch that
fell short leaves a torn line, which no reader believes and whose commands were not counted as kept; the next batch
begins on a new line.

Invariants: after `sync` has returned, no power cut takes what was added before it. A file is removed only when every
line of it is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Final

from kmq.durable import (
    FILES,
    NO_REGULAR_FILE,
    Files,
    create,
    open_own,
    open_regular,
    sync_directory,
    write_all,
)
from kmq.errors import SpoolError, spool_error

from .kept import Kept
from .numbers import RejectedLock
from .rejection import How, New, Rejection, cut, day_of, file_name, form, gone_form, id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from kmq.spool import Spool

__all__ = ["New", "RejectedStore", "Rejection", "Unsynced"]

_MAX_UNSYNCED: Final = 16 * 1024 * 1024
_APPEND: Final = os.O_RDWR | os.O_APPEND
_MAX_NAMES: Final = 1_000

# Something bears the name and is no file: a link, a directory, a pipe, a socket.


@dataclass(slots=True)
class _Written:
    """A file since the last sync: its descriptor, which learns of a failed write-back, and what was appended.

    `made` says that the file holds nothing else, as it was made since.
    """

    fd: int
    made: bool
    batches: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Unsynced:
    """What `add` appended since the last sync, taken out of the store to be made durable, in whatever thread."""

    spool: Spool
    files: Files
    written: dict[str, _Written]
    error: OSError | None = None

    def run(self) -> None:
        """Sync it; that it fails is the outcome."""
        try:
            self._sync_written()
            self._sync_entries()
        except OSError as error:
            self.error = error

    def _sync_written(self) -> None:
        for written in self.written.values():
            self.files.fdatasync(written.fd)

    def _sync_entries(self) -> None:
        # Each time, since whoever made the file or the directory may have died before it synced the entry, and a file
        # of the same name and inode number may be another one.
        sync_directory(self.spool.rejected, files=self.files)
        sync_directory(self.spool.path, files=self.files)


class RejectedStore:
    """The rejected commands of a spool, as `program` (small letters) adds to them. Not for two threads at a time.

    `clock` gives seconds since the epoch, `wait` waits for some while another program appends; with None nobody waits.
    """

    def __init__(
        self,
        spool: Spool,
        program: str,
        *,
        clock: Callable[[], float] = time.time,
        wait: Callable[[float], None] | None = time.sleep,
        files: Files = FILES,
    ) -> None:
        # A wrong name fails here, and not at the first rejected command.
        file_name("0000-00-00", program)
        self._spool = spool
        self._program = program
        self._clock = clock
        self._files = files
        self._lock = RejectedLock(spool, wait=wait, files=files)
        self._kept = Kept(spool.rejected)
        self._written: dict[str, _Written] = {}
        self._syncing: dict[str, _Written] = {}
        self._again: list[tuple[str, bytes]] = []
        self._given_up = 0

    def add(self, batch: Sequence[New]) -> list[str]:
        """Keep a batch; return the ids, in its order. Durable only after `sync`.

        Raises `SpoolError` where it cannot be written, or where another program holds the lock (EAGAIN). The
        batch then counts as not kept, and may be added again: a place is listed once.
        """
        if not batch:
            return []
        self._bound_unsynced()
        with self._explained("keep rejected commands in"), self._lock.held() as lock:
            self._write_again()
            at = self._clock()
            day = day_of(at)
            first = self._lock.take_numbers(lock, day, len(batch), self._kept.highest)
            ids = [id_of(day, number) for number in range(first, first + len(batch))]
            self._append(day, b"".join(map(self._line, batch, ids, repeat(at))))
        return ids

    def _line(self, new: New, rejection_id: str, at: float) -> bytes:
        return form(cut(new, rejection_id, at, self._program))

    def sync(self) -> None:
        """Make durable what was added since the last sync; only then may a checkpoint cover it.

        Raises `SpoolError` where the disk refuses. What it may have lost is then written again, to another file, by the
        next `add` or `sync`: a second sync of the same file would succeed without its bytes.
        """
        unsynced = self.begin_sync()
        if unsynced is not None:
            unsynced.run()
            self.end_sync(unsynced)

    def begin_sync(self) -> Unsynced | None:
        """Take out what a sync is to make durable, None if there is nothing. What is added from now on is not among it.

        Raises `SpoolError` where what an earlier sync lost cannot be written again.
        """
        if self._again:
            with self._explained("keep rejected commands in"), self._lock.held():
                self._write_again()
        if not self._written:
            return None
        self._syncing, self._written = self._written, {}
        return Unsynced(self._spool, self._files, self._syncing)

    def end_sync(self, unsynced: Unsynced) -> None:
        """Take note of what came of it. Raises as `sync` does."""
        try:
            if unsynced.error is not None:
                self._give_up_files(unsynced.written)
                with self._explained("sync"):
                    raise unsynced.error
        finally:
            _close(unsynced.written)

    def kept(self) -> list[Rejection]:
        """Return what is on the list, oldest first, each place once. Takes no lock; `each` needs less memory."""
        return sorted(self._kept.each(), key=lambda rejection: _order(rejection.id))

    def each(self) -> Iterator[Rejection]:
        """Yield what is on the list, day by day, each place once; what leaves meanwhile is not yielded any more."""
        return self._kept.each()

    def find(self, rejection_id: str) -> Rejection | None:
        """Return the command of that id, or None if it is not on the list (any more)."""
        return self.found([rejection_id]).get(rejection_id)

    def found(self, ids: Collection[str]) -> dict[str, Rejection]:
        """Return the commands of those of `ids` that are on the list, by their ids, read in one passage."""
        return self._kept.found(ids)

    def count(self) -> int:
        """Return how many are on the list; a listing and one `lstat` a file when nothing changed."""
        return self._kept.count()

    @property
    def unreadable(self) -> int:
        """How many lines and files of `rejected/` could not be read, when last looked."""
        return self._kept.unreadable

    def leave(self, ids: Sequence[str], how: How) -> None:
        """Take commands off the list, durably, with all other ids of the same place; what is not on it is passed over.

        Raises `SpoolError` where the disk refuses; some may then have left and others not, and it can be called again.
        """
        if not self._kept.holds_any(ids):
            return
        with self._explained("take commands off the list in"), self._lock.held() as lock:
            leaving = self._kept.alike(ids)
            finished = self._kept.finished(leaving)
            for name in leaving.keys() - set(finished):
                self._append_gone(name, leaving[name], how)
            self._remove(finished, lock)

    def close(self) -> None:
        """Let go of descriptors, also of those of a sync that did not come to its end. Syncs nothing."""
        _close(self._written)
        _close(self._syncing)

    # Appending

    def _append(self, day: str, data: bytes) -> None:
        written = self._file_of(day)
        _write_lines(written.fd, data, self._files)
        written.batches.append((day, data))

    def _file_of(self, day: str) -> _Written:
        for again in range(self._given_up, self._given_up + _MAX_NAMES):
            name = file_name(day, self._program, again)
            try:
                return self._opened(name)
            except OSError as error:
                if error.errno not in NO_REGULAR_FILE:
                    raise
        message = f"cannot keep rejected commands in {self._spool.rejected}: something that is no file bears each name"
        raise SpoolError(message, path=self._spool.rejected, code=errno.EEXIST)

    def _opened(self, name: str) -> _Written:
        path = self._path(name)
        written = self._written.get(name)
        if written is not None and _bears_the_name(written.fd, path):
            return written
        opened = self._open_or_create(path)
        if written is not None:  # removed by whoever let all its lines go: nothing in it is needed
            os.close(written.fd)
        self._written[name] = opened
        return opened

    def _open_or_create(self, path: str) -> _Written:
        try:
            return _Written(open_own(path, _APPEND, files=self._files), made=False)
        except FileNotFoundError:
            return _Written(create(path, _APPEND, files=self._files), made=True)

    def _append_gone(self, name: str, ids: Sequence[str], how: How) -> None:
        try:
            fd = open_regular(self._path(name), _APPEND)
        except FileNotFoundError:  # removed by hand since it was read, and so off the list
            return
        try:
            _write_lines(fd, b"".join(gone_form(id_, how) for id_ in ids), self._files)
            self._files.fdatasync(fd)
        finally:
            os.close(fd)

    def _remove(self, names: Sequence[str], lock: int) -> None:
        if not names:
            return
        # The numbers must outlive the lines that hold them, or they would be given twice.
        self._files.fdatasync(lock)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._files.unlink(self._path(name))
        sync_directory(self._spool.rejected, files=self._files)

    # Durability

    def _bound_unsynced(self) -> None:
        waiting = [data for written in self._written.values() for _day, data in written.batches]
        if sum(map(len, waiting)) + sum(len(data) for _day, data in self._again) > _MAX_UNSYNCED:
            self.sync()

    def _write_again(self) -> None:
        while self._again:
            self._append(*self._again[0])
            del self._again[0]

    def _give_up_files(self, lost: Mapping[str, _Written]) -> None:
        """Take all that was not synced as lost, since which of it is cannot be known, to be written once more.

        That goes for what was added to the same files meanwhile, too: it stands in what is removed now.
        """
        since, self._written = self._written, {}
        for name, written in (*lost.items(), *since.items()):
            self._again.extend(written.batches)
            try:
                self._give_up(name, written)
            except OSError:
                self._given_up += 1
        _close(since)

    def _give_up(self, name: str, written: _Written) -> None:
        if not written.made:
            self._given_up += 1
        elif _bears_the_name(written.fd, self._path(name)):
            # Else a disk that refuses each sync would be filled by the tries.
            self._files.unlink(self._path(name))

    def _path(self, name: str) -> str:
        return os.path.join(self._spool.rejected, name)

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except SpoolError:
            raise
        except OSError as error:
            raise spool_error(error, doing, self._spool.rejected) from error


def _close(files: dict[str, _Written]) -> None:
    for written in files.values():
        os.close(written.fd)
    files.clear()


def _write_lines(fd: int, data: bytes, files: Files) -> None:
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        data = b"\n" + data  # what stands before is torn, and stays a line of its own
    write_all(fd, data, files=files)


def _order(rejection_id: str) -> tuple[str, int]:
    day, number = rejection_id.split(":")
    return (day, int(number))


def _bears_the_name(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False
