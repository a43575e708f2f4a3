"""What is read of a partition: whole lines, once, at their places; and when a segment or a torn tail is left behind."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from kmq import locks
from kmq.command import MAX_LINE
from kmq.spool import segment_starts, writer_lock
from sender.flow import Line, Position
from sender.reader import SpoolReader
from tests.support.spools import (
    ManualClock,
    Partition,
    Reports,
    lines_of,
    read_all,
)
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from kmq.spool import Spool

NAME = "20261123T204501Z-4f2a91c3"


def test_whole_lines_come_with_their_places(partition: Partition, reader: SpoolReader) -> None:
    """A line is given without its newline, at the bytes that it and its newline take."""
    partition.append(b"one\n\nthree\n")
    assert reader.read(10, 1000) == [
        Line(Position(NAME, 0, 4), b"one"),
        Line(Position(NAME, 4, 5), b""),
        Line(Position(NAME, 5, 11), b"three"),
    ]
    assert reader.positions() == {NAME: 11}


def test_only_a_newline_ends_a_line(partition: Partition, reader: SpoolReader) -> None:
    """Returns, zeros and U+2028 stand inside a line as any other byte."""
    text = b"a\rb\x0b\0\xe2\x80\xa8\xff"
    partition.append(text + b"\n")
    assert lines_of(reader.read(10, 1000)) == [text]


def test_an_unfinished_line_waits_for_its_end(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """What stands behind the last newline is read again from the line's start once it is whole."""
    partition.hold()
    partition.append(b"one\ntw")
    assert lines_of(read_all(reader, clock)) == [b"one"]
    assert reader.unfinished(NAME) == 2
    partition.append(b"o\n")
    assert read_all(reader, clock) == [Line(Position(NAME, 4, 8), b"two")]
    assert reader.unfinished(NAME) == 0


