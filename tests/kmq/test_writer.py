"""The writer of a process: its slots, what happens when its partition is lost, and syncs that threads share."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from kmq import slot as slot_module
from kmq import spool as places
from kmq import writer as writer_module
from kmq.cap import Cap
from kmq.errors import SpoolError, SpoolFull
from kmq.partition import Rotation, make
from kmq.slot import Slot
from kmq.spool import Spool
from kmq.turn import Turn
from kmq.writer import for_process
from tests.support.files import Journal, descriptors_in, failing, files_with
from tests.support.spooled import lines_in, partitions_in, segments_in, torn_in
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from kmq.lease import Leases
    from tests.support.held import Writers


def numbered(count: int) -> list[bytes]:
    """Return so many different lines."""
    return [b"%d\n" % number for number in range(count)]


# ---- threads and depth


def test_the_threads_of_a_process_share_a_partition(writers: Writers) -> None:
    """Each line whole and once, in one partition, through rotations."""
    writer = writers.writer(writers.place(rotation=Rotation(max_bytes=500)))
    lines = numbered(800)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(writer.append, lines))
    assert sorted(lines_in(writers.path)) == sorted(line[:-1] for line in lines)
    assert len(partitions_in(writers.path)) == 1


def test_a_call_inside_a_call_goes_through_a_partition_of_its_own(writers: Writers) -> None:
    """Three deep: nobody waits for itself, nothing lands between a write and the look at its count."""
    depth = 0

    def write(fd: int, data: bytes) -> int:
        nonlocal depth
        half = os.write(fd, data[:2])
        if depth < 2:
            depth += 1
            writer.append(b"inner%d\n" % depth)
        return half + os.write(fd, data[2:])

    writer = writers.writer()
    for _ in range(3):  # adopt nothing while the lock files are written through this seam
        writer.append(b"first\n")
    object.__setattr__(writer.place, "files", files_with(write=write))
    writer._process.slots[0]._partition.segment._files = writer.place.files  # type: ignore[union-attr]  # it is there
    writer.append(b"outer\n")
    assert sorted(lines_in(writers.path)) == [b"first"] * 3 + [b"inner1", b"inner2", b"outer"]
    assert torn_in(writers.path) == []
    assert len(partitions_in(writers.path)) == 3


def test_the_partitions_of_deeper_calls_are_kept(writers: Writers) -> None:
    """One for each depth, for life; and the depth goes back when a call raises."""
    writer = writers.writer()
    for _ in range(3):
        writer.append(b"outer\n")
        writer._process.depth.value = 1
        writer.append(b"inner\n")
        writer._process.depth.value = 0
    assert len(partitions_in(writers.path)) == 2
    object.__setattr__(writer.place, "files", files_with(mkdir=lambda *_: 1 / 0))
    writer._process.depth.value = 2
    with pytest.raises(ZeroDivisionError):
        writer.append(b"deeper\n")
    assert writer._process.depth.value == 2


def test_close_inside_a_call_does_not_wait_for_that_call(writers: Writers) -> None:
    """A signal handler may close the client while its own thread is in the middle of an append."""
    writer = writers.writer()
    writer.append(b"one\n")
    writer._process.depth.value = 1
    writer.append(b"two\n")
    slots = writer._process.slots
    slots[0]._writing.run(writer.check_names)
    assert writer._process.depth.value == 1
    assert sorted(lines_in(writers.path)) == [b"one", b"two"]


def test_a_turn_is_one_threads_at_a_time_and_passes_on_what_is_raised() -> None:
    """Results and exceptions come back; afterwards it is free."""
    turn = Turn()
    assert turn.run(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        turn.run(lambda: 1 // 0)
    assert turn.run(max, 1, 2) == 2
    assert turn.run(turn._lock.locked)


def test_an_abandoned_turn_wakes_who_waits_for_a_thread_that_does_not_exist() -> None:
    """In a child of a fork; but a turn that the thread itself is in stays taken."""
    turn = Turn()
    turn._lock.acquire()  # by a thread that was left behind
    turn._holder = -1
    turn.abandon()
    turn.run(turn.abandon)
    assert turn.run(lambda: "free") == "free"
    turn.abandon()
    assert turn.run(lambda: "still free") == "still free"


@pytest.mark.parametrize("what", ["writing", "leading"])
def test_a_forgotten_slot_wakes_who_waits_for_a_thread_that_does_not_exist(
    writers: Writers, what: str
) -> None:
    """In a child: its thread finds out that it is one, and takes no turn for its parent."""
    writer = writers.writer()
    writer.append(b"0\n")
    slot = writer._process.slots[0]
    turn = slot._writing if what == "writing" else slot._group._leading
    turn._lock.acquire()  # by a thread that was left behind
    turn._holder = -1
    slot.forget()
    assert not turn.taken


# ---- leases


def quickly(leases: Leases, *lines: bytes) -> list[bool]:
    """Append by the lease, and return what became of each."""
    return [leases.append(line) is not None for line in lines]


def test_what_a_lease_appended_counts_for_rotation(writers: Writers) -> None:
    """To the byte, as if each had gone the long way."""
    writer = writers.writer(writers.place(rotation=Rotation(max_bytes=8)))
    leases = writer.append(b"0\n")
    assert quickly(leases, b"1\n", b"2\n", b"3\n", b"4\n") == [True, True, True, False]
    writer.append(b"4\n")
    assert [path.read_bytes() for path in segments_in(writers.path)] == [
        b"0\n1\n2\n3\n",
        b"4\n",
    ]


def test_what_a_lease_appended_counts_for_the_cap(writers: Writers) -> None:
    """And it gives no leave beyond it."""
    writer = writers.writer(max_bytes=10)
    leases = writer.append(b"0\n")
    assert quickly(leases, b"1\n", b"2\n", b"3\n", b"4\n", b"5\n") == [True] * 4 + [False]
    with pytest.raises(SpoolFull):
        writer.append(b"5\n")


def test_the_spool_is_measured_each_mebibyte_also_by_lease(writers: Writers) -> None:
    """Other processes write, too."""
    looks = 0

    def measured(spool: Spool) -> int:
        nonlocal looks
        looks += 1
        return places.measure(spool)

    writer = writers.writer()
    cap = Cap(writers.place().spool, 1 << 30, measured=measured)
    writer._process.cap = cap
    line = b"x" * 4095 + b"\n"
    for _ in range(2 * 256 + 1):
        leases = writer.append(line)
        while leases.append(line):
            pass
        if looks == 3:
            break
    assert looks == 3
    assert len(lines_in(writers.path)) <= 3 * 257  # the lease after that look is for as much again


def test_what_a_lease_appended_to_a_removed_segment_is_copied(writers: Writers) -> None:
    """All since its name was seen last."""
    writer = writers.writer()
    leases = writer.append(b"0\n")
    assert quickly(leases, b"1\n", b"2\n") == [True, True]
    [segment] = segments_in(writers.path)
    segment.unlink()
    writers.clock.advance(1)
    writer.append(b"3\n")
    assert lines_in(writers.path) == [b"0", b"1", b"2", b"3"]


def test_a_write_by_lease_that_wrote_nothing_counts_nothing(writers: Writers) -> None:
    """Else a copy of a removed segment would begin where the lease would have ended."""
    full = iter([False, True])

    def write(fd: int, data: bytes) -> int:
        if next(full, False):
            raise OSError(errno.ENOSPC, "full")
        return os.write(fd, data)

    writer = writers.writer()
    writer.append(b"0\n")
    slot = writer._process.slots[0]
    slot._partition.segment._files = files_with(write=write)  # type: ignore[union-attr]  # it is there
    assert quickly(writer.append(b"1\n"), b"2\n") == [False]
    writers.clock.advance(1)
    writer.append(b"2\n")
    writer.append(b"3\n")
    [segment] = segments_in(writers.path)
    assert slot._partition.segment.size == segment.stat().st_size  # type: ignore[union-attr]  # it is there
    segment.unlink()
    writers.clock.advance(1)
    writer.append(b"4\n")
    assert {b"3", b"4"} <= set(lines_in(writers.path))


def test_after_a_torn_write_by_lease_the_next_line_starts_a_segment(writers: Writers) -> None:
    """A segment is never mended."""
    short = iter([False, True, False])

    def write(fd: int, data: bytes) -> int:
        return os.write(fd, data[: len(data) // 2] if next(short) else data)

    writer = writers.writer()
    writer.append(b"first\n")
    segment = writer._process.slots[0]._partition.segment  # type: ignore[union-attr]  # it is there
    segment._files = files_with(write=write)
    leases = writer.append(b"zero\n")
    assert quickly(leases, b"one\n", b"one\n") == [False, False]
    writer.append(b"one\n")
    assert [path.read_bytes() for path in segments_in(writers.path)] == [
        b"first\nzero\non",
        b"one\n",
    ]


def test_while_a_lease_is_out_a_call_goes_through_another_slot(writers: Writers) -> None:
    """It may be this thread's own, further out; and the slot is used again when the lease is back."""
    writer = writers.writer()
    outer = writer.append(b"0\n")
    lease = outer._get()
    inner = writer.append(b"inner\n")
    assert inner is not outer
    assert len(partitions_in(writers.path)) == 2
    assert writer._process.depth.value == 0
    outer.give(lease)
    assert writer.append(b"1\n") is outer
    assert len(partitions_in(writers.path)) == 2


