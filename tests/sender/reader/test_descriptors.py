"""More segments than may be open: which one rests, when that is safe, and what is found when it is opened again."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from typing import TYPE_CHECKING

import pytest

from kmq.durable import FILES
from sender.reader import SpoolReader
from sender.reader.descriptors import Descriptors
from tests.support.files import Journal, descriptors_in, failing, files_with
from tests.support.spools import ManualClock, Partition, Reports, lines_of, read_all

if TYPE_CHECKING:
    from pathlib import Path

    from kmq.durable import Files
    from kmq.spool import Spool

FEW = 3
MANY = 12


@pytest.fixture
def many(spool: Spool) -> list[Partition]:
    """Return partitions of one line each, more than may be open."""
    made = [Partition(spool, f"20261123T204501Z-000000{number:02x}") for number in range(MANY)]
    for partition in made:
        partition.append(b"first\n")
    return made


def reader_of(
    spool: Spool, clock: ManualClock, reports: Reports, *, files: Files = FILES
) -> SpoolReader:
    """Return a reader that may have few segments open."""
    return SpoolReader(spool, {}, clock=clock, report=reports, files=files, max_open=lambda: FEW)


def marks_of(partitions: list[Partition]) -> dict[str, int]:
    """Return the ends of these."""
    return {partition.name: partition.end() for partition in partitions}


def test_however_many_there_are_all_are_read_and_few_are_open(
    spool: Spool, many: list[Partition], clock: ManualClock, reports: Reports
) -> None:
    """And what grows at rest is opened again and read on, in order, nothing twice."""
    reader = reader_of(spool, clock, reports)
    assert lines_of(read_all(reader, clock)) == [b"first"] * MANY
    assert descriptors_in(spool.path) == FEW
    for partition in many:
        partition.append(b"second\n")
        partition.rotate()
        partition.append(b"third\n")
    given = read_all(reader, clock, seconds=7)
    assert descriptors_in(spool.path) == FEW
    for partition in many:
        own = [line.raw for line in given if line.position.partition == partition.name]
        assert own == [b"second", b"third"]
    assert all(reader.at_end(partition.name) for partition in many)
    assert reader.sync(marks_of(many)) == marks_of(many)
    assert reports.events == []
    reader.close()
    assert descriptors_in(spool.path) == 0


def test_a_segment_rests_only_after_what_was_read_of_it_is_durable(
    spool: Spool, many: list[Partition], clock: ManualClock, reports: Reports
) -> None:
    """Each that had to give way was synced first, through the descriptor that it was read through."""
    journal = Journal()
    reader = reader_of(spool, clock, reports, files=journal.files)
    read_all(reader, clock)
    assert journal.names() == ["fdatasync"] * (MANY - FEW)
    assert reader.sync(marks_of(many)) == marks_of(many)
    assert journal.names() == ["fdatasync"] * MANY


def test_what_is_durable_rests_without_another_sync(
    spool: Spool, many: list[Partition], clock: ManualClock, reports: Reports
) -> None:
    """A quiet sender with few descriptors costs no disk."""
    journal = Journal()
    reader = reader_of(spool, clock, reports, files=journal.files)
    read_all(reader, clock)
    reader.sync_ahead()
    count = len(journal.names())
    for _ in range(3):
        read_all(reader, clock)
        reader.sync_ahead()
        reader.sync(marks_of(many))
    assert len(journal.names()) == count


def test_a_sync_that_fails_as_a_segment_goes_to_rest_is_remembered(
    spool: Spool, many: list[Partition], clock: ManualClock, reports: Reports
) -> None:
    """The kernel told it then and never again: no checkpoint passes that segment, though later syncs succeed."""
    sync = failing(errno.EIO, times=1, real=os.fdatasync)
    reader = reader_of(spool, clock, reports, files=files_with(fdatasync=sync))
    read_all(reader, clock)
    many[0].append(b"second\n")
    assert lines_of(read_all(reader, clock)) == [b"second"]
    expected = marks_of(many) | {many[0].name: 0}
    assert reader.sync(marks_of(many)) == expected
    assert reader.sync(marks_of(many)) == expected
    assert reports.codes() == ["segment-sync-failed"]


def test_what_is_appended_at_rest_is_synced_ahead(
    spool: Spool, many: list[Partition], clock: ManualClock, reports: Reports
) -> None:
    """A power cut takes about a second from apps that do not sync, whether their segments are open or not."""
    journal = Journal()
    reader = reader_of(spool, clock, reports, files=journal.files)
    read_all(reader, clock)
    reader.sync_ahead()
    del journal.entries[:]
    for partition in many:
        partition.append(b"second\n")
    clock.advance(0.25)
    reader.read(0, 0)
    reader.sync_ahead()
    assert journal.names() == ["fdatasync"] * MANY


def test_what_was_left_behind_rests_too(
    spool: Spool, many: list[Partition], clock: ManualClock, reports: Reports
) -> None:
    """While nothing is delivered, many small segments are read ahead and stay below no mark."""
    for partition in many:
        for _ in range(4):
            partition.rotate()
            partition.append(b"more\n")
    reader = reader_of(spool, clock, reports)
    assert len(read_all(reader, clock)) == 5 * MANY
    assert descriptors_in(spool.path) == FEW
    assert reader.sync(marks_of(many)) == marks_of(many)
    reader.covered(marks_of(many))
    assert reports.events == []


def test_a_torn_tail_is_judged_though_its_segment_rests(
    spool: Spool, many: list[Partition], clock: ManualClock, reports: Reports
) -> None:
    """It is opened again for that."""
    for partition in many:
        partition.append(b"torn")
    given = read_all(reader_of(spool, clock, reports), clock)
    assert sorted(line.fault or "" for line in given) == [""] * MANY + ["torn"] * MANY


def test_a_segment_that_loses_its_name_at_rest_is_told_with_what_it_held(
    spool: Spool, many: list[Partition], clock: ManualClock, reports: Reports
) -> None:
    """What was seen of it and not read is said; one that was read whole goes in silence, as an open one does."""
    reader = reader_of(spool, clock, reports)
    read_all(reader, clock)
    for partition in many[1:]:
        partition.append(b"second\n")
    many[0].append(b"second\n")
    reader._found[many[0].name]._current.end()  # type: ignore[union-attr]  # seen, and gone before it is read
    shutil.rmtree(many[0].path)
    shutil.rmtree(many[1].path)
    read_all(reader, clock, seconds=7)
    gone = [event for event in reports.events if event.code == "segment-gone"]
    assert [(event.partition, event.offset) for event in gone] == [(many[0].name, len("first\n"))]
    assert "7 bytes" in gone[0].detail


def test_a_file_put_in_the_place_of_one_at_rest_is_read(
    spool: Spool, many: list[Partition], clock: ManualClock, reports: Reports
) -> None:
    """As in the place of an open one: told, and read on where the other was left, or from its start."""
    reader = reader_of(spool, clock, reports)
    read_all(reader, clock)
    contents = (b"first\nlonger\n", b"x\n", b"quite another\n")
    for partition, content in zip(many, contents, strict=False):
        beside = f"{partition.path}/beside"
        with open(beside, "wb") as file:
            file.write(content)
        os.rename(beside, partition.segment(0))
    given = read_all(reader, clock, seconds=7)
    assert sorted(lines_of(given)) == [b"longer", b"quite another", b"x"]
    assert reports.codes() == ["segment-replaced"] * 3


def test_the_one_that_was_not_used_for_the_longest_rests(tmp_path: Path) -> None:
    """A busy segment stays open, however many quiet ones are looked at beside it."""
    rested: list[str] = []
    descriptors = Descriptors(lambda: 2)

    class User:
        """One that tells when it rests."""

        def __init__(self, name: str) -> None:
            self.name = name
            (tmp_path / name).touch()
            self.fd = descriptors.open(str(tmp_path / name), self)

        def rest(self) -> bool:
            rested.append(self.name)
            os.close(self.fd)
            descriptors.closed(self)
            return True

    busy = User("busy")
    for number in range(4):
        descriptors.used(busy)
        User(f"quiet-{number}")
    assert rested == ["quiet-0", "quiet-1", "quiet-2"]
    for user in list(descriptors._open):
        user.rest()


@pytest.mark.parametrize("room", [0, 1, 2])
def test_with_none_left_that_is_told_once_for_all_and_tried_again(
    spool: Spool,
    many: list[Partition],
    clock: ManualClock,
    reports: Reports,
    room: int,
) -> None:
    """Not a line a partition, and not a line a second; what the limit is named, and how it is raised."""
    reader = SpoolReader(spool, {}, clock=clock, report=reports)
    assert reader.read(0, 0) == []  # it knows all partitions, and has begun with none
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + room, hard))
    try:
        given = read_all(reader, clock, seconds=12)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert set(reports.codes()) <= {"open-failed"}
    assert len(reports.events) == (room == 0)
    assert all("LimitNOFILE" in event.detail for event in reports.events)
    assert len(given) == (0 if room == 0 else MANY)
    assert len(given) + len(read_all(reader, clock, seconds=7)) == MANY
    del many
