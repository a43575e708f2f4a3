"""Locks that are descriptors: whoever holds the descriptor holds the lock, and the kernel frees it at death.

Owns how a lock file is opened, locked and believed. Knows nothing about what a lock protects. The lock itself is
`filelock.lock_descriptor`, loaded with the first lock, and only that: `filelock.FileLock` would make a missing
directory and file when it takes a lock, and so bring a removed partition back to life under an old checkpoint; and it
lets go in an atexit handler while other handlers still record.

Invariant: `take` never creates anything, and returns a descriptor only if the file that it locked is the one
that bears the name at that moment.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from .durable import (
    FILES,
    NO_REGULAR_FILE,
    Files,
    bears_name,
    create,
    open_own,
    open_regular,
    write_all,
)
from .errors import spool_error

if sys.platform != "win32":  # where kmq only says why it cannot work
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Denied", "boot_id", "create_held", "make", "take"]

_BOOT_ID_PATH: Final = "/proc/sys/kernel/random/boot_id"
_BOOT_ID_CHARACTERS: Final = 36

# Whatever else bears the name is nobody's lock.
_NO_LOCK_FILE = NO_REGULAR_FILE | {errno.ENOENT, errno.ENOTDIR}


class Denied(enum.Enum):
    """Why a lock was not taken."""

    HELD = "another process holds it"
    GONE = "there is no lock file of that name, or it was renamed or removed meanwhile"


def take(path: str) -> int | Denied:
    """Try to take the lock file `path`; return its descriptor, or why not. Never waits, never creates.

    The lock lasts until every copy of the descriptor is closed, so that a child of a fork only closes its copy.
    Raises `LocksUnsupported` where the file system has no locks, `NoPermission` where the file may not be opened.
    """
    try:
        fd = open_regular(path, os.O_RDWR)
    except OSError as error:
        if error.errno in _NO_LOCK_FILE:
            return Denied.GONE
        raise spool_error(error, "open the lock file", path) from error
    answer = _lock(fd, path)
    if answer is not None:
        os.close(fd)
        return answer
    return fd


def _lock(fd: int, path: str) -> Denied | None:
    try:
        if not _lock_descriptor()(fd, blocking=False):
            return Denied.HELD
        # The holder before may have renamed or removed the file between our open and our lock.
        return None if bears_name(fd, path) else Denied.GONE
    except OSError as error:
        os.close(fd)
        raise spool_error(error, "lock", path) from error


def _lock_descriptor() -> Callable[..., bool]:
    """Return filelock's own; where it cannot be loaded (any more), what that does on Linux.

    An app may have changed its root or its user before its first call; and CPython 3.11 fails to import in a signal
    handler that came in the middle of an import.
    """
    try:
        from filelock import lock_descriptor  # noqa: PLC0415 - loading it takes as long as all the rest of kmq
    except Exception:  # noqa: BLE001 - KeyError, for one; whatever it is, the call can be done without
        return _flock
    return lock_descriptor


def _flock(fd: int, *, blocking: bool) -> bool:
    # The primitive that `lock_descriptor` documents: both exclude each other.
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if blocking else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def create_held(path: str, content: bytes, *, files: Files = FILES) -> int:
    """Create the lock file `path` with `content`, held from its first moment; return the descriptor that is the lock.

    For the `writer.lock` of a partition that is being made, which nobody else can know yet. Nothing of it is durable:
    what it holds counts in this boot only, and its entry becomes so when its directory is synced. Raises OSError, or
    `LocksUnsupported`; what fails leaves no file.
    """
    with contextlib.ExitStack() as undo:
        fd = create(path, os.O_RDWR, files=files)
        undo.callback(files.unlink, path)
        if _lock(fd, path) is not None:
            os.close(fd)
            raise OSError(errno.EAGAIN, "a file just created is held by another process", path)
        undo.callback(os.close, fd)
        write_all(fd, content, files=files)
        undo.pop_all()
    return fd


def make(path: str, *, files: Files = FILES) -> None:
    """Make the empty lock file `path` if it is missing. For locks that are never removed, only.

    A partition's `writer.lock` is never made here: it is born with its partition.
    """
    try:
        os.close(create(path, os.O_RDWR, files=files))
    except FileExistsError:
        with contextlib.suppress(OSError):  # no file, or another user's: `take` says so
            os.close(open_own(path, os.O_RDWR, files=files))


def boot_id(path: str = _BOOT_ID_PATH) -> str | None:
    """Return the kernel's id of this boot, 36 characters, or None where it cannot be read.

    >>> len(boot_id())
    36
    """
    try:
        with open(path, "rb") as file:
            text = file.read(_BOOT_ID_CHARACTERS + 1).strip().decode("ascii")
    except (OSError, ValueError):
        return None
    return text if len(text) == _BOOT_ID_CHARACTERS else None
