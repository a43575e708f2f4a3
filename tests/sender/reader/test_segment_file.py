"""One segment's file while another thread syncs it: what may happen to its descriptor meanwhile."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from sender.reader.descriptors import Descriptors
from sender.reader.segment_file import SegmentFile
from tests.support.files import descriptors_in, files_with

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Disk:
    """Syncs as the disk does, and calls `meanwhile` during one."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None
        self.fails = False
        self.synced = 0
        self.files = files_with(fdatasync=self._fdatasync)

    def _fdatasync(self, fd: int) -> None:
        self.synced += 1
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        os.fdatasync(fd)
        if self.fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a segment with something in it."""
    (tmp_path / "segment").write_bytes(b"12345\n")
    return tmp_path / "segment"


def file_at(path: Path, disk: Disk) -> SegmentFile:
    """Return it, opened."""
    return SegmentFile(str(path), files=disk.files)


def test_what_was_synced_beside_needs_no_other_sync(path: Path) -> None:
    """As long as it does not grow."""
    disk = Disk()
    file = file_at(path, disk)
    file.sync_beside()
    file.sync_beside()
    assert file.sync(6)
    assert disk.synced == 1
    with path.open("ab") as segment:
        segment.write(b"7\n")
    file.sync_beside()
    assert disk.synced == 2
    file.close()


def test_what_grows_during_a_sync_is_not_taken_for_durable(path: Path) -> None:
    """The size counts that it had before."""
    disk = Disk()
    file = file_at(path, disk)

    def grow() -> None:
        with path.open("ab") as segment:
            segment.write(b"7\n")

    disk.meanwhile = grow
    file.sync_beside()
    assert file.sync(8)
    assert disk.synced == 2
    file.close()


def test_a_failure_beside_is_remembered(path: Path) -> None:
    """Although the next sync would succeed."""
    disk = Disk()
    file = file_at(path, disk)
    disk.fails = True
    file.sync_beside()
    disk.fails = False
    file.sync_beside()
    assert file.sync_failed
    assert not file.sync(6)
    assert disk.synced == 1
    file.close()


def test_it_does_not_rest_while_it_is_synced(path: Path) -> None:
    """Of two syncs at a time the kernel tells only one of a failure: the other would take it for success."""
    disk = Disk()
    file = file_at(path, disk)
    rested: list[bool] = []
    disk.meanwhile = lambda: rested.append(file.rest())
    file.sync_beside()
    assert (rested, disk.synced) == ([False], 1)
    assert file.rest()
    assert descriptors_in(str(path.parent)) == 0


def test_what_is_closed_while_it_is_synced_is_closed_afterwards(path: Path) -> None:
    """Its number would else be another file's by then."""
    disk = Disk()
    file = file_at(path, disk)
    open_then: list[int] = []

    def close() -> None:
        file.close()
        open_then.append(descriptors_in(str(path.parent)))

    disk.meanwhile = close
    file.sync_beside()
    assert open_then == [1]
    assert descriptors_in(str(path.parent)) == 0


def test_where_all_are_being_synced_one_more_is_opened(path: Path) -> None:
    """Half of the limit is kept back; reading does not wait for the disk."""
    disk = Disk()
    descriptors = Descriptors(lambda: 1)
    first = SegmentFile(str(path), files=disk.files, descriptors=descriptors)
    others: list[SegmentFile] = []
    (path.parent / "other").write_bytes(b"1\n")
    disk.meanwhile = lambda: others.append(
        SegmentFile(str(path.parent / "other"), files=disk.files, descriptors=descriptors)
    )
    first.sync_beside()
    assert others[0].read(2, 0) == b"1\n"
    first.close()
    others[0].close()


@pytest.mark.parametrize("what", ["grown", "removed", "replaced"])
def test_at_rest_it_is_synced_through_another_descriptor(path: Path, what: str) -> None:
    """What was appended at rest was read by nobody; a file that took its name is none of its business."""
    disk = Disk()
    file = file_at(path, disk)
    assert file.read(6, 0)
    assert file.rest()
    assert disk.synced == 1
    if what == "grown":
        with path.open("ab") as segment:
            segment.write(b"7\n")
    elif what == "removed":
        path.unlink()
    else:
        (path.parent / "new").write_bytes(b"12345\n7\n")
        (path.parent / "new").rename(path)
    file.sync_beside()
    assert disk.synced == (2 if what == "grown" else 1)
    assert descriptors_in(str(path.parent)) == 0
    file.close()
    file.sync_beside()
    assert disk.synced == (2 if what == "grown" else 1)
