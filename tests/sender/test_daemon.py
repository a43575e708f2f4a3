"""The daemon in this process: a real spool, real signals, and a sink that answers at once."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import signal
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from kmq.command import Command, encode
from kmq.errors import NoPermission, SpoolError, SpoolFull
from kmq.locks import Denied
from kmq.spool import Spool
from sender import checkpoint, status
from sender.aside import Step, Threaded
from sender.daemon import Daemon
from sender.dispatcher import Window
from sender.flow import Delivery, Outcome, Verdict
from sender.holding import AnotherSender, hold
from sender.logs import Log
from sender.plan import End, Plan
from sender.retention import Limits
from tests.support.clock import MovableClock
from tests.support.files import files_with
from tests.support.sinks import DELIVERED, HandSink, answered
from tests.support.spools import Partition, make_spool
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

KEEP = Limits(age_s=1e9, max_bytes=1 << 40)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


class Run:
    """A daemon on `spool`; `drain` unless told otherwise."""

    def __init__(
        self,
        spool: Spool,
        answer: Callable[[Delivery], Outcome | None],
        *,
        seams: Mapping[str, Any] = MappingProxyType({}),
        **plan: object,
    ) -> None:
        self.spool = spool
        self.sink = HandSink(answer)
        self.log = io.StringIO()
        values = {"window": Window(4), "limits": KEEP, "max_spool": 1 << 40, "drain": True} | plan
        self.lock = hold(spool)
        self.daemon = Daemon(
            Plan(spool=spool, url="http://127.0.0.1:1", transport="requests", **values),  # type: ignore[arg-type]  # as given
            self.lock,
            self.sink,
            Log("json", "debug", stream=self.log),
            **seams,
        )

    def run(self) -> End:
        try:
            return self.daemon.run()
        finally:
            os.close(self.lock)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]

    def event(self, code: str) -> dict[str, object]:
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        found: dict[str, object] = next(line for line in lines if line["event"] == code)
        return found


def fill(spool: Spool, *people: str, name: str = "20261123T204501Z-4f2a91c3") -> Partition:
    partition = Partition(spool, name)
    for person in people:
        partition.append(encode(Command(person, 1_795_500_000, "Signed Up")))
    return partition


def deliver(_: Delivery) -> Outcome:
    return DELIVERED


def test_a_drain_ends_when_all_that_was_there_is_done(spool: Spool) -> None:
    """Delivered or rejected, checkpointed, and shown as such."""
    partition = fill(spool, "ann", "bob")
    partition.append(b"no command\n")
    run = Run(spool, deliver)
    assert run.run() is End.DRAINED
    assert [delivery.command.person for delivery in run.sink.sent] == ["ann", "bob"]
    assert checkpoint.load(spool).offsets == {partition.name: partition.end()}
    snapshot = status.load(spool)
    assert snapshot is not None
    assert (
        snapshot.state,
        snapshot.ended,
        snapshot.totals.delivered,
        snapshot.totals.rejected,
    ) == (
        "STOPPED",
        "drained",
        2,
        1,
    )
    assert run.sink.closed


def test_a_drain_that_takes_too_long_ends_with_everything_kept(spool: Spool) -> None:
    """What was not delivered is still before the checkpoint."""
    partition = fill(spool, "ann")
    run = Run(spool, lambda _: answered(503), drain_timeout_s=0.0)
    assert run.run() is End.DRAIN_TIMEOUT
    assert checkpoint.load(spool).offsets.get(partition.name, 0) == 0


def test_a_drain_says_what_it_waits_for_and_that_it_is_blocked(spool: Spool) -> None:
    """It goes on waiting: the settings may be mended meanwhile."""
    fill(spool, "ann")
    run = Run(spool, lambda _: answered(403, Verdict.BLOCKED), drain_timeout_s=0.5)
    assert run.run() is End.DRAIN_TIMEOUT
    assert {"drain-waiting", "api-blocked"} <= set(run.events())
    snapshot = status.load(spool)
    assert snapshot is not None
    assert snapshot.blocked is not None
    assert (snapshot.blocked.status, snapshot.blocked.reason) == (403, "the API key is refused")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_what_is_in_flight(spool: Spool, number: signal.Signals) -> None:
    """Nothing that was not sent yet is sent any more, and what was answered is in the checkpoint."""
    partition = fill(spool, *["ann"] * 50)

    def answer(_: Delivery) -> Outcome:
        if len(run.sink.sent) == 3:
            os.kill(os.getpid(), number)
        return DELIVERED

    run = Run(spool, answer, drain=False)
    assert run.run() is End.STOPPED
    count = len(run.sink.sent)
    assert count < 50
    assert checkpoint.load(spool).offsets == {partition.name: partition.end() // 50 * count}
    assert run.event("sender-stopped")["sent_again_at_next_start"] == 0


def test_usr1_logs_the_figures(spool: Spool) -> None:
    """On demand, without stopping."""
    fill(spool, "ann", "bob")

    def answer(delivery: Delivery) -> Outcome:
        if delivery.command.person == "ann":
            os.kill(os.getpid(), signal.SIGUSR1)
        return DELIVERED

    run = Run(spool, answer)
    assert run.run() is End.DRAINED
    assert "delivered" in run.event("status-logged")


def test_an_unreadable_checkpoint_is_said_and_everything_is_sent(spool: Spool) -> None:
    """Twice rather than lost."""
    fill(spool, "ann", "bob")
    with open(spool.checkpoint, "wb") as file:
        file.write(bytes(64))
    run = Run(spool, deliver)
    assert run.run() is End.DRAINED
    assert "checkpoint-unreadable" in run.events()
    assert len(run.sink.sent) == 2


def test_what_a_checkpoint_covers_is_not_sent(spool: Spool) -> None:
    """A restart goes on where the last one ended."""
    partition = fill(spool, "ann", "bob")
    checkpoint.save(spool, {partition.name: partition.end() // 2})
    run = Run(spool, deliver)
    assert run.run() is End.DRAINED
    assert [delivery.command.person for delivery in run.sink.sent] == ["bob"]


def test_a_drain_is_not_done_because_a_wrong_checkpoint_says_so(spool: Spool) -> None:
    """An offset beyond the end fits nothing: all is sent, however often it is drained."""
    partition = fill(spool, "ann", "bob")
    checkpoint.save(spool, {partition.name: 10 * partition.end()})
    run = Run(spool, deliver)
    assert run.run() is End.DRAINED
    assert len(run.sink.sent) == 2


def test_a_spool_that_is_only_ever_drained_frees_what_was_delivered(spool: Spool) -> None:
    """A batch host has no sender that goes on; its cap would be reached for good."""
    partition = fill(spool, *["ann"] * 30)
    assert Run(spool, deliver, max_spool=partition.end()).run() is End.DRAINED
    assert not os.path.exists(partition.path)


def test_near_the_cap_delivered_segments_go_whatever_their_age(spool: Spool) -> None:
    """What was delivered makes room for what was not."""
    partition = fill(spool, *["ann"] * 30)
    partition.rotate()
    partition.append(encode(Command("bob", 1_795_500_000, "Signed Up")))
    run = Run(spool, deliver, max_spool=partition.end(), drain=False)
    looks = 0

    def answer(_: Delivery) -> Outcome:
        return DELIVERED

    def look() -> None:
        nonlocal looks
        looks += 1
        if not os.path.exists(partition.path) and run.daemon.asked.stopped_by is None:
            os.kill(os.getpid(), signal.SIGTERM)

    real = run.daemon._remove

    def remove() -> None:
        real()
        look()

    run.daemon._remove = remove  # type: ignore[method-assign]  # to look after each
    assert run.run() is End.STOPPED
    assert looks
    assert not os.path.exists(partition.path)


def test_a_checkpoint_that_cannot_be_written_is_said_and_sending_goes_on(spool: Spool) -> None:
    """A directory in its place that cannot be put aside, say; after a restart the commands are sent again."""
    fill(spool, "ann", "bob")
    os.mkdir(spool.checkpoint + ".tmp")
    os.makedirs(spool.checkpoint + ".tmp.bad/somebody's")
    run = Run(spool, deliver)
    assert run.run() is End.DRAINED
    assert "checkpoint-failed" in run.events()
    assert len(run.sink.sent) == 2


class HangingDisk:
    """A disk on which no sync of a segment returns before `answers` is set."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.asked = threading.Event()
        self.seams = {
            "aside": Threaded(),
            "clock": MovableClock(),
            "files": files_with(fdatasync=self._fdatasync),
        }

    def _fdatasync(self, fd: int) -> None:
        self.asked.set()
        self.answers.wait()
        os.fdatasync(fd)


