"""Rounds of A, B, A, B ... in one process, and what their times say.

Owns the order of the rounds, the clocks, and the statistics. Knows nothing about what is measured.

A shared machine changes its speed from second to second. So what is compared runs in turns of a few milliseconds, in
one process, and only ratios of one run are told. CPU time of the thread, the kernel's part of it included, is what a
call costs; its minimum is what the machine can do undisturbed. Wall time and medians are for what waits.
"""

from __future__ import annotations

import gc
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["Ratio", "Sample", "interleave", "percentile", "quiet", "ratio", "ratio_of_medians"]

_MAX_NUMBER: Final = 1 << 20


@dataclass(slots=True)
class Sample:
    """Seconds a repetition, one of each round: of CPU in this thread, and by the wall."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How A stands to B: `value`, and the tenth and ninetieth percentile of the ratios of single rounds."""

    value: float
    spread: tuple[float, float]


def interleave(
    subjects: Mapping[str, Callable[[int], object]], *, rounds: int, round_s: float
) -> dict[str, Sample]:
    """Run each subject once a round, for about `round_s` seconds; each round begins with another one.

    A subject takes how often to repeat what it does.
    """
    numbers = {name: _number(subject, round_s) for name, subject in subjects.items()}
    samples = {name: Sample() for name in subjects}
    names = list(subjects)
    with quiet():
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                _one(subjects[name], numbers[name], samples[name])
    return samples


def ratio(a: Sequence[float], b: Sequence[float]) -> Ratio:
    """Return A's minimum by B's.

    >>> ratio([4.0, 6.0], [2.0, 2.0])
    Ratio(value=2.0, spread=(2.1, 2.9))
    """
    return Ratio(min(a) / min(b), _spread(a, b))


def ratio_of_medians(a: Sequence[float], b: Sequence[float]) -> Ratio:
    """Return A's median by B's.

    >>> ratio_of_medians([4.0, 6.0, 8.0], [2.0, 2.0, 2.0]).value
    3.0
    """
    return Ratio(statistics.median(a) / statistics.median(b), _spread(a, b))


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which `share` of them lie, between its neighbours where it falls between two.

    >>> percentile([1.0, 2.0, 3.0], 0.5), percentile([1.0, 2.0], 0.5)
    (2.0, 1.5)
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the garbage collector out of what is timed: whose turn it is would be chance."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _spread(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    each = [one / other for one, other in zip(a, b, strict=True)]
    return percentile(each, 0.1), percentile(each, 0.9)


def _number(subject: Callable[[int], object], round_s: float) -> int:
    """Return how many repetitions take about `round_s`; they also warm up whatever there is to be warmed."""
    number = 1
    while number < _MAX_NUMBER:
        began = time.perf_counter()
        subject(number)
        took = time.perf_counter() - began
        if took >= round_s:
            return max(1, int(number * round_s / took))
        number *= 2
    return number


def _one(subject: Callable[[int], object], number: int, sample: Sample) -> None:
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    subject(number)
    cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
    sample.cpu.append(cpu / number / 1e9)
    sample.wall.append(wall / number / 1e9)
