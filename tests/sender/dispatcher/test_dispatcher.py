"""The dispatcher: order, window, retries, rejects and the low-water mark, over a sink that is answered by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmq.command import Command, encode
from sender.dispatcher import Dispatcher, GateState, Window
from sender.dispatcher.track import MAX_BEYOND
from sender.flow import Outcome, Verdict
from tests.support.clock import MovableClock
from tests.support.dispatching import NOW, Bench, Feed, Kept, P, Q
from tests.support.sinks import DELIVERED, HandSink, answered


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_commands_of_one_person_go_one_after_another(bench: Bench) -> None:
    """The second waits for the first one's answer; other people's go meanwhile."""
    bench.offer("bob", "bob", "ann")
    bench.turn()
    assert bench.taken() == ["bob", "ann"]
    bench.answer("bob")
    bench.turn()
    assert bench.taken() == ["ann", "bob"]


def test_one_person_in_two_partitions_goes_side_by_side(bench: Bench) -> None:
    """Order is kept within a partition only: no call there could know of the other."""
    bench.offer("bob")
    bench.offer("bob", partition=Q)
    bench.turn()
    assert bench.taken() == ["bob", "bob"]


def test_no_more_than_the_window_is_in_flight() -> None:
    """The window is a bound, and it is used."""
    bench = Bench(max_in_flight=3)
    bench.offer(*(f"person {n}" for n in range(10)))
    bench.turn()
    assert len(bench.sink.taken) == bench.dispatcher.in_flight == 3


def test_the_low_water_mark_stops_before_the_first_command_that_is_not_done(bench: Bench) -> None:
    """Answers come in any order; the mark never passes a hole."""
    lines = bench.offer("ann", "bob", "cid")
    bench.turn()
    bench.answer("cid")
    bench.answer("bob")
    assert bench.dispatcher.low_water() == {P: 0}
    assert bench.dispatcher.beyond() == 2
    bench.answer("ann")
    assert bench.dispatcher.low_water() == {}
    assert lines[2].position.end == bench.feed.ends[P]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_mark_never_passes_what_is_not_delivered_or_kept(data: st.DataObject) -> None:
    """Whatever comes back, in whatever order: below the mark all is delivered or kept, each exactly once."""
    bench = Bench(max_in_flight=data.draw(st.integers(1, 8)))
    people = data.draw(
        st.lists(st.sampled_from(["ann", "bob", "cid", "dot"]), min_size=1, max_size=12)
    )
    lines = bench.offer(*people)
    delivered: list[int] = []
    outcomes = st.sampled_from(
        [DELIVERED, DELIVERED, answered(503), answered(400, Verdict.REJECTED)]
    )
    for _ in range(200):
        bench.turn()
        if bench.sink.taken:
            delivery = data.draw(st.sampled_from(bench.sink.taken))
            outcome = data.draw(outcomes)
            bench.sink.answer(delivery, outcome)
            delivered += [delivery.ticket] if outcome is DELIVERED else []
            bench.turn()
        mark = bench.dispatcher.low_water().get(P, bench.feed.ends[P])
        done = {lines[ticket - 1].position.start for ticket in delivered}
        done |= {new.offset for new in bench.kept if new.offset is not None}
        assert all(line.position.start in done for line in lines if line.position.start < mark)
        bench.clock.advance(30.0)
    assert bench.dispatcher.low_water() == {}
    assert len(delivered) + len(bench.kept) == len(lines)


def test_a_failed_command_waits_longer_each_time_and_holds_up_only_its_person(bench: Bench) -> None:
    """Its own delay doubles; its lane waits, so that the person's order stays."""
    bench.offer("bob", "bob", "ann")
    bench.turn()
    bench.answer("bob", answered(500))
    bench.answer("ann")
    bench.turn()
    assert bench.taken() == []
    bench.clock.advance(0.5)
    bench.turn()
    assert bench.taken() == ["bob"]
    bench.offer("eve")
    bench.turn()
    bench.answer("bob", answered(500))
    bench.answer("eve")
    bench.clock.advance(0.5)
    bench.turn()
    assert bench.taken() == []
    bench.clock.advance(0.5)
    bench.turn()
    assert bench.taken() == ["bob"]


