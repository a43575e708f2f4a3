"""The model of a disk under a power cut is itself tried: what it lets through is what POSIX allows, and all of that."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from kmq.durable import Files
from tests.powercut.disk import Disk, Tree
from tests.powercut.images import BLOCK, Images
from tests.powercut.recorder import Process, Recorder
from tests.powercut.sites import ELSEWHERE
from tests.powercut.stream import (
    Linked,
    Made,
    Removed,
    Renamed,
    Synced,
    Written,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.powercut.stream import Change

TOP = 0


def images_after(*changes: Change) -> list[Tree]:
    """Return what a power cut may leave after these changes of an empty disk."""
    disk = Disk([])
    for change in changes:
        disk.apply(change)
    return [tree for _, tree in Images(disk, random.Random(1), 200, None).now()]


def contents(name: str, *changes: Change) -> set[bytes | None]:
    """Return the contents that a file may have; None stands for none of that name."""
    return {tree.get(name) for tree in images_after(*changes)}


def made(name: str, node: int = 1) -> Made:
    return Made(TOP, name, node, is_directory=False)


def synced(node: int) -> Synced:
    return Synced(node, "here")


def test_a_file_without_its_name_is_not_there_however_well_it_is_synced() -> None:
    """Its directory has to be synced, too; then neither name nor bytes can go."""
    written = Written(1, 0, b"ab")
    assert contents("f", made("f"), written, synced(1)) == {None, b"ab"}
    assert contents("f", made("f"), written, synced(1), synced(TOP)) == {b"ab"}


def test_unsynced_bytes_are_absent_there_in_part_or_zeros() -> None:
    """Also a later block without the one before it; never anything else."""
    lines = b"".join(b"%04d" % number + b"-" * 75 + b"\n" for number in range(5))
    found = contents("f", made("f"), synced(TOP), Written(1, 0, lines))
    assert {b"", lines, bytes(len(lines)), lines[:BLOCK]} <= found
    assert bytes(BLOCK) + lines[BLOCK:] in found
    assert any(
        content and not content.endswith(b"\n") and content[-1:] == b"-" for content in found
    )
    for content in found:
        assert content is not None
        assert len(content) <= len(lines)
        assert all(byte in (0, whole) for byte, whole in zip(content, lines, strict=False))


def test_what_was_synced_stays_beside_what_was_not() -> None:
    """A block that holds both loses the new bytes at most."""
    found = contents(
        "f", made("f"), synced(TOP), Written(1, 0, b"ab"), synced(1), Written(1, 2, b"cd")
    )
    assert {b"ab", b"abcd", b"ab\0\0"} <= found
    assert all(content is not None and content.startswith(b"ab") for content in found)


def test_bytes_of_a_failed_sync_stay_in_doubt_after_one_that_succeeds() -> None:
    """The kernel took them for clean."""
    refused = Synced(1, "here", failed=True)
    changes = (
        made("f"),
        synced(TOP),
        Written(1, 0, b"ab"),
        refused,
        Written(1, 2, b"cd"),
        synced(1),
    )
    assert contents("f", *changes) == {b"\0\0cd", b"abcd"}


def test_names_are_independent_and_a_rename_is_one_step() -> None:
    """Of the file that is renamed there is one name, never none where it had one before."""
    old, new = made("f", 1), made("f.tmp", 2)
    there = (
        old,
        Written(1, 0, b"old"),
        synced(1),
        new,
        Written(2, 0, b"new"),
        synced(2),
        synced(TOP),
    )
    trees = images_after(*there, Renamed(TOP, "f.tmp", "f", 2))
    assert {tuple(sorted(tree.items())) for tree in trees} == {
        (("f", b"old"), ("f.tmp", b"new")),
        (("f", b"new"),),
    }


def test_links_and_removals_may_be_through_or_not() -> None:
    """Each by itself, in any order."""
    there = (made("f"), Written(1, 0, b"x"), synced(1), synced(TOP))
    trees = images_after(*there, Linked(TOP, "g", 1), Removed(TOP, "f"))
    assert {frozenset(tree) for tree in trees} == {
        frozenset({"f"}),
        frozenset({"f", "g"}),
        frozenset({"g"}),
        frozenset(),
    }


def test_what_lies_in_a_directory_needs_the_name_of_that_too() -> None:
    """A directory whose own entry is not durable takes all with it."""
    changes = (
        Made(TOP, "d", 1, is_directory=True),
        Made(1, "f", 2, is_directory=False),
        Written(2, 0, b"x"),
        synced(2),
        synced(1),
    )
    assert contents("d/f", *changes) == {None, b"x"}
    assert contents("d/f", *changes, synced(TOP)) == {b"x"}


def test_a_file_keeps_its_identity_where_inode_numbers_are_given_again(tmp_path: Path) -> None:
    """What is written through a descriptor that was opened beside the seam belongs to the file of that moment."""
    recorder = Recorder(str(tmp_path))
    files = Process(recorder).files
    for _ in range(3):
        os.close(files.open(str(tmp_path / "f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        fd = os.open(tmp_path / "f", os.O_WRONLY)
        files.write(fd, b"x")
        os.close(fd)
        files.unlink(str(tmp_path / "f"))
    written = [entry.node for entry in recorder.stream if isinstance(entry, Written)]
    assert written == [1, 2, 3]


def test_what_appends_is_noted_where_it_landed(tmp_path: Path) -> None:
    """Two descriptors of one file, as two processes have them."""
    recorder = Recorder(str(tmp_path))
    files = Process(recorder).files
    first = files.open(
        str(tmp_path / "f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600
    )
    second = os.open(tmp_path / "f", os.O_WRONLY | os.O_APPEND)
    for fd in (first, second, first):
        files.write(fd, b"ab")
    files.fdatasync(second)
    os.close(first)
    os.close(second)
    assert recorder.stream[1:] == [
        Written(1, 0, b"ab"),
        Written(1, 2, b"ab"),
        Written(1, 4, b"ab"),
        Synced(1, ELSEWHERE),
    ]


def test_a_disk_that_is_nearly_full_takes_a_part_and_then_nothing(tmp_path: Path) -> None:
    """As write does on a real one."""
    recorder = Recorder(str(tmp_path))
    files = Process(recorder).files
    fd = files.open(str(tmp_path / "f"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    recorder.leave(3)
    assert files.write(fd, b"abcd") == 3
    with pytest.raises(OSError, match="No space"):
        files.write(fd, b"d")
    os.close(fd)


def test_each_operation_of_the_seam_is_recorded(tmp_path: Path) -> None:
    """One that is added to the seam would else go by unseen."""
    files = Process(Recorder(str(tmp_path))).files
    assert vars(files).keys() == {name for name in vars(Files) if not name.startswith("_")}
