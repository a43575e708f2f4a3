"""What is synced before a checkpoint, through which descriptor, and what a failure means."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from kmq.durable import Files
from sender.flow import Event
from sender.reader import SpoolReader
from tests.support.spools import ManualClock, Partition, Reports, read_all

if TYPE_CHECKING:
    from kmq.spool import Spool

NAME = "20261123T204501Z-4f2a91c3"
OTHER = "20261123T204501Z-90be12aa"


class Syncs(Files):
    """Counts what is synced, by the segment's start, and fails where it is told to."""

    def __init__(self) -> None:
        self.synced: list[str] = []
        self.failing: set[str] = set()
        self.fdatasync = self._fdatasync  # type: ignore[assignment] # an instance's own in the place of a static one

    def _fdatasync(self, fd: int) -> None:
        name = os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)")
        start = str(int(os.path.basename(name).removesuffix(".jsonl")))
        self.synced.append(start)
        if start in self.failing:
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(fd)


@pytest.fixture
def files() -> Syncs:
    """Operations whose syncs are counted."""
    return Syncs()


@pytest.fixture
def partition(spool: Spool) -> Partition:
    """Return a partition of three segments, at 0, 8 and 16, of two lines each."""
    partition = Partition(spool, NAME)
    for number in range(3):
        if number:
            partition.rotate()
        partition.append(b"one\ntwo\n")
    return partition


@pytest.fixture
def reader(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports, files: Syncs
) -> SpoolReader:
    """Return a reader that has read all of `partition`."""
    del partition  # made before it is read
    reader = SpoolReader(spool, {}, clock=clock, report=reports, files=files)
    assert len(read_all(reader, clock)) == 6
    return reader


def test_every_segment_below_the_mark_is_synced(reader: SpoolReader, files: Syncs) -> None:
    """One that begins at the mark is not."""
    assert reader.sync({NAME: 16}) == {NAME: 16}
    assert files.synced == ["0", "8"]


def test_the_same_bytes_are_synced_once(
    reader: SpoolReader, partition: Partition, clock: ManualClock, files: Syncs
) -> None:
    """A mark within what was synced costs nothing; one beyond it does."""
    reader.sync({NAME: 20})
    reader.sync({NAME: 20})
    reader.sync({NAME: 24})
    assert files.synced == ["0", "8", "16"]
    partition.append(b"three\n")
    read_all(reader, clock)
    reader.sync({NAME: 24})
    assert files.synced == ["0", "8", "16"]
    reader.sync({NAME: 30})
    assert files.synced == ["0", "8", "16", "16"]


def test_a_sync_covers_what_stood_there_before_it(
    reader: SpoolReader, partition: Partition, clock: ManualClock, files: Syncs
) -> None:
    """What is appended while the kernel is at it may not be among what it wrote."""
    plain = files.fdatasync

    def beside_a_writer(fd: int) -> None:
        plain(fd)
        partition.append(b"three\n")

    files.fdatasync = beside_a_writer  # type: ignore[assignment] # an instance's own in the place of a static one
    assert reader.sync({NAME: 24}) == {NAME: 24}
    files.fdatasync = plain
    assert len(read_all(reader, clock)) == 3
    assert reader.sync({NAME: 42}) == {NAME: 42}
    assert files.synced == ["0", "8", "16", "16"]


def test_a_failed_sync_lowers_the_mark_and_is_remembered(
    reader: SpoolReader, reports: Reports, files: Syncs
) -> None:
    """A later success would prove nothing: no mark lies within that segment as long as this process lives."""
    files.failing = {"8"}
    assert reader.sync({NAME: 12}) == {NAME: 8}
    files.failing = set()
    assert reader.sync({NAME: 15}) == {NAME: 8}
    assert files.synced == ["0", "8"]
    assert reports.events == [Event("segment-sync-failed", NAME, 8)]


@pytest.mark.parametrize("mark", [16, 20, 24])
def test_a_mark_beyond_a_segment_rests_on_none_of_its_bytes(
    reader: SpoolReader, reports: Reports, files: Syncs, mark: int
) -> None:
    """A sync that failed is said, and does not hold for good what was delivered long ago: all the rest is synced."""
    files.failing = {"8"}
    assert reader.sync({NAME: 12}) == {NAME: 8}
    assert reader.sync({NAME: mark}) == {NAME: mark}
    assert files.synced == ["0", "8", "16"][: 2 + (mark > 16)]
    assert reports.events == [Event("segment-sync-failed", NAME, 8)]


def test_a_mark_that_was_good_stays_good(reader: SpoolReader, files: Syncs) -> None:
    """What was synced before a failure is durable; the mark goes no lower than that."""
    assert reader.sync({NAME: 12}) == {NAME: 12}
    files.failing = {"16"}
    assert reader.sync({NAME: 24}) == {NAME: 16}
    assert reader.sync({NAME: 4}) == {NAME: 4}
    assert reader.sync({NAME: 20}) == {NAME: 16}


