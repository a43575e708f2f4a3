"""The file of one segment: its descriptor, which may rest, and how far it is known to be durable.

Owns a descriptor that is closed when others need it and opened again at the next use, and what must outlive that: which
file it was, how far it was synced, and that a sync failed. Knows nothing about lines; a place here is counted from the
file's beginning.

One thread does all of it but for `sync_beside`, which another may run meanwhile. The descriptor is lent to that one for
as long: it does not rest, so that no failure is heard by the one and taken for success by the other; and where it is to
be closed, the borrower does so in the end.

Invariant: the descriptor is closed only when every byte that was read through it is durable, or a sync of it is known
to have failed. Linux tells of a failed write-back once, and only to whoever had the file open at that time: what was
read and is not durable could be lost unheard. What is appended while it rests was read by nobody, and stands as if in
a segment that was not opened yet.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from kmq.durable import FILES, Files, open_regular

from .descriptors import Descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    Pread = Callable[[int, int, int], bytes]

__all__ = ["SegmentFile"]

_NONE = -1


class SegmentFile:
    """The regular file that bore the name `path` when it was opened; raises OSError where none did.

    `gone` says that the name led to another file, or to none, when it was to be opened again: then nothing more can be
    read. `seen` is its size at the last look.
    """

    def __init__(
        self,
        path: str,
        *,
        pread: Pread = os.pread,
        files: Files = FILES,
        descriptors: Descriptors | None = None,
    ) -> None:
        self.gone = False
        self.sync_failed = False
        self._path = path
        self._pread = pread
        self._files = files
        self._descriptors = Descriptors() if descriptors is None else descriptors
        self._closed = False
        self._read_up_to = self._durable_up_to = 0
        self._handover = threading.RLock()
        self._lent = _NONE
        self._fd = self._descriptors.open(path, self)
        self._known = os.fstat(self._fd)
        self.seen = self._known.st_size

    def read(self, size: int, at: int) -> bytes:
        """Return at most `size` bytes at `at`, nothing where it is gone. Raises OSError."""
        if not self._is_open():
            return b""
        data = self._pread(self._fd, size, at)
        self._read_up_to = max(self._read_up_to, at + len(data))
        return data

    def may_hold_more(self, than: int) -> bool:
        """Say whether reading beyond `than` is worth it: only of a file at rest can that be told without."""
        return self._fd != _NONE or self.size() > than

    def has_bytes_at(self, at: int) -> bool:
        """Say whether a read at `at` may find anything, without opening what rests, and marking nothing as used."""
        try:
            return bool(self._pread(self._fd, 1, at)) if self._fd != _NONE else self.size() > at
        except OSError:
            return True

    def size(self) -> int:
        """Return its size now, the last one that was seen where it lost its name at rest. Raises OSError."""
        if self._fd != _NONE:
            self.seen = os.fstat(self._fd).st_size
            return self.seen
        try:
            named = os.lstat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return self.seen
        if self.is_same(named):
            self.seen = named.st_size
        return self.seen

    def is_same(self, named: os.stat_result) -> bool:
        """Say whether `named` is this file."""
        return os.path.samestat(named, self._known)

    def trust(self, upto: int) -> None:
        """Take note that another process synced what lies below `upto`."""
        self._durable_up_to = upto

    def sync(self, upto: int) -> bool:
        """Return whether all below `upto` is durable, syncing only if some of it is not known to be.

        A failure is final: the kernel reports lost pages once, and a sync that succeeds after it proves nothing. Raises
        OSError where `upto` lies beyond all that was read and the file cannot be opened.
        """
        if upto <= self._durable_up_to:
            return True
        if self.sync_failed:
            return False
        if not self._is_open():
            return True  # nobody read what is asked for, and nobody can any more
        self._sync(self._fd)
        return not self.sync_failed

    def sync_beside(self) -> None:
        """Make durable all that it holds now; the only thing here that may run while another thread does the rest.

        Where it cannot be opened, the reader meets the same, and says so.
        """
        with self._handover:
            fd = self._lent = self._fd
        if fd == _NONE:
            self._sync_at_rest()
            return
        try:
            self._sync_what_is_new(fd)
        finally:
            with self._handover:
                closed, self._lent = self._fd != fd, _NONE
                if closed:
                    os.close(fd)

    def rest(self) -> bool:
        """Close the descriptor until the next use, after a sync of what was read, which is remembered."""
        with self._handover:
            if self._lent != _NONE:
                return False
            self.sync(self._read_up_to)
            self.size()
            self._let_go()
        return True

    def close(self) -> None:
        """Close it for good."""
        self._closed = True
        self._let_go()

    def _sync_what_is_new(self, fd: int) -> None:
        if not self.sync_failed and os.fstat(fd).st_size > self._durable_up_to:
            self._sync(fd)

    def _sync_at_rest(self) -> None:
        if self._closed or self.gone:
            return
        try:
            fd = open_regular(self._path, os.O_RDONLY)
        except OSError:
            return
        try:
            if self.is_same(os.fstat(fd)):
                self._sync_what_is_new(fd)
        finally:
            os.close(fd)

    def _sync(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        try:
            self._files.fdatasync(fd)
        except OSError:
            self.sync_failed = True
            return
        self._durable_up_to = size

    def _is_open(self) -> bool:
        if self._fd == _NONE and not self.gone:
            self._open_again()
        if self._fd != _NONE:
            self._descriptors.used(self)
        return self._fd != _NONE

    def _open_again(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self._path)
        try:
            self._fd = self._descriptors.open(self._path, self)
        except (FileNotFoundError, NotADirectoryError):
            self.gone = True
            return
        if not self.is_same(os.fstat(self._fd)):
            self.gone = True
            self._let_go()

    def _let_go(self) -> None:
        with self._handover:
            fd, self._fd = self._fd, _NONE
            self._descriptors.closed(self)
            if fd not in {_NONE, self._lent}:
                os.close(fd)
