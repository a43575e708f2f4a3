"""What the reader makes of a damaged or hostile partition: facts are reported, and no intact line is lost for them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq import locks
from kmq.spool import Spool, segment_path
from sender.flow import Event, Line, Position
from sender.reader import SpoolReader
from tests.support.spools import (
    ManualClock,
    Partition,
    Reports,
    lines_of,
    make_spool,
    read_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "20261123T204501Z-4f2a91c3"
OTHER = "20261123T204501Z-90be12aa"


def _reader(spool: Spool, offset: int, clock: ManualClock, reports: Reports) -> SpoolReader:
    return SpoolReader(spool, {NAME: offset}, clock=clock, report=reports)


def test_an_offset_within_a_line_is_not_believed(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """The partition is read from its oldest segment, and that is said."""
    partition.append(b"one\ntwo\n")
    reader = _reader(spool, 5, clock, reports)
    assert lines_of(read_all(reader, clock)) == [b"one", b"two"]
    assert reports.events == [Event("offset-does-not-fit", NAME, 5, "read from 0 on")]
    assert reader.positions() == {NAME: 8}


@pytest.mark.parametrize("offset", [9, 1 << 61])
def test_an_offset_beyond_the_end_is_not_believed(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports, offset: int
) -> None:
    """Taking the end instead would skip what is appended below such an offset."""
    partition.append(b"one\ntwo\n")
    assert lines_of(read_all(_reader(spool, offset, clock, reports), clock)) == [b"one", b"two"]
    assert reports.codes() == ["offset-does-not-fit"]


def test_the_end_of_a_torn_tail_that_was_rejected_is_believed(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """Nothing is given a second time, neither with nor without a successor."""
    partition.append(b"one\ntw")
    assert read_all(_reader(spool, 6, clock, reports), clock) == []
    partition.rotate()
    partition.append(b"three\n")
    assert lines_of(read_all(_reader(spool, 6, clock, reports), clock)) == [b"three"]
    assert reports.events == []


def test_the_end_of_an_unfinished_line_is_not_believed_while_it_is_written(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """Its writer lives: what it writes behind that would be taken for a line of its own."""
    partition.append(b"one\ntw")
    partition.hold()
    reader = _reader(spool, 6, clock, reports)
    found = read_all(reader, clock)
    partition.append(b"o\n")
    found += read_all(reader, clock)
    partition.let_go()
    assert lines_of(found) == [b"one", b"two"]
    assert reports.codes() == ["offset-does-not-fit"]


def test_a_missing_segment_is_passed(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """What it held is gone; the ones around it are read."""
    partition.append(b"one\n")
    partition.rotate()
    partition.append(b"two\n")
    partition.rotate()
    partition.append(b"three\n")
    os.unlink(partition.segment(4))
    reader = SpoolReader(spool, {}, clock=clock, report=reports)
    assert lines_of(read_all(reader, clock)) == [b"one", b"three"]
    assert reports.events == [Event("gap", NAME, 4, "4 bytes are missing")]


def test_segments_that_retention_removed_are_no_gap(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """What the checkpoint covers may be gone, with and without an entry in it."""
    partition.append(b"one\n")
    partition.rotate()
    partition.append(b"two\n")
    os.unlink(partition.segment(0))
    assert lines_of(read_all(_reader(spool, 4, clock, reports), clock)) == [b"two"]
    reader = SpoolReader(spool, {}, clock=clock, report=reports)
    assert lines_of(read_all(reader, clock)) == [b"two"]
    assert reports.events == []


def test_bytes_missing_below_the_oldest_segment_are_a_gap(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """A checkpoint that ends before the oldest segment says that something undelivered is gone."""
    partition.append(b"one\n")
    partition.rotate()
    partition.append(b"two\n")
    os.unlink(partition.segment(0))
    assert lines_of(read_all(_reader(spool, 0, clock, reports), clock)) == [b"two"]
    assert reports.events == [Event("gap", NAME, 0, "read from 4 on")]


def test_a_listed_segment_that_is_gone_is_passed(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """Removed between the listing and the opening, it is reported once."""
    partition.append(b"one\n")
    reader.read(1, 1000)
    partition.rotate()
    partition.append(b"two\n")
    partition.rotate()
    partition.append(b"three\n")
    clock.advance(1)
    reader.read(0, 0)
    reader._found[NAME]._files._listing.look(clock.now, again=True)
    os.unlink(partition.segment(4))
    changed = os.stat(partition.path).st_mtime_ns
    reader._found[NAME]._files._listing._changed_ns = changed
    assert lines_of(read_all(reader, clock)) == [b"three"]
    assert reports.codes() == ["segment-gone", "gap"]


def test_segments_that_vanish_while_reading_begins_are_passed(
    partition: Partition,
    reader: SpoolReader,
    clock: ManualClock,
    reports: Reports,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They were listed and are gone when their size is asked for."""
    partition.append(b"one\n")
    monkeypatch.setattr("sender.reader.partition_files.segment_starts", lambda _path: [0, 4])
    assert lines_of(read_all(reader, clock)) == [b"one"]
    assert reports.events == [Event("segment-gone", NAME, 4)]


