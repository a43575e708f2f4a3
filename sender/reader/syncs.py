"""The syncs of one commit: what is made durable, chosen before, and what came of it, to be taken note of afterwards.

Owns every wait for the disk that the reader has, so that another thread can wait while reading goes on. Knows nothing
about marks, and changes nothing but itself and the segments that it was handed, which allow for it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kmq.durable import open_regular, sync_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kmq.durable import Files

    from .segment_reader import SegmentReader

__all__ = ["PartitionSyncs", "SpoolSyncs", "names_synced"]


@dataclass(slots=True)
class PartitionSyncs:
    """What of one partition is made durable now, and what came of it.

    Of `unread` segments (start, path, the size that is durable), `durable` gets the new sizes and `refused` the starts
    of those whose sync failed; `named` says that the names in the `directory` are durable.
    """

    files: Files
    segments: list[SegmentReader]
    unread: list[tuple[int, str, int]]
    directory: str | None
    newest: int
    durable: dict[int, int] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    named: bool = False

    def run(self) -> None:
        """Sync, in whatever thread."""
        for segment in self.segments:
            segment.sync_beside()
        for start, path, size in self.unread:
            self._sync_unread(start, path, size)
        self._sync_segment_names()

    def _sync_unread(self, start: int, path: str, durable: int) -> None:
        try:
            fd = open_regular(path, os.O_RDONLY)
        except OSError:
            return  # the reader meets the same, and says so
        try:
            size = os.fstat(fd).st_size
            if size != durable:
                self.files.fdatasync(fd)
                self.durable[start] = size
        except OSError:
            self.refused.append(start)
        finally:
            os.close(fd)

    def _sync_segment_names(self) -> None:
        if self.directory is not None:
            self.named = names_synced(self.directory, self.files)


@dataclass(slots=True)
class SpoolSyncs:
    """What of all partitions is made durable now; `named` says that the names in the `directory` are."""

    files: Files
    partitions: Sequence[PartitionSyncs]
    directory: str | None
    named: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.partitions) or self.directory is not None

    def run(self) -> None:
        """Sync, in whatever thread."""
        for partition in self.partitions:
            partition.run()
        self._sync_partition_names()

    def _sync_partition_names(self) -> None:
        if self.directory is not None:
            self.named = names_synced(self.directory, self.files)


def names_synced(path: str, files: Files) -> bool:
    """Return whether the entries of a directory are durable now; one that cannot be synced is tried again later."""
    try:
        sync_directory(path, files=files)
    except OSError:
        return False
    return True
