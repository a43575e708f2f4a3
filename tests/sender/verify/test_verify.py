"""What `verify` finds in a spool, what of it is damage, and that it changes nothing and disturbs nobody."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq import locks
from kmq.access import group_name
from kmq.command import Command, encode
from kmq.errors import NoPermission
from kmq.spool import segment_path, segment_starts, writer_lock
from sender import checkpoint
from sender.reader.segment_reader import SegmentReader
from sender.rejected import New, RejectedStore
from sender.verify import Finding, Report, verify
from sender.verify.findings import MAX_FINDINGS
from tests.support.spools import Partition, make_spool

if TYPE_CHECKING:
    from kmq.spool import Spool

NAME = "20261123T204501Z-4f2a91c3"
OTHER = "20261123T204501Z-90be12aa"
LINE = encode(Command("bob@bob.com", 1_500_000_000, "Signed Up"))
SIZE = len(LINE)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return an empty spool."""
    return make_spool(tmp_path / "spool")


@pytest.fixture
def partition(spool: Spool) -> Partition:
    """Return a partition of two segments with two commands each."""
    partition = Partition(spool, NAME)
    partition.append(LINE * 2)
    partition.rotate()
    partition.append(LINE * 2)
    return partition


def _codes(report: Report) -> list[tuple[str, int | None, bool]]:
    return [(finding.code, finding.offset, finding.damage) for finding in report.findings]


def _tree(path: str) -> dict[str, tuple[bytes, int, int]]:
    found = {}
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            found[str(file)] = (file.read_bytes(), file.stat().st_mode, file.stat().st_mtime_ns)
    return found


@pytest.mark.usefixtures("partition")
def test_a_sound_spool_is_counted(spool: Spool) -> None:
    """Partitions, segments, commands and bytes, and nothing to complain of."""
    Partition(spool, OTHER)
    report = verify(spool)
    assert report.is_sound
    assert report.findings == []
    assert (report.partitions, report.segments, report.commands) == (2, 3, 4)
    assert report.bytes_read == 4 * SIZE
    assert report.checkpoint.state == "none"
    assert report.held is None


@pytest.mark.usefixtures("partition")
@pytest.mark.parametrize("offline", [False, True])
def test_nothing_is_changed(spool: Spool, offline: bool) -> None:  # noqa: FBT001 - a parameter
    """Neither content nor modes nor times, and every lock is free afterwards."""
    checkpoint.save(spool, {NAME: SIZE})
    locks.make(spool.sender_lock)
    Partition(spool, OTHER).append(b"torn")
    before = _tree(spool.path)
    verify(spool, offline=offline)
    assert _tree(spool.path) == before
    for path in (spool.sender_lock, writer_lock(spool.partition(NAME))):
        lock = locks.take(path)
        assert isinstance(lock, int)
        os.close(lock)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"\n", "not-json"),
        (b"\0" * 80 + b"\n", "not-json"),
        (b"[1]\n", "not-json"),
        (b"\xff\n", "not-utf8"),
        (b'{"_t":1500000000,"_n":"x"}\n', "no-person"),
        (b"x" * 70_000 + b"\n", "too-long"),
        (b"\0" * 40 + LINE, "zeros"),
    ],
)
def test_a_line_that_is_no_command_is_damage(
    spool: Spool, partition: Partition, line: bytes, code: str
) -> None:
    """It is named by its place; its neighbours count, also the command behind a block of zeros."""
    partition.append(line + LINE)
    report = verify(spool)
    assert _codes(report) == [(code, 4 * SIZE, True)]
    assert report.commands == 5 + (code == "zeros")
    assert report.findings[0].size == len(line)
    assert not report.is_sound


def test_a_torn_line_is_no_damage(spool: Spool, partition: Partition) -> None:
    """No call was told that it was written; where it is kept in rejected/, its id is named."""
    partition.append(b'{"_p":"bo')
    report = verify(spool)
    assert _codes(report) == [("torn", 4 * SIZE, False)]
    assert (report.is_sound, report.torn) == (True, 1)
    assert report.findings[0].rejected is None
    (id_,) = RejectedStore(spool, "sender").add(
        [
            New(
                "torn",
                b'{"_p":"bo',
                rule="it has no newline",
                partition=NAME,
                offset=4 * SIZE,
                end=4 * SIZE + 9,
                size=9,
            )
        ]
    )
    report = verify(spool)
    assert report.findings == [
        Finding(
            "torn",
            f"{NAME}/{2 * SIZE:020d}.jsonl",
            "torn line, 9 bytes",
            damage=False,
            partition=NAME,
            offset=4 * SIZE,
            size=9,
            rejected=id_,
        )
    ]