def test_a_failure_after_growth_keeps_what_was_durable(
    reader: SpoolReader, partition: Partition, clock: ManualClock, files: Syncs
) -> None:
    """The mark stays where the last good sync of that segment allowed it."""
    assert reader.sync({NAME: 20}) == {NAME: 20}
    partition.append(b"three\n")
    read_all(reader, clock)
    files.failing = {"16"}
    assert reader.sync({NAME: 30}) == {NAME: 20}
    assert reader.sync({NAME: 24}) == {NAME: 24}


@pytest.mark.usefixtures("partition")
def test_other_partitions_are_not_concerned(spool: Spool, clock: ManualClock, files: Syncs) -> None:
    """A failure holds up the checkpoint of its own partition only; marks of unknown ones pass."""
    other = Partition(spool, OTHER)
    other.append(b"a\n" * 50)
    reader = SpoolReader(spool, {}, clock=clock, report=Reports(), files=files)
    read_all(reader, clock)
    files.failing = {"8"}
    unknown = "20261123T204501Z-ffffffff"
    marks = {NAME: 12, OTHER: 100, unknown: 7}
    assert reader.sync(marks) == {NAME: 8, OTHER: 100, unknown: 7}


@pytest.mark.usefixtures("partition")
def test_what_the_checkpoint_covered_is_not_synced_again(
    spool: Spool, clock: ManualClock, files: Syncs
) -> None:
    """Another sender synced it before it wrote that offset."""
    reader = SpoolReader(spool, {NAME: 12}, clock=clock, report=Reports(), files=files)
    read_all(reader, clock)
    assert reader.sync({NAME: 12}) == {NAME: 12}
    assert files.synced == []
    assert reader.sync({NAME: 16}) == {NAME: 16}
    assert files.synced == ["8"]


@pytest.mark.usefixtures("partition")
def test_an_offset_that_was_not_believed_vouches_for_nothing(
    spool: Spool, clock: ManualClock, files: Syncs
) -> None:
    """Where it does not fit, all that is read again is synced again."""
    reader = SpoolReader(spool, {NAME: 3}, clock=clock, report=Reports(), files=files)
    read_all(reader, clock)
    assert reader.sync({NAME: 4}) == {NAME: 4}
    assert files.synced == ["0"]


@pytest.mark.usefixtures("partition")
def test_where_a_sync_fails_an_offset_that_was_not_believed_is_not_written_again(
    spool: Spool, clock: ManualClock, files: Syncs
) -> None:
    """It was never a good mark to fall back to."""
    reader = SpoolReader(spool, {NAME: 3}, clock=clock, report=Reports(), files=files)
    read_all(reader, clock)
    files.failing = {"0"}
    assert reader.sync({NAME: 4}) == {NAME: 0}


def test_one_descriptor_is_kept_from_first_read_to_checkpoint(
    reader: SpoolReader, partition: Partition, files: Syncs
) -> None:
    """Closed is what lies whole below a durable checkpoint; never the segment that is being read."""
    assert _open_starts(partition) == [0, 8, 16]
    os.unlink(partition.segment(0))  # the descriptor, not the name, is what is synced
    assert reader.sync({NAME: 15}) == {NAME: 15}
    assert files.synced == ["0", "8"]
    reader.covered({NAME: 15, OTHER: 3})
    assert _open_starts(partition) == [8, 16]
    reader.covered({NAME: 24})
    assert _open_starts(partition) == [16]
    assert reader._found[NAME]._held._left == []


def test_what_overlaps_is_synced_with_the_segment_it_stands_in(
    spool: Spool, clock: ManualClock, files: Syncs
) -> None:
    """Lines that lie at the next one's start are durable before a mark passes them."""
    partition = Partition(spool, OTHER)
    partition.append(b"one\ntwo\nthree\n")
    partition.begin(6)
    partition.append(b"four\n")
    reader = SpoolReader(spool, {}, clock=clock, report=Reports(), files=files)
    assert len(read_all(reader, clock)) == 4
    assert reader.sync({OTHER: 11}) == {OTHER: 11}
    assert files.synced == ["0", "6"]


def test_what_lies_at_the_next_ones_start_is_synced_beyond_it(
    spool: Spool, clock: ManualClock, files: Syncs
) -> None:
    """That the bytes below the mark are durable says nothing about lines that stand behind them and lie at it."""
    partition = Partition(spool, OTHER)
    partition.append(b"one\ntwo\n")
    reader = SpoolReader(spool, {}, clock=clock, report=Reports(), files=files)
    read_all(reader, clock)
    assert reader.sync({OTHER: 8}) == {OTHER: 8}
    partition.append(b"three\n")
    partition.begin(6)
    assert [line.position.start for line in read_all(reader, clock)] == [8]
    assert reader.sync({OTHER: 8}) == {OTHER: 8}
    assert files.synced == ["0", "0"]


def _open_starts(partition: Partition) -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{name}").removesuffix(" (deleted)")
        except FileNotFoundError:
            continue  # the descriptor of this listing
        if os.path.dirname(path) == partition.path:
            found.append(int(os.path.basename(path).removesuffix(".jsonl")))
    return sorted(found)