def test_a_line_of_full_length_is_given_whole(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """64 KiB with the newline is a line like any other."""
    partition.append(b"x" * (MAX_LINE - 1) + b"\nafter\n")
    assert lines_of(read_all(reader, clock)) == [b"x" * (MAX_LINE - 1), b"after"]


@pytest.mark.parametrize("length", [MAX_LINE, MAX_LINE + 1, 131_072, 262_144, 327_680, 10_000_000])
def test_a_longer_line_is_given_by_its_head_and_passed(
    partition: Partition, reader: SpoolReader, clock: ManualClock, length: int
) -> None:
    """Its place is that of the whole line, and its neighbours come as they are."""
    partition.append(b"before\n" + b"x" * length + b"\nafter\n")
    before, long, after = read_all(reader, clock)
    assert (before.raw, after.raw) == (b"before", b"after")
    assert long == Line(Position(NAME, 7, 7 + length + 1), b"x" * 1024, "too-long")
    assert after.position.start == long.position.end


@pytest.mark.parametrize("length", [MAX_LINE, 131_072, 10_000_000])
def test_a_long_line_that_is_torn_is_too_long_as_well(
    partition: Partition, reader: SpoolReader, clock: ManualClock, length: int
) -> None:
    """A monstrous tail does not stop the segment behind it."""
    partition.append(b"x" * length)
    partition.rotate()
    partition.append(b"after\n")
    long, after = read_all(reader, clock)
    assert long == Line(Position(NAME, 0, length), b"x" * 1024, "too-long")
    assert after == Line(Position(NAME, length, length + 6), b"after")


def test_memory_is_bounded_whatever_a_line_is(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """No read asks for more than 256 KiB, also where a line has 10 MB."""
    sizes = []

    def pread(fd: int, size: int, offset: int) -> bytes:
        sizes.append(size)
        return os.pread(fd, size, offset)

    partition.append(b"x" * 10_000_000 + b"\n" + b"short\n" * 100_000)
    reader = SpoolReader(spool, {}, clock=clock, report=reports, pread=pread)
    assert len(read_all(reader, clock)) == 100_001
    assert max(sizes) <= 256 * 1024


def test_segments_follow_each_other(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """Offsets go on over segments, empty ones among them."""
    partition.append(b"one\n")
    partition.rotate()
    partition.append(b"two\n")
    partition.begin(partition.end())
    assert [line.position.start for line in read_all(reader, clock)] == [0, 4]
    partition.append(b"three\n")
    assert read_all(reader, clock) == [Line(Position(NAME, 8, 14), b"three")]


def test_what_is_appended_before_a_rotation_is_not_skipped(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """A successor that appears after the read to the end does not let the reader leave: more may have come between."""
    partition.append(b"one\n")
    done: list[bool] = []

    def pread(fd: int, size: int, offset: int) -> bytes:
        data = os.pread(fd, size, offset)
        if not data and not done:  # the reader has just met the end; its writer appends and rotates
            done.append(True)
            partition.append(b"two\n")
            partition.rotate()
            partition.append(b"three\n")
        return data

    reader = SpoolReader(spool, {}, clock=clock, report=reports, pread=pread)
    assert lines_of(read_all(reader, clock)) == [b"one", b"two", b"three"]
    assert done


def test_a_segment_that_grows_at_the_last_moment_is_not_left(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """Its end is looked at once more before it is left, whatever a program does that breaks the writer's rules."""
    partition.append(b"one\n")
    partition.rotate()
    partition.append(b"three\n")
    done: list[bool] = []

    def pread(fd: int, size: int, offset: int) -> bytes:
        data = os.pread(fd, size, offset)
        if not data and not done:
            done.append(True)
            with open(partition.segment(0), "ab") as file:
                file.write(b"two\n")
        return data

    reader = SpoolReader(spool, {}, clock=clock, report=reports, pread=pread)
    assert lines_of(read_all(reader, clock)) == [b"one", b"two", b"three"]
    assert reports.codes() == ["overlap"]


def test_a_listing_that_missed_a_segment_is_no_gap(
    partition: Partition,
    reader: SpoolReader,
    clock: ManualClock,
    reports: Reports,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A directory is not read at one moment: of two segments made meanwhile, a listing can hold the later one alone."""
    partition.append(b"one\n")
    assert lines_of(reader.read(10, 1000)) == [b"one"]
    partition.rotate()
    partition.append(b"two\n")
    partition.rotate()
    partition.append(b"three\n")
    listings = iter([[0, 8]])
    monkeypatch.setattr(
        "sender.reader.partition_files.segment_starts",
        lambda path: next(listings, None) or segment_starts(path),
    )
    assert lines_of(read_all(reader, clock)) == [b"two", b"three"]
    assert reports.events == []


def test_beside_a_writer_every_line_comes_once_and_in_order(spool: Spool, reports: Reports) -> None:
    """A real writer that rotates all the time, and a reader at its heels."""
    partition = Partition(spool, NAME)
    partition.hold()
    count = 20_000

    def write() -> None:
        for number in range(count):
            partition.append(b"%d\n" % number)
            if number % 5 == 4:
                partition.rotate()
        partition.let_go()

    reader = SpoolReader(spool, {}, report=reports)
    thread = threading.Thread(target=write)
    thread.start()
    lines: list[bytes] = []

    def all_read() -> bool:
        lines.extend(lines_of(reader.read(1000, 1 << 20)))
        reader.covered(reader.positions())
        return len(lines) >= count

    wait_until(all_read, timeout_s=60)
    thread.join()
    reader.close()
    assert lines == [b"%d" % number for number in range(count)]
    assert reports.events == []


def test_a_bad_block_is_not_taken_for_the_end(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """A short read before a disk error leaves neither line nor segment behind: reading goes on when the disk does."""
    bad = [True]

    def pread(fd: int, size: int, offset: int) -> bytes:
        if bad[0] and offset + size > 6:
            if offset >= 6:
                raise OSError(5, "Input/output error")
            size = 6 - offset
        return os.pread(fd, size, offset)

    partition.append(b"one\ntwo\nthree\n")
    partition.rotate()
    partition.append(b"four\n")
    reader = SpoolReader(spool, {}, clock=clock, report=reports, pread=pread)
    assert lines_of(read_all(reader, clock, seconds=11)) == [b"one"]
    assert reports.codes() == ["read-failed"]
    assert not reader.at_end(NAME)
    bad[0] = False
    assert lines_of(read_all(reader, clock, seconds=6)) == [b"two", b"three", b"four"]


def test_a_tail_before_a_successor_is_torn(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """Nobody goes back to a segment once the next one exists, whoever holds the partition."""
    partition.hold()
    partition.append(b"one\ntw")
    partition.rotate()
    partition.append(b"three\n")
    assert read_all(reader, clock) == [
        Line(Position(NAME, 0, 4), b"one"),
        Line(Position(NAME, 4, 6), b"tw", "torn"),
        Line(Position(NAME, 6, 12), b"three"),
    ]


def test_the_last_tail_is_torn_when_its_writer_is_dead(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """As long as the writer lives nothing is judged; after its death the tail is torn, and the lock is free again."""
    partition.hold()
    partition.append(b"one\ntw")
    assert lines_of(read_all(reader, clock)) == [b"one"]
    partition.let_go()
    assert read_all(reader, clock) == [Line(Position(NAME, 4, 6), b"tw", "torn")]
    assert reader.positions() == {NAME: partition.end()}
    partition.hold()


def test_a_tail_is_not_judged_before_a_quiet_poll(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """Bytes that have just come are given a quarter of a second, also where nobody seems to hold the partition."""
    partition.append(b"a")
    assert reader.read(10, 1000) == []
    clock.advance(0.2)
    assert reader.read(10, 1000) == []
    partition.append(b"b")
    clock.advance(0.2)
    assert reader.read(10, 1000) == []
    assert lines_of(read_all(reader, clock)) == [b"ab"]


@pytest.mark.parametrize("lock", ["missing", "link", "directory"])
def test_a_partition_without_a_lock_file_is_held_by_nobody(
    partition: Partition, reader: SpoolReader, clock: ManualClock, lock: str
) -> None:
    """Where `writer.lock` is missing or no regular file, nobody can hold it, and the tail is torn."""
    path = writer_lock(partition.path)
    os.unlink(path)
    if lock == "link":
        os.symlink("/dev/null", path)
    elif lock == "directory":
        os.mkdir(path)
    partition.append(b"tw")
    assert [line.fault for line in read_all(reader, clock)] == ["torn"]


def test_a_line_that_ends_before_the_lock_is_taken_is_whole(
    partition: Partition, reader: SpoolReader, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is read again under the lock: a writer may have finished its line and died since the last look."""
    real = locks.take

    def take(path: str) -> int | locks.Denied:
        if partition.end() == 2:
            partition.append(b"o\nmore\n")
        return real(path)

    monkeypatch.setattr(locks, "take", take)
    partition.append(b"tw")
    assert read_all(reader, clock) == [
        Line(Position(NAME, 0, 4), b"two"),
        Line(Position(NAME, 4, 9), b"more"),
    ]


def test_a_successor_that_came_before_the_lock_was_taken_is_seen(
    partition: Partition, reader: SpoolReader, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The segments are listed again under the lock, even where the directory's time tells nothing."""
    real = locks.take
    changed = os.stat(partition.path).st_mtime_ns

    def take(path: str) -> int | locks.Denied:
        if partition.start == 0:
            partition.append(b"o\n")
            partition.rotate()
            partition.append(b"three\n")
            os.utime(partition.path, ns=(changed, changed))
        return real(path)

    monkeypatch.setattr(locks, "take", take)
    partition.append(b"tw")
    assert read_all(reader, clock) == [
        Line(Position(NAME, 0, 4), b"two"),
        Line(Position(NAME, 4, 10), b"three"),
    ]


def test_a_torn_tail_is_not_given_again_to_who_adopts(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """After the judgement reading stands at the end, where the adopter's next segment starts."""
    partition.append(b"tw")
    assert [line.fault for line in read_all(reader, clock)] == ["torn"]
    partition.hold()
    partition.rotate()
    partition.append(b"three\n")
    assert read_all(reader, clock) == [Line(Position(NAME, 2, 8), b"three")]


def test_a_lock_that_cannot_be_tried_is_reported_and_judges_nothing(
    partition: Partition,
    reader: SpoolReader,
    clock: ManualClock,
    reports: Reports,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without knowing who holds the partition its tail stays as it is."""

    def take(path: str) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(locks, "take", take)
    partition.append(b"one\ntw")
    assert lines_of(read_all(reader, clock)) == [b"one"]
    assert reports.codes() == ["lock-failed"]


def test_partitions_are_found_as_they_appear(
    spool: Spool, reader: SpoolReader, clock: ManualClock
) -> None:
    """A new partition is read without a restart; names of another form are nobody's."""
    assert reader.read(10, 1000) == []
    os.mkdir(os.path.join(spool.path, ".new-20261123T204501Z-4f2a91c3"))
    os.mkdir(os.path.join(spool.path, "rejected"))
    os.symlink("/tmp", os.path.join(spool.path, "20261123T204501Z-00000000"))  # noqa: S108 - never followed
    Partition(spool, NAME).append(b"one\n")
    clock.advance(6)
    assert lines_of(read_all(reader, clock)) == [b"one"]
    assert list(reader.positions()) == [NAME]


def test_a_change_that_the_directory_time_hides_is_found_within_five_seconds(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """File systems keep time coarsely: everything is listed again every five seconds."""
    partition.append(b"one\n")
    assert lines_of(read_all(reader, clock, seconds=0.1)) == [b"one"]
    changed = os.stat(partition.path).st_mtime_ns
    partition.rotate()
    partition.append(b"two\n")
    os.utime(partition.path, ns=(changed, changed))
    assert lines_of(read_all(reader, clock, seconds=5.3)) == [b"two"]


def test_at_end_and_ends_tell_how_far_there_is_to_go(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """`ends` is what the file system has, as of the last look where all was read; `at_end` what that look left."""
    partition.append(b"one\ntwo\n")
    assert not reader.at_end(NAME) or reader.positions() == {}
    assert reader.ends() == {NAME: 8}
    assert reader.positions() == {}
    reader.read(1, 1000)
    assert not reader.at_end(NAME)
    read_all(reader, clock)
    assert reader.at_end(NAME)
    partition.rotate()
    partition.append(b"three\n")
    clock.advance(1)
    reader.read(0, 0)
    assert reader.ends() == {NAME: 14}
    assert reader.at_end("20261123T204501Z-ffffffff")
    assert reader.unfinished("20261123T204501Z-ffffffff") == 0


def test_a_partition_without_segments_is_at_its_end(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """Nothing is to come from it, until a segment appears."""
    os.unlink(partition.segment())
    assert read_all(reader, clock) == []
    assert reader.at_end(NAME)
    assert reader.ends() == {NAME: 0}
    assert reader.positions() == {}
    partition.begin(0)
    partition.append(b"one\n")
    assert lines_of(read_all(reader, clock)) == [b"one"]


def test_reading_goes_on_from_the_checkpoint(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """What lies below the offset was delivered and is not read again."""
    partition.append(b"one\ntwo\n")
    reader = SpoolReader(spool, {NAME: 4}, clock=clock, report=reports)
    assert read_all(reader, clock) == [Line(Position(NAME, 4, 8), b"two")]
    assert reports.events == []


def test_closing_lets_go_of_every_descriptor(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """After `close` no segment is open any more."""
    for _ in range(3):
        partition.append(b"one\n")
        partition.rotate()
    read_all(reader, clock)
    assert _open_below(partition.path) == 4
    reader.close()
    assert _open_below(partition.path) == 0


def _open_below(path: str) -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith(path)
        except FileNotFoundError:
            continue  # the descriptor of this listing
    return found
