"""The recording file system: real operations on a real directory, each noted as a change of the disk.

Owns the identity of files. A descriptor says by its inode which node it is, also where it was opened beside the seam
(`durable.open_regular`, `locks.take`); each creation goes through the seam and renews what an inode number stands for.
Knows nothing about what is durable.

Each process of a scenario has `Files` of its own, so that one can die or meet faults while others go on.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from kmq.durable import Files

from .disk import laid_down
from .sites import site_of_caller
from .stream import (
    ROOT_NODE,
    Change,
    Entry,
    Linked,
    Made,
    Removed,
    Renamed,
    Synced,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Died", "Process", "Recorder"]

_OPERATIONS = (
    "allocate",
    "chown",
    "fchmod",
    "fdatasync",
    "fsync",
    "link",
    "mkdir",
    "open",
    "rename",
    "rmdir",
    "unlink",
    "write",
)


class Died(BaseException):
    """The process was killed here; nothing that it still tries has any effect."""


def _full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Recorder:
    """Notes what happens below `root`, which must exist. With `capacity`, so many bytes fit into all files together."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.stream: list[Entry] = []
        self.capacity: int | None = None
        self._inodes: dict[int, int] = {os.stat(root).st_ino: ROOT_NODE}
        self._names: dict[int, dict[str, int]] = {ROOT_NODE: {}}
        self._nodes = ROOT_NODE

    def note(self, entry: Entry) -> None:
        """Add to the recording."""
        self.stream.append(entry)

    def node_of(self, fd: int) -> int:
        """Return the node that a descriptor is open on."""
        return self._inodes[os.fstat(fd).st_ino]

    def place_of(self, path: str) -> tuple[int, str]:
        """Return the directory's node and the name of an absolute path."""
        directory, name = os.path.split(os.path.relpath(path, self.root))
        node = ROOT_NODE
        for part in directory.split("/") if directory else ():
            node = self._names[node][part]
        return node, name

    def made(self, path: str, *, is_directory: bool) -> None:
        """Note a new file or directory."""
        directory, name = self.place_of(path)
        self._nodes += 1
        self._inodes[os.lstat(path).st_ino] = self._nodes
        self._names[directory][name] = self._nodes
        if is_directory:
            self._names[self._nodes] = {}
        self.note(Made(directory, name, self._nodes, is_directory))

    def renamed(self, path: str, to: str) -> None:
        """Note a rename, which kmq does within one directory only."""
        (directory, name), (target, new_name) = self.place_of(path), self.place_of(to)
        if directory != target:
            raise AssertionError(f"{path} was renamed to another directory: the model has none")
        node = self._names[directory].pop(name)
        self._names[directory][new_name] = node
        self.note(Renamed(directory, name, new_name, node))

    def linked(self, path: str, to: str) -> None:
        """Note a hard link."""
        (source, old), (directory, name) = self.place_of(path), self.place_of(to)
        node = self._names[directory][name] = self._names[source][old]
        self.note(Linked(directory, name, node))

    def removed(self, path: str) -> None:
        """Note an unlink or rmdir."""
        directory, name = self.place_of(path)
        del self._names[directory][name]
        self.note(Removed(directory, name))

    def leave(self, room: int) -> None:
        """Let the disk be so full that `room` bytes still fit."""
        self.capacity = self._used() + room

    def room(self) -> int:
        """Return how many bytes still fit."""
        return 1 << 40 if self.capacity is None else max(0, self.capacity - self._used())

    def _used(self) -> int:
        sizes = (
            os.lstat(os.path.join(top, name)).st_size
            for top, _, names in os.walk(self.root)
            for name in names
        )
        return sum(sizes)

    def seed(self, tree: dict[str, bytes | None]) -> list[Change]:
        """Lay down what stands here before all, parents first; return it as changes."""
        laid_down(tree, self.root)
        before = len(self.stream)
        for path, content in sorted(tree.items()):
            self.made(os.path.join(self.root, path), is_directory=content is None)
            if content:
                self.note(Written(self._nodes, 0, content))
        found, self.stream[before:] = self.stream[before:], []
        return found  # type: ignore[return-value]  # only changes were noted


class Process:
    """One process's operations; `before` is asked before each, by its name and path, and may raise what it meets."""

    def __init__(self, recorder: Recorder) -> None:
        self.before: Callable[[str, str], None] | None = None
        self.dead = False
        self._recorder = recorder
        self.files = Files()
        for name in _OPERATIONS:
            self._replace(name, getattr(self, f"_{name}"))

    def _replace(self, name: str, operation: Callable[..., Any]) -> None:
        def guarded(target: int | str, *args: Any) -> Any:  # noqa: ANN401 - whatever the real one takes
            self._ask(name, target)
            return operation(target, *args)

        setattr(self.files, name, guarded)

    def _ask(self, name: str, target: int | str) -> None:
        if self.dead:
            raise Died
        if self.before is None:
            return
        path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
        try:
            self.before(name, path)
        except OSError:
            if name in {"fsync", "fdatasync"} and isinstance(target, int):
                self._synced(target, failed=True)
            raise
        except Died:
            self.dead = True
            raise

    def _open(self, path: str, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        if flags & os.O_CREAT:
            self._recorder.made(path, is_directory=False)
        return fd

    def _write(self, fd: int, data: bytes) -> int:
        fits = bytes(data[: self._recorder.room()])
        if not fits:
            raise _full()
        count = os.write(fd, fits)
        offset = os.lseek(fd, 0, os.SEEK_CUR) - count
        self._recorder.note(Written(self._recorder.node_of(fd), offset, fits[:count]))
        return count

    def _allocate(self, fd: int, offset: int, size: int) -> None:
        if size > self._recorder.room():
            raise _full()
        os.posix_fallocate(fd, offset, size)
        self._recorder.note(Written(self._recorder.node_of(fd), offset, bytes(size)))

    def _fsync(self, fd: int) -> None:
        self._synced(fd)

    def _fdatasync(self, fd: int) -> None:
        self._synced(fd)

    def _synced(self, fd: int, *, failed: bool = False) -> None:
        # Not for real: nothing is cut off here but in the model, and a real sync costs milliseconds.
        self._recorder.note(Synced(self._recorder.node_of(fd), site_of_caller(), failed))

    def _rename(self, path: str, to: str) -> None:
        os.rename(path, to)
        self._recorder.renamed(path, to)

    def _link(self, path: str, to: str) -> None:
        os.link(path, to)
        self._recorder.linked(path, to)

    def _unlink(self, path: str) -> None:
        os.unlink(path)
        self._recorder.removed(path)

    def _rmdir(self, path: str) -> None:
        os.rmdir(path)
        self._recorder.removed(path)

    def _mkdir(self, path: str, mode: int = 0o777) -> None:
        os.mkdir(path, mode)
        self._recorder.made(path, is_directory=True)

    def _fchmod(self, fd: int, mode: int) -> None:
        os.fchmod(fd, mode)

    def _chown(self, path: str, owner: int, group: int) -> None:
        os.chown(path, owner, group)