def test_when_everything_fails_one_probe_goes_at_a_time(bench: Bench) -> None:
    """After a window of failures the API sees single requests, however much waits."""
    bench.offer(*(f"person {n}" for n in range(100)))
    bench.turn()
    for delivery in list(bench.sink.taken):
        bench.sink.answer(delivery, answered(503))
    bench.turn()
    assert bench.dispatcher.gate.state is GateState.RETRYING
    for _ in range(5):
        bench.clock.advance(31.0)
        bench.turn()
        assert len(bench.sink.taken) == 1
        bench.sink.answer(bench.sink.taken[0], answered(503))
        bench.turn()


def test_after_an_outage_everything_goes_at_once(bench: Bench) -> None:
    """What waited only because of the outage does not wait out its own delay."""
    bench.dispatcher.gate._random = lambda: (
        0.1
    )  # by chance the first probe goes long before the delays are over
    bench.offer(*(f"person {n}" for n in range(10)))
    bench.turn()
    for delivery in list(bench.sink.taken):
        bench.sink.answer(delivery, answered(503))
    bench.turn()
    bench.clock.advance(0.1)
    bench.turn()
    bench.sink.answer(bench.sink.taken[0])
    bench.turn()
    bench.turn()
    assert len(bench.sink.taken) == 9


def test_a_probe_goes_although_every_command_waits_for_its_own_retry(bench: Bench) -> None:
    """The gate's delay decides in an outage, not that of the command that happens to be first."""
    bench.offer("bob")
    bench.turn()
    for _ in range(3):
        bench.answer("bob", answered(503))
        due_s = bench.dispatcher.next_due_s()
        assert due_s is not None
        bench.clock.advance(due_s)
        bench.turn()
        assert bench.taken() == ["bob"]


def test_a_refused_command_is_kept_and_its_person_goes_on(bench: Bench) -> None:
    """What the API refuses for what it says goes to `rejected/`, with the answer."""
    (line, _) = bench.offer("bob", "bob")
    bench.turn()
    bench.answer("bob", Outcome(Verdict.REJECTED, "answered-400", 400, said="no such thing"))
    (new,) = bench.kept
    assert new.size is None, "what is kept is all of it, and can be sent again"
    assert (new.reason, new.status, new.said, new.raw) == (
        "answered-400",
        400,
        "no such thing",
        line.raw,
    )
    assert (new.partition, new.offset, new.end) == (P, line.position.start, line.position.end)
    bench.turn()
    assert bench.taken() == ["bob"]


@pytest.mark.parametrize("fault", ["torn", "too-long"])
def test_a_line_that_the_reader_found_faulty_is_kept_and_never_sent(
    bench: Bench, fault: str
) -> None:
    """A torn line may read like a command: its call was never acknowledged, and it is never delivered."""
    whole = encode(Command("bob", NOW, "Signed Up"))[:-1]
    bench.dispatcher.offer([bench.feed.line("", raw=whole, fault=fault)])
    bench.turn()
    assert bench.sink.sent == []
    assert [new.reason for new in bench.kept] == [fault]
    assert bench.dispatcher.low_water() == {}


def test_a_line_that_is_no_command_is_kept_beside_its_intact_neighbours(bench: Bench) -> None:
    """A corrupt line takes nobody along."""
    bench.dispatcher.offer(
        [bench.feed.line("ann"), bench.feed.line("", raw=b"{broken"), bench.feed.line("bob")]
    )
    bench.turn()
    assert bench.taken() == ["ann", "bob"]
    assert [(new.reason, new.raw) for new in bench.kept] == [("not-json", b"{broken")]


def test_an_intact_command_behind_a_block_of_zeros_is_sent(bench: Bench) -> None:
    """The zeros are kept, the command is delivered, and the mark waits for both."""
    intact = encode(Command("bob", NOW, "Signed Up"))[:-1]
    bench.kept.error = OSError(28, "No space left on device")
    bench.dispatcher.offer([bench.feed.line("", raw=b'{"_p":"a' + bytes(4_096) + intact)])
    bench.turn()
    bench.answer("bob")
    assert bench.dispatcher.low_water() == {P: 0}
    bench.kept.error = None
    bench.clock.advance(1.0)
    bench.turn()
    assert bench.dispatcher.low_water() == {}
    assert [(new.reason, new.end, new.offset) for new in bench.kept] == [("zeros", 8 + 4_096, 0)]
    assert bench.dispatcher.waiting == 0


