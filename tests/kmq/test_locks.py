"""Locks that are descriptors: taken without creating, believed only under their name."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock, Timeout, lock_descriptor

from kmq import locks
from kmq.durable import open_regular
from kmq.errors import LocksUnsupported, SpoolError
from kmq.locks import Denied, boot_id, create_held, take
from tests.support.files import descriptors_in, failing, files_with

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lock(tmp_path: Path) -> str:
    """Return the path of an empty lock file."""
    path = str(tmp_path / "writer.lock")
    locks.make(path)
    return path


def test_a_lock_is_held_until_its_descriptor_is_closed(lock: str) -> None:
    """Two descriptors of one process exclude each other, too."""
    fd = take(lock)
    assert isinstance(fd, int)
    assert take(lock) is Denied.HELD
    os.close(fd)
    again = take(lock)
    assert isinstance(again, int)
    os.close(again)


def test_a_lock_is_freed_by_the_death_of_its_process(lock: str) -> None:
    """SIGKILL leaves no lock behind: the kernel closes what the process had."""
    code = f"import sys\nfrom kmq.locks import take\nprint(take({lock!r}), flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit()
        assert take(lock) is Denied.HELD
        process.kill()
    fd = take(lock)
    assert isinstance(fd, int)
    os.close(fd)


def test_a_taken_lock_excludes_whoever_uses_filelock_itself(lock: str) -> None:
    """It is filelock's own lock, which another program can honour."""
    fd = take(lock)
    assert isinstance(fd, int)
    with pytest.raises(Timeout):
        FileLock(lock).acquire(blocking=False)
    os.close(fd)


def test_taking_a_lock_creates_neither_file_nor_directory(tmp_path: Path) -> None:
    """A removed partition must stay removed."""
    assert take(str(tmp_path / "gone" / "writer.lock")) is Denied.GONE
    assert take(str(tmp_path / "writer.lock")) is Denied.GONE
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_regular_file_is_nobodys_lock(tmp_path: Path) -> None:
    """Links, pipes and directories are passed by, and none is followed or waited for."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dir").mkdir()
    for name in ("link", "pipe", "dir", "file/below"):
        assert take(str(tmp_path / name)) is Denied.GONE


@pytest.mark.parametrize("successor", [None, b""])
def test_a_lock_whose_file_lost_its_name_meanwhile_is_gone(
    lock: str, monkeypatch: pytest.MonkeyPatch, successor: bytes | None
) -> None:
    """Between our open and our lock the holder before may have removed or renamed it."""
    real = lock_descriptor

    def remove_first(fd: int, *, blocking: bool) -> bool:
        os.unlink(lock)
        if successor is not None:
            locks.make(lock)
        return real(fd, blocking=blocking)

    monkeypatch.setattr("filelock.lock_descriptor", remove_first)
    before = descriptors_in(os.path.dirname(lock))
    assert take(lock) is Denied.GONE
    assert descriptors_in(os.path.dirname(lock)) == before


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOLCK, LocksUnsupported), (errno.EIO, SpoolError)]
)
def test_a_file_system_without_locks_is_named(
    lock: str, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[SpoolError]
) -> None:
    """Without locks no partition can be held, and the error says where to put the spool."""
    monkeypatch.setattr("filelock.lock_descriptor", failing(code, real=lock_descriptor))
    before = descriptors_in(os.path.dirname(lock))
    with pytest.raises(SpoolError) as caught:
        take(lock)
    assert type(caught.value) is kind
    assert descriptors_in(os.path.dirname(lock)) == before


def test_a_lock_file_that_may_not_be_opened_is_an_error(
    lock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is neither held nor gone, and whoever asks must know."""
    monkeypatch.setattr(locks, "open_regular", failing(errno.EACCES, real=open_regular))
    with pytest.raises(SpoolError, match="cannot open the lock file"):
        take(lock)


def test_a_lock_whose_maker_was_killed_before_it_had_its_mode_gets_it(tmp_path: Path) -> None:
    """Else no other user of the group could ever take it."""
    path = tmp_path / "lock"
    path.touch(mode=0o600)
    locks.make(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_lock_is_made_once_and_kept(tmp_path: Path) -> None:
    """`make` leaves a file that is there alone."""
    path = tmp_path / "sender.lock"
    locks.make(str(path))
    path.write_text("who")
    locks.make(str(path))
    assert path.read_text() == "who"


def test_a_created_lock_is_held_from_its_first_moment(tmp_path: Path) -> None:
    """A partition's lock is born with its content and its holder."""
    path = str(tmp_path / "writer.lock")
    fd = create_held(path, b"boot")
    assert take(path) is Denied.HELD
    assert os.pread(fd, 10, 0) == b"boot"
    os.close(fd)


def test_a_lock_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    """On a full disk each call would otherwise leave another one."""
    files = files_with(write=failing(errno.ENOSPC, real=os.write))
    before = descriptors_in(tmp_path)
    with pytest.raises(OSError, match="No space"):
        create_held(str(tmp_path / "writer.lock"), b"boot", files=files)
    assert list(tmp_path.iterdir()) == []
    assert descriptors_in(tmp_path) == before


@pytest.mark.parametrize("answer", [False, None], ids=["held", "no locks"])
def test_a_created_lock_that_cannot_be_taken_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, answer: bool | None
) -> None:
    """Where locks do not work nothing is left behind either."""

    def refuse(_fd: int, *, blocking: bool) -> bool:
        assert not blocking
        if answer is None:
            raise OSError(errno.ENOLCK, "no locks")
        return answer

    monkeypatch.setattr("filelock.lock_descriptor", refuse)
    before = descriptors_in(tmp_path)
    with pytest.raises(OSError, match=r"lock|held"):
        create_held(str(tmp_path / "writer.lock"), b"boot")
    assert list(tmp_path.iterdir()) == []
    assert descriptors_in(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"short\n", b"x" * 37, b"\xff" * 36])
def test_a_boot_id_that_is_none_is_none(tmp_path: Path, content: bytes) -> None:
    """Only 36 characters are an id; anything else means that nothing is adopted."""
    (tmp_path / "boot_id").write_bytes(content)
    assert boot_id(str(tmp_path / "boot_id")) is None


def test_a_boot_id_without_a_file_is_none(tmp_path: Path) -> None:
    """Some sandboxes have no /proc."""
    assert boot_id(str(tmp_path / "boot_id")) is None


def test_the_boot_id_is_the_kernels() -> None:
    """It stays the same for as long as the machine runs."""
    assert boot_id() == boot_id()
    assert boot_id() is not None
