"""What the spool tells by itself: sizes, what waits, who writes, whether a sender holds it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kmq import locks
from kmq.command import Command, encode
from kmq.durable import open_regular
from kmq.errors import NoPermission, SpoolError
from kmq.spool import Spool, segment_path, writer_lock
from sender import checkpoint
from sender.rejected import New, RejectedStore
from sender.status import Rate, Snapshot, Totals, survey
from sender.status.holders import Holder
from sender.status.survey import Lag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

P = "20261123T204501Z-4f2a91c3"
Q = "20261123T204502Z-90be12aa"
MADE = 1_795_466_701.0  # 2026-11-23 20:45:01 UTC, as the name of P says
NOW = MADE + 1_000
LINE = encode(
    Command("bob", 1_300_000_000, "Viewed Homepage")
)  # of 2011: no lag may be told from it
SIZE = len(LINE)
RUNNING = Snapshot(
    at=NOW - 1,
    pid=os.getpid(),
    started=NOW - 500,
    version="1.0.0",
    url="https://trk.kissmetrics.io",
    transport="curl",
    state="SENDING",
    in_flight=3,
    totals=Totals(10, 0, 0, NOW - 500),
    rate=Rate(1.0, 1.0, 10.0),
    rates_in={P: 4.0},
)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Give an empty spool."""
    path = tmp_path / "spool"
    path.mkdir()
    return Spool(str(path))


@pytest.fixture
def held() -> Iterator[list[int]]:
    """Give a list for descriptors of locks, closed when the test ends."""
    fds: list[int] = []
    yield fds
    for fd in fds:
        os.close(fd)


def put(spool: Spool, name: str, *segments: bytes, start: int = 0) -> None:
    """Make a partition whose segments hold these bytes."""
    path = spool.partition(name)
    os.mkdir(path)
    locks.make(writer_lock(path))
    for content in segments:
        with open(segment_path(path, start), "wb") as file:
            file.write(content)
        start += len(content)


def hold(path: str, held: list[int]) -> None:
    """Hold a lock file, made if it is missing."""
    locks.make(path)
    fd = locks.take(path)
    assert isinstance(fd, int)
    held.append(fd)


def look(spool: Spool, snapshot: Snapshot | None = None, now: float = NOW) -> survey.Survey:
    """Survey the spool at a fixed moment."""
    return survey.survey(spool, now=now, snapshot=snapshot)


def test_an_empty_spool(spool: Spool) -> None:
    """Nothing waits, nobody runs."""
    found = look(spool)
    assert (found.partitions, found.lag, found.bytes, found.rejected_kept) == ([], Lag(), 0, 0)
    assert found.sender == survey.SenderSurvey(
        running=False, holder=None, snapshot=None, current=False
    )
    assert found.free_bytes > 0
    assert found.id


def test_what_lies_beyond_the_checkpoint_waits(spool: Spool) -> None:
    """Commands are counted over all segments, from the middle of one on."""
    put(spool, P, LINE * 3, LINE * 2, LINE * 4)
    put(spool, Q, LINE)
    checkpoint.save(spool, {P: 4 * SIZE, Q: SIZE})
    found = look(spool)
    first, second = found.partitions
    assert (first.name, first.segments, first.bytes) == (P, 3, 9 * SIZE)
    assert (first.checkpoint, first.end) == (4 * SIZE, 9 * SIZE)
    assert (first.lag.commands, first.lag.bytes, first.lag.exact) == (5, 5 * SIZE, True)
    assert (second.lag, second.idle, first.idle) == (Lag(), True, False)
    assert (found.lag.commands, found.lag.bytes) == (5, 5 * SIZE)


def test_where_segments_were_removed_the_rest_is_counted(spool: Spool) -> None:
    """A partition that begins beyond 0 counts from its oldest segment."""
    put(spool, P, LINE * 2, start=1_000)
    assert look(spool).partitions[0].lag.commands == 2
    checkpoint.save(spool, {P: 1_000 + SIZE})
    assert look(spool).partitions[0].lag.commands == 1


def test_an_offset_that_fits_no_line_counts_from_the_oldest_segment(spool: Spool) -> None:
    """The sender will not believe it either, and send the partition again."""
    put(spool, P, LINE * 3)
    checkpoint.save(spool, {P: SIZE + 5})
    assert look(spool).partitions[0].lag.commands == 3


def test_an_unfinished_line_is_no_command(spool: Spool) -> None:
    """Its bytes wait, but nobody was told that it is there."""
    put(spool, P, LINE + LINE[:10])
    checkpoint.save(spool, {P: SIZE})
    lag = look(spool).partitions[0].lag
    assert (lag.commands, lag.bytes, lag.seconds) == (0, 10, 0.0)


