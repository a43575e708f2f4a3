"""The disk as POSIX lets one reason about it: for each file and directory what is durable, and what is pending.

Owns the effect of each change and of each sync. Knows nothing about which of the pending ones a cut lets through.

What is pending may reach the disk or not, each by itself and in any order. A rename is one step. A file's pending
bytes may be there in part. After a sync that failed, bytes stay in doubt for ever: the kernel takes them for clean, and
a later sync succeeds without them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .stream import (
    ROOT_NODE,
    Change,
    Linked,
    Made,
    Removed,
    Renamed,
    Synced,
    Written,
)

__all__ = [
    "Directory",
    "Disk",
    "Entries",
    "EntryChange",
    "File",
    "Tree",
    "applied",
    "laid_down",
    "written",
]

Entries = dict[str, int]
Tree = dict[str, bytes | None]
"""Paths below the root with their contents; None stands for a directory."""

EntryChange = Made | Renamed | Linked | Removed


@dataclass(slots=True)
class File:
    """What is sure to be there, what may be, and what a process sees; `version` grows with each change."""

    durable: bytes = b""
    live: bytes = b""
    pending: list[Written] = field(default_factory=list)
    doubtful: list[Written] = field(default_factory=list)
    version: int = 0


@dataclass(slots=True)
class Directory:
    """The same for entries."""

    durable: Entries = field(default_factory=dict)
    live: Entries = field(default_factory=dict)
    pending: list[EntryChange] = field(default_factory=list)


class Disk:
    """All nodes, after the changes so far."""

    def __init__(self, base: list[Change]) -> None:
        self.files: dict[int, File] = {}
        self.directories: dict[int, Directory] = {ROOT_NODE: Directory()}
        for change in base:
            self.apply(change)
        for file in self.files.values():
            file.durable, file.pending = file.live, []
        for directory in self.directories.values():
            directory.durable, directory.pending = dict(directory.live), []

    def apply(self, change: Change) -> None:
        """Let `change` happen."""
        if isinstance(change, Written):
            self._write(change)
        elif isinstance(change, Synced):
            self._sync(change)
        else:
            self._change_entry(change)

    def tree(self, *, durable: bool) -> Tree:
        """Return what is durable, or what a process sees."""
        found: Tree = {}
        self._walk(ROOT_NODE, "", found, durable)
        return found

    def _walk(self, node: int, path: str, found: Tree, durable: bool) -> None:  # noqa: FBT001 - as in `tree`
        directory = self.directories[node]
        for name, child in (directory.durable if durable else directory.live).items():
            if child in self.files:
                file = self.files[child]
                found[path + name] = file.durable if durable else file.live
            else:
                found[path + name] = None
                self._walk(child, f"{path}{name}/", found, durable)

    def _write(self, change: Written) -> None:
        file = self.files[change.node]
        file.live = written(file.live, change.offset, change.data)
        file.pending.append(change)
        file.version += 1

    def _sync(self, sync: Synced) -> None:
        if sync.node in self.files:
            self._sync_file(self.files[sync.node], failed=sync.failed)
        elif not sync.failed:
            directory = self.directories[sync.node]
            for change in directory.pending:
                applied(directory.durable, change)
            directory.pending.clear()

    def _sync_file(self, file: File, *, failed: bool) -> None:
        file.version += 1
        if failed:
            file.doubtful += file.pending
        else:
            for change in file.pending:
                file.durable = written(file.durable, change.offset, change.data)
        file.pending = []

    def _change_entry(self, change: EntryChange) -> None:
        if isinstance(change, Made):
            if change.is_directory:
                self.directories[change.node] = Directory()
            else:
                self.files[change.node] = File()
        directory = self.directories[change.directory]
        applied(directory.live, change)
        directory.pending.append(change)


def applied(entries: Entries, change: EntryChange) -> None:
    """Let one change of an entry through."""
    if isinstance(change, Removed):
        entries.pop(change.name, None)
    elif isinstance(change, Renamed):
        if entries.get(change.name) == change.node:
            del entries[change.name]
        entries[change.to] = change.node
    else:
        entries[change.name] = change.node


def written(content: bytes, offset: int, data: bytes) -> bytes:
    """Return `content` with `data` at `offset`; what lies between the end and there is zeros."""
    padded = content.ljust(offset, b"\0")
    return padded[:offset] + data + padded[offset + len(data) :]


def laid_down(tree: Tree, root: str) -> None:
    """Make `tree` below the directory `root`."""
    for path, content in sorted(tree.items()):
        place = os.path.join(root, path)
        if content is None:
            os.makedirs(place, exist_ok=True)
            continue
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o660)
        os.write(fd, content)
        os.close(fd)
