"""Figures: counts, rates over a window, and how long answers took."""

from __future__ import annotations

from sender.dispatcher.figures import Figures, Rate


def test_a_rate_is_the_mean_of_the_last_ten_whole_seconds() -> None:
    """The second that is under way does not count, nor what is older than the window."""
    rate = Rate()
    rate.add(1_000, 5.0)
    for second in range(20, 30):
        rate.add(3, second + 0.1)
        rate.add(4, second + 0.9)
    rate.add(500, 30.2)
    assert rate.per_second(30.5) == 7.0
    assert rate.per_second(100.0) == 0.0


def test_a_rate_is_idle_when_its_window_is_empty() -> None:
    """So that the memory of partitions that are gone can go too."""
    rate = Rate()
    assert rate.idle(0.0)
    rate.add(1, 5.0)
    assert not rate.idle(14.0)
    assert rate.idle(16.0)


def test_latency_is_the_time_within_which_a_share_of_the_answers_came() -> None:
    """Of 100 answers, 99 came within the second longest time."""
    figures = Figures()
    assert figures.latency(0.5) is None
    for hundredth in range(1, 101):
        figures.latencies.append(hundredth / 100)
    assert (figures.latency(0.5), figures.latency(0.99), figures.latency(0.0)) == (0.5, 0.99, 0.01)
