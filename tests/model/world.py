"""A host in simulated time: writers, a sender, an operator, the API, and a disk that fails.

Owns what each of them does when told to, and what the oracle is told of it. One process plays all of them on a real
directory. Knows nothing about in which order things happen: the machine, or a test, tells it.
"""

from __future__ import annotations

import contextlib
import os
import random
import stat
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from kmq.command import Command, encode
from kmq.errors import SpoolError
from kmq.spool import Spool
from sender.flow import Verdict
from sender.plan import End
from tests.model.api import BAD, Api
from tests.model.disk import Disk, Killed
from tests.model.processes import CAP, Hand, Sender
from tests.support.clock import MovableClock
from tests.support.oracle import Oracle, left_in, offsets_in, person_of

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = ["CAP", "World", "end_of"]


_HANDS = 4
_BAD = 0.15
_DURABLE = 0.3
_SIZES = (0, 0, 60, 250)
_TURN_S = 0.0001  # the work of a turn takes time, too


class World:
    """The host, with its spool in `path`; what no caller decides is left to chance, by a `seed`."""

    def __init__(self, path: Path) -> None:
        self.spool = Spool(str(path / "spool"))
        os.mkdir(self.spool.path)
        self.clock = MovableClock()
        self.disk = Disk(Path(self.spool.path), self.clock)
        self.oracle = Oracle()
        self.api = Api(self.clock, self.oracle)
        self.hands: list[Hand] = []
        self.sender: Sender | None = None
        self.steps = 0
        self.kills = 0
        self.cuts = 0
        self._chance = random.Random(0)
        self._numbers = count(1)
        self._boots = 1
        self.refused: set[str] = set()
        self.durable: set[str] = set()
        self.checkpoint_lost = False
        self.doubtful: os.stat_result | None = None
        self.disturbed: set[str] = set()
        self.dropped: set[tuple[str | None, int | None]] = set()

    def seed(self, seed: int) -> None:
        """Begin the numbers of chance there."""
        self._chance.seed(seed)

    def next(self) -> int:
        """Return a number by chance, the same in each run."""
        return self._chance.getrandbits(32)

    @property
    def boot(self) -> str:
        """The id of this boot."""
        return f"00000000-0000-4000-8000-{self._boots:012d}"

    # The app

    def hand(self, which: int) -> Hand:
        """Return a writer, a new one if there is none."""
        if not self.hands:
            self.hands.append(Hand(self))
        return self.hands[which % len(self.hands)]

    def start_hand(self) -> None:
        """Start a writer, up to four."""
        if len(self.hands) < _HANDS:
            self.hands.append(Hand(self))

    def record_some(self, which: int, number: int, *, dies: bool = False) -> None:
        """Let a writer record so many commands, of any kind, and die then."""
        hand, chance = self.hand(which), self._chance
        for _ in range(number):
            bad, durably = chance.random() < _BAD, chance.random() < _DURABLE
            self.record(hand, bad=bad, durably=durably, size=chance.choice(_SIZES))
        if dies and hand in self.hands:
            self.kill_hand(hand)

    def record(
        self, hand: Hand, *, bad: bool = False, durably: bool = False, size: int = 0
    ) -> None:
        """Record one command for a person of its own, and take down what the call said."""
        person = f"p{next(self._numbers)}"
        properties = {"Size": "x" * size} if size else {}
        time = int(self.clock.wall())
        line = encode(Command(person, time, BAD if bad else "Signed Up", properties=properties))
        self.oracle.tried(person, line)
        try:
            hand.writer.append(line, durably=durably)
        except SpoolError:
            if not durably:
                self.refused.add(person)
        except Killed:
            if hand.files.died_in_half and not durably:
                self.refused.add(person)
            self.kill_hand(hand)
        else:
            self.oracle.acknowledged(person)
            if durably:
                self.durable.add(person)
            hand.returned(person, self.clock.monotonic())

    def send_within_a_call(self, which: int, turns: int) -> None:
        """Let the sender run while a writer's line is only half written."""
        hand = self.hand(which)
        hand.files.halfway = lambda: self.send(turns)
        self.record(hand)
        hand.files.halfway = None

    def kill_in_a_call(self, which: int, fuse: int, torn: int, *, durably: bool = False) -> None:
        """Let a writer die within a call, after `fuse` file operations; a last write leaves `torn` bytes."""
        hand = self.hand(which)
        with hand.files.within(fuse, torn):
            self.record(hand, durably=durably)

    def kill_hand(self, hand: Hand) -> None:
        """Kill a writer. What it had at risk is gone: so it is documented."""
        self.kills += 1
        self.hands.remove(hand)
        hand.die()
        for person in hand.at_risk:
            self.oracle.excused(person)

    # The sender

    def start_sender(self, max_in_flight: int = 8, age_s: float = 600.0, size: int = CAP) -> None:
        """Start a sender where none runs; the disk may refuse it."""
        if self.sender is not None:
            return
        try:
            self.sender = Sender(self, max_in_flight, age_s, size)
            self.sender.daemon.begin()
        except SpoolError:
            self.sender = None
        except Killed:
            self.kill_sender()

    def send(self, turns: int, read: int = 0, between: Callable[[], None] | None = None) -> None:
        """Let the sender run for so many turns, if it lives so long.

        `between` happens before its next read, or right after the one with the number `read`.
        """
        sender = self.sender
        if sender is None:
            return
        sender.between, sender.at_read = between, read
        try:
            self._turn(sender, turns)
        except Killed:
            self.kill_sender()
        sender.between = None

    def _turn(self, sender: Sender, turns: int) -> None:
        for _ in range(turns):
            sender.daemon.turn()
            self.clock.advance(_TURN_S)
            told = sender.client.counts[Verdict.DELIVERED]
            assert sender.delivered == told, f"{sender.delivered} said, {told} told"

    def stop_sender(self) -> None:
        """Ask the sender to stop, and let it end."""
        sender = self.sender
        if sender is None:
            return
        sender.daemon.asked.stopped_by = 15
        assert sender.daemon.ended() is End.STOPPED
        try:
            sender.daemon.finish(End.STOPPED)
        except Killed:
            self.kill_sender()
            return
        os.close(sender.lock)
        self.sender = None
        if self.disk.is_well and sender.failed_syncs == self.disk.failed_syncs:
            marks, offsets = sender.daemon._committer.marks(), offsets_in(self.spool.path)
            behind = {name: mark for name, mark in marks.items() if offsets.get(name, 0) < mark}
            assert not behind, f"stopped, and done beyond the checkpoint: {behind}"

    def kill_in_a_turn(self, turns: int, fuse: int, torn: int) -> None:
        """Kill the sender after `fuse` file operations, or so many turns."""
        if self.sender is not None:
            with self.sender.files.within(fuse, torn):
                self.send(turns)
            self.kill_sender()

    def kill_sender(self) -> None:
        """Kill the sender, where it stands."""
        if self.sender is not None:
            self.kills += 1
            self.sender.die()
            self.sender = None

    # The host

    def reboot(self, *, power_cut: bool) -> None:
        """End all processes at once; with a power cut, what was never synced may be lost."""
        for hand in list(self.hands):
            self.kill_hand(hand)
        self.kill_sender()
        self._boots += 1
        if power_cut:
            self._cut_power()

    def _cut_power(self) -> None:
        self.cuts += 1
        before = self._in_segments()
        left = {person_of(line) for line in left_in(self.spool.path)}
        owed = before if self.doubts_checkpoint() else left
        self.disturbed |= self.disk.cut_power(self._chance)
        for person in (before - self._in_segments()) & owed - self.durable:
            self.oracle.excused(str(person))
        self.checkpoint_lost = True

    def _in_segments(self) -> set[str | None]:
        return {
            person_of(line)
            for path in Path(self.spool.path).glob("2*/*.jsonl")
            for line in path.read_bytes().split(b"\n")[:-1]
        }

    # What others ask

    def doubts_checkpoint(self) -> bool:
        """Say whether the checkpoint is one that no sender believes, until a sender has written another."""
        if self.doubtful is None:
            return False
        with contextlib.suppress(FileNotFoundError):
            now = Path(self.spool.checkpoint).stat()
            if (now.st_ino, now.st_mtime_ns) != (self.doubtful.st_ino, self.doubtful.st_mtime_ns):
                # It says of a partition that its sender had not looked at yet what the one before said.
                offsets = offsets_in(self.spool.path)
                if all(fits(path, offsets.get(path.name, 0)) for path in self.partitions()):
                    self.doubtful = None
        return self.doubtful is not None

    def partitions(self) -> list[Path]:
        """Return the partitions, oldest first."""
        return sorted(Path(self.spool.path).glob("2*"))

    def end(self, partition: Path) -> int:
        """Return where a partition ends."""
        return max(map(end_of, partition.glob("*.jsonl")), default=0)

    def figures(self) -> dict[str, int]:
        """Return what this run came to."""
        found = self.oracle.judge()
        return {
            "examples": 1,
            "steps": self.steps,
            "kills": self.kills,
            "power cuts": self.cuts,
            "acknowledged": found.acknowledged,
            "delivered": found.delivered,
            "delivered again": found.delivered_again,
        }

    def close(self) -> None:
        """Let go of everything, also after a failure."""
        for hand in list(self.hands):
            self.kill_hand(hand)
        self.kill_sender()


def end_of(path: Path) -> int:
    """Return where a segment ends, in its partition."""
    about = path.lstat()
    return int(path.stem) + about.st_size if stat.S_ISREG(about.st_mode) else 0


def fits(partition: Path, offset: int) -> bool:
    """Say whether a line can begin at `offset`, or it lies where no segment is any more."""
    for path in sorted(partition.glob("*.jsonl")):
        start, size = int(path.stem), path.stat().st_size
        if start < offset <= start + size:
            with path.open("rb") as file:
                file.seek(offset - start - 1)
                return offset == start + size or file.read(1) == b"\n"
    return all(offset <= int(path.stem) for path in partition.glob("*.jsonl"))
