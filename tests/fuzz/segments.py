"""The target *segment*: hostile lines among intact ones, in real files, through the real reader and dispatcher.

The judge cuts the bytes at newlines by itself and knows intact lines by their proof. Each must come out, byte for byte;
nothing else may come out as a command that does not stand there as a whole line; every byte is accounted for.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kmq.command import MAX_LINE, encode
from kmq.spool import segment_path
from sender.dispatcher import Dispatcher, Window
from sender.reader import SpoolReader
from tests.support.clock import MovableClock
from tests.support.sinks import DELIVERED, HandSink
from tests.support.spools import Partition, make_spool

from .mutations import mutated
from .proof import proved, proven_start
from .target import LineLost, require
from .values import intact

if TYPE_CHECKING:
    from random import Random

    from kmq.spool import Spool
    from sender.flow import Event, Line
    from sender.rejected import New

__all__ = ["Segments"]

NAME = "20261123T204501Z-4f2a91c3"
_ZEROS = (1, 7, 512, 4096, 4099, 65_536, 140_000)
_PATIENCE_S = 8.0


@dataclass
class Written:
    """What stands on disk: whole lines and torn tails by their offsets, and where a line can begin."""

    whole: dict[int, bytes] = field(default_factory=dict)
    torn: dict[int, bytes] = field(default_factory=dict)
    boundaries: set[int] = field(default_factory=set)
    end: int = 0

    def add(self, content: bytes) -> None:
        """Take in the next segment."""
        self.boundaries.add(self.end)
        *lines, tail = content.split(b"\n")
        for line in lines:
            self.whole[self.end] = line
            self.end += len(line) + 1
            self.boundaries.add(self.end)
        if tail:
            self.torn[self.end] = tail
            self.end += len(tail)
            self.boundaries.add(self.end)


@dataclass
class Came:
    """What came out: lines by the reader, commands by the dispatcher, and what it kept."""

    lines: list[Line] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    kept: list[New] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


class Segments:
    """A partition of hostile bytes, read from any offset in pieces of any size."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="kmq-fuzz-")

    def make(self, rng: Random) -> bytes:
        """Return what stands in a partition, one segment after another."""
        return b"".join(_piece(rng) for _ in range(rng.randint(1, 30)))

    def check(self, data: bytes, rng: Random) -> None:
        """Write it, read it, and account for it."""
        path = tempfile.mkdtemp(dir=self._folder)
        try:
            spool = make_spool(Path(path, "spool"))
            written = _write(spool, data, rng)
            offset = _offset(rng, written)
            _judge(written, offset, _read(spool, offset, rng))
        finally:
            shutil.rmtree(path)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder)


def _piece(rng: Random) -> bytes:
    chance = rng.random()
    if chance < 0.55:
        return proved(rng) + b"\n"
    if chance < 0.85:
        return mutated(rng, intact(rng), lambda: intact(rng)) + b"\n" * (rng.random() < 0.85)
    if chance < 0.93:
        return bytes(rng.choice(_ZEROS) + rng.randint(0, 3))
    if chance < 0.97:
        return rng.randbytes(rng.randint(0, 200))
    return rng.choice((b"\n", b"\r\n", b"x" * rng.randint(65_500, 300_000), b'{"_p":"cut'))


def _write(spool: Spool, data: bytes, rng: Random) -> Written:
    partition, written = Partition(spool, NAME), Written()
    cuts = sorted({0, len(data), *(rng.randint(0, len(data)) for _ in range(rng.randint(0, 2)))})
    for start, end in itertools.pairwise(cuts):
        if start:
            partition.begin(start)
        partition.append(data[start:end])
        written.add(data[start:end])
    _hostile_names(spool, rng, written.end)
    return written


def _hostile_names(spool: Spool, rng: Random, end: int) -> None:
    path = spool.partition(NAME)
    if rng.random() < 0.2:
        os.symlink(
            rng.choice(("/dev/zero", "/etc/passwd", ".")),
            segment_path(path, rng.randint(end, end + 99) + 1),
        )
    if rng.random() < 0.1:
        os.mkfifo(segment_path(path, end + 200))
    if rng.random() < 0.1:
        os.mkdir(f"{path}/{end:020}.jsonl.d")


