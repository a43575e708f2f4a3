"""Durable file operations: the only door through which kmq changes what is on disk.

Owns the order of write, sync, rename and directory sync. Knows nothing about spools, partitions or
commands. `Files` is the seam: whatever writes takes it as an argument, so that a test can record every
operation, or make one fail, without patching anything.

Linux reports a failed write-back once; after that a sync of the same file can succeed although its bytes are
lost. Whoever calls a sync here must treat its failure as final for that file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

__all__ = [
    "FILES",
    "NO_REGULAR_FILE",
    "Files",
    "bears_name",
    "create",
    "open_own",
    "open_regular",
    "replace",
    "sync_directory",
    "write_all",
]

_FILE_MODE = 0o660
NO_REGULAR_FILE = frozenset({errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO})
"""What `open_regular` fails with where a link, a pipe, a socket, a directory or a device bears the name."""

_NAME_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

# Where kmq only explains why it cannot work (Windows, macOS), importing it must still succeed.
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Files:
    """The operations that change files and directories, exactly as `os` has them."""

    open = staticmethod(os.open)
    write = staticmethod(os.write)
    fsync = staticmethod(os.fsync)
    fdatasync = staticmethod(getattr(os, "fdatasync", os.fsync))
    rename = staticmethod(os.rename)
    link = staticmethod(os.link)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    rmdir = staticmethod(os.rmdir)
    fchmod = staticmethod(getattr(os, "fchmod", os.chmod))
    chown: staticmethod[..., None] = staticmethod(getattr(os, "chown", None) or os.chmod)
    allocate: staticmethod[..., None] = staticmethod(
        getattr(os, "posix_fallocate", None) or os.truncate
    )


FILES = Files()


def write_all(fd: int, data: bytes, *, files: Files = FILES) -> None:
    """Write all of `data` to `fd`, in as many writes as it takes.

    Not atomic: when it raises, any part of `data` may have been written. For a command use one write and
    look at its count, as `kmq.partition` does.
    """
    view = memoryview(data)
    while view:
        view = view[files.write(fd, view) :]


def sync_directory(path: str, *, files: Files = FILES) -> None:
    """Make the entries of the directory `path` durable: files made, renamed or removed in it.

    Says nothing about the content of those files.
    """
    fd = files.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.fsync(fd)
    finally:
        os.close(fd)


def create(path: str, flags: int, *, files: Files = FILES) -> int:
    """Create the file `path`, which must not exist, with mode 0660 whatever the umask; return its descriptor.

    The entry is not durable before its directory is synced. What fails leaves no file.
    """
    fd = files.open(path, os.O_CREAT | os.O_EXCL | _SAFE | flags, _FILE_MODE)
    try:
        # A crash between these leaves a file without its mode: `open_own` sets it.
        if stat.S_IMODE(os.fstat(fd).st_mode) != _FILE_MODE:
            files.fchmod(fd, _FILE_MODE)
    except BaseException:
        os.close(fd)
        files.unlink(path)
        raise
    return fd


def open_regular(path: str, flags: int) -> int:
    """Open `path` only if it exists and is a regular file: no link is followed, no pipe waits.

    Raises OSError, with one of `NO_REGULAR_FILE` where something else bears the name.
    """
    fd = os.open(path, flags | _SAFE | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "not a regular file", path)


def open_own(path: str, flags: int, *, files: Files = FILES) -> int:
    """Open a file that `create` made, to write to it, as `open_regular` does; a mode that a crash left out is set.

    Without it the sender, or an app, that runs as another user of the group could not open what is appended there.
    """
    fd = open_regular(path, flags)
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if mode & _FILE_MODE != _FILE_MODE:
        with contextlib.suppress(OSError):  # another user's; what it keeps from whom, `verify` says
            files.fchmod(fd, mode | _FILE_MODE)
    return fd


def bears_name(fd: int, path: str) -> bool:
    """Say whether `path` leads to the open file `fd`, and not to nothing or to another one.

    Raises OSError where that cannot be known (a directory that may not be searched, a closed `fd`).
    """
    opened = os.fstat(fd)
    try:
        return os.path.samestat(opened, os.lstat(path))
    except OSError as error:
        if error.errno in _NAME_GONE:
            return False
        raise


def replace(
    path: str,
    data: bytes,
    *,
    sync: bool = True,
    keep: str | None = None,
    files: Files = FILES,
) -> None:
    """Give `path` the content `data`, whole or not at all, whenever the machine stops.

    With `keep`, the content before stays under that name. With `sync=False` a crash of the process still
    leaves one whole content, a power cut may leave an older one or none.
    """
    beside = f"{path}.tmp"
    _write_new(beside, data, sync=sync, files=files)
    if keep is not None:
        _keep(path, keep, files)
    files.rename(beside, path)
    if sync:
        sync_directory(os.path.dirname(path), files=files)


def _write_new(path: str, data: bytes, *, sync: bool, files: Files) -> None:
    with contextlib.suppress(FileNotFoundError):
        files.unlink(path)  # what a crash left here is no use to anybody
    fd = create(path, os.O_WRONLY, files=files)
    try:
        write_all(fd, data, files=files)
        if sync:
            files.fsync(fd)
    finally:
        os.close(fd)


def _keep(path: str, keep: str, files: Files) -> None:
    if not os.path.isfile(path) or os.path.islink(path):
        return  # nothing, or nothing worth more than what is kept already
    # A crash between these two leaves no `keep`, but `path` is whole; after them both are.
    with contextlib.suppress(FileNotFoundError):
        files.unlink(keep)
    with contextlib.suppress(FileNotFoundError):
        files.link(path, keep)
