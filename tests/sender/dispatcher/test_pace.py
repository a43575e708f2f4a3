"""The pace of requests: never more in any second than was asked for, evenly, and nearly as many."""

from __future__ import annotations

from bisect import bisect_left
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sender.dispatcher.pace import Pace
from tests.support.dispatching import Bench
from tests.support.sinks import DELIVERED, HandSink, answered

BEGIN = 1_000.0


def most_within(times: list[float], span_s: float) -> int:
    """Return the most of `times`, which are sorted, that lie within any half-open span."""
    return max(bisect_left(times, time + span_s) - n for n, time in enumerate(times))


def send(pace: Pace, begin: float, end: float, *, late: Random | None = None) -> list[float]:
    """Send as much as is allowed from `begin` to `end`, each turn up to 15 ms late; return when each went."""
    now, times = begin, list[float]()
    while now < end:
        count = pace.allowed(now)
        pace.sent(now, count)
        times += [now] * count
        now = max(now, pace.due()) + (late.uniform(0.0, 0.015) if late else 1e-6)
    return times


@pytest.mark.parametrize("rate", [1, 2, 7, 32, 100, 999, 5_000, 100_000])
def test_no_second_holds_more_than_the_rate_and_nearly_all_of_it_goes(rate: int) -> None:
    """Whatever second is looked at; at least 98 of 100 of what is allowed are used."""
    times = send(Pace(rate), BEGIN, BEGIN + (20.0 if rate < 10_000 else 3.0))
    assert most_within(times, 1.0) <= rate
    assert len(times) >= 0.98 * rate * (times[-1] - BEGIN)


@pytest.mark.parametrize("rate", [1, 10, 100, 5_000])
def test_turns_that_come_late_cost_nothing_and_break_nothing(rate: int) -> None:
    """What was due meanwhile is caught up with, and no second holds more for it."""
    times = send(Pace(rate), BEGIN, BEGIN + 20.0, late=Random(7))
    assert most_within(times, 1.0) <= rate
    assert len(times) >= 0.97 * rate * (times[-1] - BEGIN)


@pytest.mark.parametrize(
    ("rate", "count", "span_s"), [(0.5, 1, 2.0), (0.1, 1, 10.0), (2.5, 2, 0.8)]
)
def test_a_rate_that_is_no_whole_number_is_kept_over_a_longer_time(
    rate: float, count: int, span_s: float
) -> None:
    """One request in two seconds is half a request a second."""
    times = send(Pace(rate), BEGIN, BEGIN + 400.0)
    assert most_within(times, span_s) <= count
    assert len(times) >= 0.98 * rate * 400.0


@pytest.mark.parametrize("rate", [10, 100, 5_000])
def test_requests_go_evenly(rate: int) -> None:
    """A tenth of a second holds a tenth of them."""
    times = send(Pace(rate), BEGIN, BEGIN + 5.0)
    assert most_within(times, 0.1) <= max(1, rate / 10)


@pytest.mark.parametrize("rate", [10, 100, 5_000])
def test_after_a_pause_nothing_is_made_up_for(rate: int) -> None:
    """What did not go is not owed: at once goes what 20 ms hold, and then one after another."""
    pace = Pace(rate)
    pace.sent(BEGIN, pace.allowed(BEGIN))
    now, went = BEGIN + 60.0, 0
    for _ in range(101):
        went += pace.allowed(now)
        pace.sent(now, pace.allowed(now))
        now += 0.001
    assert went <= rate * (0.1 + 0.02) + 2


@pytest.mark.parametrize("rate", [100, 5_000])
def test_a_second_with_two_short_pauses_holds_no_more_either(rate: int) -> None:
    """What was caught up with after the first leaves so much less for the rest of that second."""
    pace = Pace(rate)
    times = send(pace, BEGIN, BEGIN + 0.5)
    times += send(pace, BEGIN + 0.6, BEGIN + 1.57)
    times += send(pace, BEGIN + 1.59, BEGIN + 3.0)
    assert most_within(times, 1.0) <= rate


@settings(max_examples=60, deadline=None)
@given(
    rate=st.integers(1, 300),
    turns=st.lists(
        st.tuples(st.sampled_from([0.0, 0.001, 0.02, 0.3, 2.0]), st.integers(0, 200)), max_size=200
    ),
    chance=st.randoms(use_true_random=False),
)
def test_no_second_as_the_server_sees_it_holds_more_than_the_rate(
    rate: int, turns: list[tuple[float, int]], chance: Random
) -> None:
    """However bursts and pauses follow one another, and though the ways differ by up to 10 ms."""
    pace, now, arrived = Pace(rate), BEGIN, list[float]()
    for pause_s, wanted in turns:
        now += pause_s
        count = min(wanted, pace.allowed(now))
        pace.sent(now, count)
        arrived += [now + chance.uniform(0.0, 0.00999) for _ in range(count)]
        now = max(now, pace.due()) if wanted > count else now
    arrived.sort()
    assert not arrived or most_within(arrived, 1.0) <= rate


def test_the_dispatcher_keeps_the_pace_with_retries_among_the_requests() -> None:
    """A retry is a request like any other."""
    bench, chance, times = Bench(rate=20.0), Random(3), list[float]()
    bench.offer(*(f"person {n}" for n in range(400)))
    while bench.dispatcher.waiting:
        bench.turn()
        times += [bench.clock.monotonic()] * (len(bench.sink.sent) - len(times))
        for delivery in list(bench.sink.taken):
            bench.sink.answer(delivery, DELIVERED if chance.random() < 0.7 else answered(500))
        bench.clock.advance(0.2)
    assert bench.dispatcher.figures.retried > 50
    assert most_within(times, 1.0) <= 20


def test_what_is_no_command_takes_nobodys_place_in_the_pace() -> None:
    """Only requests count."""
    bench = Bench(HandSink(lambda _: DELIVERED), rate=1.0)
    junk = [bench.feed.line("", raw=b'{"_p":"%d"}' % n) for n in range(100)]
    bench.dispatcher.offer([*junk, bench.feed.line("ann")])
    bench.turn()
    assert (len(bench.kept), len(bench.sink.sent)) == (100, 1)
