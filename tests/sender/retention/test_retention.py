"""Removal of what was delivered: only what is covered, and whole partitions only under their lock."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from kmq.durable import Files
from kmq.errors import LocksUnsupported
from kmq.locks import Denied, take
from kmq.spool import Spool, partitions, segment_path, segment_starts, writer_lock
from sender.retention import Limits, Retention
from sender.retention import removal as retention_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sender.flow import Event

P = "20261123T204501Z-4f2a91c3"
Q = "20261123T204501Z-90be12aa"
DAY = 86_400.0
NOW = 1_795_467_067.0
WEEK = Limits(7 * DAY, 1 << 40)


class Steps(Files):
    """Files that note each operation and its path, run something before one, or make one fail."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.fails: dict[tuple[str, str], int] = {}
        self.before: dict[str, Callable[[], None]] = {}

    def _step(self, name: str, path: str) -> None:
        what = (name, os.path.basename(path))
        if name in self.before:
            self.before.pop(name)()
        if what in self.fails:
            raise OSError(self.fails[what], os.strerror(self.fails[what]), path)
        self.done.append(what)

    def unlink(self, path: str) -> None:  # type: ignore[override]  # as os.unlink
        """Remove a file."""
        self._step("unlink", path)
        os.unlink(path)

    def rmdir(self, path: str) -> None:  # type: ignore[override]  # as os.rmdir
        """Remove a directory."""
        self._step("rmdir", path)
        os.rmdir(path)

    def rename(self, path: str, to: str) -> None:  # type: ignore[override]  # as os.rename
        """Rename."""
        self._step("rename", path)
        os.rename(path, to)

    def fsync(self, fd: int) -> None:  # type: ignore[override]  # as os.fsync
        """Sync a directory."""
        self._step("fsync", os.readlink(f"/proc/self/fd/{fd}"))
        os.fsync(fd)


class Bench:
    """A spool, its retention, and what that reported."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.spool = Spool(str(path))
        self.files = Steps()
        self.events: list[Event] = []
        self.now = NOW
        self.monotonic = 0.0
        self.retention = self.make(WEEK)

    def make(self, limits: Limits) -> Retention:
        """Return a retention with other limits."""
        return Retention(
            self.spool,
            limits,
            clock=lambda: self.now,
            monotonic=lambda: self.monotonic,
            report=self.events.append,
            files=self.files,
        )

    def path(self, name: str) -> str:
        """Return where something in the spool is."""
        return self.spool.partition(name)

    def partition(self, name: str, sizes: Sequence[int], *, days: float = 8) -> int:
        """Make a partition that nobody holds, each segment so many days old; return its end."""
        os.mkdir(self.path(name))
        (open(writer_lock(self.path(name)), "wb")).close()
        start = 0
        for size in sizes:
            self.segment(name, start, size, days=days)
            start += size
        return start

    def segment(self, name: str, start: int, size: int, *, days: float = 8) -> None:
        """Make a segment."""
        path = segment_path(self.path(name), start)
        with open(path, "wb") as file:
            file.truncate(size)
        os.utime(path, (NOW, NOW - days * DAY))

    def starts(self, name: str) -> list[int]:
        """Return which segments are there."""
        return segment_starts(self.path(name))

    def listing(self) -> list[str]:
        """Return what is in the spool."""
        return sorted(os.listdir(self.spool.path))

    def said(self, *codes: str) -> list[tuple[str, str | None, str]]:
        """Return what was reported under these codes."""
        found = [event for event in self.events if event.code in codes]
        return [(event.code, event.partition, event.detail) for event in found]

    def failed(self) -> list[str | None]:
        """Return where something could not be removed."""
        return [partition for _, partition, _ in self.said("removal-failed")]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Give an empty spool with a retention of a week."""
    return Bench(tmp_path / "s")


@pytest.fixture
def hold(bench: Bench) -> Iterator[Callable[[str], None]]:
    """Hold partitions until the test ends, as their writers do."""
    held: list[int] = []

    def holding(name: str) -> None:
        fd = take(writer_lock(bench.path(name)))
        assert isinstance(fd, int)
        held.append(fd)

    yield holding
    for fd in held:
        os.close(fd)


def test_a_delivered_partition_that_nobody_holds_goes_whole(bench: Bench) -> None:
    """Its name is returned, so that its entry leaves the checkpoint."""
    end = bench.partition(P, [10, 10])
    assert bench.retention.apply({P: end}) == [P]
    assert bench.listing() == []
    assert bench.failed() == []