def test_while_a_lease_is_out_a_durable_call_goes_through_another_slot(
    writers: Writers,
) -> None:
    """As a plain one does."""
    writer = writers.writer()
    outer = writer.append(b"0\n")
    lease = outer._get()
    assert writer.append(b"inner\n", durably=True) is not outer
    outer.give(lease)
    assert writer.append(b"1\n", durably=True) is outer
    assert len(partitions_in(writers.path)) == 2


def test_a_lease_that_does_not_come_back_keeps_its_partition(writers: Writers) -> None:
    """Whoever has it may yet append there, and nobody else does any more."""
    writer = writers.writer()
    hung = writer.append(b"0\n")
    lease = hung._get()
    writer.append(b"inner\n")
    writers.clock.advance(1)
    leases = writer.append(b"1\n")
    assert leases is not hung
    assert leases is writer._process.slots[0].leases
    assert len(partitions_in(writers.path)) == 3
    hung.give(lease)
    assert quickly(hung, b"late\n") == [True]
    writer.append(b"2\n")
    assert sorted(lines_in(writers.path)) == [b"0", b"1", b"2", b"inner", b"late"]
    assert torn_in(writers.path) == []


def test_a_lease_is_waited_for_once_more_before_it_is_given_up(writers: Writers) -> None:
    """It may have come back in the meantime, and be out for the next write only."""
    writer = writers.writer()
    leases = writer.append(b"0\n")
    lease = leases._get()
    writer.append(b"inner\n")
    writers.clock.advance(1)
    back = threading.Timer(0.002, leases.give, [lease])
    back.start()
    assert writer.append(b"1\n") is leases
    back.join()


