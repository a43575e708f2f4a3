"""A dispatcher on a bench: lines made by hand, a sink answered by hand, a clock moved by hand.

Owns what a test of the dispatcher needs around it. Knows nothing about files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmq.command import Command, encode
from sender.dispatcher import Dispatcher, Window
from sender.flow import Delivery, Line, Outcome, Position

from .clock import MovableClock
from .sinks import DELIVERED, HandSink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sender.rejected import New

__all__ = ["NOW", "Bench", "Feed", "Kept", "P", "Q"]

P = "20261123T204501Z-4f2a91c3"
Q = "20261123T204501Z-90be12aa"
NOW = 1_795_500_000


class Feed:
    """Lines of a partition, each behind the one before."""

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}

    def line(
        self, person: str, partition: str = P, raw: bytes | None = None, fault: str | None = None
    ) -> Line:
        if raw is None:
            raw = encode(Command(person, NOW, "Signed Up"))[:-1]
        start = self.ends.get(partition, 0)
        end = self.ends[partition] = start + len(raw) + 1
        return Line(Position(partition, start, end), raw, fault)


class Kept(list["New"]):
    """What was handed over to be kept; raises for as long as `error` is set."""

    error: OSError | None = None

    def add(self, batch: Sequence[New]) -> None:
        if self.error is not None:
            raise self.error
        self.extend(batch)


class Bench:
    """A dispatcher with everything that it needs, under a clock that the test moves."""

    def __init__(
        self, sink: HandSink | None = None, *, max_in_flight: int = 32, rate: float | None = None
    ) -> None:
        self.clock = MovableClock()
        self.sink = sink or HandSink()
        self.kept = Kept()
        self.feed = Feed()
        self.dispatcher = Dispatcher(
            self.sink,
            self.kept.add,
            window=Window(max_in_flight, rate),
            random=lambda: 1.0,
            clock=self.clock,
        )

    def offer(self, *people: str, partition: str = P) -> list[Line]:
        lines = [self.feed.line(person, partition) for person in people]
        self.dispatcher.offer(lines)
        return lines

    def turn(self) -> None:
        self.dispatcher.turn(0.0)

    def taken(self) -> list[str]:
        return [delivery.command.person for delivery in self.sink.taken]

    def of(self, person: str) -> Delivery:
        return next(delivery for delivery in self.sink.taken if delivery.command.person == person)

    def answer(self, person: str, outcome: Outcome = DELIVERED) -> None:
        self.sink.answer(self.of(person), outcome)
        self.turn()
