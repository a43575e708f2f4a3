"""The reader against a model: appends, torn tails, rotations, kills, adoptions, restarts and reads in any order."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from kmq.command import MAX_LINE
from sender.flow import Line, Position
from sender.reader import SpoolReader
from tests.support.files import descriptors_in
from tests.support.spools import ManualClock, Partition, Reports, make_spool, read_all

NAMES = ["20261123T204501Z-4f2a91c3", "20261123T204501Z-90be12aa", "20261124T000000Z-00000000"]
HEAD = 1024

LINES = st.one_of(
    st.binary(max_size=40).map(lambda text: text.replace(b"\n", b" ")),
    st.sampled_from(
        [
            b"",
            b"\r",
            b"\0" * 30,
            b"\xe2\x80\xa8",
            b"x" * (MAX_LINE - 1),
            b"y" * MAX_LINE,
            b"z" * 300_000,
        ],
    ),
)


@dataclass
class Piece:
    """What stands in a partition from `start` on: a line with its newline, or a tail without one."""

    start: int
    raw: bytes
    whole: bool

    @property
    def end(self) -> int:
        """Return the offset behind it."""
        return self.start + len(self.raw) + self.whole

    def line(self, partition: str) -> Line:
        """Return it as the reader must give it."""
        position = Position(partition, self.start, self.end)
        if len(self.raw) >= MAX_LINE:
            return Line(position, self.raw[:HEAD], "too-long")
        return Line(position, self.raw, None if self.whole else "torn")


class Modelled(Partition):
    """A partition, and what must be given of it."""

    pieces: list[Piece]

    def write(self, raw: bytes, *, whole: bool = True) -> None:
        """Append a line, or only its beginning, by the rules that a writer follows."""
        if not self.tail_is_whole():
            self.rotate()
        self.pieces.append(Piece(self.append(raw + b"\n" * whole), raw, whole))
        if not self.pieces[-1].raw and not whole:
            self.pieces.pop()

    def tail_is_whole(self) -> bool:
        """Say whether the next line may stand in this segment."""
        return not self.pieces or self.pieces[-1].whole or self.pieces[-1].end <= self.start

    def finish(self) -> None:
        """End a write that was seen half-way."""
        self.append(b"\n")
        self.pieces[-1].whole = True

    def givable(self) -> list[Line]:
        """Return what may be given by now: all but the unfinished tail of a living writer."""
        pieces = self.pieces if self.tail_is_whole() or not self.held else self.pieces[:-1]
        return [piece.line(self.name) for piece in pieces]


class Reading(RuleBasedStateMachine):
    """Writers, a reader and its restarts, on a real directory."""

    @initialize(max_open=st.sampled_from([1, 2, 1_000]))
    def begin(self, max_open: int) -> None:
        """Start with an empty spool and a reader, which may have so many segments open."""
        self.max_open = max_open
        self.root = Path(tempfile.mkdtemp())
        self.spool = make_spool(self.root / "spool")
        self.clock = ManualClock()
        self.partitions: dict[str, Modelled] = {}
        self.given: dict[str, list[Line]] = {}
        self.marks: dict[str, int] = {}
        self.start_reader()

    def start_reader(self) -> None:
        """Start a sender's reader from the last checkpoint."""
        self.reports = Reports()
        self.reader = SpoolReader(
            self.spool,
            self.marks,
            clock=self.clock,
            report=self.reports,
            max_open=lambda: self.max_open,
        )

    def teardown(self) -> None:
        """Read to the end, whatever happened before."""
        if not hasattr(self, "root"):
            return
        try:
            self.all_is_given()
        finally:
            self.reader.close()
            for partition in self.partitions.values():
                partition.let_go()
            shutil.rmtree(self.root)

    @precondition(lambda self: len(self.partitions) < len(NAMES))
    @rule()
    def make_partition(self) -> None:
        """Let a new writer make a partition."""
        name = NAMES[len(self.partitions)]
        partition = Modelled(self.spool, name)
        partition.pieces = []
        partition.hold()
        self.partitions[name] = partition
        self.given[name] = []

    def one(self, data: st.DataObject, *, held: bool) -> Modelled | None:
        """Draw a partition that is held, or one that is not."""
        found = [each for each in self.partitions.values() if each.held is held]
        return data.draw(st.sampled_from(found)) if found else None

    @rule(data=st.data(), raw=LINES, count=st.integers(1, 30))
    def append(self, data: st.DataObject, raw: bytes, count: int) -> None:
        """Append whole lines."""
        partition = self.one(data, held=True)
        for _ in range(count if partition and len(raw) < 100 else 1):
            if partition:
                partition.write(raw)

    @rule(data=st.data(), raw=LINES, dies=st.booleans())
    def fall_short(self, data: st.DataObject, raw: bytes, *, dies: bool) -> None:
        """Write a line in part; the writer may die of it."""
        partition = self.one(data, held=True)
        if partition:
            partition.write(raw, whole=False)
            if dies:
                partition.let_go()

    @rule(data=st.data())
    def finish_what_was_seen_half_way(self, data: st.DataObject) -> None:
        """Complete a line whose write was seen half-way."""
        partition = self.one(data, held=True)
        if partition and not partition.tail_is_whole():
            partition.finish()

    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        """Seal the segment."""
        partition = self.one(data, held=True)
        if partition and partition.end() > partition.start:
            partition.rotate()

    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        """Let a writer die."""
        partition = self.one(data, held=True)
        if partition:
            partition.let_go()

    @rule(data=st.data())
    def adopt(self, data: st.DataObject) -> None:
        """Let a new writer take a partition that nobody holds."""
        partition = self.one(data, held=False)
        if partition:
            partition.hold()
            if not partition.tail_is_whole():
                partition.rotate()

    @rule(lines=st.integers(0, 50), size=st.integers(0, 200_000), hungry=st.booleans())
    def read(self, lines: int, size: int, *, hungry: bool) -> None:
        """Read with some budget."""
        self.take(self.reader.read(lines, size, (lambda _: True) if hungry else None))
        held = sum(partition.held for partition in self.partitions.values())
        assert descriptors_in(self.root) <= self.max_open + held

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.1, 0.25, 0.3, 1.0, 6.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Move the clock."""
        self.clock.advance(seconds)

    @rule(data=st.data())
    def checkpoint(self, data: st.DataObject) -> None:
        """Make durable what may count as delivered."""
        for name, lines in self.given.items():
            upto = data.draw(st.integers(0, len(lines)))
            if upto:
                self.marks[name] = max(self.marks.get(name, 0), lines[upto - 1].position.end)
        assert self.reader.sync(self.marks) == self.marks
        self.reader.covered(self.marks)

    @rule()
    def sync_ahead(self) -> None:
        """Make durable what was appended so far."""
        self.reader.sync_ahead()

    @rule()
    def restart(self) -> None:
        """Kill the sender; the next one begins at the checkpoint."""
        self.reader.close()
        for name, lines in self.given.items():
            mark = self.marks.get(name, 0)
            self.given[name] = [line for line in lines if line.position.end <= mark]
        self.start_reader()

    def take(self, lines: list[Line]) -> None:
        """Check what was given: exactly what comes next, and nothing else."""
        for line in lines:
            name = line.position.partition
            expected = self.partitions[name].givable()
            assert line == expected[len(self.given[name])]
            self.given[name].append(line)

    @invariant()
    def nothing_is_reported(self) -> None:
        """Hold that none of this is damage."""
        if hasattr(self, "reports"):
            assert self.reports.events == []

    def all_is_given(self) -> None:
        """Check that with time everything is given that can be."""
        self.take(read_all(self.reader, self.clock, seconds=7))
        for name, partition in self.partitions.items():
            assert self.given[name] == partition.givable()
            if partition.tail_is_whole() or not partition.held:
                assert self.reader.positions()[name] == partition.end()
            assert self.reader.at_end(name)


Reading.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
TestReading = Reading.TestCase