def test_after_a_failed_sync_no_lease_is_left_on_that_segment(writers: Writers) -> None:
    """What comes next stands in another one, whichever way it goes."""
    files = files_with(fdatasync=failing(errno.EIO, times=2, real=os.fdatasync))
    writer = writers.writer(writers.place(files=files))
    leases = writer.append(b"0\n")
    with pytest.raises(SpoolError):
        writer.append(b"1\n", durably=True)
    assert quickly(leases, b"2\n") == [False]
    writer.append(b"2\n")
    assert [path.read_bytes() for path in segments_in(writers.path)] == [
        b"0\n1\n",
        b"1\n",
        b"2\n",
    ]


def test_a_durable_line_alone_is_one_write_and_one_sync(writers: Writers) -> None:
    """By the lease of the call before, whose names are durable."""
    done: list[str] = []

    def write(fd: int, data: bytes) -> int:
        done.append("write")
        return os.write(fd, data)

    def fdatasync(fd: int) -> None:
        done.append("sync")
        os.fdatasync(fd)

    writer = writers.writer(writers.place(files=files_with(write=write, fdatasync=fdatasync)))
    assert not writer.append_alone(b"0\n")
    writer.append(b"0\n", durably=True)
    done.clear()
    assert writer.append_alone(b"1\n")
    assert done == ["write", "sync"]
    writer._process.depth.value = 1
    assert not writer.append_alone(b"2\n")
    writer._process.depth.value = 0
    assert lines_in(writers.path) == [b"0", b"1"]