def test_behind_a_block_of_zeros_a_refused_command_has_a_place_of_its_own(bench: Bench) -> None:
    """Otherwise the two would be listed as one, and dropping the zeros would drop the command."""
    intact = encode(Command("bob", NOW, "Signed Up"))[:-1]
    line = bench.feed.line("", raw=bytes(100) + intact)
    bench.dispatcher.offer([line])
    bench.turn()
    bench.answer("bob", answered(400, Verdict.REJECTED))
    assert [(new.offset, new.end, new.raw) for new in bench.kept] == [
        (0, 100, bytes(100)),
        (100, line.position.end, intact),
    ]


def test_what_cannot_be_kept_waits_and_holds_the_mark_while_sending_goes_on(bench: Bench) -> None:
    """A full disk delays a reject; it never loses it, and never stops the others."""
    bench.kept.error = OSError(28, "No space left on device")
    bench.dispatcher.offer([bench.feed.line("", raw=b"junk"), bench.feed.line("bob")])
    bench.turn()
    bench.answer("bob")
    assert bench.dispatcher.keep_error is bench.kept.error
    assert bench.dispatcher.low_water() == {P: 0}
    bench.kept.error = None
    bench.turn()
    assert bench.kept == []
    bench.clock.advance(1.0)
    bench.turn()
    assert len(bench.kept) == 1
    assert bench.dispatcher.keep_error is None


def fail_beside_deliveries(bench: Bench, times: int, *, every_s: float) -> None:
    """Let bob's command fail so many times, each beside another one that is delivered."""
    bench.offer("bob")
    for n in range(times):
        bench.offer(f"other {n}")
        bench.turn()
        for delivery in list(bench.sink.taken):
            outcome = answered(500) if delivery.command.person == "bob" else DELIVERED
            bench.sink.answer(delivery, outcome)
        bench.turn()
        bench.clock.advance(every_s)


def test_a_command_that_fails_for_an_hour_beside_deliveries_is_stuck(bench: Bench) -> None:
    """It must not hold a host's checkpoint for ever."""
    fail_beside_deliveries(bench, 200, every_s=31.0)
    assert [new.reason for new in bench.kept] == ["stuck"]
    assert bench.dispatcher.low_water() == {}


def test_a_command_that_fails_in_an_outage_is_never_stuck(bench: Bench) -> None:
    """Days without any delivery say nothing about this command."""
    bench.offer("bob", "ann")
    for _ in range(500):
        bench.turn()
        for delivery in list(bench.sink.taken):
            bench.sink.answer(delivery, answered(503))
        bench.turn()
        bench.clock.advance(31.0)
    assert bench.kept == []


def test_fifty_quick_failures_beside_deliveries_are_not_yet_stuck(bench: Bench) -> None:
    """Both must hold: 50 failures, and an hour."""
    fail_beside_deliveries(bench, 80, every_s=30.0)
    assert bench.kept == []


def test_few_failures_in_an_hour_are_not_stuck(bench: Bench) -> None:
    """A slow API may answer one command a minute, and mean nothing by it."""
    fail_beside_deliveries(bench, 49, every_s=3_600.0)
    assert bench.kept == []


def test_retry_after_is_a_minimum_for_the_command_itself(bench: Bench) -> None:
    """Beside deliveries, where nobody else is held up."""
    bench.offer("bob", "ann")
    bench.turn()
    bench.answer("bob", answered(503, retry_after_s=60.0))
    bench.answer("ann")
    bench.clock.advance(59.0)
    bench.turn()
    assert bench.taken() == []
    bench.clock.advance(1.0)
    bench.turn()
    assert bench.taken() == ["bob"]


def test_stop_sends_only_what_lies_below_something_sent_already() -> None:
    """Otherwise what was delivered beyond a hole would be sent again at the next start."""
    bench = Bench(max_in_flight=2)
    bench.offer("bob", "bob", "ann", "bob", "cid")
    bench.turn()
    assert bench.taken() == ["bob", "ann"]
    bench.dispatcher.stop()
    bench.answer("ann")
    bench.answer("bob")
    bench.turn()
    assert bench.taken() == ["bob"]
    assert not bench.dispatcher.settled()
    bench.answer("bob")
    bench.turn()
    assert bench.taken() == []
    assert bench.dispatcher.settled()
    assert bench.dispatcher.beyond() == 0


def test_after_stop_a_long_lane_is_sent_side_by_side() -> None:
    """One by one, a lane in front of what others had delivered would take longer than an end may."""
    bench = Bench(max_in_flight=8)
    bench.offer(*["bob"] * 20, "ann")
    bench.turn()
    bench.answer("ann")
    bench.dispatcher.stop()
    bench.turn()
    assert len(bench.sink.taken) == 8