def _offset(rng: Random, written: Written) -> int | None:
    chance = rng.random()
    if chance < 0.5:
        return None
    if chance < 0.75:
        return rng.choice(sorted(written.boundaries) or [0])
    return rng.randint(0, written.end + 5) if chance < 0.95 else rng.getrandbits(63)


def _read(spool: Spool, offset: int | None, rng: Random) -> Came:
    came, clock = Came(), MovableClock()
    sink = HandSink(lambda _: DELIVERED)
    reader = SpoolReader(
        spool,
        {} if offset is None else {NAME: offset},
        report=came.events.append,
        clock=clock.monotonic,
    )
    dispatcher = Dispatcher(
        sink, came.kept.extend, window=Window(8), random=rng.random, clock=clock
    )
    end = clock.monotonic() + _PATIENCE_S
    try:
        while clock.monotonic() < end:
            lines = reader.read(rng.choice((1, 3, 1000)), rng.choice((1, 100, 5_000, 1 << 20)))
            came.lines += lines
            dispatcher.offer(lines)
            _settle(dispatcher)
            if not lines:
                clock.advance(max(reader.next_look_s(), 0.0001 if not reader.at_end(NAME) else 0.2))
        require(reader.at_end(NAME) and not reader.unfinished(NAME), "the reader came to the end")
    finally:
        reader.close()
    came.commands = [encode(delivery.command)[:-1] for delivery in sink.sent]
    return came


def _settle(dispatcher: Dispatcher) -> None:
    for _ in range(10_000):
        dispatcher.turn(0.0)
        if not dispatcher.waiting:
            return
    raise AssertionError("the dispatcher came to no end")


def _judge(written: Written, offset: int | None, came: Came) -> None:
    begin = 0 if offset is None or offset not in written.boundaries else offset
    _check_intact(written, begin, came)
    _check_nothing_else(written, came)
    _check_bytes(written, begin, came)


def _check_intact(written: Written, begin: int, came: Came) -> None:
    there = Counter(came.commands)
    for at, raw in written.whole.items():
        start = proven_start(raw)
        if start is not None and at >= begin:
            if not there[raw[start:]]:
                raise LineLost(f"the intact line at {at + start} did not come out")
            there[raw[start:]] -= 1


def _check_nothing_else(written: Written, came: Came) -> None:
    there = Counter(filter(None, map(_person, written.whole.values())))
    for line in came.commands:
        person = _person(line) or ""
        require(there[person] > 0, "a command came out that does not stand there as a line")
        there[person] -= 1


def _person(raw: bytes) -> str | None:
    for candidate in (raw, raw[raw.find(b'{"_p":', raw.rfind(b"\0") + 1) :]):
        try:
            document = json.loads(candidate.decode("utf-8"))
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict) and isinstance(document.get("_p"), str):
            return str(document["_p"])
    return None


def _check_bytes(written: Written, begin: int, came: Came) -> None:
    at = begin
    for line in came.lines:
        require(
            line.position.start == at,
            f"a line at {line.position.start} follows one that ended at {at}",
        )
        at = line.position.end
    require(at == max(begin, written.end), f"it was read up to {at} of {written.end}")
    _check_cuts(written, begin, came)
    blanks = sum(not line.raw and line.fault is None for line in came.lines)
    heads = sum(new.reason == "zeros" for new in came.kept)
    require(
        len(came.lines) == len(came.commands) + len(came.kept) - heads + blanks,
        "each line is a command, or kept, or blank",
    )


def _check_cuts(written: Written, begin: int, came: Came) -> None:
    # Only of a line that is too long may a part come out as a line of its own: the command behind its zeros.
    there = {at: raw for at, raw in {**written.whole, **written.torn}.items() if at >= begin}
    too_long = {at: raw for at, raw in there.items() if len(raw) >= MAX_LINE}
    for line in came.lines:
        raw = there.pop(line.position.start, None)
        if raw is not None and len(raw) < MAX_LINE:
            require(
                line.raw == raw, f"the line at {line.position.start} came out as it stands there"
            )
        elif raw is None:
            start = line.position.start
            require(
                any(at < start < at + len(long) for at, long in too_long.items()),
                "nothing but a newline ends a line",
            )
    require(not there, "no line is left out")