def while_the_disk_hangs(spool: Spool) -> tuple[Partition, HangingDisk, Run]:
    """Return a sender that has delivered one command, and whose first commit waits for the disk."""
    partition = fill(spool, "ann")
    disk = HangingDisk()
    run = Run(spool, deliver, seams=disk.seams, drain=False)
    run.daemon.begin()
    run.daemon.turn()
    assert disk.asked.wait(20)
    return partition, disk, run


def test_sending_goes_on_while_the_disk_hangs_and_the_log_says_so(spool: Spool) -> None:
    """The checkpoint stays where it was until the disk answers; then it covers all that was delivered."""
    partition, disk, run = while_the_disk_hangs(spool)
    partition.append(encode(Command("bob", 1_795_500_000, "Signed Up")))
    for _ in range(2_000):
        run.daemon.turn()
    assert [delivery.command.person for delivery in run.sink.sent] == ["ann", "bob"]
    assert run.events().count("checkpoint-failed") == 1
    assert "the disk has not answered for 1" in str(run.event("checkpoint-failed"))
    assert checkpoint.load(spool).offsets == {}
    disk.answers.set()

    def covers_all() -> bool:
        run.daemon.turn()
        return checkpoint.load(spool).offsets == {partition.name: partition.end()}

    wait_until(covers_all, what="the checkpoint covers what was delivered")
    run.daemon.finish(End.STOPPED)
    assert run.event("sender-stopped")["sent_again_at_next_start"] == 0
    os.close(run.lock)


