"""A dispatcher driven by a clock: who waits, how long, and when the end is reached."""

from __future__ import annotations

import pytest

from kmq.command import Command, encode
from sender.dispatcher import Dispatcher, Window, turns
from sender.flow import Delivery, Line, Outcome, Position
from tests.support.clock import MovableClock
from tests.support.sinks import DELIVERED, HandSink


def dispatcher_on(clock: MovableClock, sink: HandSink) -> Dispatcher:
    """Return one that keeps nothing."""
    return Dispatcher(sink, lambda _: None, window=Window(), random=lambda: 0.5, clock=clock)


def line(person: str) -> Line:
    """Return a line that nothing stands before."""
    raw = encode(Command(person, 1_795_500_000, "Signed Up")).rstrip()
    return Line(Position("20261123T204501Z-4f2a91c3", 0, len(raw) + 1), raw)


def test_the_time_that_a_sink_does_not_wait_is_waited_here() -> None:
    """With nothing in flight it returns at once, and the loop would spin."""
    clock = MovableClock()
    began = clock.monotonic()
    turns.turn(dispatcher_on(clock, HandSink()), 0.2, clock)
    assert clock.monotonic() - began == pytest.approx(0.2)


def test_nothing_is_waited_where_something_was_answered() -> None:
    """There is more to send."""
    clock = MovableClock()
    began = clock.monotonic()
    dispatcher = dispatcher_on(clock, HandSink(lambda _: DELIVERED))
    dispatcher.offer([line("ann")])
    turns.turn(dispatcher, 0.2, clock)
    assert clock.monotonic() == began


def test_an_end_waits_for_what_is_in_flight_and_not_for_ever() -> None:
    """Ten seconds; what is not answered by then is sent again by the next sender."""
    clock = MovableClock()

    class Slow(HandSink):
        def exchange(self, deliveries: list[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:  # type: ignore[override]  # as handed over
            clock.wait(wait_s)
            return super().exchange(deliveries, wait_s)

    dispatcher = dispatcher_on(clock, Slow())
    dispatcher.offer([line("ann")])
    turns.turn(dispatcher, 0.0, clock)
    began = clock.monotonic()
    looks: list[None] = []
    turns.finish(dispatcher, clock, lambda: looks.append(None))
    assert clock.monotonic() - began == pytest.approx(turns.FINISH_S, abs=turns.PATIENCE_S)
    assert looks
    assert dispatcher.in_flight == 1