def test_an_empty_line_is_passed(bench: Bench) -> None:
    """It says nothing; keeping each would let some megabytes of newlines fill the spool."""
    bench.dispatcher.offer([bench.feed.line("", raw=b"") for _ in range(3)])
    bench.turn()
    assert (bench.kept, bench.dispatcher.low_water(), bench.dispatcher.waiting) == ([], {}, 0)


def test_stop_does_not_wait_for_holes_while_the_api_fails() -> None:
    """With nothing in flight and the gate closed, there is nothing to wait for."""
    bench = Bench(max_in_flight=1)
    bench.offer("ann", "bob")
    bench.turn()
    bench.dispatcher.stop()
    bench.answer("ann", answered(503))
    assert bench.dispatcher.settled()


def test_a_rate_spaces_requests() -> None:
    """At most N requests a second, also after a quiet time."""
    bench = Bench(HandSink(lambda _: DELIVERED), rate=10.0)
    bench.offer(*(f"person {n}" for n in range(100)))
    for _ in range(200):
        bench.turn()
        bench.clock.advance(0.01)
    assert 19 <= len(bench.sink.sent) <= 21


def test_a_flood_of_one_person_does_not_hold_up_the_others() -> None:
    """Behind thousands of one person's commands, another one's goes at once."""
    bench = Bench(max_in_flight=4)
    bench.offer(*["flood"] * 5_000, "ann")
    bench.turn()
    assert bench.taken() == ["flood", "ann"]


def test_room_shrinks_with_what_waits_and_a_quiet_partition_stays_hungry(bench: Bench) -> None:
    """What is read ahead is bounded in all; a partition with nothing read ahead may always read on."""
    lines, size = bench.dispatcher.room()
    offered = bench.offer("ann", "bob")
    assert bench.dispatcher.room() == (lines - 2, size - sum(len(line.raw) for line in offered))
    assert not bench.dispatcher.hungry(P)
    assert bench.dispatcher.hungry(Q)
    bench.turn()
    bench.answer("ann")
    bench.answer("bob")
    assert bench.dispatcher.room() == (lines, size)
    assert bench.dispatcher.hungry(P)


def test_a_partition_with_too_much_beyond_its_mark_is_crowded() -> None:
    """One command that hangs bounds what would be sent again after a crash."""
    bench = Bench(
        HandSink(lambda delivery: None if delivery.command.person == "hangs" else DELIVERED)
    )
    bench.offer("hangs")
    raw = encode(Command("bob", NOW, "x"))[:-1]
    lines = [bench.feed.line("", raw=raw) for _ in range(MAX_BEYOND - 1)]
    bench.dispatcher.offer(lines)
    assert bench.dispatcher.crowded() == {P}
    bench.turn()
    bench.answer("hangs")
    bench.dispatcher.low_water()
    assert bench.dispatcher.crowded() == set()


def test_figures_count_each_end(bench: Bench) -> None:
    """Delivered, retried and rejected are counted, with the last error."""
    bench.offer("ann", "bob", "cid")
    bench.turn()
    bench.answer("ann")
    bench.answer("bob", answered(503))
    bench.answer("cid", answered(400, Verdict.REJECTED))
    figures = bench.dispatcher.figures
    assert (figures.delivered, figures.retried, dict(figures.rejected)) == (
        1,
        1,
        {"answered-400": 1},
    )
    assert figures.last_error is not None
    assert (figures.last_error.code, figures.last_error.status) == ("answered-400", 400)


def test_next_due_is_none_when_only_an_answer_can_change_anything(bench: Bench) -> None:
    """The loop then waits for the sink and the reader alone."""
    assert bench.dispatcher.next_due_s() is None
    bench.offer("bob")
    assert bench.dispatcher.next_due_s() == 0.0
    bench.turn()
    assert bench.dispatcher.next_due_s() is None


def test_the_delay_has_full_jitter() -> None:
    """Senders that failed together do not come back together."""
    dispatcher = Dispatcher(
        HandSink(lambda _: answered(500)),
        Kept().add,
        window=Window(),
        random=random.Random(1).random,
        clock=MovableClock(),
    )
    feed = Feed()
    dispatcher.offer([feed.line(f"person {n}") for n in range(3)])
    dispatcher.turn(0.0)
    assert dispatcher.next_due_s() not in {None, 0.0, 0.5}
