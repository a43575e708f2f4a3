"""How the kernel's list of locks is read: which line is whose, and what of it is believed."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from kmq import locks
from sender.status.holders import Holder, holder_of, holders_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lock(tmp_path: Path) -> str:
    """Give a lock file that nobody holds."""
    path = str(tmp_path / "writer.lock")
    locks.make(path)
    return path


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Give a directory in the place of /proc."""
    path = tmp_path / "proc"
    (path / "self" / "fdinfo").mkdir(parents=True)
    return path


def listed(path: str, *, device: str | None = None, pid: int = 77, arrow: str = "") -> str:
    """Return the line that the kernel has for a lock."""
    file = os.stat(path)
    device = device or f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    return f"1: {arrow}FLOCK  ADVISORY  WRITE {pid} {device}:{file.st_ino} 0 EOF\n"


def test_those_that_are_held_are_told_from_those_that_are_not(lock: str) -> None:
    """Of many at once, with one look at the list; by the short name that people know a process under."""
    other = f"{lock}.other"
    locks.make(other)
    fd = locks.take(other)
    assert isinstance(fd, int)
    with open("/proc/self/comm", encoding="utf-8") as file:
        me = Holder(os.getpid(), file.read().strip())
    assert holders_of([lock, other, f"{lock}.gone"]) == {other: me}
    assert str(me) == f"{me.command}[{os.getpid()}]"
    os.close(fd)


def test_asking_leaves_the_lock_alone(lock: str) -> None:
    """Whoever wants it in that moment gets it."""
    assert holder_of(lock) is None
    fd = os.open(lock, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


def test_without_the_kernels_list_nothing_is_known(lock: str, proc: Path) -> None:
    """That is told apart from a lock that nobody holds."""
    assert holders_of([lock], proc=str(proc)) is None
    assert holder_of(lock, proc=str(proc)) is None


def test_who_only_waits_is_not_the_holder(lock: str, proc: Path) -> None:
    """The kernel marks those with an arrow."""
    (proc / "locks").write_text(listed(lock, arrow="-> "))
    assert holders_of([lock], proc=str(proc)) == {}


def test_the_same_inode_elsewhere_is_another_file(lock: str, proc: Path) -> None:
    """Inodes are numbered for each file system."""
    (proc / "locks").write_text(listed(lock, device="7f:03"))
    assert holders_of([lock], proc=str(proc)) == {}


def test_a_holder_whose_name_cannot_be_read_is_still_one(lock: str, proc: Path) -> None:
    """It may have ended between the two looks, or its child holds the lock."""
    (proc / "locks").write_text(listed(lock))
    assert holder_of(lock, proc=str(proc)) == Holder(77, "?")


def test_a_name_moves_no_cursor(lock: str, proc: Path) -> None:
    """A process calls itself what it likes."""
    (proc / "locks").write_text(listed(lock))
    (proc / "77").mkdir()
    (proc / "77" / "comm").write_bytes(b"\x1b[2Jx\xff\n")
    assert holder_of(lock, proc=str(proc)) == Holder(77, "?[2Jx\N{REPLACEMENT CHARACTER}")


def test_a_subvolume_is_found_by_the_device_of_its_mount(
    lock: str, proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On btrfs stat names another device than the kernel's list; the mount names the right one."""
    fields = list(os.stat(lock))
    fields[2] = os.makedev(0, 45)
    monkeypatch.setattr(os, "lstat", lambda _path: os.stat_result(fields))
    (proc / "locks").write_text(listed(lock, device="00:1b"))
    mounts = proc / "self" / "mountinfo"
    mounts.write_text("21 1 0:20 / /proc rw - proc proc rw\n")
    assert holder_of(lock, proc=str(proc)) is None  # a mount that cannot be found
    for fd in range(1_000):
        (proc / "self" / "fdinfo" / str(fd)).write_text("pos:\t0\nmnt_id:\t62\nino:\t2\n")
    assert holder_of(lock, proc=str(proc)) is None
    mounts.write_text(f"{mounts.read_text()}62 1 0:27 /spool /var/spool rw - btrfs /dev/sda rw\n")
    assert holder_of(lock, proc=str(proc)) == Holder(77, "?")
    assert holder_of(f"{os.path.dirname(lock)}/gone/x", proc=str(proc)) is None
