"""The order of durability, over a real spool, a real reader and every file operation written down."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from kmq.command import Command, encode
from kmq.durable import FILES, Files
from sender import checkpoint
from sender.commit import Committer
from sender.dispatcher import Dispatcher, Window
from sender.reader import SpoolReader
from sender.rejected import New, RejectedStore
from sender.retention import Limits, Retention
from tests.support.clock import MovableClock
from tests.support.files import Journal, failing, files_with
from tests.support.sinks import DELIVERED, HandSink
from tests.support.spools import Partition, Reports, make_spool
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

NAME = "20261123T204501Z-4f2a91c3"
KEEP = Limits(age_s=1e9, max_bytes=1 << 40)
NOTHING_STAYS = Limits(age_s=0.0, max_bytes=0)


def line(person: str) -> bytes:
    return encode(Command(person, 1_795_500_000, "Signed Up"))


class Bench:
    """A sender without its loop: reads, delivers and commits when the test says so."""

    def __init__(
        self,
        path: Path,
        *,
        files: Files = FILES,
        limits: Limits = KEEP,
        offsets: Mapping[str, int] | None = None,
    ) -> None:
        self.spool = make_spool(path)
        self.reports = Reports()
        self.sink = HandSink(lambda _: DELIVERED)
        self.clock = MovableClock()
        self.rejected = RejectedStore(self.spool, "sender", files=files)
        self.dispatcher = Dispatcher(
            self.sink, self._keep, window=Window(), random=lambda: 0.5, clock=self.clock
        )
        self.reader = SpoolReader(
            self.spool,
            offsets or {},
            report=self.reports,
            clock=self.clock.monotonic,
            files=files,
        )
        self.committer = Committer(
            self.spool,
            offsets or {},
            reader=self.reader,
            dispatcher=self.dispatcher,
            rejected=self.rejected,
            retention=Retention(self.spool, limits, report=self.reports, files=files),
            report=self.reports,
            files=files,
        )

    def send(self) -> int:
        """Read, send and settle what is there; return how many commands were sent in all."""
        for _ in range(5):
            self.clock.advance(0.25)
            self.dispatcher.offer(self.reader.read(1_000, 1 << 20))
            self.dispatcher.turn(0.0)
        return len(self.sink.sent)

    def _keep(self, batch: Sequence[New]) -> None:
        self.committer.keep(batch)

    def close(self) -> None:
        self.reader.close()
        self.rejected.close()


@pytest.fixture
def bench_at(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Return what makes benches on the test's own spool, and close them all afterwards."""
    with contextlib.ExitStack() as made:

        def make(**given: Any) -> Bench:  # noqa: ANN401 - handed on as it comes
            bench = Bench(tmp_path / "spool", **given)
            made.callback(bench.close)
            return bench

        yield make


def test_segments_are_synced_before_the_checkpoint_and_it_before_its_rename(
    bench_at: Callable[..., Bench],
) -> None:
    """The segment and its names, the new checkpoint, rename, the directory: in this order."""
    journal = Journal()
    bench = bench_at(files=journal.files)
    partition = Partition(bench.spool)
    partition.append(line("ann"))
    bench.send()
    bench.committer.commit()
    spool = os.path.basename(bench.spool.path)
    syncs = [entry for entry in journal.entries if entry[0] in {"fdatasync", "fsync", "rename"}]
    assert syncs == [
        ("fdatasync", "00000000000000000000.jsonl"),
        ("fsync", partition.name),
        ("fsync", spool),
        ("fsync", "checkpoint.json.tmp"),
        ("rename", "checkpoint.json.tmp"),
        ("fsync", spool),
    ]
    assert checkpoint.load(bench.spool).offsets == {partition.name: len(line("ann"))}


def test_what_was_rejected_is_synced_before_the_checkpoint_passes_it(
    bench_at: Callable[..., Bench],
) -> None:
    """A rejected command below the mark must survive whatever the checkpoint survives."""
    journal = Journal()
    bench = bench_at(files=journal.files)
    Partition(bench.spool).append(b"no command\n")
    bench.send()
    bench.committer.commit()
    syncs = [target for name, target in journal.entries if name in {"fdatasync", "fsync"}]
    rejected = next(n for n, target in enumerate(syncs) if target.endswith("-sender.jsonl"))
    assert rejected < syncs.index("checkpoint.json.tmp")


