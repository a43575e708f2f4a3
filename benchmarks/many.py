"""Four processes that append at once: how much more they get done than one, and how long the slowest calls take.

Slow calls are compared at the same pace. At full speed, with more processes than cores, the slowest calls are those in
which the kernel let another process run: a call that costs three times a bare write meets that three times as often,
whatever it does, and beyond one call in a thousand the percentile jumps from microseconds to the scheduler's slice.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kmq import Client

from .calls import NAME, PERSON, PROPERTIES, line_of, make_spool
from .harness import percentile, quiet, ratio_of_medians
from .machine import cores
from .values import Row, at_least, at_most

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import SimpleQueue
    from multiprocessing.synchronize import Barrier
    from pathlib import Path

    from .context import Context
    from .values import Bound

__all__ = ["run"]

_PROCESSES: Final = 4
_GIVEN: Final = PROPERTIES[2]
_SLOW: Final = 0.999
_PACE_S: Final = 0.0002
_FORK: Final = multiprocessing.get_context("fork")
_TIMEOUT_S: Final = 60.0


@dataclass(slots=True)
class _Found:
    """Of each round: calls a second of all processes, and the slow percentile of a call in nanoseconds."""

    rates: list[float] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return percentile(self.rates, 0.5)

    @property
    def slow_us(self) -> float:
        return percentile(self.slow, 0.5) / 1e3


def run(context: Context) -> list[Row]:
    """Let one, four, and four bare writers take turns, at full speed and at a pace."""
    one, four, bare, paced, bare_paced = (_Found() for _ in range(5))
    with context.room("many") as folder:
        spool = make_spool(folder / "spool")
        _recorder(spool)()
        writer = _writer(folder, line_of(folder / "spool"))
        # This process holds the spool's first partition; each that is forked takes its own.
        for _ in range(max(2, context.scale.windows)):
            _together(one, _recorder, spool, 1, context)
            _together(four, _recorder, spool, _PROCESSES, context)
            _together(bare, writer, spool, _PROCESSES, context)
            _together(paced, _recorder, spool, _PROCESSES, context, pace_s=_PACE_S)
            _together(bare_paced, writer, spool, _PROCESSES, context, pace_s=_PACE_S)
    more = ratio_of_medians(four.rates, one.rates)
    throughput = Row(
        "many-throughput",
        f"{_PROCESSES} processes, events a second of all, against one",
        more.value,
        "x",
        more.spread,
        {
            "one, events a second": one.rate,
            "four, events a second": four.rate,
            "four bare writers, lines a second": bare.rate,
        },
        bound=at_least(1.7),
        note=f"on {cores()} cores",
    )
    at_a_pace = f"at {paced.rate / _PROCESSES:,.0f} calls a second each"
    return [
        throughput,
        _slowest("paced", at_a_pace, paced, bare_paced, at_most(2.5)),
        _slowest("full", "at full speed", four, bare, None),
    ]


def _slowest(name: str, how: str, ours: _Found, bare: _Found, bound: Bound | None) -> Row:
    slower = ratio_of_medians(ours.slow, bare.slow)
    return Row(
        f"many-slowest-{name}",
        f"{_PROCESSES} processes {how}, the 99.9th percentile of a call, against bare writers",
        slower.value,
        "x",
        slower.spread,
        {"record, us": ours.slow_us, "bare write, us": bare.slow_us},
        bound=bound,
    )


def _recorder(spool: str) -> Callable[[], object]:
    client = Client(spool)
    client.identify(PERSON)
    return lambda: client.record(NAME, _GIVEN)


def _writer(folder: Path, line: bytes) -> Callable[[str], Callable[[], object]]:
    def make(_: str) -> Callable[[], object]:
        path = folder / f"bare-{os.getpid()}"
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return lambda: os.write(fd, line)

    return make


def _together(  # noqa: PLR0913 - who does what, how many of them, and how fast
    found: _Found,
    make: Callable[[str], Callable[[], object]],
    spool: str,
    count: int,
    context: Context,
    *,
    pace_s: float = 0.0,
) -> None:
    """Let `count` processes call at once, and take note of how often and how slowly."""
    ready = _FORK.Barrier(count)
    told: SimpleQueue[tuple[float, bytes]] = _FORK.SimpleQueue()
    work = (make, spool, ready, told)
    how = {"window_s": context.scale.window_s, "pace_s": pace_s}
    processes = [
        _FORK.Process(target=_work, args=work, kwargs=how, daemon=True) for _ in range(count)
    ]
    for process in processes:
        process.start()
    heard = [told.get() for _ in processes]
    for process in processes:
        process.join(_TIMEOUT_S)
    times = array("q")
    for _, packed in heard:
        times.frombytes(packed)
    found.rates.append(sum(rate for rate, _ in heard))
    found.slow.append(percentile(times, _SLOW))


def _work(  # noqa: PLR0913 - all that a process is told
    make: Callable[[str], Callable[[], object]],
    spool: str,
    ready: Barrier,
    told: SimpleQueue[tuple[float, bytes]],
    *,
    window_s: float,
    pace_s: float,
) -> None:
    call = make(spool)
    call()
    times = array("q")
    append, clock, sleep = times.append, time.perf_counter_ns, time.sleep
    ready.wait(_TIMEOUT_S)
    with quiet():
        began = now = clock()
        end = began + int(window_s * 1e9)
        while now < end:
            if pace_s:
                sleep(pace_s)
            before = clock()
            call()
            now = clock()
            append(now - before)
    told.put((len(times) / ((now - began) / 1e9), times.tobytes()))