def test_a_lease_on_names_that_may_not_be_durable_is_none_for_durable_lines(
    writers: Writers,
) -> None:
    """Whoever made an adopted partition may have died before its sync."""
    left = make(writers.place())
    left.append(b"left\n")
    left.forget()
    writer = writers.writer()
    writer.append(b"0\n")
    assert not writer.append_alone(b"1\n")
    writer.append(b"1\n", durably=True)
    assert writer.append_alone(b"2\n")


# ---- lost names


@pytest.mark.parametrize("what", ["segment", "lock", "partition", "moved", "spool", "spool moved"])
def test_what_was_appended_to_a_removed_segment_is_copied(
    writers: Writers, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Since the last good look; nothing is lost, and the log says where it is now."""
    writer = writers.writer()
    writer.append(b"0\n")
    writers.clock.advance(1.1)
    writer.append(b"1\n")
    part = partitions_in(writers.path)[0]
    if what == "segment":
        segments_in(writers.path)[0].unlink()
    elif what == "lock":
        (part / "writer.lock").unlink()
    elif what == "partition":
        shutil.rmtree(part)
    elif what == "moved":
        part.rename(tmp_path / "elsewhere")
    elif what == "spool":
        shutil.rmtree(writers.path)
    else:
        writers.path.rename(tmp_path / "elsewhere")
    made = writers.path.exists() or os.geteuid() != 0
    if not made:
        writers.path.mkdir()  # root makes no spool without its group
    writer.append(b"2\n")
    writers.clock.advance(1.1)
    writer.append(b"3\n")
    assert {b"1", b"2", b"3"} <= set(lines_in(writers.path))
    assert torn_in(writers.path) == []
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 1
    assert said[0].endswith(partitions_in(writers.path)[-1].name)


@pytest.mark.parametrize("start", [1, 2, 99, 1 << 40])
def test_what_was_appended_before_a_foreign_segment_is_copied(
    writers: Writers, caplog: pytest.LogCaptureFixture, start: int
) -> None:
    """A file behind the active segment seals it for the sender, which may be past it: that counts as a name lost."""
    writer = writers.writer()
    writer.append(b"0\n")
    part = partitions_in(writers.path)[0]
    (part / f"{start:020}.jsonl").write_bytes(b"foreign\n")
    writer.append(b"1\n")
    writers.clock.advance(1.1)
    writer.append(b"2\n")
    (other,) = [path for path in partitions_in(writers.path) if path != part]
    assert b"".join(path.read_bytes() for path in sorted(other.glob("*.jsonl"))) == b"0\n1\n2\n"
    assert "another segment was put behind it" in caplog.text


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_what_is_no_segment_moves_no_writer(writers: Writers, kind: str) -> None:
    """The sender passes it by, and reads on here."""
    writer = writers.writer()
    writer.append(b"0\n")
    later = partitions_in(writers.path)[0] / f"{99:020}.jsonl"
    {"link": lambda: later.symlink_to("/dev/zero"), "pipe": lambda: os.mkfifo(later)}.get(
        kind, later.mkdir
    )()
    writers.clock.advance(1.1)
    writer.append(b"1\n")
    assert len(partitions_in(writers.path)) == 1


def test_close_copies_what_lost_its_name(writers: Writers) -> None:
    """The last chance of a process that calls no more."""
    writer = writers.writer()
    for depth in range(2):
        writer._process.slot(depth).append(b"%d\n" % depth)
    for segment in segments_in(writers.path):
        segment.unlink()
    writer.check_names()
    assert sorted(lines_in(writers.path)) == [b"0", b"1"]
    writer.check_names()
    assert sorted(lines_in(writers.path)) == [b"0", b"1"]


def test_a_child_forgets_the_partitions_of_all_depths(writers: Writers) -> None:
    """Each descriptor that it kept would hold a lock of its parent's for as long as the child lives."""
    writer = writers.writer()
    for depth in range(3):
        writer._process.slot(depth).append(b"%d\n" % depth)
    writer._process.forget()
    assert descriptors_in(writers.path) == 0


def test_the_copy_is_synced_and_exempt_from_the_cap(writers: Writers) -> None:
    """All of it was admitted before; some of it may have been durable."""
    synced: list[str] = []

    def fdatasync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))

    writer = writers.writer(writers.place(files=files_with(fdatasync=fdatasync)), max_bytes=100)
    for _ in range(10):
        writer.append(b"123456\n")
    shutil.rmtree(partitions_in(writers.path)[0])
    (writers.path / "rejected").mkdir()
    (writers.path / "rejected" / "x").write_bytes(b"x" * 100)
    writer.check_names()
    assert lines_in(writers.path) == [b"123456"] * 10
    assert [os.path.dirname(path) for path in synced] == [str(partitions_in(writers.path)[0])]
    writers.clock.advance(2)
    with pytest.raises(SpoolFull):
        writer.append(b"x" * 50 + b"\n")