def test_a_sender_that_ends_waits_for_the_commit_that_has_begun(spool: Spool) -> None:
    """And makes another one, of what was delivered since."""
    partition, disk, run = while_the_disk_hangs(spool)
    for _ in range(5):
        run.daemon.turn()
    threading.Timer(0.05, disk.answers.set).start()
    run.daemon.finish(End.STOPPED)
    assert checkpoint.load(spool).offsets == {partition.name: partition.end()}
    assert run.event("sender-stopped")["sent_again_at_next_start"] == 0
    os.close(run.lock)


def test_what_a_commit_that_has_begun_could_not_sync_is_known_at_the_end(spool: Spool) -> None:
    """A line of `rejected/` that the disk refused then is written again, and synced, before the last checkpoint."""
    partition = fill(spool, "ann")
    partition.append(b"no command\n")
    asked, may_end = threading.Event(), threading.Event()
    synced: list[str] = []

    def sync(fd: int) -> None:
        name = os.readlink(f"/proc/self/fd/{fd}").removeprefix(spool.path)
        if name.startswith("/rejected/") and not asked.is_set():
            asked.set()
            may_end.wait()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        synced.append(name)
        os.fdatasync(fd)

    seams = {"aside": Threaded(), "files": files_with(fdatasync=sync)}
    run = Run(spool, deliver, seams=seams, drain=False)
    run.daemon.begin()

    def is_syncing() -> bool:
        run.daemon.turn()
        return asked.is_set()

    wait_until(is_syncing, what="what was rejected is being synced")
    threading.Timer(0.05, may_end.set).start()
    run.daemon.finish(End.STOPPED)
    assert [name for name in synced if name.startswith("/rejected/")]
    assert checkpoint.load(spool).offsets == {partition.name: partition.end()}
    os.close(run.lock)


def test_a_commit_that_has_begun_writes_no_checkpoint_after_the_lock_is_lost(spool: Spool) -> None:
    """Another sender may have taken the spool while the disk hung."""
    fill(spool, "ann")
    disk = HangingDisk()
    run = Run(spool, deliver, seams=disk.seams, drain=False)
    run.daemon.begin()
    run.daemon.turn()
    assert disk.asked.wait(20)
    os.unlink(spool.sender_lock)
    disk.answers.set()

    def ended() -> End | None:
        run.daemon.turn()
        return run.daemon.ended()

    assert wait_until(ended, what="it notices") is End.LOCK_LOST
    run.daemon.finish(End.LOCK_LOST)
    assert not os.path.exists(spool.checkpoint)
    os.close(run.lock)


