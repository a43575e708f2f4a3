"""Room kept back for the moment when the disk is full."""

from __future__ import annotations

import errno
import os
import stat
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from sender.reserve import Reserve
from tests.support.files import failing, files_with
from tests.support.spools import make_spool

if TYPE_CHECKING:
    from pathlib import Path

    from kmq.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


def test_it_takes_blocks_and_gives_them_back(spool: Spool) -> None:
    """A file that only says its size would free nothing."""
    reserve = Reserve(spool)
    reserve.set_aside()
    about = os.stat(reserve.path)
    assert about.st_blocks * 512 >= about.st_size == 256 << 10, "there is room for it all"
    assert stat.S_IMODE(about.st_mode) == 0o660
    assert reserve.give_up()
    assert not os.path.exists(reserve.path)
    assert not reserve.give_up()


def test_it_is_not_made_where_room_is_short(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking the last room for a reserve would bring about what it is for."""
    scarce = SimpleNamespace(f_bavail=60, f_frsize=4_096, f_files=0)
    monkeypatch.setattr(os, "statvfs", lambda _: scarce)
    reserve = Reserve(spool)
    reserve.set_aside()
    assert not os.path.exists(reserve.path)


def test_it_is_not_made_where_inodes_are_short(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last one is needed for the next checkpoint."""
    scarce = SimpleNamespace(f_bavail=1 << 20, f_frsize=4_096, f_files=100, f_favail=15)
    monkeypatch.setattr(os, "statvfs", lambda _: scarce)
    assert not Reserve(spool).set_aside()
    scarce.f_favail = 16
    assert Reserve(spool).set_aside()


def test_a_reserve_that_cannot_be_filled_is_taken_away_again(spool: Spool) -> None:
    """Half a reserve would look like a whole one."""
    full = failing(errno.ENOSPC, real=os.posix_fallocate)
    reserve = Reserve(spool, files=files_with(allocate=full))
    reserve.set_aside()
    assert not os.path.exists(reserve.path)


def test_it_is_made_once(spool: Spool) -> None:
    """Looking again each few seconds costs one look."""
    reserve = Reserve(spool)
    reserve.set_aside()
    before = os.stat(reserve.path).st_ino
    reserve.set_aside()
    assert os.stat(reserve.path).st_ino == before


def test_on_a_small_file_system_it_is_a_small_part(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One torn line and one checkpoint need little."""
    small = SimpleNamespace(f_bavail=128, f_frsize=4_096, f_files=0)
    monkeypatch.setattr(os, "statvfs", lambda _: small)
    reserve = Reserve(spool)
    reserve.set_aside()
    assert os.path.getsize(reserve.path) == 32 << 10
