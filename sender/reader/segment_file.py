"""The file of one segment: its descriptor, which may rest, and how far it is known to be durable.

Owns a descriptor that is closed when others need it and opened again at the next use, and what must outlive that: which
file it was, how far it was synced, and that a sync failed. Knows nothing about lines; a place here is counted from the
file's beginning.

Invariant: the descriptor is closed only when every byte that was read through it is durable, or a sync of it is known
to have failed. Linux tells of a failed write-back once, and only to whoever had the file open at that time: what was
read and is not durable could be lost unheard. What is appended while it rests was read by nobody, and stands as if in
a segment that was not opened yet.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from kmq.durable import FILES, Files

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
        self._path = path
        self._pread = pread
        self._files = files
        self._descriptors = Descriptors() if descriptors is None else descriptors
        self._closed = False
        self._read_up_to = self._durable_up_to = 0
        self._sync_failed = False
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
        if self._sync_failed:
            return False
        if not self._is_open():
            return True  # nobody read what is asked for, and nobody can any more
        size = self.size()
        try:
            self._files.fdatasync(self._fd)
        except OSError:
            self._sync_failed = True
            return False
        self._durable_up_to = size
        return True

    def rest(self) -> None:
        """Close the descriptor until the next use, after a sync of what was read, which is remembered."""
        self.sync(self._read_up_to)
        self.size()
        self._let_go()

    def close(self) -> None:
        """Close it for good."""
        self._closed = True
        self._let_go()

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
        fd, self._fd = self._fd, _NONE
        self._descriptors.closed(self)
        if fd != _NONE:
            os.close(fd)
