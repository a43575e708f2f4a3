"""A disk that fails for a while: EIO out of each operation, in apps and in the sender, while both are at work.

Real processes, whose file operations fail by the seam. In each case the app is told what to do, the sender says once
what it cannot, goes on with what it can, and when the fault is over all ends well, with nobody restarted.
"""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq.spool import Spool
from tests.support.app import App
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures
from tests.support.faults import Faults
from tests.support.oracle import kept_in, lag, offsets_in
from tests.support.spools import Partition
from tests.support.system import SenderProcess, make_spool, take_account
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.collector import CollectorProcess

# An app that rotates every few lines.
ROTATED_BYTES = 8192
ROTATING = (
    f"from kmq import partition; partition.Rotation.__init__.__defaults__ = ({ROTATED_BYTES}, 3600.0); "
    "from tests.support.app import main; main()"
)


def arrived(collector: CollectorProcess) -> int:  # noqa: F811 - not the fixture
    """Return how many commands were answered."""
    total: int = collector.summary()["total"]
    return total


def covered(spool: str) -> int:
    """Return the sum of the checkpoint's offsets."""
    return sum(offsets_in(spool).values())


def sends_on(collector: CollectorProcess) -> None:  # noqa: F811 - not the fixture
    """Wait until more arrives."""
    before = arrived(collector)
    wait_until(lambda: arrived(collector) > before + 3, what="the sender sends on")


def moves_on(spool: str) -> None:
    """Wait until the checkpoint covers more."""
    before = covered(spool)
    wait_until(lambda: covered(spool) > before, what="the checkpoint moves on")


def ends_well(
    sender: SenderProcess,
    spool: str,
    acks: Path,
    collector: CollectorProcess,  # noqa: F811 - not the fixture
    *,
    written_twice: int = 0,
) -> None:
    """Wait for the end of the work, and judge: nothing lost, nothing sent twice by a sender that was not restarted."""
    wait_until(lambda: lag(spool) == 0, timeout_s=40, what="all is delivered and covered")
    assert sender.stop() == 0, sender.text()
    found = take_account(acks, collector)
    found.check()
    assert found.delivered_again <= written_twice
    assert found.acknowledged > 20