def test_a_checkpoint_is_not_written_for_each_answer(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs two syncs: about once a second is enough, whatever is delivered meanwhile."""
    fill(spool, *[f"person {n}" for n in range(400)])
    run = Run(spool, deliver)
    commits: list[int] = []
    steps = run.daemon._committer.steps

    def noted() -> Iterator[Step]:
        commits.append(len(run.sink.sent))
        return steps()

    monkeypatch.setattr(run.daemon._committer, "steps", noted)
    assert run.run() is End.DRAINED
    assert 0 < len(commits) < 50  # 400 answers come in 100 turns at least


def test_a_flooded_partition_is_paused_and_taken_up_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too much beyond a mark stops the reading of that partition, and of that one only, until the mark moves."""
    monkeypatch.setattr("sender.dispatcher.track.MAX_BEYOND", 10)
    partition = fill(spool, *[f"person {n}" for n in range(40)])

    def answer(delivery: Delivery) -> Outcome:
        if delivery.command.person == "late":
            os.kill(os.getpid(), signal.SIGTERM)
        elif len(run.sink.sent) == 40:
            partition.append(encode(Command("late", 1_795_500_000, "Signed Up")))
        return DELIVERED

    run = Run(spool, answer, drain=False)
    paused: list[tuple[str, bool]] = []
    pause = run.daemon._reader.pause

    def noted(name: str, paused_now: bool) -> None:  # noqa: FBT001 - as the reader has it
        paused.append((name, paused_now))
        pause(name, paused_now)

    monkeypatch.setattr(run.daemon._reader, "pause", noted)
    assert run.run() is End.STOPPED
    assert len(run.sink.sent) == 41
    assert paused[:2] == [(partition.name, True), (partition.name, False)]


def test_a_start_sweeps_what_a_crash_left(spool: Spool) -> None:
    """Half a removed partition counts towards the cap, and nobody else would ever touch it."""
    gone = os.path.join(spool.path, ".gone-20261123T204501Z-4f2a91c3")
    os.mkdir(gone)
    assert Run(spool, deliver).run() is End.DRAINED
    assert not os.path.exists(gone)


def test_a_held_lock_of_rejected_is_never_waited_for(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One try a turn, and sending goes on: its holder may be stopped for hours."""
    tries = 0

    def take(_: str) -> Denied:
        nonlocal tries
        tries += 1
        return Denied.HELD

    monkeypatch.setattr("sender.rejected.numbers.take", take)
    fill(spool, "ann").append(b"no command\n")
    run = Run(spool, deliver, drain_timeout_s=0.2)
    assert run.run() is End.DRAIN_TIMEOUT
    assert [delivery.command.person for delivery in run.sink.sent] == ["ann"]
    assert 1 <= tries < 10


def test_one_spool_has_one_sender(spool: Spool) -> None:
    """The lock is held for as long as its descriptor is open."""
    lock = hold(spool)
    with pytest.raises(AnotherSender):
        hold(spool)
    os.close(lock)
    os.close(hold(spool))


def test_a_spool_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """Its parents are never made."""
    with pytest.raises((SpoolError, NoPermission)):
        hold(Spool(str(tmp_path / "missing" / "spool")))


def test_a_lock_that_cannot_be_made_is_an_error_that_names_it(spool: Spool) -> None:
    """The sender says which file, and the way out, before it has read anything."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SpoolFull, match=r"sender\.lock"):
        hold(spool, files=files_with(open=full))


def test_a_hard_limit_of_open_files_that_cannot_be_raised_is_lived_with(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader says so if it then runs out of descriptors."""

    def refused(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    monkeypatch.setattr(resource, "setrlimit", refused)
    fill(spool, "ann")
    run = Run(spool, deliver)
    assert run.run() is End.DRAINED


@pytest.mark.parametrize("what", ["lock", "spool"])
def test_a_sender_whose_spool_or_lock_was_moved_gives_way(spool: Spool, what: str) -> None:
    """Two senders would write one checkpoint; the supervisor starts it again on what is there now."""
    fill(spool, "ann")

    def answer(_: Delivery) -> Outcome:
        path = spool.sender_lock if what == "lock" else spool.path
        os.rename(path, path + ".moved")
        if what == "spool":
            os.mkdir(spool.path)
        with open(spool.status, "wb") as file:
            file.write(b"another's")
        return DELIVERED

    run = Run(spool, answer, drain=False)
    assert run.run() is End.LOCK_LOST
    assert "lock-lost" in run.events()
    assert not os.path.exists(spool.checkpoint)
    with open(spool.status, "rb") as file:
        assert file.read() == b"another's"


def test_a_spool_moved_while_a_signal_ends_the_sender_gets_no_checkpoint(spool: Spool) -> None:
    """Between the signal and the end another sender may have begun on what stands in its place."""
    fill(spool, *["ann"] * 5)

    def answer(_: Delivery) -> Outcome:
        if len(run.sink.sent) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            os.rename(spool.sender_lock, spool.sender_lock + ".moved")
            if os.path.exists(spool.checkpoint):
                os.unlink(spool.checkpoint)
        return DELIVERED

    run = Run(spool, answer, drain=False)
    run.run()
    assert not os.path.exists(spool.checkpoint)


def test_a_lock_that_is_no_file_is_not_another_sender(spool: Spool) -> None:
    """The way out is another one."""
    os.mkdir(spool.sender_lock)
    with pytest.raises(SpoolError, match="no file"):
        hold(spool)
