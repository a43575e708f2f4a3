"""Whose turn it is to be read, how much, and when: budgets, fairness, polls."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from sender.reader import SpoolReader
from sender.reader.spool_reader import HUNGRY_BYTES, TURN_BYTES
from tests.support.spools import (
    ManualClock,
    Partition,
    Reports,
    lines_of,
    read_all,
)

if TYPE_CHECKING:
    from kmq.spool import Spool
    from sender.flow import Line

FLOOD = "20261123T204501Z-00000000"
NAMES = [f"20261123T204501Z-0000000{number}" for number in range(1, 6)]


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that the test moves, at the beginning of a tick of every pace."""
    return ManualClock(1000.0)


@pytest.fixture
def reader(spool: Spool, clock: ManualClock) -> SpoolReader:
    """Return a reader without a checkpoint."""
    return SpoolReader(spool, {}, clock=clock, report=Reports())


def _flood(spool: Spool, size: int = 4 * TURN_BYTES) -> Partition:
    partition = Partition(spool, FLOOD)
    partition.append(b"x" * 99 + b"\n" + (b"y" * 99 + b"\n") * (size // 100))
    return partition


def _by_partition(lines: list[Line]) -> Counter[str]:
    return Counter(line.position.partition for line in lines)


def test_no_more_lines_than_asked_for(spool: Spool, reader: SpoolReader) -> None:
    """The rest comes with the next call, where this one stopped."""
    Partition(spool, FLOOD).append(b"1\n2\n3\n4\n")
    assert lines_of(reader.read(3, 1000)) == [b"1", b"2", b"3"]
    assert lines_of(reader.read(3, 1000)) == [b"4"]


def test_bytes_are_bounded_and_a_line_is_never_cut(spool: Spool, reader: SpoolReader) -> None:
    """Whole lines up to the budget, or one line where the first is larger than that."""
    Partition(spool, FLOOD).append(b"123\n567\n" + b"x" * 100 + b"\nlast\n")
    assert lines_of(reader.read(10, 8)) == [b"123", b"567"]
    assert lines_of(reader.read(10, 8)) == [b"x" * 100]
    assert lines_of(reader.read(10, 8)) == [b"last"]


@pytest.mark.parametrize(("lines", "size"), [(0, 1000), (10, 0), (0, 0)])
def test_without_room_nothing_is_read(
    spool: Spool, reader: SpoolReader, lines: int, size: int
) -> None:
    """And it is no reason to call again at once, although more is known to be there."""
    Partition(spool, FLOOD).append(b"1\n")
    assert reader.read(lines, size) == []
    assert reader.next_look_s() == 0.02
    assert lines_of(reader.read(1, 1)) == [b"1"]


def test_partitions_take_turns(spool: Spool, reader: SpoolReader) -> None:
    """One that has much gives 64 KiB, then the others are next, then it again."""
    _flood(spool)
    for name in NAMES:
        Partition(spool, name).append(b"a\nb\n")
    lines = reader.read(10_000, 10 * TURN_BYTES)
    first = len(range(0, TURN_BYTES - 99, 100))
    assert _by_partition(lines[:first]) == {FLOOD: first}
    assert _by_partition(lines[first : first + 10]) == dict.fromkeys(NAMES, 2)
    assert _by_partition(lines[first + 10 :]) == {FLOOD: len(lines) - first - 10}


def test_the_next_call_goes_on_with_the_partition_whose_turn_it_is(
    spool: Spool, reader: SpoolReader
) -> None:
    """With a small budget all get their turn over several calls, none is always first."""
    for name in NAMES:
        Partition(spool, name).append(b"1\n2\n3\n")
    seen = [reader.read(1, 1000)[0].position.partition for _ in range(15)]
    assert seen == NAMES * 3


def test_a_hungry_partition_reads_beyond_the_budget(spool: Spool, reader: SpoolReader) -> None:
    """Where nothing of it is read ahead, the flood of another does not hold it up; the flood itself waits."""
    _flood(spool)
    quiet = Partition(spool, NAMES[0])
    quiet.append(b"1\n" * HUNGRY_BYTES)
    lines = reader.read(10, 1000, lambda name: name != FLOOD)
    assert _by_partition(lines) == {FLOOD: 10, NAMES[0]: HUNGRY_BYTES // 2}
    lines = reader.read(0, 0, lambda name: name == NAMES[0])
    assert _by_partition(lines) == {NAMES[0]: HUNGRY_BYTES // 2}
    assert reader.read(0, 0, lambda _: False) == []


def test_a_partition_that_had_its_turn_is_not_fed_again(spool: Spool, reader: SpoolReader) -> None:
    """Hunger is asked about before the lines of this call were taken in."""
    _flood(spool)
    assert len(reader.read(10, 10_000, lambda _: True)) == 10


def test_a_paused_partition_is_left_out_until_it_is_not(
    spool: Spool, reader: SpoolReader, clock: ManualClock
) -> None:
    """The others go on; it makes nobody look again at once."""
    partition = _flood(spool)
    Partition(spool, NAMES[0]).append(b"a\n")
    assert _by_partition(reader.read(5, 1000)) == {FLOOD: 5}
    reader.pause(FLOOD, paused=True)
    assert lines_of(read_all(reader, clock)) == [b"a"]
    assert reader.read(10, 1000) == []
    assert reader.next_look_s() > 0
    reader.pause(FLOOD, paused=False)
    reader.pause(FLOOD, paused=False)
    assert reader.next_look_s() == 0
    lines = read_all(reader, clock)
    assert lines[0].position.start == 500
    assert lines[-1].position.end == partition.end()


def test_an_active_partition_is_looked_at_every_20_ms_and_a_quiet_one_every_250(
    spool: Spool, clock: ManualClock
) -> None:
    """Active is what had data within the last second."""
    looks: list[float] = []

    def pread(fd: int, size: int, offset: int) -> bytes:
        looks.append(clock.now)
        return os.pread(fd, size, offset)

    Partition(spool, FLOOD).append(b"1\n")
    reader = SpoolReader(spool, {}, clock=clock, report=Reports(), pread=pread)
    for _ in range(3000):
        reader.read(10, 1000)
        clock.advance(0.001)
    within = [at for at in looks if at < 1001]
    after = [at for at in looks if at > 1001.3]
    assert len(within) == pytest.approx(50, abs=3)
    assert len(after) == pytest.approx(7, abs=1)


def test_quiet_partitions_cost_one_look_each_and_share_their_moments(
    spool: Spool, clock: ManualClock
) -> None:
    """However many there are, they wake the sender four times a second and read once each."""
    looks: list[float] = []

    def pread(fd: int, size: int, offset: int) -> bytes:
        looks.append(clock.now)
        return os.pread(fd, size, offset)

    for number in range(100):
        Partition(spool, f"20261123T204501Z-{number:08x}")
    reader = SpoolReader(spool, {}, clock=clock, report=Reports(), pread=pread)
    read_all(reader, clock)
    looks.clear()
    wakes = 0
    end = clock.now + 2
    while clock.now < end:
        assert reader.read(10, 1000) == []
        clock.advance(reader.next_look_s() + 0.0001)
        wakes += 1
    assert wakes <= 10
    assert len(looks) <= wakes * 100
    reader.close()


def test_next_look_is_at_once_while_more_is_known(
    spool: Spool, reader: SpoolReader, clock: ManualClock
) -> None:
    """Then at the pace of active partitions, then at that of quiet ones."""
    assert reader.next_look_s() == 0.25
    Partition(spool, FLOOD).append(b"1\n2\n")
    reader.read(1, 1000)
    assert reader.next_look_s() == 0
    reader.read(1, 1000)
    assert 0 < reader.next_look_s() <= 0.02
    clock.advance(1.5)
    assert reader.next_look_s() == 0
    reader.read(1, 1000)
    assert 0.02 < reader.next_look_s() <= 0.25


def test_a_monstrous_line_does_not_hold_up_a_call_or_the_others(
    spool: Spool, reader: SpoolReader, clock: ManualClock
) -> None:
    """It is passed piece by piece, over several calls, while the others are read."""
    partition = Partition(spool, FLOOD)
    os.truncate(partition.segment(), 1 << 30)  # a hole: one line of a gigabyte
    partition.append(b"\nafter\n")
    Partition(spool, NAMES[0]).append(b"a\n")
    assert lines_of(reader.read(10, 1000)) == [b"a"]
    assert reader.next_look_s() == 0
    lines = read_all(reader, clock, seconds=0.1)
    assert [line.fault for line in lines] == ["too-long", None]
    assert lines[0].position.end == (1 << 30) + 1


def test_a_forgotten_partition_is_not_read_any_more(
    spool: Spool, reader: SpoolReader, clock: ManualClock
) -> None:
    """It was removed; nothing of it is kept."""
    partition = Partition(spool, FLOOD)
    partition.append(b"1\n")
    Partition(spool, NAMES[0]).append(b"2\n")
    read_all(reader, clock)
    os.rename(partition.path, f"{spool.path}/.gone-{FLOOD}")
    reader.forget(FLOOD)
    reader.forget(FLOOD)
    assert read_all(reader, clock) == []
    assert reader.positions() == {NAMES[0]: 2}
    assert reader.ends() == {NAMES[0]: 2}
    assert reader.at_end(FLOOD)


def test_a_crowd_of_active_partitions_is_looked_at_5000_times_a_second_in_all(
    spool: Spool, clock: ManualClock
) -> None:
    """A hundred are looked at every 20 ms, more of them so much more seldom, and each every 250 ms at least."""
    looks = 0

    def pread(fd: int, size: int, offset: int) -> bytes:
        nonlocal looks
        looks += size == 1
        return os.pread(fd, size, offset)

    for number in range(300):
        Partition(spool, f"20261123T204501Z-{number:08x}").append(b"1\n")
    reader = SpoolReader(spool, {}, clock=clock, report=Reports(), pread=pread)
    assert len(reader.read(1_000, 1 << 20)) == 300
    for _ in range(600):
        reader.read(10, 1000)
        clock.advance(0.001)
    assert looks == 10 * 300
    reader.close()


def test_what_the_hungry_get_beyond_the_budget_is_bounded_in_all(
    spool: Spool, reader: SpoolReader
) -> None:
    """The more there are the less each gets, and a hundred at a time."""
    for number in range(128):
        Partition(spool, f"20261123T204501Z-{number:08x}").append(b"1\n" * HUNGRY_BYTES)
    lines = reader.read(0, 0, lambda _: True)
    assert set(_by_partition(lines).values()) == {HUNGRY_BYTES // 4}
    assert len(lines) == 100 * HUNGRY_BYTES // 4
    reader.close()


def test_a_segment_begun_while_its_partition_is_quiet_is_found_within_a_second(
    spool: Spool, reader: SpoolReader, clock: ManualClock
) -> None:
    """As after an hour without a line; an append to the segment that is open is found within a quarter of one."""
    partition = Partition(spool, FLOOD)
    partition.append(b"1\n")
    read_all(reader, clock, seconds=3)
    partition.append(b"2\n")
    assert lines_of(read_all(reader, clock, seconds=0.26)) == [b"2"]
    read_all(reader, clock, seconds=3)
    partition.rotate()
    partition.append(b"3\n")
    assert lines_of(read_all(reader, clock, seconds=1.3)) == [b"3"]