def test_a_segment_removed_while_it_is_read_is_read_to_its_end(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """The open descriptor still has its lines, and the next segment follows as if nothing had been."""
    partition.append(b"one\ntwo\n")
    assert lines_of(reader.read(1, 1000)) == [b"one"]
    os.unlink(partition.segment())
    partition.begin(8)
    partition.append(b"three\n")
    assert lines_of(read_all(reader, clock)) == [b"two", b"three"]
    assert reports.events == []


def test_a_partition_removed_while_it_is_read_is_read_to_its_end(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """What is open is given, torn tail included; what was never opened is reported as gone."""
    partition.append(b"one\ntwo\nth")
    partition.rotate()
    partition.append(b"four\n")
    partition.rotate()
    partition.append(b"five\n")
    assert lines_of(reader.read(1, 1000)) == [b"one"]
    shutil.rmtree(partition.path)
    lines = read_all(reader, clock)
    assert [(line.raw, line.fault) for line in lines] == [
        (b"two", None),
        (b"th", "torn"),
        (b"four", None),
    ]
    assert reports.events == [Event("segment-gone", NAME, 15, "1 not read, the partition is gone")]
    assert reader.at_end(NAME)


def test_a_removed_partition_with_an_unfinished_tail_ends(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """Its lock is gone with it, so that the tail is torn, and its descriptor is closed once it is covered."""
    partition.append(b"one\ntw")
    assert lines_of(reader.read(10, 1000)) == [b"one"]
    shutil.rmtree(partition.path)
    assert [line.fault for line in read_all(reader, clock)] == ["torn"]
    assert reports.events == []
    assert reader.ends() == {}
    reader.covered({NAME: 6})
    assert reader.sync({NAME: 6}) == {NAME: 6}
    assert reader.positions() == {NAME: 6}


def test_a_spool_that_was_moved_away_and_back_is_read_on(
    spool: Spool, partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """Nothing is given twice and nothing is left out when the directory returns, without a restart."""
    partition.append(b"one\n")
    assert lines_of(read_all(reader, clock)) == [b"one"]
    os.rename(spool.path, spool.path + "-away")
    assert read_all(reader, clock) == []
    reader.covered({NAME: 4})
    assert reports.codes() == ["spool-unreadable"]
    os.rename(spool.path + "-away", spool.path)
    partition.append(b"two\n")
    Partition(spool, OTHER).append(b"three\n")
    assert sorted(lines_of(read_all(reader, clock))) == [b"three", b"two"]
    os.rename(partition.path, partition.path + "-away")
    assert read_all(reader, clock) == []
    os.rename(partition.path + "-away", partition.path)
    partition.append(b"four\n")
    assert lines_of(read_all(reader, clock)) == [b"four"]


def test_a_spool_that_was_away_for_a_moment_is_found_at_once(
    spool: Spool, partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """Its own time does not change by being moved, and nobody waits five seconds for that."""
    partition.append(b"one\n")
    assert lines_of(read_all(reader, clock)) == [b"one"]
    os.rename(spool.path, spool.path + "-away")
    assert read_all(reader, clock, seconds=0.5) == []
    os.rename(spool.path + "-away", spool.path)
    partition.append(b"two\n")
    assert lines_of(read_all(reader, clock, seconds=0.5)) == [b"two"]


def test_a_spool_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, clock: ManualClock, reports: Reports
) -> None:
    """It is reported once, and found when it is made."""
    path = tmp_path / "late"
    reader = SpoolReader(make_spool(path), {}, clock=clock, report=reports)
    path.rmdir()
    assert read_all(reader, clock) == []
    assert reports.events == [Event("spool-unreadable", None, None, os.strerror(errno.ENOENT))]
    Partition(make_spool(path), NAME).append(b"one\n")
    assert lines_of(read_all(reader, clock)) == [b"one"]


def test_a_file_that_was_put_in_a_segments_place_is_read(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """The open file no longer gets what is appended; the one that bears the name now does."""
    partition.append(b"one\ntwo\n")
    assert lines_of(read_all(reader, clock)) == [b"one", b"two"]
    copy = Path(partition.path, "copy")
    shutil.copy(partition.segment(), copy)
    copy.rename(partition.segment())
    partition.append(b"three\n")
    assert read_all(reader, clock, seconds=6) == [Line(Position(NAME, 8, 14), b"three")]
    assert reports.codes() == ["segment-replaced"]


def test_a_file_put_in_the_place_of_a_segment_whose_successor_is_known_is_read(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """What bears the name now comes before the next one, at the place that was reached."""
    partition.append(b"one\ntwo\n")
    first = partition.segment()
    partition.rotate()
    partition.append(b"three\n")
    assert lines_of(reader.read(1, 1000)) == [b"one"]
    copy = Path(partition.path, "copy")
    copy.write_bytes(b"one\ntwo\nnew\n")
    copy.rename(first)
    assert lines_of(read_all(reader, clock, seconds=12)) == [b"two", b"new", b"three"]
    assert reports.codes() == ["segment-replaced", "overlap"]


def test_a_file_put_in_the_place_of_an_empty_segment_is_read(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """Nothing was reached there, and it is read from its start."""
    assert read_all(reader, clock) == []
    copy = Path(partition.path, "copy")
    copy.write_bytes(b"one\n")
    copy.rename(partition.segment())
    assert lines_of(read_all(reader, clock, seconds=12)) == [b"one"]
    assert reports.codes() == ["segment-replaced"]


def test_a_segment_that_was_cut_is_read_again(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """A segment never shrinks; if somebody cuts it, what stands in it is given again at the place that was reached."""
    partition.append(b"one\ntwo\n")
    assert lines_of(read_all(reader, clock)) == [b"one", b"two"]
    os.truncate(partition.segment(), 0)
    partition.append(b"three\nfour\n")
    os.truncate(partition.segment(), 6)
    lines = read_all(reader, clock, seconds=12)
    assert lines == [Line(Position(NAME, 8, 8), b"three")]
    assert reports.codes() == ["segment-replaced"]
    partition.append(b"five\nsix\n")
    assert read_all(reader, clock) == [
        Line(Position(NAME, 8, 11), b"five"),
        Line(Position(NAME, 11, 15), b"six"),
    ]


def test_a_replaced_segment_that_is_gone_again_is_left(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """Where the name is lost between the look and the opening, the open file is kept."""
    partition.append(b"one\n")
    assert lines_of(read_all(reader, clock)) == [b"one"]
    reader._found[NAME]._replaced = True
    os.unlink(partition.segment())
    partition.begin(4)
    partition.append(b"two\n")
    assert lines_of(read_all(reader, clock)) == [b"two"]
    assert reports.codes() == ["segment-gone"]


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_what_is_no_regular_file_seals_nothing(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports, kind: str
) -> None:
    """A name alone is no successor: the segment before it is read on, and what has the name is reported once."""
    partition.append(b"one\n")
    path = segment_path(partition.path, 4)
    if kind == "directory":
        os.mkdir(path)
    elif kind == "link":
        os.symlink(partition.segment(), path)
    else:
        os.mkfifo(path)
    assert lines_of(read_all(reader, clock, seconds=7)) == [b"one"]
    partition.append(b"two\n")
    assert lines_of(read_all(reader, clock)) == [b"two"]
    assert reports.events == [Event("no-segment", NAME, 4)]
    assert reader.at_end(NAME)


def test_a_torn_tail_is_given_up_though_a_link_bears_a_later_name(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """What is no segment keeps nobody waiting for the rest of a line: the checkpoint would stay before it for ever."""
    partition.append(b"one\ntw")
    os.symlink("/dev/zero", segment_path(partition.path, 99))
    lines = read_all(reader, clock)
    assert [(line.raw, line.fault) for line in lines] == [(b"one", None), (b"tw", "torn")]
    assert reports.events == [Event("no-segment", NAME, 99)]


def test_a_name_beyond_all_offsets_is_none_of_ours(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports
) -> None:
    """No checkpoint could hold such an offset; the partition goes on without it."""
    partition.append(b"one\n")
    Path(segment_path(partition.path, 1 << 62)).write_bytes(b"far\n")
    reader = SpoolReader(spool, {}, clock=clock, report=reports)
    assert lines_of(read_all(reader, clock)) == [b"one"]
    assert reports.codes() == []
    assert reader.ends() == {NAME: 4}


def test_what_takes_the_place_of_a_link_is_read(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """What was passed by once is looked at again at every listing."""
    partition.append(b"one\n")
    os.symlink("nowhere", segment_path(partition.path, 4))
    assert lines_of(read_all(reader, clock)) == [b"one"]
    os.unlink(segment_path(partition.path, 4))
    partition.begin(4)
    partition.append(b"two\n")
    assert lines_of(read_all(reader, clock, seconds=6)) == [b"two"]


@pytest.mark.parametrize("start", [2, 99, 1 << 40])
def test_a_foreign_segment_does_not_end_the_reading_of_one_that_is_written_to(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports, start: int
) -> None:
    """What a writer appends before it notices, within a second of its own, comes out."""
    partition.hold()
    partition.append(b"one\n")
    Path(segment_path(partition.path, start)).write_bytes(b"foreign\n")
    assert lines_of(read_all(reader, clock, seconds=1)) == [b"one"]
    partition.append(b"two\n")
    assert lines_of(read_all(reader, clock, seconds=0.5)) == [b"two"]
    assert not reader.at_end(NAME)
    assert lines_of(read_all(reader, clock)) == [b"foreign"]
    assert reports.codes() == ["overlap" if start == 2 else "gap"]
    partition.let_go()


def test_what_a_writer_appended_before_it_died_is_read_before_a_seam_is_passed(
    partition: Partition, reader: SpoolReader, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have lived when the end was read, and be dead when its lock is looked at."""
    real = locks.take
    last = [b"two\n"]

    def take(path: str) -> int | locks.Denied:
        while last:
            partition.append(last.pop())
        return real(path)

    partition.append(b"one\n")
    Path(partition.segment(100)).write_bytes(b"three\n")
    monkeypatch.setattr(locks, "take", take)
    assert lines_of(read_all(reader, clock, seconds=5)) == [b"one", b"two", b"three"]


def test_a_missing_segment_of_a_living_writer_is_passed_after_a_while(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """Whether a file was put there or one was removed is not to be seen; nobody waits for ever."""
    partition.hold()
    for line in (b"one\n", b"two\n", b"three\n"):
        partition.append(line)
        partition.rotate()
    os.unlink(partition.segment(4))
    assert lines_of(read_all(reader, clock, seconds=1)) == [b"one"]
    assert lines_of(read_all(reader, clock)) == [b"three"]
    assert reports.events == [Event("gap", NAME, 4, "4 bytes are missing")]
    partition.let_go()


def test_overlapping_segments_lose_no_line(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """The first is read to its end, the second from its start, and positions never go back."""
    partition.append(b"one\ntwo\nthree\n")
    Path(segment_path(partition.path, 6)).write_bytes(b"four\nfive\nsix\n")
    lines = read_all(reader, clock)
    assert [(line.position.start, line.position.end, line.raw) for line in lines] == [
        (0, 4, b"one"),
        (4, 6, b"two"),
        (6, 6, b"three"),
        (6, 11, b"four"),
        (11, 16, b"five"),
        (16, 20, b"six"),
    ]
    assert reports.codes() == ["overlap"]


def test_a_segment_that_begins_below_what_was_read_loses_no_line(
    partition: Partition, reader: SpoolReader, clock: ManualClock, reports: Reports
) -> None:
    """What it holds below the reading position lies at that position."""
    partition.append(b"one\ntwo\n")
    assert len(read_all(reader, clock)) == 2
    Path(segment_path(partition.path, 2)).write_bytes(b"three\nfour\n")
    lines = read_all(reader, clock)
    assert [(line.position.start, line.position.end, line.raw) for line in lines] == [
        (8, 8, b"three"),
        (8, 13, b"four"),
    ]
    assert reports.codes() == ["overlap"]


@pytest.mark.parametrize("offset", [0, 4, 6, 8, 11, 14, 16])
def test_after_a_restart_within_an_overlap_no_line_is_lost(
    spool: Spool, partition: Partition, clock: ManualClock, reports: Reports, offset: int
) -> None:
    """Whatever was not below the mark comes again; some may come twice."""
    partition.append(b"one\ntwo\nthree\n")
    Path(segment_path(partition.path, 6)).write_bytes(b"four\nfive\nsix\n")
    expected = {0: 6, 4: 5, 6: 4, 8: 3, 11: 2, 14: 1, 16: 1}[offset]
    lines = lines_of(read_all(_reader(spool, offset, clock, reports), clock))
    assert set(lines) >= set([b"one", b"two", b"three", b"four", b"five", b"six"][-expected:])


def test_a_successor_that_appears_in_between_is_read_first(
    partition: Partition, reader: SpoolReader, clock: ManualClock
) -> None:
    """A far segment that is already open waits for one that turns up nearer."""
    partition.append(b"one\ntwo\n")
    partition.begin(20)
    partition.append(b"far\n")
    assert lines_of(reader.read(1, 1000)) == [b"one"]
    Path(segment_path(partition.path, 8)).write_bytes(b"near\n")
    assert lines_of(read_all(reader, clock)) == [b"two", b"near", b"far"]


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Give a folder that an ordinary user can enter, unlike pytest's own when root runs the tests."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def no_superuser() -> Iterator[None]:
    """Run as an ordinary user: what modes forbid is then forbidden, also where root runs the tests."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    yield
    os.seteuid(before)


@pytest.mark.usefixtures("no_superuser")
def test_a_partition_that_may_not_be_listed_is_reported_once_and_tried_again(
    open_to_all: Path, clock: ManualClock, reports: Reports
) -> None:
    """The others go on meanwhile."""
    spool = _spool_of_this_user(open_to_all)
    closed, other = Partition(spool, NAME), Partition(spool, OTHER)
    closed.append(b"one\n")
    other.append(b"two\n")
    os.chmod(closed.path, 0)
    reader = SpoolReader(spool, {}, clock=clock, report=reports)
    assert lines_of(read_all(reader, clock, seconds=12)) == [b"two"]
    assert reports.events == [Event("spool-unreadable", NAME, None, os.strerror(errno.EACCES))]
    assert not reader.at_end(NAME)
    assert reader.ends() == {OTHER: 4}
    os.chmod(closed.path, 0o770)  # noqa: S103 - as a partition is
    assert lines_of(read_all(reader, clock, seconds=6)) == [b"one"]
    assert reader.at_end(NAME)


@pytest.mark.usefixtures("no_superuser")
def test_a_gap_in_a_partition_that_may_not_be_listed_is_waited_for(
    open_to_all: Path, clock: ManualClock, reports: Reports
) -> None:
    """Without a second listing nobody knows whether bytes are missing; nobody spins until there is one either."""
    partition = Partition(_spool_of_this_user(open_to_all), NAME)
    partition.append(b"one\ntwo\n")
    partition.begin(20)
    partition.append(b"far\n")
    reader = SpoolReader(Spool(os.path.dirname(partition.path)), {}, clock=clock, report=reports)
    assert lines_of(reader.read(1, 1000)) == [b"one"]
    os.chmod(partition.path, 0o330)  # noqa: S103 - may be entered, not listed
    assert lines_of(read_all(reader, clock)) == [b"two"]
    assert reports.codes() == ["spool-unreadable"]
    reader.read(10, 1000)
    assert reader.next_look_s() > 0
    os.chmod(partition.path, 0o770)  # noqa: S103 - as a partition is
    assert lines_of(read_all(reader, clock, seconds=6)) == [b"far"]
    assert reports.codes() == ["spool-unreadable", "works-again", "gap"]


@pytest.mark.usefixtures("no_superuser")
def test_a_segment_that_may_not_be_opened_is_waited_for(
    open_to_all: Path, clock: ManualClock, reports: Reports
) -> None:
    """It is neither passed nor does what stands before it count as torn."""
    spool = _spool_of_this_user(open_to_all)
    partition = Partition(spool, NAME)
    partition.append(b"one\ntw")
    partition.rotate()
    partition.append(b"three\n")
    os.chmod(partition.segment(), 0)
    reader = SpoolReader(spool, {}, clock=clock, report=reports)
    assert lines_of(read_all(reader, clock)) == [b"one"]
    assert reports.events == [Event("open-failed", NAME, 6, os.strerror(errno.EACCES))]
    assert not reader.at_end(NAME)
    os.chmod(partition.segment(), 0o660)
    assert lines_of(read_all(reader, clock)) == [b"tw", b"three"]


@pytest.mark.usefixtures("no_superuser")
def test_a_first_segment_that_may_not_be_opened_is_waited_for(
    open_to_all: Path, clock: ManualClock, reports: Reports
) -> None:
    """Reading does not begin behind it."""
    partition = Partition(_spool_of_this_user(open_to_all), NAME)
    partition.append(b"one\n")
    os.chmod(partition.segment(), 0)
    partition.rotate()
    partition.append(b"two\n")
    reader = SpoolReader(Spool(os.path.dirname(partition.path)), {}, clock=clock, report=reports)
    assert read_all(reader, clock, seconds=12) == []
    assert reports.codes() == ["open-failed"]
    assert reader.positions() == {}
    os.chmod(partition.segment(0), 0o660)
    assert lines_of(read_all(reader, clock, seconds=6)) == [b"one", b"two"]


def _spool_of_this_user(folder: Path) -> Spool:
    own = os.geteuid()
    if os.stat(folder).st_uid != own:
        os.seteuid(0)
        os.chown(folder, own, -1)
        os.seteuid(own)
    return make_spool(folder / "spool")


@pytest.mark.parametrize("zeros", [65_536, 200_000, 1 << 20])
def test_behind_zeros_longer_than_any_line_the_intact_command_is_given_back(
    partition: Partition, reader: SpoolReader, clock: ManualClock, zeros: int
) -> None:
    """A power cut can zero a whole file's tail; what was appended behind it was acknowledged."""
    whole = b'{"_p":"bob","_t":1795500000,"_n":"x"}'
    partition.append(b'{"_p":"cut' + bytes(zeros) + whole + b"\n" + whole + b"\n")
    lines = read_all(reader, clock)
    assert [(line.fault, len(line.raw)) for line in lines] == [
        ("too-long", 1_024),
        (None, len(whole)),
        (None, len(whole)),
    ]
    begin = len(b'{"_p":"cut') + zeros
    assert [(line.position.start, line.position.end) for line in lines] == [
        (0, begin),
        (begin, begin + len(whole) + 1),
        (begin + len(whole) + 1, partition.end()),
    ]