def test_nothing_is_written_while_nothing_changes(bench_at: Callable[..., Bench]) -> None:
    """A quiet sender costs no sync."""
    journal = Journal()
    bench = bench_at(files=journal.files)
    Partition(bench.spool).append(line("ann"))
    bench.send()
    bench.committer.commit()
    before = len(journal.entries)
    bench.committer.commit()
    assert journal.entries[before:] == []


def test_a_checkpoint_that_cannot_be_written_leaves_everything_as_it_was(
    bench_at: Callable[..., Bench],
) -> None:
    """The commit raises, nothing is removed, and the next one succeeds."""
    rename = failing(errno.EIO, times=1, real=os.rename)
    bench = bench_at(files=files_with(rename=rename), limits=NOTHING_STAYS)
    partition = Partition(bench.spool)
    partition.append(line("ann"))
    bench.send()
    with pytest.raises(OSError, match="Input/output"):
        bench.committer.commit()
    bench.committer.retain()
    assert os.path.exists(partition.segment())
    bench.committer.commit()
    assert checkpoint.load(bench.spool).offsets == {partition.name: partition.end()}


def test_a_segment_whose_sync_fails_holds_the_checkpoint(bench_at: Callable[..., Bench]) -> None:
    """An offset is never durable before the data that it covers."""
    bench = bench_at(files=files_with(fdatasync=failing(errno.EIO, real=os.fdatasync)))
    partition = Partition(bench.spool)
    partition.append(line("ann"))
    bench.send()
    bench.committer.commit()
    assert checkpoint.load(bench.spool).offsets.get(partition.name, 0) == 0
    assert "segment-sync-failed" in bench.reports.codes()


def test_retention_removes_only_what_a_durable_checkpoint_covers(
    bench_at: Callable[..., Bench],
) -> None:
    """Delivered is not enough: without a checkpoint on disk the partition stays."""
    bench = bench_at(limits=NOTHING_STAYS)
    partition = Partition(bench.spool)
    partition.append(line("ann"))
    bench.send()
    bench.committer.retain()
    assert os.path.exists(partition.path)
    bench.committer.commit()
    bench.committer.retain()
    assert not os.path.exists(partition.path)
    bench.committer.commit()
    assert checkpoint.load(bench.spool).offsets == {}


def test_an_offset_that_does_not_fit_removes_nothing(bench_at: Callable[..., Bench]) -> None:
    """What an unbelieved checkpoint claims to cover is sent again first."""
    bench = bench_at(limits=NOTHING_STAYS, offsets={"20261123T204501Z-4f2a91c3": 10})
    partition = Partition(bench.spool)
    partition.append(line("ann"))
    bench.committer.retain()
    assert os.path.exists(partition.path)
    bench.send()
    assert len(bench.sink.sent) == 1


def test_entries_of_partitions_that_are_gone_leave_the_checkpoint(
    bench_at: Callable[..., Bench],
) -> None:
    """A partition's name is never used again."""
    bench = bench_at(offsets={"20200101T000000Z-00000000": 10})
    partition = Partition(bench.spool)
    partition.append(line("ann"))
    bench.send()
    bench.committer.commit()
    assert set(checkpoint.load(bench.spool).offsets) == {partition.name}


class FullDisk:
    """Fails every write of a checkpoint until so many segments were removed."""

    def __init__(self, removals: int) -> None:
        self.removed: list[str] = []
        self.still_open: list[str] = []
        self._removals = removals
        self.files = files_with(unlink=self._unlink, fsync=self._fsync)

    def _unlink(self, path: str) -> None:
        if path.endswith(".jsonl"):
            self.removed.append(os.path.basename(path))
            opened = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
            self.still_open += [name for name in opened if name == path]
        os.unlink(path)

    def _fsync(self, fd: int) -> None:
        about = os.readlink(f"/proc/self/fd/{fd}")
        if about.endswith("checkpoint.json.tmp") and len(self.removed) < self._removals:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), about)
        os.fsync(fd)


def three_segments(bench: Bench) -> Partition:
    partition = Partition(bench.spool)
    for person in ("ann", "bob"):
        partition.append(line(person))
        partition.begin(partition.end())
    partition.append(line("cid"))
    return partition