def test_a_copy_that_fails_is_done_again_into_the_same_partition(writers: Writers) -> None:
    """On a full disk each call would otherwise leave another one; nothing is taken off before all of it is copied."""
    fails = 0

    def fdatasync(_fd: int) -> None:
        nonlocal fails
        fails += 1
        if fails <= 2:
            raise OSError(errno.EIO, "lost")

    def write(fd: int, data: bytes) -> int:
        if full and b"\n" in data:
            raise OSError(errno.ENOSPC, "full")
        return os.write(fd, data)

    full = False
    writer = writers.writer(writers.place(files=files_with(write=write, fdatasync=fdatasync)))
    writer.append(b"0\n")
    segments_in(writers.path)[0].unlink()
    full = True
    for _ in range(3):
        with pytest.raises(SpoolFull):
            writer.check_names()
    assert len(partitions_in(writers.path)) == 2
    full = False
    for _ in range(2):
        with pytest.raises(SpoolError, match="cannot sync"):
            writer.check_names()
    writer.check_names()
    writer.append(b"1\n")
    assert set(lines_in(writers.path)) == {b"0", b"1"}
    assert lines_in(writers.path).count(b"1") == 1


def test_until_all_is_copied_no_call_is_told_that_it_is_kept(writers: Writers) -> None:
    """What is appended to a removed segment goes with its process."""
    broken = True

    def fdatasync(_fd: int) -> None:
        if broken:
            raise OSError(errno.EIO, "lost")

    writer = writers.writer(writers.place(files=files_with(fdatasync=fdatasync)))
    writer.append(b"0\n")
    segments_in(writers.path)[0].unlink()
    writers.clock.advance(1)
    for _ in range(2):
        with pytest.raises(SpoolError, match="cannot sync"):
            writer.append(b"1\n")
    broken = False
    writer.append(b"1\n")
    assert set(lines_in(writers.path)) == {b"0", b"1"}


