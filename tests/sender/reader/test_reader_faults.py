"""A read that fails, at each moment at which one can: every line is given all the same, once and in order."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from kmq.command import MAX_LINE
from sender.reader import SpoolReader
from tests.support.spools import ManualClock, Partition, Reports, lines_of, make_spool, read_all

if TYPE_CHECKING:
    from pathlib import Path

    from kmq.spool import Spool

OTHER = "20261123T204501Z-90be12aa"
INTACT = b'{"_p":"ann","_t":1795500000,"gender":"f"}'


class Reads:
    """Counts the reads, and fails one of them."""

    def __init__(self, failing: int) -> None:
        self.count = 0
        self.failed_look = False
        self._failing = failing

    def __call__(self, fd: int, size: int, at: int) -> bytes:
        self.count += 1
        if self.count == self._failing:
            self.failed_look = size == 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.pread(fd, size, at)


def damaged(spool: Spool) -> list[bytes]:
    """Make a partition with all that a reader meets; return the heads of what it must give."""
    partition = Partition(spool)
    partition.append(b"one\n" + b"x" * MAX_LINE + b"\ntwo\n")
    partition.append(b"y" * 700_000 + b"\nthree\n")
    partition.append(b"cut" + bytes(2 * MAX_LINE) + INTACT + b"\nfour\ntorn")
    partition.rotate()
    partition.append(b"five\nlast torn")
    given = [b"one", b"x", b"two", b"y", b"three", b"cut", INTACT, b"four", b"torn", b"five"]
    return [*given, b"last torn"]


def heads(given: list[bytes], expected: list[bytes]) -> list[bytes]:
    """Return of each line as much as was expected of it."""
    return [line[: len(head)] for line, head in zip(given, expected, strict=False)]


def test_every_read_may_fail_once(tmp_path: Path) -> None:
    """A bad block that can be read again skips nothing, whatever was being read: a line, a tail, a monstrous one."""
    failing = 0
    while True:
        failing += 1
        spool = make_spool(tmp_path / f"spool-{failing}")
        expected = damaged(spool)
        reads, clock, reports = Reads(failing), ManualClock(), Reports()
        reader = SpoolReader(spool, {}, clock=clock, report=reports, pread=reads)
        given = lines_of(read_all(reader, clock, seconds=12))
        reader.close()
        assert heads(given, expected) == expected, f"read number {failing} failed"
        assert len(given) == len(expected)
        # A look whether there is anything new is no read; where it fails, a read is tried at once.
        told = reports.codes()[:1] == ["read-failed"]
        assert told == (failing <= reads.count) or reads.failed_look
        # Where it was the last look of this run, there is no next one that could say so.
        assert reports.codes()[1:] in ([], ["works-again"])
        if failing > reads.count:
            break
    assert failing > 15


def test_a_replaced_segment_may_fail_once_at_each_read(tmp_path: Path) -> None:
    """Also where another file took its name while a torn tail stood in it."""
    for failing in range(1, 12):
        spool = make_spool(tmp_path / f"spool-{failing}")
        partition = Partition(spool)
        partition.append(b"one\ntorn")
        partition.hold()
        reads, clock = Reads(failing), ManualClock()
        reader = SpoolReader(spool, {}, clock=clock, report=Reports(), pread=reads)
        given = read_all(reader, clock, seconds=12)
        os.rename(partition.segment(0), f"{partition.path}/away")
        partition.begin(0)
        partition.append(b"one\ntorn\ntwo\n")
        given += read_all(reader, clock, seconds=12)
        partition.let_go()
        reader.close()
        assert lines_of(given)[:2] == [b"one", b"torn"], failing
        assert b"two" in lines_of(given), failing


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_where_one_partition_cannot_be_read_all_others_go_on(
    spool: Spool, clock: ManualClock, reports: Reports, code: int
) -> None:
    """It is told once, and when it can be read again it is, without a restart."""
    bad, good = Partition(spool), Partition(spool, OTHER)
    bad.append(b"bad\n")
    good.append(b"good\n")
    broken = True

    def pread(fd: int, size: int, at: int) -> bytes:
        if broken and os.readlink(f"/proc/self/fd/{fd}").startswith(bad.path):
            raise OSError(code, os.strerror(code))
        return os.pread(fd, size, at)

    reader = SpoolReader(spool, {}, clock=clock, report=reports, pread=pread)
    assert lines_of(read_all(reader, clock, seconds=30)) == [b"good"]
    good.append(b"better\n")
    assert lines_of(read_all(reader, clock, seconds=30)) == [b"better"]
    assert [(event.code, event.partition) for event in reports.events] == [
        ("read-failed", bad.name)
    ]
    assert not reader.at_end(bad.name)
    broken = False
    assert lines_of(read_all(reader, clock, seconds=6)) == [b"bad"]
    assert reader.at_end(bad.name)