def test_on_a_full_disk_delivered_segments_make_room_for_a_checkpoint(
    bench_at: Callable[..., Bench],
) -> None:
    """Before the first checkpoint nothing is covered: sealed, delivered segments go one by one, oldest first."""
    disk = FullDisk(removals=1)
    bench = bench_at(files=disk.files)
    partition = three_segments(bench)
    bench.send()
    bench.committer.commit()
    assert disk.removed == [f"{0:020d}.jsonl"]
    assert disk.still_open == [], "an open file frees no bytes"
    assert "disk-full" in bench.reports.codes()
    assert checkpoint.load(bench.spool).offsets == {partition.name: partition.end()}


def test_on_a_full_disk_what_a_checkpoint_covers_goes_first(bench_at: Callable[..., Bench]) -> None:
    """After that a crash costs nothing: no segment is removed early."""
    disk = FullDisk(removals=0)
    bench = bench_at(files=disk.files)
    partition = three_segments(bench)
    bench.send()
    bench.committer.commit()
    disk._removals = 1
    partition.append(line("dot"))
    wait_until(lambda: bench.send() == 4, what="the new line is sent")
    bench.committer.commit()
    assert disk.removed[0] == f"{0:020d}.jsonl"
    assert "removed-early" not in bench.reports.codes()


def test_on_a_full_disk_with_nothing_to_remove_the_commit_raises(
    bench_at: Callable[..., Bench],
) -> None:
    """What is not delivered is never deleted to make room."""
    disk = FullDisk(removals=99)
    bench = bench_at(files=disk.files)
    partition = Partition(bench.spool)
    partition.append(line("ann"))
    bench.send()
    with pytest.raises(OSError, match="No space"):
        bench.committer.commit()
    assert os.path.exists(partition.segment())


def test_what_apps_append_is_synced_while_nothing_can_be_sent(
    bench_at: Callable[..., Bench],
) -> None:
    """In an outage too, a power cut takes about a second from apps that do not sync, read or not."""
    journal = Journal()
    bench = bench_at(files=journal.files)
    partition = three_segments(bench)
    bench.dispatcher.offer(bench.reader.read(1, 1))
    bench.committer.commit()
    synced = [target for name, target in journal.entries if name == "fdatasync"]
    assert sorted(synced) == sorted(os.listdir(partition.path))[:3]
    bench.committer.commit()
    assert [target for name, target in journal.entries if name == "fdatasync"] == synced
    partition.append(line("dot"))
    bench.committer.commit()
    last = os.path.basename(partition.segment())
    assert [target for name, target in journal.entries if name == "fdatasync"] == [*synced, last]


def test_what_was_read_and_left_is_synced_too_while_nothing_can_be_sent(
    bench_at: Callable[..., Bench],
) -> None:
    """Reading ahead of an outage leaves segments behind that no mark has reached."""
    journal = Journal()
    bench = bench_at(files=journal.files)
    partition = three_segments(bench)
    while lines := bench.reader.read(10, 1 << 20):
        bench.dispatcher.offer(lines)
    bench.committer.commit()
    synced = {target for name, target in journal.entries if name == "fdatasync"}
    assert synced == set(os.listdir(partition.path)) - {"writer.lock"}


def test_a_segment_started_while_nothing_is_read_is_synced_with_its_name(
    bench_at: Callable[..., Bench],
) -> None:
    """A long outage fills what is read ahead: what apps begin from then on is found by a look."""
    journal = Journal()
    bench = bench_at(files=journal.files)
    partition = Partition(bench.spool)
    partition.append(line("ann"))
    bench.dispatcher.offer(bench.reader.read(1, 1))
    bench.committer.commit()
    before = len(journal.entries)
    partition.rotate()
    partition.append(line("bob"))
    bench.clock.wait(1)
    bench.reader.read(0, 0)
    bench.committer.commit()
    synced = [entry for entry in journal.entries[before:] if entry[0] in {"fdatasync", "fsync"}]
    assert synced == [
        ("fdatasync", os.path.basename(partition.segment())),
        ("fsync", partition.name),
    ]


