"""A disk in simulated time: real files, whose operations fail, kill their caller, or are lost by a power cut.

Owns the seam that each simulated process is given, and what of each file is durable. Knows nothing about spools but
their names. After a process was killed none of its operations has an effect, whatever its handlers still try; what it
had written stays.

Files and directories bear simulated times, so that what goes by them is the same in every run.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmq.durable import Files

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

    from tests.support.clock import MovableClock

__all__ = ["OPERATIONS", "Disk", "Killed", "Process", "Torn"]

OPERATIONS = (
    "open",
    "write",
    "fsync",
    "fdatasync",
    "rename",
    "link",
    "unlink",
    "mkdir",
    "rmdir",
    "allocate",
)
_SEGMENT = re.compile(r"/([0-9]{8}T[0-9]{6}Z-[0-9a-f]{8})/([0-9]{20})\.jsonl$")
_CHANGING = frozenset({"open", "rename", "link", "unlink", "mkdir", "rmdir"})


class Killed(BaseException):
    """The process was killed here: nothing of it happens any more."""


@dataclass(frozen=True, slots=True)
class Torn:
    """A part of a line that a write left at the end of a segment."""

    partition: str
    offset: int
    piece: bytes


@dataclass(frozen=True, slots=True)
class _Fault:
    operation: str
    code: int
    where: str
    until: float


class Disk:
    """What all processes share: the faults of now, the room that is left, and how much of each file is durable."""

    def __init__(self, path: Path, clock: MovableClock) -> None:
        self.path = path
        self.clock = clock
        self.room: int | None = None
        """Bytes that can still be written; None: as many as anybody likes."""
        self.torn: list[Torn] = []
        self.failed_syncs = 0
        """How often the sync of a segment failed."""
        self._faults: list[_Fault] = []
        self._durable: dict[int, int] = {}
        self._holes: dict[int, list[tuple[int, int]]] = {}
        self._ticks = 0

    @property
    def is_well(self) -> bool:
        """Whether every operation succeeds now."""
        now = self.clock.monotonic()
        return self.room is None and all(fault.until <= now for fault in self._faults)

    def process(self) -> Process:
        """Return the file operations of a new process."""
        return Process(self)

    def fail(self, operation: str, code: int, where: str, seconds: float) -> None:
        """Let every call of `operation` on what has `where` in its path fail with `code` for so long."""
        until = self.clock.monotonic() + seconds
        self._faults.append(_Fault(operation, code, where, until))

    def heal(self) -> None:
        """End all faults."""
        self._faults.clear()
        self.room = None

    def check(self, operation: str, target: int | str) -> None:
        """Raise what `operation` meets now."""
        now = self.clock.monotonic()
        self._faults = [fault for fault in self._faults if now < fault.until]
        for fault in self._faults:
            if fault.operation == operation and fault.where in _path(target):
                raise OSError(fault.code, os.strerror(fault.code))

    def admitted(self, size: int) -> int:
        """Return how many of `size` bytes there is room for; raises ENOSPC if for nothing at all."""
        if self.room is None:
            return size
        fits = min(size, self.room)
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= fits
        return fits

    def synced(self, fd: int) -> None:
        """Take down that all of a file is durable now, but for what an earlier sync has lost."""
        about = os.fstat(fd)
        self._durable[about.st_ino] = about.st_size

    def sync_failed(self, fd: int) -> None:
        """Take down that what was not durable never will be: the kernel drops such pages, and says so once."""
        about = os.fstat(fd)
        self.failed_syncs += _SEGMENT.search(_path(fd)) is not None
        hole = (self._durable.get(about.st_ino, 0), about.st_size)
        self._holes.setdefault(about.st_ino, []).append(hole)

    def made(self, fd: int) -> None:
        """Take down that a file is new: its number may have been another one's."""
        number = os.fstat(fd).st_ino
        self._durable.pop(number, None)
        self._holes.pop(number, None)
        self.date(fd)

    def tear(self, fd: int, data: bytes) -> None:
        """Take down that only `data` of a line will stand at the end of `fd`, before it is written."""
        named = _SEGMENT.search(_path(fd))
        if named is not None and data:
            self.torn.append(Torn(named[1], int(named[2]) + os.fstat(fd).st_size, data))

    def date(self, what: int | str | Path) -> None:
        """Give a file or a directory the time of now, later than any before."""
        self._ticks += 1
        now = int(self.clock.wall() * 1e9) + self._ticks
        with contextlib.suppress(FileNotFoundError):
            os.utime(what, ns=(now, now))

    def cut_power(self, chance: random.Random) -> set[str]:
        """Lose, in each file, some or all of what was never synced; return the partitions that lost something."""
        found = set()
        for folder, _, names in os.walk(self.path):
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file() and self._lose(path, chance):
                    found.add(path.parent.name)
        return found

    def _lose(self, path: Path, chance: random.Random) -> bool:
        about = path.stat()
        before = path.read_bytes()
        content = bytearray(before)
        for start, end in self._holes.pop(about.st_ino, []):
            content[start:end] = bytes(min(end, len(content)) - min(start, len(content)))
        durable = min(self._durable.get(about.st_ino, 0), len(content))
        keep = chance.randint(durable, len(content))
        how = chance.choice(("all", "cut", "zeros"))
        if how != "all":
            zeros = len(content) - keep if how == "zeros" else 0
            content[keep:] = bytes(zeros)
        self._durable[about.st_ino] = len(content)
        if bytes(content) == before:
            return False
        path.write_bytes(content)
        self.date(path)
        return True


