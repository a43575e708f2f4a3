"""A disk that fills up, a disk that is full, inodes that run out: real small file systems under real processes.

Where none may be mounted, the seam limits a directory, and all statements stay the same. Apps get an error that says
what to do; the sender goes on with what it can and says once what it cannot; and with room again all ends well, with
nobody restarted and nothing lost.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.app import App
from tests.support.arrivals import Arrivals
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures
from tests.support.disks import MountedDisk, small_disk
from tests.support.oracle import kept_in, lag, offsets_in
from tests.support.system import SenderProcess, environ, take_account
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.collector import CollectorProcess
    from tests.support.oracle import Findings

KINDS = pytest.mark.parametrize("mounted", [True, False], ids=["mounted", "limited"])
SIZE = 1 << 20
QUICK = ("--retention-age", "2s")  # retention then looks five times a second
INODES = 24


@pytest.fixture
def arrivals(collector: CollectorProcess) -> Arrivals:  # noqa: F811 - the fixture
    """Return who has arrived."""
    return Arrivals(collector)


def status(spool: str) -> dict[str, Any]:
    """Return what `kmq-sender status --json` says, which must end well whatever the disk does."""
    command = [sys.executable, "-m", "sender.cli", "status", "--spool", spool, "--json"]
    said: dict[str, Any] = json.loads(subprocess.check_output(command, env=environ()))
    return said


def settled(spool: str) -> None:
    """Wait until the checkpoint covers all that is in the spool."""
    wait_until(lambda: lag(spool) == 0, timeout_s=40, what="all is delivered and covered")


def account(acks: Path, collector: CollectorProcess) -> Findings:  # noqa: F811 - not the fixture
    """Judge, with everything delivered; a sender that was not restarted has sent nothing twice."""
    found = take_account(acks, collector)
    found.check()
    assert found.delivered_again == 0
    return found


def said_once(sender: SenderProcess, *events: str) -> None:
    """Hold that each of these was said, and nothing at all again and again."""
    said = Counter(line["event"] for line in sender.log())
    for event in events:
        assert said[event] == 1, (event, said)
    assert sum(said[trouble] for trouble in ("checkpoint-failed", "rejected-failed")) <= 2, said


@KINDS
def test_a_disk_that_fills_while_apps_write(
    mounted: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """They are refused with the way out; sending frees room, and then they write again. Nobody is restarted."""
    with (
        small_disk(tmp_path, size=SIZE, mounted=mounted) as disk,
        SenderProcess(disk.spool, collector.url, *QUICK, program=disk.sender) as sender,
    ):
        sender.wait_for("sender-started")
        wait_until(lambda: os.path.exists(f"{disk.spool}/reserve"), what="a reserve")
        collector.answer(status=503)
        with (
            App(disk.spool, tmp_path, "fast", program=disk.app) as first,
            App(disk.spool, tmp_path, "fast", program=disk.app) as second,
        ):
            for app in (first, second):
                _, text, code = app.wait_for_refusal("SpoolFull")
                assert code == errno.ENOSPC
                assert "make room on its file system" in text
            assert sender.running()
            assert status(disk.spool)["sender"]["running"] is True
            collector.answer()
            for app in (first, second):
                app.wait_for_more(20)
            first.stop()
            second.stop()
        settled(disk.spool)
        if sender.log("disk-full"):
            sender.wait_for("room-again")
            said_once(sender, "disk-full", "room-again")
        assert sender.stop() == 0, sender.text()
        assert account(first.acks, collector).acknowledged > 300


@KINDS
def test_a_disk_full_of_somebody_elses_file_still_lets_the_backlog_go(
    mounted: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
    arrivals: Arrivals,
) -> None:
    """All is delivered, the torn line is kept in the room of the reserve, and it says that the disk is full, once."""
    with (
        small_disk(tmp_path, size=SIZE, mounted=mounted) as disk,
        SenderProcess(disk.spool, collector.url, *QUICK, program=disk.sender) as sender,
    ):
        collector.answer(status=503)
        wait_until(lambda: os.path.exists(f"{disk.spool}/reserve"), what="a reserve")
        with App(disk.spool, tmp_path, "fast", program=disk.app) as app:
            app.wait_for_more(60)
            disk.fill()
            app.wait_for_refusal("SpoolFull")
            app.kill()
        torn = [p for p in Path(disk.spool).glob("*Z-*/*.jsonl") if _is_torn(p)]
        assert torn
        collector.answer()
        wait_until(lambda: arrivals.count() >= app.acknowledged(), what="all is delivered")
        wait_until(lambda: list(kept_in(disk.spool)), what="the torn line is kept")
        sender.wait_for("disk-full")
        assert not os.path.exists(f"{disk.spool}/reserve")
        assert sender.running()
        disk.make_room()
        sender.wait_for("room-again")
        settled(disk.spool)
        wait_until(lambda: os.path.exists(f"{disk.spool}/reserve"), what="a new reserve")
        assert status(disk.spool)["rejected_kept"] == len(list(kept_in(disk.spool))) == len(torn)
        assert sender.stop() == 0, sender.text()
        said_once(sender, "disk-full", "room-again")
        account(app.acks, collector)
        with SenderProcess(disk.spool, collector.url, "--drain", program=disk.sender) as again:
            assert again.wait() == 0, again.text()
        account(app.acks, collector)


def test_without_a_reserve_a_full_disk_is_said_and_mended_by_room(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
    arrivals: Arrivals,
) -> None:
    """A sender that begins on a full disk has nothing to give up: it sends, says what it cannot, and goes on."""
    with small_disk(tmp_path, size=SIZE) as disk:
        with App(disk.spool, tmp_path, "fast", program=disk.app) as app:
            app.wait_for_more(60)
            disk.fill()
            app.wait_for_refusal("SpoolFull")
            app.kill()
        disk.fill()
        lock = Path(disk.spool, "sender.lock")
        if isinstance(disk, MountedDisk):  # an empty file needs an inode only
            lock.touch()
        with SenderProcess(disk.spool, collector.url, *QUICK, program=disk.sender) as sender:
            wait_until(lambda: arrivals.count() >= app.acknowledged(), what="all is delivered")
            failed = sender.wait_for("checkpoint-failed")
            assert "make room" in failed["detail"]
            sender.wait_for("rejected-failed")
            disk.make_room()
            settled(disk.spool)
            wait_until(lambda: list(kept_in(disk.spool)), what="the torn line is kept")
            sender.wait_for("room-again")
            assert sender.stop() == 0, sender.text()
        said_once(sender, "checkpoint-failed", "rejected-failed", "disk-full", "room-again")
        account(app.acks, collector)


@KINDS
def test_inodes_that_run_out(
    mounted: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
    arrivals: Arrivals,
) -> None:
    """Who has a segment writes on, who needs a new file is told so, and no checkpoint is written meanwhile."""
    with (
        small_disk(tmp_path, size=64 << 20, inodes=INODES, mounted=mounted) as disk,
        SenderProcess(disk.spool, collector.url, program=disk.sender) as sender,
        App(disk.spool, tmp_path, program=disk.app) as old,
    ):
        old.wait_for_more()
        wait_until(lambda: any(offsets_in(disk.spool).values()), what="a checkpoint")
        full = isinstance(disk, MountedDisk)
        wait_until(lambda: take_all_inodes(disk.spool, mounted=full) and sender.log("disk-full"))
        with App(disk.spool, tmp_path, program=disk.app) as new:
            _, text, code = new.wait_for_refusal("SpoolFull")
            assert code == errno.ENOSPC
            assert "df -i" in text
            old.wait_for_more()
            wait_until(
                lambda: (
                    take_all_inodes(disk.spool, mounted=full) and sender.log("checkpoint-failed")
                )
            )
            assert "df -i" in sender.wait_for("checkpoint-failed")["detail"]
            before = arrivals.count()
            wait_until(lambda: arrivals.count() > before, what="it sends on")
            for path in Path(disk.spool).glob("other-*"):
                path.unlink()
            new.wait_for_more()
            new.stop()
        old.stop()
        settled(disk.spool)
        assert sender.stop() == 0, sender.text()
        said_once(sender, "checkpoint-failed", "disk-full")
        account(old.acks, collector)


@KINDS
def test_a_read_only_disk(
    mounted: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
    arrivals: Arrivals,
) -> None:
    """A new app is told to remount; the sender sends on and says that it writes no checkpoint, until it can."""
    with (
        small_disk(tmp_path, size=8 << 20, mounted=mounted) as disk,
        SenderProcess(disk.spool, collector.url, program=disk.sender) as sender,
        App(disk.spool, tmp_path, program=disk.app) as old,
    ):
        old.wait_for_more()
        wait_until(lambda: any(offsets_in(disk.spool).values()), what="a checkpoint")
        disk.cover_read_only()
        with App(disk.spool, tmp_path, program=disk.app) as new:
            _, text, code = new.wait_for_refusal("SpoolError")
            assert code == errno.EROFS
            assert "remount its file system read-write" in text
            assert "read-write" in sender.wait_for("checkpoint-failed")["detail"]
            before = arrivals.count()
            wait_until(lambda: arrivals.count() > before + 5, what="it sends on")
            old.wait_for_more()
            assert status(disk.spool)["sender"]["running"] is True
            disk.uncover()
            new.wait_for_more()
            new.stop()
        old.wait_for_more()
        old.stop()
        settled(disk.spool)
        assert sender.stop() == 0, sender.text()
        said_once(sender, "checkpoint-failed")
        account(old.acks, collector)


def take_all_inodes(spool: str, *, mounted: bool) -> bool:
    """Let somebody else make files until there can be none more; return that it is so."""
    for number in range(2 * INODES):
        if not mounted and sum(1 for _ in Path(spool).rglob("*")) >= INODES:
            break
        try:
            Path(spool, f"other-{number}").touch()
        except OSError:
            break
    return True


def _is_torn(path: Path) -> bool:
    data = path.read_bytes()
    return bool(data) and not data.endswith(b"\n")