def test_a_name_that_could_not_be_synced_is_synced_by_the_next_commit(
    bench_at: Callable[..., Bench],
) -> None:
    """Nothing else waits for it."""
    synced: list[str] = []

    def sync(fd: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        if len(synced) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fsync(fd)

    bench = bench_at(files=files_with(fsync=sync))
    partition = Partition(bench.spool)
    bench.reader.read(1, 1)
    for _ in range(3):
        bench.reader.sync_ahead()
    assert synced.count(partition.name) == 2


def test_a_checkpoint_that_was_found_is_durable_before_it_is_relied_on(
    bench_at: Callable[..., Bench],
) -> None:
    """The sender before may have been killed between its rename and the sync of that; retention removes by it."""
    journal = Journal()
    partition_end = len(line("ann"))
    bench = bench_at(files=journal.files, offsets={NAME: partition_end})
    Partition(bench.spool).append(line("ann"))
    bench.reader.read(1, 1)
    bench.committer.commit()
    spool = os.path.basename(bench.spool.path)
    assert "rename" not in journal.names()
    assert journal.entries.count(("fsync", spool)) == 1


def test_a_sync_that_failed_before_its_segment_was_read_holds_the_checkpoint_all_the_same(
    bench_at: Callable[..., Bench],
) -> None:
    """The kernel tells of a failed write-back once: that it was not the reader's descriptor must not hide it.

    It holds it as long as it would lie within that segment, and no longer.
    """
    bench = bench_at(files=files_with(fdatasync=fails_for_the_second(os.fdatasync)))
    partition = Partition(bench.spool)
    partition.append(line("ann"))
    partition.rotate()
    partition.append(line("bob"))
    partition.append(line("bob"))
    partition.rotate()
    partition.append(line("cid"))
    bench.dispatcher.offer(bench.reader.read(1, 1))
    bench.committer.commit()
    assert bench.reports.codes() == ["segment-sync-failed"]
    bench.dispatcher.offer(bench.reader.read(1, 1 << 20))
    bench.dispatcher.turn(0.0)
    bench.dispatcher.turn(0.0)
    assert bench.committer.done() == {partition.name: 2 * len(line("ann"))}
    bench.committer.commit()
    assert checkpoint.load(bench.spool).offsets == {partition.name: len(line("ann"))}
    bench.send()
    bench.committer.commit()
    assert checkpoint.load(bench.spool).offsets == {partition.name: partition.end()}
    assert bench.reports.codes() == ["segment-sync-failed"]


def fails_for_the_second(real: Callable[[int], None]) -> Callable[[int], None]:
    """Return a sync that fails once for the second segment, and proves nothing by succeeding afterwards."""
    failed = False

    def sync(fd: int) -> None:
        nonlocal failed
        second = f"{len(line('ann')):020d}.jsonl"
        if os.readlink(f"/proc/self/fd/{fd}").endswith(second) and not failed:
            failed = True
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    return sync


class NoRoomForRejects:
    """Fails to write into `rejected/` until the reserve is given up."""

    def __init__(self) -> None:
        self.given_up = False
        self.files = files_with(write=self._write, unlink=self._unlink)

    def _unlink(self, path: str) -> None:
        os.unlink(path)
        self.given_up = self.given_up or path.endswith("/reserve")

    def _write(self, fd: int, data: bytes) -> int:
        if "-sender" in os.readlink(f"/proc/self/fd/{fd}") and not self.given_up:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data)


def test_a_torn_line_on_a_full_disk_is_kept_in_the_room_of_the_reserve(
    bench_at: Callable[..., Bench],
) -> None:
    """A disk that fills up tears a line; if it could not be kept, nothing before it could ever go."""
    disk = NoRoomForRejects()
    bench = bench_at(files=disk.files)
    bench.committer.retain()
    partition = Partition(bench.spool)
    partition.append(line("ann") + b'{"_p":"bo')
    partition.rotate()
    bench.send()
    assert disk.given_up
    assert [one.reason for one in bench.rejected.kept()] == ["torn"]
    bench.committer.commit()
    assert checkpoint.load(bench.spool).offsets == {partition.name: partition.end()}


def test_without_a_reserve_a_full_disk_is_said_once_and_the_reject_waits(
    bench_at: Callable[..., Bench],
) -> None:
    """Not once a second."""
    bench = bench_at(files=NoRoomForRejects().files)
    for _ in range(3):
        with pytest.raises(OSError, match="space left"):
            bench.committer.keep([New("torn", b"x")])
    assert bench.reports.codes() == ["disk-full"]