def test_a_checkpoint_that_cannot_be_written(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Whichever step fails, sending goes on, and the checkpoint moves once it can; faults in a row are one trouble."""
    spool = make_spool(tmp_path)
    faults = Faults(tmp_path / "faults", spool)
    with (
        SenderProcess(spool, collector.url, program=faults.sender) as sender,
        App(spool, tmp_path) as app,
    ):
        steps = ("open", "write", "fsync", "unlink", "link", "rename")
        for operation in steps:
            moves_on(spool)
            faults.begin(operation, errno.EIO, "checkpoint.json")
            faults.wait_until_felt()
            sends_on(collector)
            faults.end()
        moves_on(spool)
        app.stop()
        assert app.refusals() == []
        ends_well(sender, spool, app.acks, collector)
        said = Counter(line["event"] for line in sender.log())
        assert 1 <= said["checkpoint-failed"] <= len(steps)
        assert "dmesg" in sender.log("checkpoint-failed")[0]["detail"]


def test_a_spool_that_cannot_be_read(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Reading, opening, listing: each said once, apps write on meanwhile, and all is sent when it can be read again."""
    spool = make_spool(tmp_path)
    faults = Faults(tmp_path / "faults", spool)
    with (
        SenderProcess(spool, collector.url, program=faults.sender) as sender,
        App(spool, tmp_path) as app,
        contextlib.ExitStack() as stack,
    ):
        apps = [app]
        moves_on(spool)
        for operation, event in (("read", "read-failed"), ("look", "open-failed")):
            faults.begin(operation, errno.EIO, ".jsonl")
            another = stack.enter_context(
                App(spool, tmp_path)
            )  # while it runs nobody takes its partition
            sender.wait_for(event)
            another.wait_for_more()
            app.wait_for_more()
            faults.end()
            sends_on(collector)
            apps.append(another)
        faults.begin("list", errno.EIO)
        sender.wait_for("spool-unreadable")
        app.wait_for_more()
        faults.end()
        sends_on(collector)
        for each in apps:
            each.stop()
        ends_well(sender, spool, app.acks, collector)
        said = Counter(line["event"] for line in sender.log())
        # Both partitions could not be read at the first.
        assert said["read-failed"] <= 2
        assert said["open-failed"] == 1
        assert said["spool-unreadable"] <= 3


def test_a_segment_that_cannot_be_synced(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """No checkpoint ends within it, though later syncs succeed; it is said once, and passed once it is done whole."""
    spool = make_spool(tmp_path)
    faults = Faults(tmp_path / "faults", spool)
    with (
        SenderProcess(spool, collector.url, program=faults.sender) as sender,
        App(spool, tmp_path, program=("-c", ROTATING)) as app,
    ):
        moves_on(spool)
        faults.begin("fdatasync", errno.EIO, ".jsonl")
        failed = sender.wait_for("segment-sync-failed")
        sends_on(collector)
        faults.end()
        beyond = failed["offset"] + 10 * ROTATED_BYTES
        wait_until(lambda: covered(spool) > beyond, what="the checkpoint passes it")
        app.stop()
        ends_well(sender, spool, app.acks, collector)
        said = [line["offset"] for line in sender.log("segment-sync-failed")]
        assert len(said) == len(set(said)), "once a segment"


@pytest.mark.parametrize("operation", ["mkdir", "open", "write", "fdatasync", "fsync"])
def test_a_reject_that_cannot_be_kept(
    operation: str,
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """It waits, the checkpoint stops before it, all else is sent; then it is kept, once."""
    spool = make_spool(tmp_path)
    faults = Faults(tmp_path / "faults", spool)
    faults.begin(operation, errno.EIO, "rejected")
    partition = Partition(Spool(spool))
    partition.append(b"no command\n")
    with (
        SenderProcess(spool, collector.url, program=faults.sender) as sender,
        App(spool, tmp_path) as app,
    ):
        synced = operation in {"fdatasync", "fsync"}
        sender.wait_for("checkpoint-failed" if synced else "rejected-failed")
        faults.wait_until_felt(2)
        sends_on(collector)
        assert offsets_in(spool).get(partition.name, 0) == 0
        faults.end()
        app.wait_for_more()
        app.stop()
        ends_well(sender, spool, app.acks, collector)
        assert list(kept_in(spool)) == [b"no command"]
        said = Counter(line["event"] for line in sender.log())
        assert said["checkpoint-failed"] + said["rejected-failed"] == 1
        partition.let_go()


def test_an_app_whose_appends_fail(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Write, sync, and each step of a rotation: an error that says where to look; the next call after it is fine."""
    spool = make_spool(tmp_path)
    faults = Faults(tmp_path / "faults", spool)
    with (
        SenderProcess(spool, collector.url) as sender,
        App(spool, tmp_path, "sync", program=faults.program_of(ROTATING)) as app,
    ):
        for operation, within in (
            ("write", ".jsonl"),
            ("fdatasync", ".jsonl"),
            ("open", ".jsonl"),
            ("open", ""),
            ("fsync", ""),
        ):
            app.wait_for_more()
            faults.begin(operation, errno.EIO, within)
            _, text, code = app.wait_for_refusal("SpoolError")
            assert code == errno.EIO
            assert "dmesg" in text
            faults.end()
            app.wait_for_more()
        app.stop()
        # Where a sync failed the line stands in a second segment, byte for byte the same.
        ends_well(sender, spool, app.acks, collector, written_twice=len(app.refusals()) * 2 + 2)


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE])
def test_an_app_that_cannot_make_its_partition(
    code: int,
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Whichever step fails it is told so, nothing is left half made, and when it can be made its calls succeed."""
    spool = make_spool(tmp_path)
    faults = Faults(tmp_path / "faults", spool)
    program = faults.program_of("from tests.support.app import main; main()")
    way_out = "LimitNOFILE" if code == errno.EMFILE else "dmesg"
    steps = ["open", "look", "list"]
    if code == errno.EIO:
        steps += ["mkdir", "write", "fsync", "rename"]
    with SenderProcess(spool, collector.url) as sender, contextlib.ExitStack() as stack:
        apps = []  # while they run nobody takes their partitions
        for operation in steps:
            faults.begin(operation, code)
            app = stack.enter_context(App(spool, tmp_path, program=program))
            apps.append(app)
            _, text, told = app.wait_for_refusal("SpoolError")
            assert told == code, operation
            assert way_out in text
            wait_until(lambda: not list(Path(spool).glob(".new-*")), what="nothing half made")
            faults.end()
            app.wait_for_more()
        for app in apps:
            app.stop()
        ends_well(sender, spool, app.acks, collector)
