"""Durable file operations: whole or not at all, in the order that survives a power cut."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from kmq.durable import (
    bears_name,
    create,
    open_own,
    open_regular,
    replace,
    sync_directory,
    write_all,
)
from tests.support.files import Journal, descriptors_in, failing, files_with

if TYPE_CHECKING:
    from pathlib import Path


def mode_of(path: Path) -> int:
    """Return the permission bits of `path`."""
    return stat.S_IMODE(path.stat().st_mode)


def test_write_all_goes_on_after_short_writes(tmp_path: Path) -> None:
    """A write that takes three bytes at a time still ends with all of them."""
    files = files_with(write=lambda fd, data: os.write(fd, data[:3]))
    with (tmp_path / "f").open("wb") as file:
        write_all(file.fileno(), b"0123456789", files=files)
    assert (tmp_path / "f").read_bytes() == b"0123456789"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_created_file_has_mode_0660_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Group-readable at most, and never less."""
    os.umask(umask)
    os.close(create(str(tmp_path / "f"), os.O_WRONLY))
    assert mode_of(tmp_path / "f") == 0o660


def test_create_follows_no_link_and_takes_no_existing_file(tmp_path: Path) -> None:
    """Somebody's link must not lead what is written elsewhere."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "file").write_bytes(b"there")
    for name in ("link", "file"):
        with pytest.raises(FileExistsError):
            create(str(tmp_path / name), os.O_WRONLY)
    assert not (tmp_path / "target").exists()


def test_create_leaves_nothing_when_the_mode_cannot_be_set(tmp_path: Path) -> None:
    """A creation that fails removes what it made."""
    os.umask(0o077)
    files = files_with(fchmod=failing(errno.EPERM, real=os.fchmod))
    with pytest.raises(PermissionError):
        create(str(tmp_path / "f"), os.O_WRONLY, files=files)
    assert list(tmp_path.iterdir()) == []


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A link is not followed, a pipe does not wait, a directory is no file."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dir").mkdir()
    os.close(open_regular(str(tmp_path / "file"), os.O_RDWR))
    for name, code in (("link", errno.ELOOP), ("pipe", errno.EINVAL), ("dir", errno.EINVAL)):
        with pytest.raises(
            OSError, match=os.strerror(code) if name == "link" else "regular"
        ) as caught:
            open_regular(str(tmp_path / name), os.O_RDONLY)
        assert caught.value.errno == code


def test_what_a_kill_left_without_its_mode_gets_it(tmp_path: Path) -> None:
    """Between the making of a file and its fchmod; only missing bits are set, and nothing is made."""
    (tmp_path / "f").touch(mode=0o600)
    os.close(open_own(str(tmp_path / "f"), os.O_RDWR))
    assert mode_of(tmp_path / "f") == 0o660
    with pytest.raises(FileNotFoundError):
        open_own(str(tmp_path / "none"), os.O_RDWR)


def test_a_mode_that_is_not_ours_to_set_is_left(tmp_path: Path) -> None:
    """Whoever may open another user's file may write to it all the same."""
    (tmp_path / "f").touch(mode=0o600)
    files = files_with(fchmod=failing(errno.EPERM, real=os.fchmod))
    os.close(open_own(str(tmp_path / "f"), os.O_RDWR, files=files))
    assert mode_of(tmp_path / "f") == 0o600


def test_a_descriptor_stays_out_of_started_programs(tmp_path: Path) -> None:
    """What kmq opens is closed on exec, so that no other program keeps a lock alive."""
    fd = create(str(tmp_path / "f"), os.O_RDWR)
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_a_name_is_borne_only_by_the_same_file(tmp_path: Path) -> None:
    """A new file of the same name, a link to the file itself, and nothing at all are not it."""
    path = tmp_path / "f"
    fd = create(str(path), os.O_RDWR)
    assert bears_name(fd, str(path))
    path.rename(tmp_path / "moved")
    assert not bears_name(fd, str(path))
    path.symlink_to(tmp_path / "moved")
    assert not bears_name(fd, str(path))
    path.unlink()
    path.write_bytes(b"")
    assert not bears_name(fd, str(path))
    assert not bears_name(fd, f"{path}/below")
    os.close(fd)


def test_whether_a_name_is_borne_can_be_unknown(tmp_path: Path) -> None:
    """A closed descriptor, or a path that cannot be looked at, is not the same as a lost name."""
    fd = create(str(tmp_path / "f"), os.O_RDWR)
    with pytest.raises(OSError, match="name too long"):
        bears_name(fd, str(tmp_path / ("x" * 300)))
    os.close(fd)
    with pytest.raises(OSError, match="Bad file"):
        bears_name(-1, str(tmp_path / "f"))


def test_replace_syncs_before_it_renames_and_the_directory_after(tmp_path: Path) -> None:
    """The order without which a power cut leaves a file of zeros."""
    path = tmp_path / "state"
    path.write_bytes(b"before")
    journal = Journal()
    replace(str(path), b"after", keep=str(tmp_path / "state.old"), files=journal.files)
    assert journal.entries[1:] == [
        ("open", "state.tmp"),
        ("fchmod", "state.tmp"),
        ("write", "state.tmp"),
        ("fsync", "state.tmp"),
        ("unlink", "state.old"),
        ("link", "state"),
        ("rename", "state.tmp"),
        ("open", tmp_path.name),
        ("fsync", tmp_path.name),
    ]
    assert path.read_bytes() == b"after"
    assert (tmp_path / "state.old").read_bytes() == b"before"


def test_replace_without_sync_syncs_nothing(tmp_path: Path) -> None:
    """The status file is rewritten each second, and a power cut may take it."""
    journal = Journal()
    replace(str(tmp_path / "status"), b"{}", sync=False, files=journal.files)
    assert "fsync" not in journal.names()
    assert (tmp_path / "status").read_bytes() == b"{}"
    assert mode_of(tmp_path / "status") == 0o660


def test_replace_goes_over_what_a_crash_left(tmp_path: Path) -> None:
    """Half a file beside it, and no file before, are no obstacle."""
    (tmp_path / "state.tmp").write_bytes(b"hal")
    replace(str(tmp_path / "state"), b"whole", keep=str(tmp_path / "state.old"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state"]


def test_a_replace_that_fails_leaves_the_content_before(tmp_path: Path) -> None:
    """Whole or not at all."""
    path = tmp_path / "state"
    path.write_bytes(b"before")
    files = files_with(write=failing(errno.ENOSPC, real=os.write))
    with pytest.raises(OSError, match="No space"):
        replace(str(path), b"after", files=files)
    assert path.read_bytes() == b"before"


def test_a_directory_is_synced_through_a_descriptor_that_is_closed(tmp_path: Path) -> None:
    """No descriptor stays behind, not even where the sync fails."""
    before = descriptors_in(tmp_path)
    sync_directory(str(tmp_path))
    with pytest.raises(OSError, match="Input/output"):
        sync_directory(str(tmp_path), files=files_with(fsync=failing(errno.EIO, real=os.fsync)))
    assert descriptors_in(tmp_path) == before
