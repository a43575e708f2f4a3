"""Who holds a lock, asked without touching it.

Owns how `/proc/locks` is read: it lists every lock of this machine by the device and inode of its file. Knows nothing
about what a lock protects. Asking this way disturbs nobody; taking a lock for a moment, to see whether it is free,
would turn away whoever wants it in that moment.

What it cannot see: a holder in another PID namespace (a container beside this one) is not listed. That nobody is
listed therefore does not prove that nobody holds it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Holder", "holder_of", "holders_of"]

# 3: FLOCK  ADVISORY  WRITE 1423 fe:00:2171860 0 EOF
# Who only waits for a lock has an arrow behind the number, and does not match.
_HELD: Final = re.compile(
    r"[0-9]+: FLOCK +ADVISORY +WRITE +([0-9]+) +([0-9a-f]+):([0-9a-f]+):([0-9]+) "
)
_MOUNT_ID: Final = re.compile(r"^mnt_id:\s*([0-9]+)$", re.MULTILINE)

_UNNAMED: Final = 0
"""The major number of devices that are no disk: btrfs, overlayfs, tmpfs."""

Key = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a lock; `command` is the kernel's short name for it.

    >>> str(Holder(1423, "kmq-sender"))
    'kmq-sender[1423]'
    """

    pid: int
    command: str

    def __str__(self) -> str:
        return f"{self.command}[{self.pid}]"


def holder_of(path: str, *, proc: str = "/proc") -> Holder | None:
    """Return the process that holds the lock file `path`, or None where none can be told."""
    return (holders_of([path], proc=proc) or {}).get(path)


def holders_of(paths: Iterable[str], *, proc: str = "/proc") -> dict[str, Holder] | None:
    """Return the holders of those lock files that are held; None where `/proc/locks` cannot be read.

    Reads it once, however many paths there are.
    """
    pids = _held(proc)
    if pids is None:
        return None
    found = ((path, _pid_of(path, pids, proc)) for path in paths)
    return {path: Holder(pid, _command(pid, proc)) for path, pid in found if pid is not None}


def _held(proc: str) -> dict[Key, int] | None:
    text = _read(f"{proc}/locks")
    if text is None:
        return None
    matches = (_HELD.match(line) for line in text.splitlines())
    return {
        (int(match[2], 16), int(match[3], 16), int(match[4])): int(match[1])
        for match in matches
        if match is not None
    }


def _pid_of(path: str, pids: Mapping[Key, int], proc: str) -> int | None:
    try:
        file = os.lstat(path)
    except OSError:
        return None
    major, minor = os.major(file.st_dev), os.minor(file.st_dev)
    pid = pids.get((major, minor, file.st_ino))
    if pid is None and major == _UNNAMED and any(key[2] == file.st_ino for key in pids):
        # A subvolume of btrfs has a device of its own in stat, and its file system's in /proc/locks.
        pid = pids.get((*_mount_device(os.path.dirname(path), proc), file.st_ino))
    return pid


def _mount_device(directory: str, proc: str) -> tuple[int, int]:
    mount = _mount_id(directory, proc)
    for line in (_read(f"{proc}/self/mountinfo") or "").splitlines():
        fields = line.split(" ", 3)
        if fields[0] == mount:
            major, _, minor = fields[2].partition(":")
            return int(major), int(minor)
    return -1, -1


def _mount_id(directory: str, proc: str) -> str | None:
    try:
        fd = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        match = _MOUNT_ID.search(_read(f"{proc}/self/fdinfo/{fd}") or "")
    finally:
        os.close(fd)
    return match[1] if match else None


def _command(pid: int, proc: str) -> str:
    # A process names itself, with any bytes it likes; this goes to a terminal.
    name = (_read(f"{proc}/{pid}/comm") or "").rstrip("\n")
    return "".join(c if c.isprintable() else "?" for c in name) or "?"


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None