def test_the_order_of_removing_a_partition(bench: Bench) -> None:
    """The new name is durable before anything in it goes; what a power cut brings back of it is swept."""
    end = bench.partition(P, [10])
    bench.retention.apply({P: end})
    assert bench.files.done == [
        ("rename", P),
        ("fsync", "s"),
        ("unlink", "00000000000000000000.jsonl"),
        ("unlink", "writer.lock"),
        ("rmdir", f".gone-{P}"),
    ]


def test_a_held_partition_keeps_its_newest_segment(
    bench: Bench, hold: Callable[[str], None]
) -> None:
    """Its writer appends there at any moment."""
    end = bench.partition(P, [10, 10, 10])
    hold(P)
    assert bench.retention.apply({P: end}) == []
    assert bench.starts(P) == [20]


def test_a_lock_that_was_only_tried_is_let_go(bench: Bench) -> None:
    """A writer may adopt the partition at any later moment."""
    end = bench.partition(P, [10])
    assert bench.make(Limits(1e9, 1 << 40)).apply({P: end}) == []
    lock = take(writer_lock(bench.path(P)))
    assert isinstance(lock, int)
    os.close(lock)


def test_what_is_not_covered_stays(bench: Bench) -> None:
    """To the byte."""
    end = bench.partition(P, [10, 10, 10])
    bench.partition(Q, [10])
    assert bench.retention.apply({P: end - 11}) == []
    assert bench.starts(P) == [10, 20]
    assert bench.starts(Q) == [0]


def test_what_is_young_stays(bench: Bench) -> None:
    """For replay."""
    end = bench.partition(P, [10, 10], days=6.9)
    assert bench.retention.apply({P: end}) == []
    assert bench.starts(P) == [0, 10]


def test_over_the_size_the_oldest_go_and_whole_partitions_count(bench: Bench) -> None:
    """Two delivered partitions that nobody holds, over the limit together."""
    ends = {P: bench.partition(P, [10, 10], days=2), Q: bench.partition(Q, [10, 10], days=1)}
    assert bench.make(Limits(7 * DAY, 25)).apply(ends) == [P]
    assert bench.starts(Q) == [0, 10]


def test_the_newest_segment_of_a_held_partition_does_not_count(
    bench: Bench, hold: Callable[[str], None]
) -> None:
    """It cannot go, and must not push out what replay can still use."""
    end = bench.partition(P, [10, 1_000], days=1)
    hold(P)
    bench.make(Limits(7 * DAY, 10)).apply({P: end})
    assert bench.starts(P) == [0, 10]


def test_urgent_takes_all_that_is_covered_and_nothing_else(
    bench: Bench, hold: Callable[[str], None]
) -> None:
    """Disk full: also what was delivered a moment ago."""
    ends = {P: bench.partition(P, [10, 10], days=0), Q: bench.partition(Q, [10, 10, 10], days=0)}
    hold(Q)
    assert bench.retention.apply({**ends, Q: 25}, urgent=True) == [P]
    assert bench.starts(Q) == [20]


def test_the_age_waits_while_the_clock_is_not_trusted(bench: Bench) -> None:
    """A clock that jumps a year ahead removes nothing until it has stood for an hour."""
    end = bench.partition(P, [10], days=0)
    assert bench.retention.apply({P: end}) == []
    bench.now += 365 * DAY
    assert bench.retention.apply({P: end}) == []
    for _ in range(59):
        bench.now += 60.0
        bench.monotonic += 60.0
        assert bench.retention.apply({P: end}) == []
    bench.now += 60.0
    bench.monotonic += 60.0
    assert bench.retention.apply({P: end}) == [P]
    assert [code for code, _, _ in bench.said("clock-stepped")] == ["clock-stepped"]
    bench.now -= 365 * DAY
    bench.retention.apply({})
    assert len(bench.said("clock-stepped")) == 2


def test_what_was_removed_is_said(bench: Bench) -> None:
    """Nothing goes in silence, and no line is written where nothing went."""
    ends = {P: bench.partition(P, [10, 11, 12]), Q: bench.partition(Q, [13])}
    bench.retention.apply(ends)
    bench.retention.apply({})
    assert bench.said("segments-removed", "partition-removed") == [
        ("segments-removed", None, "delivered segments removed: 2, 21 bytes"),
        ("partition-removed", P, ""),
        ("partition-removed", Q, ""),
    ]


def test_a_partition_whose_lock_is_gone_is_held_by_nobody(bench: Bench) -> None:
    """Nobody can adopt it either, since nobody makes a lock file."""
    end = bench.partition(P, [10])
    os.unlink(writer_lock(bench.path(P)))
    assert bench.retention.apply({P: end}) == [P]
    assert bench.listing() == []


