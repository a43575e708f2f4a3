"""A small disk for a spool, filled, freed, read-only: a real tmpfs where one can be mounted, else a limit by the seam.

Owns a mount namespace of its own, held by one process that ends when its input does: with the test's process, however
that ends, both are gone and nothing is mounted anywhere. Root makes one directly, an ordinary user inside a user
namespace. Everybody else reaches the mount through /proc/PID/root, so that senders and apps are ordinary processes.
Knows nothing about kmq, except for the program that a limited process runs.

    with small_disk(tmp_path, size=1 << 20) as disk:
        with SenderProcess(disk.spool, url, program=disk.sender) as sender: ...
        disk.fill(); disk.make_room()
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from typing import TYPE_CHECKING

from tests.support.faults import BLOCK, Faults, used

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["Disk", "LimitedDisk", "MountedDisk", "can_mount", "small_disk"]

_HOLD = 'mount -t tmpfs -o "$1" kmq "$2" && echo held && exec cat'
_SENDER = ("-m", "sender.cli")
_APP = ("-m", "tests.support.app")
END_S = 30.0


class Disk:
    """A small disk, whatever it is made of; `spool` is its root."""

    spool: str
    sender: Sequence[str] = _SENDER
    app: Sequence[str] = _APP

    def fill(self) -> None:
        """Let somebody else's file take all that is free."""
        raise NotImplementedError

    def make_room(self) -> None:
        """Remove that file."""
        os.unlink(self._ballast)

    def cover_read_only(self) -> None:
        """Let every path lead to a read-only view from now on; what is open stays as it is."""
        raise NotImplementedError

    def uncover(self) -> None:
        """Let paths lead to what can be written again."""
        raise NotImplementedError

    @property
    def _ballast(self) -> str:
        return f"{self.spool}/ballast"


class MountedDisk(Disk):
    """A tmpfs, in the mount namespace that the process `keeper` holds."""

    def __init__(self, keeper: int, path: str) -> None:
        self.spool = f"/proc/{keeper}/root{path}"
        self._keeper = keeper
        self._path = path

    def fill(self) -> None:
        """Write until nothing fits any more."""
        with open(self._ballast, "ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(BLOCK))

    def cover_read_only(self) -> None:
        """Lay a read-only mount of the same files above it; a remount would be refused while any is open to write."""
        self._inside("mount", "--bind", self._path, self._path)
        self._inside("mount", "-o", "remount,bind,ro", self._path)

    def uncover(self) -> None:
        """Take it away again."""
        self._inside("umount", self._path)

    def _inside(self, *command: str) -> None:
        enter = ["nsenter", "-t", str(self._keeper), "-m"]
        if os.geteuid() != 0:
            enter += ["-U", "--preserve-credentials"]
        subprocess.run([*enter, *command], check=True, timeout=END_S)


class LimitedDisk(Disk):
    """A directory of which the seam says how much fits in."""

    def __init__(self, folder: Path, size: int | None, inodes: int | None) -> None:
        self.spool = str(folder / "disk")
        os.mkdir(self.spool, 0o770)
        self._size = size
        self._faults = Faults(folder / "faults", self.spool)
        self._faults.limit(size, inodes)
        self.sender = self._faults.sender
        self.app = self._faults.program_of("from tests.support.app import main; main()")

    def fill(self) -> None:
        """Take what the limit leaves."""
        assert self._size is not None
        with open(self._ballast, "ab") as file:
            file.write(bytes(max(0, self._size - used(self.spool)[0])))

    def cover_read_only(self) -> None:
        """Let what changes by path be refused."""
        self._faults.begin("change", errno.EROFS)

    def uncover(self) -> None:
        """Let it be done again."""
        self._faults.end()


@contextlib.contextmanager
def small_disk(
    folder: Path, *, size: int | None = None, inodes: int | None = None, mounted: bool = True
) -> Iterator[Disk]:
    """Give a disk of so many bytes and inodes; without `mounted`, or where nothing can be mounted, a limited one."""
    if not (mounted and can_mount()):
        yield LimitedDisk(folder, size, inodes)
        return
    options = ["mode=0770"]
    options += [] if size is None else [f"size={size}"]
    options += [] if inodes is None else [f"nr_inodes={inodes}"]
    path = folder / "disk"
    path.mkdir()
    with _keeper(",".join(options), str(path)) as keeper:
        assert keeper is not None
        yield MountedDisk(keeper, str(path))


@contextlib.contextmanager
def _keeper(options: str, path: str) -> Iterator[int | None]:
    """Give the number of a process that holds a tmpfs at `path`, None where that is not allowed."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    try:
        process = subprocess.Popen(
            [*unshare, "sh", "-c", _HOLD, "sh", options, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:  # no unshare
        yield None
        return
    with process:
        assert process.stdout is not None
        held = process.stdout.readline() == b"held\n" and os.access(
            f"/proc/{process.pid}/root{path}", os.W_OK
        )
        try:
            yield process.pid if held else None
        finally:
            process.kill()


_probed: list[bool] = []


def can_mount() -> bool:
    """Say whether this user may mount a tmpfs in a namespace; asked once a process."""
    if not _probed:
        with contextlib.ExitStack() as stack:
            _probed.append(stack.enter_context(_keeper("size=64k", "/tmp")) is not None)  # noqa: S108 - hidden from all others
    return _probed[0]