def test_for_a_line_that_is_to_be_kept_no_segment_goes_before_a_checkpoint_covers_it(
    bench_at: Callable[..., Bench],
) -> None:
    """What was done of it may not be durable: the syncs that prove it come with the checkpoint."""
    bench = bench_at(files=NoRoomForRejects().files)
    partition = three_segments(bench)
    bench.send()
    with pytest.raises(OSError, match="space left"):
        bench.committer.keep([New("torn", b"x")])
    assert os.path.exists(os.path.join(partition.path, f"{0:020d}.jsonl"))


def test_room_that_is_filled_again_at_once_is_no_room(bench_at: Callable[..., Bench]) -> None:
    """The end of a full disk is said when it stays, with the reserve in its place, and not every other second."""
    disk = NoRoomForRejects()
    bench = bench_at(files=disk.files)
    bench.committer.retain()
    for _ in range(3):
        disk.given_up = False
        bench.committer.keep([New("torn", b"x")])
        for _ in range(4):
            bench.committer.retain()
    assert bench.reports.codes() == ["disk-full"]
    bench.committer.retain()
    assert bench.reports.codes() == ["disk-full", "room-again"]


def test_another_error_while_room_is_made_is_raised_as_it_is(
    bench_at: Callable[..., Bench],
) -> None:
    """A disk that fails is not a disk that is full."""
    errors = iter([errno.ENOSPC, errno.EIO])

    def rename(*_: object) -> None:
        code = next(errors)
        raise OSError(code, os.strerror(code))

    bench = bench_at(files=files_with(rename=rename))
    Partition(bench.spool).append(line("ann"))
    bench.send()
    with pytest.raises(OSError, match="Input/output"):
        bench.committer.commit()


def test_a_segment_that_vanishes_before_it_was_read_is_passed_by_the_sync(
    bench_at: Callable[..., Bench],
) -> None:
    """Whoever reads it says that it is gone."""
    bench = bench_at()
    partition = three_segments(bench)
    bench.reader.read(1, 1)
    os.unlink(partition.segment())
    bench.committer.commit()
    assert bench.reports.codes() == []


def test_a_pipe_that_bears_a_segments_name_does_not_hold_up_the_sync(
    bench_at: Callable[..., Bench],
) -> None:
    """Nobody may ever open its other side."""
    bench = bench_at()
    partition = three_segments(bench)
    os.mkfifo(partition.segment(10**9))
    bench.reader.read(1, 1)
    bench.committer.commit()
    assert bench.reports.codes() == ["no-segment"]


def test_an_unbelieved_offset_removes_nothing_after_reading_went_past_it(
    bench_at: Callable[..., Bench],
) -> None:
    """What was read is not what was delivered: until a commit, only the low-water mark says what may go."""
    name = "20261123T204501Z-4f2a91c3"
    bench = bench_at(limits=NOTHING_STAYS, offsets={name: len(line("ann")) + 5})
    bench.sink = HandSink()
    bench.dispatcher._sink = bench.sink
    partition = three_segments(bench)
    bench.committer.durable[name] = len(line("ann")) + 5
    bench.send()
    assert bench.reports.codes() == ["offset-does-not-fit"]
    bench.committer.retain(urgent=True)
    assert len(os.listdir(partition.path)) == 4
    assert bench.committer.durable[name] == len(line("ann")) + 5


def test_a_partition_removed_to_make_room_leaves_the_next_checkpoint(
    bench_at: Callable[..., Bench],
) -> None:
    """The marks were taken before it was removed."""
    disk = FullDisk(removals=0)
    bench = bench_at(files=disk.files)
    gone = Partition(bench.spool)
    gone.append(line("ann"))
    bench.send()
    bench.committer.commit()
    stays = Partition(bench.spool, "20261123T204501Z-90be12aa")
    stays.append(line("bob"))
    disk._removals = 1
    wait_until(lambda: bench.send() == 2, what="the second partition is found and sent")
    bench.committer.commit()
    assert not os.path.exists(gone.path)
    bench.committer.commit()
    assert set(checkpoint.load(bench.spool).offsets) == {stays.name}