def test_an_empty_partition_goes_without_an_entry(bench: Bench) -> None:
    """A process made it, and died before its first append."""
    bench.partition(P, [0])
    assert bench.retention.apply({}) == [P]


def test_a_partition_whose_segments_were_removed_by_hand_goes_too(bench: Bench) -> None:
    """Else its entry would stay in the checkpoint for ever."""
    bench.partition(P, [])
    os.utime(bench.path(P), (NOW, NOW - 8 * DAY))
    assert bench.retention.apply({P: 500}) == [P]
    assert bench.listing() == []


def test_what_is_appended_before_the_last_look_keeps_the_partition(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer adopted it, appended and died between listing and lock."""
    end = bench.partition(P, [10])
    looks = 0
    real = take

    def appended_before_the_second(path: str) -> object:
        nonlocal looks
        looks += 1
        if looks == 2:
            with open(segment_path(bench.path(P), 0), "ab") as file:
                file.write(b"x")
        return real(path)

    monkeypatch.setattr(retention_module, "take", appended_before_the_second)
    assert bench.retention.apply({P: end}) == []
    assert looks == 2
    assert bench.starts(P) == [0]
    assert bench.listing() == [P]


def test_who_takes_the_lock_before_the_last_look_keeps_the_partition(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was free when it was listed."""
    end = bench.partition(P, [10])
    held: list[object] = []
    real = take

    def taken_before_the_second(path: str) -> object:
        answer = real(path)
        if isinstance(answer, int) and not held:
            os.close(answer)
            held.append(real(path))
            return Denied.GONE
        return answer

    monkeypatch.setattr(retention_module, "take", taken_before_the_second)
    assert bench.retention.apply({P: end}) == []
    assert bench.listing() == [P]
    (fd,) = held
    assert isinstance(fd, int)
    os.close(fd)


def test_the_lock_is_held_until_nothing_is_left(bench: Bench) -> None:
    """A writer that waits to adopt it finds it held, and then without a name; never free."""
    end = bench.partition(P, [10])
    waiting = os.open(writer_lock(bench.path(P)), os.O_RDWR)
    answers: list[object] = []

    def try_to_adopt() -> None:
        answers.append(take(f"/proc/self/fd/{waiting}"))
        answers.append(take(writer_lock(bench.path(f".gone-{P}"))))

    bench.files.before["rmdir"] = try_to_adopt
    bench.files.before["unlink"] = try_to_adopt
    assert bench.retention.apply({P: end}) == [P]
    os.close(waiting)
    held, gone = Denied.HELD, Denied.GONE
    assert answers == [gone, held, gone, gone]


def test_whatever_else_lies_in_a_partition_keeps_it(bench: Bench) -> None:
    """It is none of ours, and may be dear to someone; it is said once."""
    end = bench.partition(P, [10, 10])
    with open(f"{bench.path(P)}/notes", "wb") as file:
        file.write(b"mine")
    assert bench.retention.apply({P: end}) == []
    assert bench.retention.apply({P: end}) == []
    assert bench.failed() == [P]
    assert "neither a segment nor its lock" in bench.events[0].detail
    assert sorted(os.listdir(bench.path(P))) == [
        "00000000000000000010.jsonl",
        "notes",
        "writer.lock",
    ]


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_what_bears_a_segments_name_and_is_no_file_is_not_touched(
    bench: Bench, tmp_path: Path, kind: str
) -> None:
    """The sealed ones before it go, the last one stays with it."""
    end = bench.partition(P, [10, 10])
    name = segment_path(bench.path(P), 20)
    if kind == "directory":
        os.mkdir(name)
    else:
        (tmp_path / "precious").write_bytes(b"precious")
        os.symlink(tmp_path / "precious", name)
    assert bench.retention.apply({P: end}) == []
    assert bench.starts(P) == [10, 20]
    assert kind == "directory" or (tmp_path / "precious").read_bytes() == b"precious"


def test_a_link_that_bears_a_partitions_name_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    """It could lead into another spool."""
    other = Bench(tmp_path / "other")
    other.partition(P, [10])
    os.symlink(other.path(P), bench.path(Q))
    os.symlink(other.path(P), bench.path(f".gone-{Q}"))
    os.symlink(other.path(P), bench.path(f".new-{Q}"))
    bench.now += DAY
    assert bench.retention.apply({Q: 10}, urgent=True) == []
    bench.retention.sweep()
    assert other.starts(P) == [0]


def test_a_segment_that_vanishes_is_no_error(bench: Bench) -> None:
    """Someone removed it by hand in that moment."""
    end = bench.partition(P, [10, 10, 10])
    bench.files.before["unlink"] = lambda: os.unlink(segment_path(bench.path(P), 0))
    assert bench.retention.apply({P: end}) == [P]
    assert bench.failed() == []


def test_a_partition_that_vanishes_is_no_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or that was removed whole."""
    monkeypatch.setattr(retention_module, "partitions", lambda spool: [*partitions(spool), Q])
    end = bench.partition(P, [10])
    bench.files.before["rename"] = lambda: os.rename(bench.path(P), bench.path("elsewhere"))
    assert bench.retention.apply({P: end, Q: 10}) == []
    assert bench.failed() == []


def test_a_spool_that_vanishes_is_no_error(bench: Bench) -> None:
    """Others say so."""
    os.rmdir(bench.spool.path)
    assert bench.retention.apply({P: 10}, urgent=True) == []
    assert bench.retention.last_resort({P: 10}) == 0
    bench.retention.sweep()
    assert bench.failed() == []


def test_what_cannot_be_removed_is_said_once_and_does_not_stop_the_others(bench: Bench) -> None:
    """A file system that is read-only, a mode: the sender goes on; when it is mended, so does retention."""
    ends = {P: bench.partition(P, [10, 10], days=9), Q: bench.partition(Q, [10])}
    bench.files.fails["unlink", "00000000000000000000.jsonl"] = errno.EROFS
    bench.retention.apply(ends)
    bench.retention.apply(ends)
    assert bench.failed() == [P, f".gone-{Q}"]
    assert bench.starts(P) == [0, 10], "no gap behind what stays"
    assert bench.events[0].offset == 0
    assert "Read-only file system" in bench.events[0].detail
    bench.files.fails.clear()
    bench.retention.sweep()
    assert bench.retention.apply(ends) == [P]
    assert bench.listing() == []
    assert len(bench.failed()) == 2


def test_a_failure_that_comes_back_is_said_again(bench: Bench) -> None:
    """It ended in between, and someone may have believed it mended."""
    bench.partition(P, [10, 10, 10])
    for _ in range(2):
        bench.files.fails["unlink", "00000000000000000000.jsonl"] = errno.EIO
        bench.retention.apply({P: 10})
        bench.files.fails.clear()
        bench.retention.apply({P: 10})
        bench.segment(P, 0, 10)
    assert bench.failed() == [P, P]


def test_a_lock_that_cannot_be_tried_counts_as_held(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is said, since it would keep the partition for ever."""
    end = bench.partition(P, [10, 10])

    def unsupported(path: str) -> int:
        raise LocksUnsupported("no locks here", path=path, code=errno.ENOLCK)

    monkeypatch.setattr(retention_module, "take", unsupported)
    assert bench.retention.apply({P: end}) == []
    assert bench.starts(P) == [10]
    assert bench.failed() == [P]


def test_a_partition_counts_as_removed_once_it_is_renamed(bench: Bench) -> None:
    """Whatever fails afterwards is left to a sweep, and its entry goes all the same."""
    end = bench.partition(P, [10])
    bench.files.fails["fsync", "s"] = errno.EIO
    assert bench.retention.apply({P: end}) == [P]
    assert bench.listing() == [f".gone-{P}"]
    bench.files.fails.clear()
    bench.retention.sweep()
    assert bench.listing() == []


# The last resort


def test_the_last_resort_takes_one_sealed_segment_at_a_time_oldest_first(bench: Bench) -> None:
    """After each the sender tries its checkpoint again."""
    done = {P: bench.partition(P, [10, 11, 12], days=1), Q: bench.partition(Q, [13, 14], days=2)}
    assert [bench.retention.last_resort(done) for _ in range(4)] == [13, 10, 11, 0]
    assert (bench.starts(P), bench.starts(Q)) == ([21], [13])
    assert [(event.code, event.partition, event.offset) for event in bench.events] == [
        ("removed-early", Q, 0),
        ("removed-early", P, 0),
        ("removed-early", P, 10),
    ]


def test_the_last_resort_leaves_what_is_not_done(bench: Bench) -> None:
    """A command that waits for its answer is in its segment."""
    bench.partition(P, [10, 10, 10])
    assert bench.retention.last_resort({P: 9}) == 0
    assert bench.retention.last_resort({P: 19}) == 10
    assert bench.retention.last_resort({P: 19}) == 0


def test_the_last_resort_goes_on_behind_what_cannot_be_removed(bench: Bench) -> None:
    """And past what frees nothing; no gap is left."""
    done = {P: bench.partition(P, [10, 10, 10]), Q: bench.partition(Q, [0], days=1)}
    bench.segment(Q, 5, 20, days=1)
    bench.segment(Q, 25, 20, days=1)
    done[Q] = 45
    bench.files.fails["unlink", "00000000000000000000.jsonl"] = errno.EIO
    assert bench.retention.last_resort(done) == 20
    assert bench.starts(P) == [0, 10, 20]
    assert bench.starts(Q) == [0, 25]
    assert bench.failed() == [P]
    assert bench.said("removed-early") == [("removed-early", Q, "")]


def test_a_partition_that_cannot_be_renamed_is_said_and_stays(bench: Bench) -> None:
    """Its entry stays in the checkpoint with it."""
    end = bench.partition(P, [10])
    bench.files.fails["rename", P] = errno.EACCES
    assert bench.retention.apply({P: end}) == []
    assert bench.failed() == [P]
    assert bench.starts(P) == [0]


# What a crash left


def test_leftovers_of_a_removal_are_swept(bench: Bench) -> None:
    """A crash at any step between the rename and the end."""
    bench.partition(P, [10, 10])
    os.rename(bench.path(P), bench.path(f".gone-{P}"))
    os.mkdir(bench.path(f".gone-{Q}"))
    bench.retention.sweep()
    assert bench.listing() == []


def abandoned(bench: Bench, *, age_s: float) -> None:
    """Leave a partition that was never finished."""
    bench.partition(P, [0])
    os.rename(bench.path(P), bench.path(f".new-{P}"))
    bench.now = os.stat(bench.path(f".new-{P}")).st_mtime + age_s


def test_a_partition_that_was_never_finished_is_swept_after_an_hour(bench: Bench) -> None:
    """Whoever makes one takes milliseconds."""
    abandoned(bench, age_s=3_601)
    bench.retention.sweep()
    assert bench.listing() == []


def test_a_young_one_is_left_alone_and_its_lock_is_not_even_tried(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its maker must find the lock free that it has just made."""
    abandoned(bench, age_s=3_599)

    def fail(_path: str) -> int:
        raise AssertionError("the lock was tried")

    monkeypatch.setattr(retention_module, "take", fail)
    bench.retention.sweep()
    assert bench.listing() == [f".new-{P}"]


def test_one_that_someone_holds_is_left_alone(bench: Bench, hold: Callable[[str], None]) -> None:
    """A process that was stopped in the middle of making it goes on some day."""
    abandoned(bench, age_s=3_601)
    hold(f".new-{P}")
    bench.retention.sweep()
    assert bench.listing() == [f".new-{P}"]


def test_one_without_a_lock_file_is_swept(bench: Bench) -> None:
    """Its maker died before it made one."""
    abandoned(bench, age_s=3_601)
    os.unlink(writer_lock(bench.path(f".new-{P}")))
    bench.now = os.stat(bench.path(f".new-{P}")).st_mtime + 3_601
    bench.retention.sweep()
    assert bench.listing() == []


def test_no_other_name_is_touched(bench: Bench) -> None:
    """A directory of the operator's, a file, whatever has not the form of a partition."""
    names = [".gone-", ".gone-backup", ".new-x", f".old-{P}", "rejected", f"{P}.bak", f".gone-{P}x"]
    for name in names:
        os.mkdir(bench.path(name))
    (open(bench.path(f".gone-{P}"), "wb")).close()
    (open(bench.path(f".new-{P}"), "wb")).close()
    os.mkdir(bench.path("elsewhere"))
    (open(bench.path("elsewhere/writer.lock"), "wb")).close()
    os.symlink("elsewhere", bench.path(f".gone-{P[:-1]}0"))
    names += ["elsewhere", f".gone-{P[:-1]}0"]
    bench.now += 365 * DAY
    bench.retention.sweep()
    bench.retention.apply({}, urgent=True)
    assert bench.listing() == sorted([*names, f".gone-{P}", f".new-{P}"])
    assert os.listdir(bench.path("elsewhere")) == ["writer.lock"]


def test_a_leftover_that_holds_something_foreign_is_kept_and_said_once(bench: Bench) -> None:
    """Only names that are ours are removed from it."""
    os.makedirs(bench.path(f".gone-{P}"))
    (open(bench.path(f".gone-{P}/mine"), "wb")).close()
    os.mkdir(bench.path(f".gone-{P}/theirs"))
    bench.retention.sweep()
    bench.retention.sweep()
    assert sorted(os.listdir(bench.path(f".gone-{P}"))) == ["mine", "theirs"]
    assert bench.failed() == [f".gone-{P}"]
