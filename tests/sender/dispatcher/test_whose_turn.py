"""Whose turn it is: order within a lane, fair turns between people and partitions, whosever line it is."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmq.command import Command, encode
from sender.flow import Verdict
from tests.support.dispatching import NOW, Bench, P, Q
from tests.support.sinks import DELIVERED, HandSink, answered

PLAIN = b'{"_p":"bob","_t":1795500000,"_n":"plain"}'


@pytest.fixture
def bench() -> Bench:
    return Bench()


def names(bench: Bench) -> list[str | None]:
    return [delivery.command.name for delivery in bench.sink.taken]


@pytest.mark.parametrize(
    "other",
    [
        b'{"_p":"b\\u006fb","_t":1795500000,"_n":"other"}',
        b'{"_t":1795500000,"_p":"bob","_n":"other"}',
        b' {"_p":"bob","_t":1795500000,"_n":"other"}',
        b'{"_p" : "bob","_t":1795500000,"_n":"other"}',
        bytes(8) + b'{"_p":"bob","_t":1795500000,"_n":"other"}',
        b'{"_p":"eve","_t"' + bytes(8) + b'{"_p":"bob","_t":1795500000,"_n":"other"}',
    ],
    ids=["escaped", "behind the time", "a blank", "a blank within", "zeros", "zeros in another"],
)
@pytest.mark.parametrize("first", [True, False])
def test_however_a_person_is_written_their_commands_share_a_lane(
    bench: Bench, other: bytes, *, first: bool
) -> None:
    """The person is taken from the head of a line only where nothing but that can stand there."""
    lines = [other, PLAIN] if first else [PLAIN, other]
    bench.dispatcher.offer([bench.feed.line("", raw=raw) for raw in lines])
    bench.turn()
    assert names(bench) == ["other" if first else "plain"]
    bench.answer("bob")
    bench.turn()
    assert names(bench) == ["plain" if first else "other"]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"_p":"bob","_t":1795500000,"_n":""}', "no-name"),
        (b'{"_p":"bob', "not-json"),
        (b'{"_p":"bob","_p":"bob","_t":1795500000,"_n":"x"}', "name-twice"),
        (b'{"_p":"b\xe9b","_t":1795500000,"_n":"x"}', "not-utf8"),
        (b'{"_p":"","_t":1795500000,"_n":"x"}', "no-person"),
        (b'{"_p":"bob","_t":17955' + bytes(4), "not-json"),
    ],
)
def test_a_line_that_only_begins_like_a_command_is_kept_and_holds_up_nobody(
    bench: Bench, raw: bytes, code: str
) -> None:
    """What is wrong with it is seen when it is to be sent; its person's next goes at once."""
    bench.dispatcher.offer([bench.feed.line("", raw=raw), bench.feed.line("", raw=PLAIN)])
    bench.turn()
    assert [(new.reason, new.raw) for new in bench.kept] == [(code, raw)]
    assert names(bench) == ["plain"]
    bench.answer("bob")
    assert bench.dispatcher.low_water() == {}


def test_a_probe_passes_what_is_no_command(bench: Bench) -> None:
    """A line that cannot be sent tells nothing of the API: the next one does."""
    bench.offer("ann")
    bench.turn()
    bench.answer("ann", answered(503))
    bench.dispatcher.offer([bench.feed.line("", raw=b'{"_p":"eve"}'), bench.feed.line("bob")])
    bench.turn()
    assert bench.taken() == ["bob"]
    assert [new.reason for new in bench.kept] == ["no-time"]


def test_the_backlog_of_a_partition_delays_no_other(bench: Bench) -> None:
    """Partitions take turns: of one that has thousands ready, one command goes before another's first."""
    bench = Bench(max_in_flight=4)
    bench.offer(*(f"person {n}" for n in range(5_000)))
    bench.turn()
    bench.offer("ann", "bob", partition=Q)
    for _ in range(4):
        bench.sink.answer(bench.sink.taken[0])
    bench.turn()
    bench.turn()
    assert bench.taken() == ["person 4", "ann", "person 5", "bob"]


def test_a_flood_in_one_partition_does_not_delay_the_same_person_in_another(bench: Bench) -> None:
    """Nobody could know of an order between the two."""
    bench = Bench(HandSink(lambda _: DELIVERED), max_in_flight=4)
    bench.offer(*["bob"] * 1_000)
    bench.offer("bob", partition=Q)
    bench.turn()
    assert len(bench.sink.sent) == 2


def test_what_waits_for_a_retry_is_due_before_what_became_ready_later(bench: Bench) -> None:
    """A command whose delay is over goes behind what was ready then, and before what came after."""
    bench = Bench(max_in_flight=1)
    bench.offer("bob", "ann", "eve")
    bench.turn()
    bench.answer("bob", answered(500))
    bench.clock.advance(0.5)
    bench.turn()
    for person in ("ann", "eve"):
        bench.turn()
        bench.answer(person)
    bench.turn()
    assert bench.taken() == ["bob"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_in_each_lane_commands_end_in_the_order_in_which_they_were_read(
    data: st.DataObject,
) -> None:
    """Whatever is answered, in whatever order: never two of a lane in flight, never a later one first."""
    bench = Bench(max_in_flight=data.draw(st.integers(1, 6)))
    expected: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    ended: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    outcomes = st.sampled_from([DELIVERED, answered(503), answered(400, Verdict.REJECTED)])
    for number in range(data.draw(st.integers(1, 20))):
        lane = data.draw(st.tuples(st.sampled_from([P, Q]), st.sampled_from(["ann", "bob"])))
        raw = encode(Command(lane[1], NOW + number, lane[0]))[:-1]
        bench.dispatcher.offer([bench.feed.line("", lane[0], raw)])
        expected[lane].append(number)
        if data.draw(st.booleans()):
            _answer_some(bench, ended, data, outcomes)
    while bench.dispatcher.waiting:
        bench.clock.advance(30.0)
        _answer_some(bench, ended, data, outcomes)
    assert ended == expected


def _answer_some(
    bench: Bench,
    ended: defaultdict[tuple[str, str], list[int]],
    data: st.DataObject,
    outcomes: st.SearchStrategy,
) -> None:
    bench.turn()
    lanes = [(delivery.command.name, delivery.command.person) for delivery in bench.sink.taken]
    assert len(set(lanes)) == len(lanes)
    for delivery in list(bench.sink.taken):
        outcome = data.draw(outcomes)
        bench.sink.answer(delivery, outcome)
        if outcome.verdict is not Verdict.RETRY:
            command = delivery.command
            ended[command.name or "", command.person].append(command.time - NOW)
    bench.turn()