def test_a_torn_line_before_a_successor_is_torn_whoever_writes(
    spool: Spool, partition: Partition
) -> None:
    """Its writer has gone on in the next segment."""
    partition.hold()
    partition.append(b"torn")
    partition.rotate()
    partition.append(LINE)
    report = verify(spool)
    assert _codes(report) == [("torn", 4 * SIZE, False)]
    assert report.commands == 5


@pytest.mark.parametrize("offline", [False, True])
def test_a_line_that_a_living_writer_may_finish_is_not_torn(
    spool: Spool,
    partition: Partition,
    offline: bool,  # noqa: FBT001 - a parameter
) -> None:
    """At the end of a partition that is held it is unfinished, and no damage either."""
    partition.hold()
    partition.append(b"half")
    report = verify(spool, offline=offline)
    assert _codes(report) == [("unfinished", 4 * SIZE, False)]
    assert report.torn == 0
    assert report.held == ([f"{NAME}/writer.lock"] if offline else None)


def test_a_long_line_without_its_end_is_damage(spool: Spool, partition: Partition) -> None:
    """It is longer than any line that a writer begins."""
    partition.append(b"x" * 70_000)
    assert _codes(verify(spool)) == [("too-long", 4 * SIZE, True)]


def test_a_lock_that_may_not_be_asked_for_accuses_nobody(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may only read cannot know whether the writer lives."""

    def take(path: str) -> int:
        raise NoPermission("no", path=path, code=errno.EACCES)

    monkeypatch.setattr(locks, "take", take)
    partition.append(b"half")
    assert _codes(verify(spool)) == [("unfinished", 4 * SIZE, False)]


def test_a_line_that_is_finished_before_the_lock_is_asked_for_counts(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is read again afterwards: its writer may have finished it and died since."""
    real = locks.take
    partition.append(LINE[:10])

    def take(path: str) -> int | locks.Denied:
        if partition.end() < 5 * SIZE:
            partition.append(LINE[10:] + LINE)
        return real(path)

    monkeypatch.setattr(locks, "take", take)
    report = verify(spool)
    assert report.findings == []
    assert report.commands == 6


def test_a_listing_that_missed_a_segment_is_no_gap(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two segments made during a listing it can hold the later one alone; empty ones are met once."""
    partition.rotate()
    partition.append(LINE)
    partition.rotate()
    partition.append(LINE)
    partition.rotate()
    listings = iter([[0, 5 * SIZE]])
    monkeypatch.setattr(
        "sender.verify.partition_check.segment_starts",
        lambda path: next(listings, None) or segment_starts(path),
    )
    report = verify(spool)
    assert report.findings == []
    assert (report.segments, report.commands) == (4, 6)


def test_what_retention_removes_between_two_looks_is_no_gap(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One was read, then it and the next one went, the oldest first: nothing that is left is missing anything."""
    starts = [0, partition.start]
    partition.rotate()
    partition.append(LINE)
    real = SegmentReader.open

    def opened(name: str, path: str, start: int) -> SegmentReader:
        if start == starts[1]:
            for gone in starts[:2]:
                os.unlink(segment_path(path, gone))
        return real(name, path, start)

    monkeypatch.setattr(SegmentReader, "open", opened)
    assert verify(spool).findings == []


def test_a_partition_that_goes_while_a_gap_is_looked_at_is_passed_over(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention removed it whole: what of it was read stands."""
    listings = iter([[0, 5 * SIZE]])

    def starts(_path: str) -> list[int]:
        for listing in listings:
            return listing
        raise FileNotFoundError

    monkeypatch.setattr("sender.verify.partition_check.segment_starts", starts)
    report = verify(spool)
    assert partition.end() == 4 * SIZE
    assert report.findings == []
    assert report.segments == 1


def test_missing_and_doubled_bytes_are_damage(spool: Spool, partition: Partition) -> None:
    """A gap is named by where it begins, an overlap by where the second segment does."""
    partition.begin(5 * SIZE)
    partition.append(LINE * 2)
    partition.begin(6 * SIZE)
    partition.append(LINE)
    report = verify(spool)
    assert _codes(report) == [("gap", 4 * SIZE, True), ("overlap", 6 * SIZE, True)]
    assert [finding.size for finding in report.findings] == [SIZE, SIZE]


def test_what_retention_removed_is_no_gap(spool: Spool, partition: Partition) -> None:
    """The first segment may start anywhere."""
    os.unlink(partition.segment(0))
    assert verify(spool).is_sound


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_a_segment_that_is_no_regular_file_is_damage(
    spool: Spool, partition: Partition, kind: str
) -> None:
    """It is not followed and not read."""
    path = segment_path(partition.path, 4 * SIZE)
    if kind == "link":
        os.symlink(partition.segment(), path)
    else:
        os.mkdir(path)
        os.chmod(path, 0o660)
    report = verify(spool)
    assert _codes(report)[0] == ("unreadable", 4 * SIZE, True)
    assert report.findings[0].detail == "cannot be read: no regular file"
    assert report.segments == 2


def test_a_bad_block_is_damage_and_the_next_segment_is_read(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place from which on nothing can be read is named; no gap is made up."""
    real = SegmentReader._read

    def read(self: SegmentReader, size: int, offset: int) -> bytes:
        if self.start == 0 and offset + size > SIZE:
            if offset >= SIZE:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            size = SIZE - offset
        return real(self, size, offset)

    monkeypatch.setattr(SegmentReader, "_read", read)
    report = verify(spool)
    assert partition.start == 2 * SIZE
    assert _codes(report) == [("unreadable", SIZE, True)]
    assert report.commands == 3
    assert report.bytes_read == 3 * SIZE


@pytest.mark.usefixtures("partition")
@pytest.mark.parametrize("offset", [0, SIZE, 2 * SIZE, 4 * SIZE])
def test_a_checkpoint_at_a_lines_start_is_sound(spool: Spool, offset: int) -> None:
    """Its age is that of its file."""
    checkpoint.save(spool, {NAME: offset})
    os.utime(spool.checkpoint, (1000, 1000))
    state = verify(spool, clock=lambda: 1002.5).checkpoint
    assert (state.state, state.source, state.age_s) == ("sound", "checkpoint.json", 2.5)


@pytest.mark.usefixtures("partition")
@pytest.mark.parametrize("offset", [1, 5 * SIZE])
def test_a_checkpoint_that_begins_no_line_is_damage(spool: Spool, offset: int) -> None:
    """Half a line in, or beyond the end."""
    checkpoint.save(spool, {NAME: offset})
    report = verify(spool)
    assert _codes(report) == [("checkpoint-offset-does-not-fit", offset, True)]
    assert report.checkpoint.state == "damaged"


def test_a_checkpoint_before_the_data_is_damage(spool: Spool, partition: Partition) -> None:
    """What it should stand before is gone, and was not covered."""
    checkpoint.save(spool, {NAME: SIZE})
    os.unlink(partition.segment(0))
    assert _codes(verify(spool)) == [("checkpoint-gap", SIZE, True)]


@pytest.mark.usefixtures("partition")
def test_a_checkpoint_that_cannot_be_read_is_damage(spool: Spool) -> None:
    """The one before it is used, and that is said; without one there is nothing to believe."""
    checkpoint.save(spool, {NAME: 0})
    checkpoint.save(spool, {NAME: SIZE})
    Path(spool.checkpoint).write_bytes(bytes(100))
    report = verify(spool)
    assert report.checkpoint.source == "checkpoint.json.old"
    assert _codes(report) == [("checkpoint-unreadable", None, True)]
    (finding,) = report.findings
    assert (finding.path, finding.detail) == ("checkpoint.json", "is not believed: it is no JSON")
    os.unlink(spool.checkpoint_old)
    state = verify(spool).checkpoint
    assert (state.state, state.source, state.age_s) == ("damaged", None, None)


@pytest.mark.usefixtures("partition")
def test_an_entry_for_a_partition_that_is_gone_is_no_damage(spool: Spool) -> None:
    """The sender drops it after it has removed the partition; it may have died in between."""
    empty = Partition(spool, OTHER)
    os.unlink(empty.segment())
    gone = "20261123T204501Z-ffffffff"
    checkpoint.save(spool, {NAME: 0, OTHER: 5, gone: 7})
    report = verify(spool)
    assert _codes(report) == [
        ("checkpoint-of-nothing", 5, False),
        ("checkpoint-of-nothing", 7, False),
    ]
    assert report.checkpoint.state == "sound"


def test_a_checkpoint_that_moves_meanwhile_is_looked_at_again(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender at work writes a new one and removes what it covers; neither is damage."""
    checkpoint.save(spool, {NAME: SIZE})
    real = checkpoint.load

    def load(place: Spool) -> checkpoint.Loaded:
        loaded = real(place)
        if loaded.offsets[NAME] == SIZE:
            checkpoint.save(spool, {NAME: 2 * SIZE})
            os.unlink(partition.segment(0))
        return loaded

    monkeypatch.setattr(checkpoint, "load", load)
    assert verify(spool).is_sound


def test_what_vanishes_meanwhile_is_passed_over(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention removes a segment after it was listed, and a whole partition."""
    other = Partition(spool, OTHER)
    real = SegmentReader.open

    def open_(name: str, path: str, start: int) -> SegmentReader:
        if os.path.exists(other.path):
            os.unlink(partition.segment(0))
            os.rename(other.path, f"{spool.path}/.gone-{OTHER}")
        return real(name, path, start)

    monkeypatch.setattr(SegmentReader, "open", open_)
    report = verify(spool)
    assert report.is_sound
    assert (report.partitions, report.segments, report.commands) == (1, 1, 2)


def test_modes_and_groups_are_checked(spool: Spool, partition: Partition) -> None:
    """What locks somebody out or lets everybody read is damage, named with what it must be."""
    locks.make(spool.sender_lock)
    os.chmod(spool.path, 0o2750)  # noqa: S103 - what is found
    os.chmod(spool.sender_lock, 0o600)
    os.chmod(partition.path, 0o2775)  # noqa: S103 - what is found
    os.chmod(partition.segment(), 0o664)
    report = verify(spool)
    assert [(finding.path, finding.detail) for finding in report.findings] == [
        (".", "mode 2750, must be 2770"),
        ("sender.lock", "mode 0600, must be 0660"),
        (NAME, "mode 2775, must be 2770"),
        (f"{NAME}/{2 * SIZE:020d}.jsonl", "mode 0664, must be 0660"),
    ]
    assert not report.is_sound


def test_the_rejected_files_are_checked_too(spool: Spool) -> None:
    """They hold what the spool holds."""
    RejectedStore(spool, "sender").add([New("torn", b"x", rule="torn")])
    assert verify(spool).is_sound
    for name in os.listdir(spool.rejected):
        os.chmod(f"{spool.rejected}/{name}", 0o644)
    assert {finding.code for finding in verify(spool).findings} == {"mode"}


def test_another_group_is_damage(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another group cannot be appended to by everybody who may."""
    real = os.lstat
    lock = writer_lock(partition.path)

    def lstat(path: str) -> os.stat_result:
        found = real(path)
        if path != lock:
            return found
        values = list(found)
        values[5] += 1
        return os.stat_result(values)

    monkeypatch.setattr(os, "lstat", lstat)
    (finding,) = verify(spool).findings
    assert (finding.code, finding.path) == ("group", f"{NAME}/writer.lock")
    group = os.stat(spool.path).st_gid
    assert finding.detail == f"group {group_name(group + 1)}, the spool has {group_name(group)}"


def test_of_very_many_findings_the_damaged_ones_are_listed(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was rejected gives way to them; beyond what is looked up, all counts as damage."""
    monkeypatch.setattr("sender.verify.spool_check.MAX_FINDINGS", 2)
    monkeypatch.setattr("sender.verify.findings.MAX_KEPT", 3)
    at = partition.append(b"x\n" * 4)
    new = New("not-json", b"x", partition=NAME, offset=at, end=at + 2, size=2)
    RejectedStore(spool, "sender").add([new])
    report = verify(spool)
    assert [one.offset for one in report.findings] == [at + 2, at + 4]
    assert (report.damages, report.kept, report.unlisted) == (3, 1, 2)


def test_offline_names_the_locks_that_are_held(spool: Spool, partition: Partition) -> None:
    """It waits for none of them and checks what is there."""
    locks.make(spool.sender_lock)
    sender = locks.take(spool.sender_lock)
    assert isinstance(sender, int)
    partition.hold()
    Partition(spool, OTHER)
    report = verify(spool, offline=True)
    assert report.held == ["sender.lock", f"{NAME}/writer.lock"]
    assert report.is_sound
    os.close(sender)
    partition.let_go()
    assert verify(spool, offline=True).held == []


def test_findings_are_bounded(spool: Spool, partition: Partition) -> None:
    """However much is damaged, a thousand are kept and the rest is counted."""
    partition.append(b"x\n" * (MAX_FINDINGS + 500))
    report = verify(spool)
    assert len(report.findings) == MAX_FINDINGS
    assert (report.unlisted, report.damages) == (500, MAX_FINDINGS + 500)


def test_beside_a_writer_everything_is_sound(spool: Spool, partition: Partition) -> None:
    """A spool that grows and rotates while it is read shows no damage, again and again."""
    partition.hold()

    def write() -> None:
        for _ in range(200):
            for _ in range(5):
                partition.append(LINE)
            partition.rotate()

    thread = threading.Thread(target=write)
    thread.start()
    reports = [verify(spool)]
    while thread.is_alive():
        reports.append(verify(spool))
    thread.join()
    assert [report.findings for report in reports] == [[]] * len(reports)
    assert verify(spool).commands == 4 + 1000