def test_too_much_to_count_is_estimated(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small partitions stay exact, and the estimate is a good one where lines are alike."""
    put(spool, P, LINE * 1_000)
    put(spool, Q, LINE * 10)
    monkeypatch.setattr(survey, "MAX_COUNTED", 20 * SIZE)
    monkeypatch.setattr(survey, "_SAMPLE", 100 * SIZE)
    found = look(spool)
    large, small = found.partitions
    assert (large.lag.commands, large.lag.exact) == (1_000, False)
    assert (small.lag.commands, small.lag.exact) == (10, True)
    assert (found.lag.commands, found.lag.exact) == (1_010, False)


def test_more_than_one_chunk_is_counted(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment is read piece by piece."""
    put(spool, P, LINE * 100)
    monkeypatch.setattr(survey, "_CHUNK", 7)
    assert look(spool).lag.commands == 100


def test_links_pipes_and_strange_names_are_passed_over(spool: Spool, tmp_path: Path) -> None:
    """Whatever is no partition and no segment counts nothing and is not opened."""
    put(spool, P, LINE)
    os.symlink(spool.partition(P), spool.partition(Q))
    os.mkdir(f"{spool.path}/not-a-partition")
    os.mkfifo(segment_path(spool.partition(P), SIZE))
    (tmp_path / "outside").write_bytes(LINE * 5)
    os.symlink(tmp_path / "outside", segment_path(spool.partition(P), 2 * SIZE))
    found = look(spool)
    assert [(one.name, one.segments, one.lag.commands) for one in found.partitions] == [(P, 1, 1)]


def test_a_partition_without_a_segment_is_none(spool: Spool) -> None:
    """One that is being removed has nothing to show."""
    put(spool, P)
    assert look(spool).partitions == []


# Since when


def test_the_sender_knows_since_when(spool: Spool) -> None:
    """What it wrote counts, whatever the files say."""
    put(spool, P, LINE)
    snapshot = replace(RUNNING, behind={P: NOW - 7})
    assert look(spool, snapshot).lag.seconds == 7


def test_of_an_untouched_partition_the_name_says_since_when(spool: Spool) -> None:
    """It was made for its first command, and that still waits."""
    put(spool, P, LINE)
    assert look(spool).lag.seconds == NOW - MADE


def test_what_came_after_the_senders_last_look_waits_since_then(spool: Spool) -> None:
    """A sender that is dead for an hour saw nothing wait."""
    put(spool, P, LINE * 2)
    checkpoint.save(spool, {P: SIZE})
    assert look(spool, replace(RUNNING, at=NOW - 3_600)).lag.seconds == 3_600


def test_without_a_word_of_the_sender_the_time_of_the_file_counts(spool: Spool) -> None:
    """Of the segment in which the oldest undelivered command lies; never its `_t`, which is of 2011 here."""
    put(spool, P, LINE, LINE)
    checkpoint.save(spool, {P: SIZE})
    os.utime(segment_path(spool.partition(P), SIZE), (NOW - 60, NOW - 60))
    assert look(spool).lag.seconds == 60


def test_a_name_that_is_no_date_falls_back_to_the_file(spool: Spool) -> None:
    """A name has the form of a date, and need not be one."""
    name = "99999999T999999Z-00000000"
    put(spool, name, LINE)
    os.utime(segment_path(spool.partition(name), 0), (NOW - 60, NOW - 60))
    assert look(spool).lag.seconds == 60


def test_no_lag_is_negative(spool: Spool) -> None:
    """A clock that was set back makes it 0."""
    put(spool, P, LINE)
    assert look(spool, now=MADE - 100).lag.seconds == 0


# Who


def test_writers_and_sender_are_told_from_their_locks(spool: Spool, held: list[int]) -> None:
    """Whoever holds a lock is named; nobody else is."""
    put(spool, P, LINE)
    put(spool, Q, LINE)
    hold(writer_lock(spool.partition(P)), held)
    hold(spool.sender_lock, held)
    found = look(spool, RUNNING)
    with open("/proc/self/comm", encoding="utf-8") as file:
        me = Holder(os.getpid(), file.read().strip())
    assert [one.writer for one in found.partitions] == [me, None]
    assert found.sender == survey.SenderSurvey(
        running=True, holder=me, snapshot=RUNNING, current=True
    )
    assert [one.rate_in for one in found.partitions] == [4.0, None]


def test_a_snapshot_of_an_earlier_sender_is_not_current(spool: Spool, held: list[int]) -> None:
    """One that has just started has written no figures yet."""
    hold(spool.sender_lock, held)
    old = replace(RUNNING, pid=1, at=NOW - 100)
    assert look(spool, old).sender.current is False
    assert look(spool, replace(RUNNING, ended="signal 15")).sender.current is False


def test_a_fresh_snapshot_of_another_number_is_current(spool: Spool, held: list[int]) -> None:
    """Seen from outside a container its processes have other numbers than they know themselves."""
    hold(spool.sender_lock, held)
    assert look(spool, replace(RUNNING, pid=1)).sender.current


def test_a_sender_that_nobody_lists_is_found_by_its_lock(
    spool: Spool, held: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From inside another container none is listed; a fresh snapshot is worth trying the lock, and nothing else is."""
    hold(spool.sender_lock, held)
    monkeypatch.setattr(survey, "holders_of", lambda _paths: {})
    found = look(spool, replace(RUNNING, pid=1)).sender
    assert (found.running, found.holder, found.current) == (True, None, True)
    assert not look(spool, replace(RUNNING, at=NOW - 60)).sender.running
    assert not look(spool, replace(RUNNING, ended="signal 15")).sender.running
    assert not look(spool).sender.running


def test_a_sender_that_was_killed_just_now_does_not_run(spool: Spool, held: list[int]) -> None:
    """Its snapshot is fresh, and its lock free."""
    hold(spool.sender_lock, held)
    os.close(held.pop())
    found = look(spool, RUNNING).sender
    assert (found.running, found.current) == (False, False)
    hold(spool.sender_lock, held)  # and it is free again


def test_where_locks_are_not_listed_the_lock_itself_is_asked(
    spool: Spool, held: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hardened /proc hides them."""
    monkeypatch.setattr(survey, "holders_of", lambda _paths: None)
    assert not look(spool).sender.running
    hold(spool.sender_lock, held)
    assert look(spool).sender.running


def test_where_nothing_can_tell_a_fresh_snapshot_does(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may read the spool and not write to it cannot try the lock."""

    def refuse(path: str) -> int:
        raise NoPermission("no", path=path)

    monkeypatch.setattr(survey, "holders_of", lambda _paths: None)
    monkeypatch.setattr(locks, "take", refuse)
    assert look(spool, RUNNING).sender.running
    assert not look(spool, replace(RUNNING, at=NOW - 60)).sender.running
    assert not look(spool).sender.running


# The rest


def test_rejected_commands_are_counted(spool: Spool) -> None:
    """Those that are on the list."""
    store = RejectedStore(spool, "sender")
    ids = store.add([New("torn", b"x"), New("not-json", b"y")])
    store.sync()
    store.leave(ids[:1], "dropped")
    assert look(spool).rejected_kept == 1


def test_the_size_of_the_spool_counts_what_was_rejected(spool: Spool) -> None:
    """It is the size that the cap is held against."""
    put(spool, P, LINE * 3)
    os.mkdir(spool.rejected)
    with open(f"{spool.rejected}/2026-11-23-sender.jsonl", "wb") as file:
        file.write(b"x" * 100)
    assert look(spool).bytes == 3 * SIZE + 100


@pytest.mark.parametrize("gone", ["lstat", "listdir", "open_regular"])
def test_what_vanishes_meanwhile_counts_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Retention removes segments, and partitions, beside it."""
    put(spool, P, LINE)

    def vanished(path: str, *_: object) -> int:
        raise FileNotFoundError(2, "No such file or directory", path)

    where = survey if gone == "open_regular" else os
    with monkeypatch.context() as patch:
        patch.setattr(where, gone, vanished)
        found = look(spool)
    assert found.lag.commands == 0


def test_what_may_not_be_read_is_an_error(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition is named, and the others are counted; without a checkpoint nothing can be."""
    put(spool, P, LINE)
    put(spool, Q, LINE)

    def refuse(path: str, flags: int) -> int:
        if Q in path:
            return open_regular(path, flags)
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(survey, "open_regular", refuse)
        found = look(spool)
        assert [one.name for one in found.partitions] == [Q]
        assert found.lag.commands == 1
        assert {name: type(error) for name, error in found.unreadable.items()} == {P: NoPermission}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "open_regular", refuse)
        with pytest.raises(NoPermission, match="checkpoint"):
            look(spool)


def test_a_spool_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Nothing is made by looking."""
    with pytest.raises(SpoolError):
        look(Spool(str(tmp_path / "nothing")))
    assert os.listdir(tmp_path) == []