def test_what_is_removed_again_and_again_is_an_error(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call ends, whatever somebody does to the spool."""
    writer = writers.writer(writers.place(rotation=Rotation(max_bytes=1)))
    writer.append(b"0\n")
    monkeypatch.setattr("kmq.partition.bears_name", lambda _fd, _path: False)
    with pytest.raises(SpoolError, match="removed again and again"):
        writer.append(b"1\n")


def test_a_refuge_that_is_removed_while_it_is_filled_is_replaced(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy begins anew elsewhere; all of it is found in the end."""
    writer = writers.writer()
    writer.append(b"0\n")
    writer.append(b"1\n")
    object.__setattr__(writer.place, "rotation", Rotation(max_bytes=1))
    monkeypatch.setattr("kmq.partition.bears_name", lambda _fd, _path: False)
    with pytest.raises(SpoolError, match="removed again and again"):
        writer.append(b"2\n")
    monkeypatch.undo()
    segments_in(writers.path)[0].unlink()
    writer.append(b"2\n")
    assert {b"0", b"1", b"2"} <= set(lines_in(writers.path))


def test_a_slot_without_a_partition_has_no_name_to_lose(writers: Writers) -> None:
    """Neither before its first call nor after its partition was left."""
    slot = Slot(writers.place(), Cap(Spool(str(writers.path)), 1 << 30), os.getpid())
    slot.check_name()
    slot.append(b"0\n")
    slot._partition.left = True  # type: ignore[union-attr]  # it is there
    segments_in(writers.path)[0].unlink()
    slot.check_name()
    assert lines_in(writers.path) == []
    slot.forget()


def test_in_a_child_a_slot_of_the_parent_takes_nothing(writers: Writers) -> None:
    """Neither a new partition nor one that was just being taken when the fork came."""
    slot = Slot(writers.place(), Cap(Spool(str(writers.path)), 1 << 30), pid=-1)
    with pytest.raises(OSError, match="a fork came in between"):
        slot.append(b"0\n")
    assert list(writers.path.iterdir()) == []
    with pytest.raises(OSError, match="a fork came in between"):
        slot._kept(make(writers.place()))
    assert descriptors_in(writers.path) == 0


def test_a_partition_that_is_left_is_replaced_in_the_same_call(writers: Writers) -> None:
    """Somebody else's file bears the next segment's name: the call goes on elsewhere."""
    writer = writers.writer(writers.place(rotation=Rotation(max_bytes=1)))
    writer.append(b"0\n")
    part = partitions_in(writers.path)[0]
    os.mkfifo(places.segment_path(str(part), 2))
    writer.append(b"1\n")
    assert (part / f"{0:020d}.jsonl").read_bytes() == b"0\n"
    others = [p for p in partitions_in(writers.path) if p != part]
    assert [(p / f"{0:020d}.jsonl").read_bytes() for p in others] == [b"1\n"]


def test_where_no_partition_can_be_taken_the_fault_is_told(writers: Writers) -> None:
    """Rotation fails and so does what is tried instead."""
    blocked = False

    def fsync(fd: int) -> None:
        if blocked:
            raise OSError(errno.EIO, "broken")
        os.fsync(fd)

    writer = writers.writer(
        writers.place(rotation=Rotation(max_bytes=1), files=files_with(fsync=fsync))
    )
    writer.append(b"0\n")
    blocked = True
    with pytest.raises(SpoolError, match="cannot make the partition"):
        writer.append(b"1\n")
    blocked = False
    writer.append(b"2\n")
    assert b"2" in lines_in(writers.path)


def test_a_raw_error_of_the_system_is_told_as_the_spools(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apps catch KmqError, whichever call of the system failed."""
    writer = writers.writer()
    writer.append(b"0\n")
    segment = writer._process.slots[0]._partition.segment  # type: ignore[union-attr]  # it is there
    segment.finished = True
    monkeypatch.setattr(
        type(segment), "real_size", failing(errno.EIO, real=type(segment).real_size)
    )
    with pytest.raises(SpoolError, match="cannot append to") as caught:
        writer.append(b"1\n")
    assert isinstance(caught.value.__cause__, OSError)
    monkeypatch.setattr("kmq.partition.bears_name", failing(errno.EIO, real=os.stat))
    with pytest.raises(SpoolError, match="cannot look at"):
        writer.check_names()


# ---- the cap


def test_a_writer_that_is_refused_seals_its_segment(writers: Writers) -> None:
    """Once, and not in each call: sealed it can go as soon as it is delivered, and the writer goes on."""
    writer = writers.writer(max_bytes=100)
    writer.append(b"x" * 89 + b"\n")
    for _ in range(3):
        with pytest.raises(SpoolFull):
            writer.append(b"y" * 20 + b"\n")
    first, second = segments_in(writers.path)
    assert [os.path.getsize(first), os.path.getsize(second)] == [90, 0]
    os.unlink(first)
    writers.clock.advance(1.0)
    writer.append(b"y" * 20 + b"\n")
    assert lines_in(writers.path) == [b"y" * 20]


def test_a_writer_that_is_refused_copies_what_lost_its_name(writers: Writers) -> None:
    """It looks whether it has a name before it seals, and nobody looks again while the spool stays full."""
    writer = writers.writer(max_bytes=100)
    writer.append(b"x" * 60 + b"\n")
    (writers.path / "rejected").mkdir()
    (writers.path / "rejected" / "x").write_bytes(b"x" * 100)
    segments_in(writers.path)[0].unlink()
    writers.clock.advance(2.0)
    for _ in range(3):
        with pytest.raises(SpoolFull):
            writer.append(b"y" * 60 + b"\n")
    assert lines_in(writers.path) == [b"x" * 60]


def test_a_small_cap_has_small_segments() -> None:
    """What is delivered and still being written to must not fill it; a large cap changes nothing."""
    assert Rotation.within(4 << 30) == Rotation()
    assert Rotation.within(1 << 20).max_bytes == (1 << 20) // 64


def test_the_cap_is_asked_at_adoption_and_rotation(writers: Writers) -> None:
    """Past it the call raises, nothing is written, and no partition is made."""
    (writers.path / "rejected").mkdir()
    (writers.path / "rejected" / "x").write_bytes(b"x" * 100)
    writer = writers.writer(max_bytes=100)
    with pytest.raises(SpoolFull, match="holds 100 of at most 100 bytes"):
        writer.append(b"0\n")
    assert partitions_in(writers.path) == []
    (writers.path / "rejected" / "x").unlink()
    writers.clock.advance(1)
    writer.append(b"0\n")


@pytest.mark.parametrize("depth", [0, 1])
def test_what_others_wrote_counts_at_rotation_and_where_a_partition_is_taken(
    writers: Writers, depth: int
) -> None:
    """Not only a mebibyte later."""
    writer = writers.writer(writers.place(rotation=Rotation(max_bytes=2)), max_bytes=100)
    writer.append(b"0\n")
    (writers.path / "rejected").mkdir()
    (writers.path / "rejected" / "x").write_bytes(b"x" * 100)
    with pytest.raises(SpoolFull):
        writer._process.slot(depth).append(b"1\n")  # depth 0 rotates, depth 1 has no partition yet


# ---- sync


def test_a_durable_append_is_synced_before_it_returns(writers: Writers) -> None:
    """Each alone: one write and one sync a call."""
    done: list[str] = []

    def write(fd: int, data: bytes) -> int:
        done.append("write")
        return os.write(fd, data)

    files = files_with(write=write, fdatasync=lambda _fd: done.append("sync"))
    writer = writers.writer(writers.place(files=files))
    writer.append(b"0\n", durably=True)
    writer.append(b"1\n", durably=True)
    assert done[-4:] == ["write", "sync", "write", "sync"]


def test_a_durable_append_to_an_adopted_partition_syncs_what_leads_to_it(
    writers: Writers,
) -> None:
    """Whoever made it may have died between its rename and the sync of that."""
    dead = writers.writer()
    dead.append(b"0\n")
    writers.die(dead)
    journal = Journal()
    writers.writer(writers.place(files=journal.files)).append(b"1\n", durably=True)
    [partition] = partitions_in(writers.path)
    synced = [target for name, target in journal.entries if name == "fsync"]
    assert synced == [partition.name, writers.path.name]


def test_threads_that_wait_at_the_same_time_share_a_sync(writers: Writers) -> None:
    """Eight threads, and two syncs: the first one's, and one for all who came while it ran."""
    syncs = 0
    release = threading.Event()
    entered = threading.Event()

    def fdatasync(_fd: int) -> None:
        nonlocal syncs
        syncs += 1
        entered.set()
        assert release.wait(20)

    writer = writers.writer(writers.place(files=files_with(fdatasync=fdatasync)))
    threads = [
        threading.Thread(target=writer.append, args=(line,), kwargs={"durably": True})
        for line in numbered(8)
    ]
    threads[0].start()
    assert entered.wait(20)
    for thread in threads[1:]:
        thread.start()
    group = writer._process.slots[0]._group
    wait_until(lambda: len(group._calls) == 8)
    release.set()
    for thread in threads:
        thread.join()
    assert syncs == 2


def test_after_a_failed_sync_every_waiting_thread_writes_the_same_bytes_to_a_new_segment(
    writers: Writers,
) -> None:
    """None of them trusts a later success of the old one."""
    synced: list[str] = []
    failed: list[str] = []
    release = threading.Event()
    entered = threading.Event()

    def fdatasync(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if not entered.is_set():
            entered.set()
            assert release.wait(20)
        elif not failed or path == failed[0]:
            failed.append(path)
            raise OSError(errno.EIO, "lost")
        synced.append(path)

    writer = writers.writer(writers.place(files=files_with(fdatasync=fdatasync)))
    threads = [
        threading.Thread(target=writer.append, args=(line,), kwargs={"durably": True})
        for line in numbered(6)
    ]
    threads[0].start()
    assert entered.wait(20)
    for thread in threads[1:]:
        thread.start()
    group = writer._process.slots[0]._group
    wait_until(lambda: len(group._calls) == 6)
    release.set()
    for thread in threads:
        thread.join()
    first, second = segments_in(writers.path)
    assert failed == [str(first)]
    assert synced == [str(first), str(second)]
    assert sorted(first.read_bytes().split()) == [line.strip() for line in numbered(6)]
    assert sorted(second.read_bytes().split()) == [line.strip() for line in numbered(6)[1:]]


def test_two_failed_syncs_are_an_error(writers: Writers) -> None:
    """The call raises; the next one begins another segment."""
    files = files_with(fdatasync=failing(errno.EIO, times=2, real=os.fdatasync))
    writer = writers.writer(writers.place(files=files))
    with pytest.raises(SpoolError, match="may not survive a power cut") as caught:
        writer.append(b"0\n", durably=True)
    assert caught.value.errno == errno.EIO
    writer.append(b"1\n", durably=True)
    assert lines_in(writers.path) == [b"0", b"0", b"1"]
    assert len(segments_in(writers.path)) == 3


def test_a_rotation_leaves_those_who_wait_for_a_sync_their_segment(writers: Writers) -> None:
    """The sealed segment stays open until its sync is done, and not longer."""
    release = threading.Event()
    entered = threading.Event()
    synced: list[str] = []

    def fdatasync(fd: int) -> None:
        entered.set()
        assert release.wait(20)
        os.fdatasync(fd)
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))

    writer = writers.writer(
        writers.place(rotation=Rotation(max_bytes=1), files=files_with(fdatasync=fdatasync))
    )
    waiting = threading.Thread(target=writer.append, args=(b"0\n",), kwargs={"durably": True})
    waiting.start()
    assert entered.wait(20)
    writer.append(b"1\n")
    release.set()
    waiting.join()
    assert synced == [f"{0:020d}.jsonl"]
    assert lines_in(writers.path) == [b"0", b"1"]
    wait_until(lambda: descriptors_in(writers.path) == 2)


def test_a_durable_append_to_a_lost_name_is_durable_where_it_is_copied_to(writers: Writers) -> None:
    """The segment that is synced is the one that bears a name."""
    writer = writers.writer()
    writer.append(b"0\n", durably=True)
    segments_in(writers.path)[0].unlink()
    writers.clock.advance(1.1)
    writer.append(b"1\n", durably=True)
    assert lines_in(writers.path) == [b"0", b"1"]


# ---- one a process


def test_a_process_has_one_writer_a_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever client comes first decides its cap."""
    monkeypatch.setattr(writer_module, "_shared", {})
    first = for_process(Spool(str(tmp_path)), 1)
    assert for_process(Spool(str(tmp_path)), 2) is first
    assert for_process(Spool(str(tmp_path / "other")), 1) is not first


def test_a_process_without_a_boot_id_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It makes a partition of its own and adopts none."""
    monkeypatch.setattr(writer_module, "_shared", {})
    monkeypatch.setattr(writer_module, "boot_id", lambda: None)
    writer = for_process(Spool(str(tmp_path)), 1 << 30)
    assert for_process(Spool(str(tmp_path)), 1 << 30) is writer
    writer.append(b"0\n")
    writer._process.forget()
    assert [r.getMessage()[:30] for r in caplog.records] == ["the kernel's boot id cannot be"]


def test_a_slot_gives_its_news_outside_its_turn(
    writers: Writers, caplog: pytest.LogCaptureFixture
) -> None:
    """A logging handler may itself record, from another thread, and be waited for."""
    writer = writers.writer()
    writer.append(b"0\n")
    segments_in(writers.path)[0].unlink()

    class Recording(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            thread = threading.Thread(target=writer.append, args=(b"from the handler\n",))
            thread.start()
            thread.join(20)
            assert not thread.is_alive()

    handler = Recording()
    slot_module._log.addHandler(handler)
    writer.check_names()
    slot_module._log.removeHandler(handler)
    assert lines_in(writers.path) == [b"0", b"from the handler"]
    assert len(caplog.records) == 1