class Process(Files):
    """The file operations of one process, until it is killed: after `fuse` more of them, if that is set.

    If the last one is a write, `torn` bytes of it still reach the file.
    """

    def __init__(self, disk: Disk) -> None:
        self.alive = True
        self.fuse: int | None = None
        self.torn = 0
        self.died_in_half = False
        """Whether it was killed within a write that left a part behind."""
        self.halfway: Callable[[], None] | None = None
        """What others do while the next write to a segment is half done."""
        self._disk = disk
        for name in OPERATIONS:
            setattr(self, name, functools.partial(self._do, name, getattr(self, f"_{name}", None)))

    @contextlib.contextmanager
    def within(self, fuse: int, torn: int = 0) -> Iterator[None]:
        """Let it be killed after `fuse` operations of the block, if it has so many."""
        self.fuse, self.torn = fuse, torn
        try:
            yield
        finally:
            self.fuse = None

    def _do(self, name: str, ours: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the real one takes
        self._burn(name, args)
        try:
            self._disk.check(name, args[0])
        except OSError:
            if name in {"fsync", "fdatasync"}:
                self._disk.sync_failed(*args)
            raise
        done = (ours or getattr(Files, name))(*args, **kwargs)
        if name in _CHANGING:
            for path in args[:2]:
                if isinstance(path, str):
                    self._disk.date(os.path.dirname(path))
        return done

    def _burn(self, name: str, args: tuple[Any, ...]) -> None:
        if self.alive and self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.alive = False
                if name == "write":
                    self._tear(*args)
        if not self.alive:
            raise Killed

    def _tear(self, fd: int, data: bytes) -> None:
        piece = bytes(data[: self.torn])
        self.died_in_half = len(piece) < len(data)
        if self.died_in_half:
            self._disk.tear(fd, piece)
        os.write(fd, piece)
        self._disk.date(fd)

    def _open(self, path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            self._disk.admitted(0)
        fd = os.open(path, flags, mode)
        if flags & os.O_CREAT:
            self._disk.made(fd)
        return fd

    def _write(self, fd: int, data: bytes) -> int:
        fits = self._disk.admitted(len(data))
        if fits < len(data):
            self._disk.tear(fd, bytes(data[:fits]))
        half = fits // 2 if self._is_watched(fd) else 0
        os.write(fd, data[:half])
        halfway, self.halfway = (self.halfway, None) if half else (None, self.halfway)
        if halfway is not None:
            halfway()
        os.write(fd, data[half:fits])
        self._disk.date(fd)
        return fits

    def _is_watched(self, fd: int) -> bool:
        return self.halfway is not None and _SEGMENT.search(_path(fd)) is not None

    def _fsync(self, fd: int) -> None:
        self._disk.synced(fd)

    _fdatasync = _fsync

    def _unlink(self, path: str) -> None:
        size = os.lstat(path).st_size
        os.unlink(path)
        if self._disk.room is not None:
            self._disk.room += size

    def _allocate(self, fd: int, _offset: int, size: int) -> None:
        self._disk.admitted(size)
        os.truncate(fd, size)


def _path(target: int | str) -> str:
    return os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
