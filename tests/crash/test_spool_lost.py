"""Rights that go away, a spool that is moved, removed or replaced, a partition removed: all under running processes.

As an ordinary user throughout (root would not be refused anything): apps and sender drop to one where root runs this.
In each case the app is told what mends it, the sender says once what it cannot, and when it is mended all ends well,
with nobody restarted; but where the spool or its lock is another one the sender ends with 73, for a new one to begin.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq.spool import Spool
from tests.support.app import App
from tests.support.arrivals import Arrivals
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures
from tests.support.oracle import kept_in, lag, left_in, offsets_in, person_of
from tests.support.spools import Partition
from tests.support.system import SenderProcess, acknowledged
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.collector import CollectorProcess

NOBODY = 65534
MOVED = 73

# After all imports, also those of a first use: the interpreter may lie where another user may not go.
BECOME = (
    f"import os; os.geteuid() or (os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})); "
    "main()"
)
IMPORTS = "import certifi, sender.transport.multi, sender.cli.run; certifi.where()"
SENDER = ("-c", f"{IMPORTS}; from sender.cli import main; {BECOME}")
APP = ("-c", f"from tests.support.app import main; {BECOME}")


@pytest.fixture(autouse=True)
def _unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take no coverage of what runs as another user: it could not be written down."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that any user can reach and write to: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o777)
        yield Path(made)


@pytest.fixture
def spool(folder: Path) -> str:
    """Return an empty spool of the user as whom apps and sender run."""
    path = folder / "spool"
    make(path)
    return str(path)


def make(path: Path) -> None:
    """Make an empty spool of that user."""
    path.mkdir(mode=0o770)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


def moves_on(spool: str) -> None:
    """Wait until the checkpoint covers more."""
    before = sum(offsets_in(spool).values())
    wait_until(lambda: sum(offsets_in(spool).values()) > before, what="the checkpoint moves on")


def all_arrive(collector: CollectorProcess, acks: Path) -> None:  # noqa: F811 - not the fixture
    """Wait until everything that was acknowledged has arrived."""
    owed = set(acknowledged(acks))
    arrivals = Arrivals(collector)
    wait_until(lambda: owed <= arrivals.persons(), what="all has arrived")


def partition_of(spool: str) -> Path:
    """Return the only partition."""
    [found] = Path(spool).glob("*Z-*")
    return found


def test_rights_that_are_lost_and_given_back(
    folder: Path,
    spool: str,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Of the partition, then of the spool: the app is told whose group it is not in, the sender says what it cannot."""
    with (
        SenderProcess(spool, collector.url, program=SENDER) as sender,
        App(spool, folder, program=APP) as app,
    ):
        moves_on(spool)
        for place in (partition_of(spool), Path(spool)):
            mode = place.stat().st_mode
            place.chmod(0)
            _, text, code = app.wait_for_refusal("NoPermission")
            assert code == errno.EACCES
            assert "chmod" in text or "group" in text, text
            if place == Path(spool):
                assert "checkpoint" in sender.wait_for("checkpoint-failed")["detail"]
            else:
                sender.wait_for("spool-unreadable")
            assert sender.running()
            place.chmod(mode)
            app.wait_for_more()
            moves_on(spool)
        Path(spool, "checkpoint.json").chmod(0)  # it is replaced, not written to
        moves_on(spool)
        app.stop()
        all_arrive(collector, app.acks)
        wait_until(lambda: lag(spool) == 0, what="all is covered")
        assert sender.stop() == 0
        said = Counter(line["event"] for line in sender.log())
        assert said["checkpoint-failed"] == 1
        assert said["spool-unreadable"] <= 3


@pytest.mark.parametrize("how", ["closed", "a file"])
def test_a_place_for_rejects_that_cannot_be_used(
    how: str,
    folder: Path,
    spool: str,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """The reject waits, and the checkpoint of its partition before it; all else goes on; mended, it is kept."""
    rejected = Path(spool, "rejected")
    if how == "closed":
        rejected.mkdir(mode=0o000)
    else:
        rejected.touch()
    partition = Partition(Spool(spool))
    partition.append(b"no command\n")
    if os.geteuid() == 0:
        for path in (Path(partition.path), *Path(partition.path).iterdir()):
            os.chown(path, NOBODY, NOBODY)
    with (
        SenderProcess(spool, collector.url, program=SENDER) as sender,
        App(spool, folder, program=APP) as app,
    ):
        assert "rejected" in sender.wait_for("rejected-failed")["detail"]
        moves_on(spool)
        assert offsets_in(spool)[partition.name] == 0
        if how == "closed":
            rejected.rmdir()
        else:
            rejected.unlink()
        wait_until(lambda: offsets_in(spool)[partition.name] > 0, what="the checkpoint passes it")
        app.stop()
        all_arrive(collector, app.acks)
        assert sender.stop() == 0
        assert list(kept_in(spool)) == [b"no command"]
        assert len(sender.log("rejected-failed")) == 1


def test_a_partition_removed_under_app_and_sender(
    folder: Path,
    spool: str,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """The app copies what it appended since its last look into a new one; the sender reads on; nobody is restarted."""
    with (
        SenderProcess(spool, collector.url, program=SENDER) as sender,
        App(spool, folder, program=APP) as app,
    ):
        moves_on(spool)
        for _ in range(3):
            before = partition_of(spool)
            shutil.rmtree(before)
            wait_until(lambda: any(Path(spool).glob("*Z-*")), what="a new partition")
            app.wait_for_more()
            moves_on(spool)
        app.stop()
        assert app.refusals() == []
        all_arrive(collector, app.acks)
        assert sender.stop() == 0


@pytest.mark.parametrize("how", ["moved", "moved and back", "removed", "another", "a file"])
def test_a_spool_that_is_not_where_it_was(
    how: str,
    folder: Path,
    spool: str,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """The sender ends with 73 and writes nothing to what stands there now; apps go on there, or say what is in the way.

    Nothing that was acknowledged is lost but with what somebody removed: it lies where the spool was moved to, or is
    copied to where it is looked for now.
    """
    away = folder / "away"
    with (
        SenderProcess(spool, collector.url, program=SENDER) as sender,
        App(spool, folder, program=APP) as app,
    ):
        moves_on(spool)
        app.pause()  # what lies in a removed spool is gone; so let all of it have been sent before
        all_arrive(collector, app.acks)
        if how == "removed":
            shutil.rmtree(spool)
        else:
            os.rename(spool, away)
        if how == "another":
            make(Path(spool))
        if how == "a file":
            Path(spool).touch()
        app.resume()
        assert sender.wait() == MOVED, sender.text()
        assert len(sender.log("lock-lost")) == 1
        if how == "a file":
            _, text, code = app.wait_for_refusal("SpoolError")
            assert code == errno.ENOTDIR
            assert "move it away" in text
            os.unlink(spool)
        app.wait_for_more()
        if how == "moved and back":
            app.pause()
            os.rename(spool, folder / "meanwhile")
            os.rename(away, spool)
            app.resume()
            app.wait_for_more()
        assert not Path(spool, "checkpoint.json").exists() or how == "moved and back"
        with SenderProcess(spool, collector.url, program=SENDER) as another:
            app.wait_for_more()
            app.stop()
            wait_until(lambda: lag(spool) == 0, what="all is covered")
            assert another.stop() == 0
    elsewhere = [path for path in (away, folder / "meanwhile") if path.exists()]
    there = {person_of(line) for path in elsewhere for line in left_in(str(path))}
    lost = set(acknowledged(app.acks)) - Arrivals(collector).persons() - there
    assert not lost
