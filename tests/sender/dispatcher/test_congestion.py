"""The window of what is in flight: whole for a server that bears it, smaller for one that has too much."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from sender.dispatcher.congestion import Congestion
from tests.support.modelled import Capacity, Limited, Run, Steady
from tests.support.sinks import DELIVERED, answered

if TYPE_CHECKING:
    from sender.flow import Outcome


@pytest.mark.parametrize("most", [1, 32, 128, 512])
def test_at_a_steady_latency_the_whole_window_is_used(most: int) -> None:
    """What is delivered is what is in flight divided by the latency."""
    run = Run(Steady(0.05), most)
    assert run.go(10.0) >= 0.98 * 10.0 * most / 0.05
    assert run.dispatcher.window == most


@pytest.mark.parametrize("slow", [0.0, 0.01, 0.2])
def test_a_fast_server_with_noise_keeps_its_window(slow: float) -> None:
    """Single answers that take long, however many times the floor, are no queue."""
    chance = Random(5)

    def noisy(now: float) -> tuple[float, Outcome]:
        took_s = chance.expovariate(1 / 0.005) + (1.0 if chance.random() < slow else 0.0002)
        return now + took_s, DELIVERED

    run = Run(noisy, 64)
    run.go(5.0)
    assert run.dispatcher.window == 64


def test_a_short_queue_before_a_fast_server_is_no_fault() -> None:
    """On one machine a full window takes a hundred times as long as one request alone, and harms nobody."""
    run = Run(Capacity(5_000, 0.0002), 128)
    run.go(5.0)
    assert run.dispatcher.window == 128


def test_one_stop_of_the_server_costs_nothing() -> None:
    """All that is in flight waits for a second, once; that is one round, and no queue of ours."""
    run = Run(Steady(0.02), 64)
    run.go(1.0)
    ends_at = run.clock.monotonic() + 1.0
    run.sink.model = lambda now: (max(now + 0.02, ends_at), DELIVERED)
    run.go(2.0)
    assert run.dispatcher.window == 64


@pytest.mark.parametrize("most", [32, 128, 512])
def test_before_a_server_that_is_full_the_window_shrinks_and_nothing_is_lost_by_it(
    most: int,
) -> None:
    """Its queue is kept short, and it has work all the time."""
    run = Run(Capacity(200, 0.05), most)
    run.go(1.0)
    run.sink.model = Capacity(100, 0.05)
    run.go(60.0)
    assert run.go(60.0) >= 0.98 * 60 * 100
    assert run.dispatcher.window < 40
    latency = run.dispatcher.figures.latency(0.99)
    assert latency is not None
    assert latency < 0.4


def test_a_server_that_has_room_again_gets_the_whole_window_again() -> None:
    """Within a minute."""
    run = Run(Steady(0.05), 128)
    run.go(1.0)
    run.sink.model = Capacity(50, 0.05)
    run.go(60.0)
    assert run.dispatcher.window < 20
    run.sink.model = Steady(0.05)
    run.go(60.0)
    assert run.dispatcher.window == 128


def test_a_way_that_has_become_longer_is_taken_as_it_is() -> None:
    """It is no queue: after some seconds of doubt all of the window is used, at the new latency."""
    run = Run(Steady(0.05), 128)
    run.go(5.0)
    run.sink.model = Steady(0.5)
    run.go(30.0)
    assert run.dispatcher.window == 128
    assert run.go(10.0) >= 0.95 * 10 * 128 / 0.5


def test_a_limit_of_the_server_is_met_seldom() -> None:
    """429 above 100 requests a second: little is refused, and nearly as much goes as may."""
    model = Limited(100, 0.05)
    run = Run(model, 128)
    run.go(60.0)
    refused, sent = model.refused, run.sink.sent
    assert run.go(120.0) >= 0.75 * 120 * 100
    assert model.refused - refused <= 0.05 * (run.sink.sent - sent)


def test_one_503_says_nothing_two_in_a_round_and_one_429_do() -> None:
    """What one command meets says nothing of the others; 429 is said of all."""
    congestion = Congestion(100)
    for _ in range(10):
        congestion.told(1.0, certain=False)
        congestion.answered(100, 0.05, 1.0, full=True)
    assert congestion.window == 100
    congestion.told(1.0, certain=False)
    congestion.told(1.0, certain=False)
    assert congestion.window == 70
    congestion.answered(100, 0.05, 1.0, full=True)
    congestion.told(1.0, certain=True)
    assert congestion.window == 49


def test_what_was_in_flight_together_counts_once() -> None:
    """A hundred answers of 429 to one window are one sign."""
    congestion = Congestion(100)
    for _ in range(100):
        congestion.told(1.0, certain=True)
    assert congestion.window == 70


def test_an_outage_leaves_the_window_as_it_was() -> None:
    """The gate holds back then; when it is over, what waited goes with all of the window."""
    run = Run(Steady(0.05), 128)
    run.go(1.0)
    run.sink.model = lambda now: (now + 0.01, answered(503))
    run.go(3_600.0)
    assert run.dispatcher.window >= 89


def test_it_never_falls_below_a_few_nor_rises_above_the_cap() -> None:
    """Whatever is said."""
    for most in (1, 3, 100):
        congestion = Congestion(most)
        for n in range(2_000):
            congestion.told(float(n), certain=True)
            congestion.answered(1, 10.0 * (n + 1), float(n), full=True)
        assert congestion.window == min(most, 4)
        for n in range(2_000, 4_000):
            congestion.answered(4, 0.01, float(n), full=True)
        assert congestion.window == most


def test_a_window_that_is_not_used_does_not_grow() -> None:
    """Nobody knows what a server bears that was not asked for it."""
    congestion = Congestion(100)
    congestion.told(1.0, certain=True)
    for n in range(1_000):
        congestion.answered(1, 0.01, float(n), full=False)
    assert congestion.window == 70
