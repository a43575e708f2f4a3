"""Four processes that append at once: how much more they get done than one, and how long the slowest calls take."""

from __future__ import annotations

import multiprocessing
import os
import time
from array import array
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

__all__ = ["run"]

_PROCESSES: Final = 4
_GIVEN: Final = PROPERTIES[2]
_SLOW: Final = 0.999
_FORK: Final = multiprocessing.get_context("fork")
_TIMEOUT_S: Final = 60.0


def run(context: Context) -> list[Row]:
    """Let one, four, and four bare writers take turns."""
    one: list[float] = []
    four: list[float] = []
    bare: list[float] = []
    slow: list[float] = []
    bare_slow: list[float] = []
    with context.room("many") as folder:
        spool = make_spool(folder / "spool")
        record = _recorder(spool)
        record()
        line = line_of(folder / "spool")
        # One process held the spool's only partition so far; each that is forked takes its own.
        for _ in range(max(2, context.scale.windows)):
            one.append(_together(_recorder, spool, 1, context)[0])
            rate, times = _together(_recorder, spool, _PROCESSES, context)
            four.append(rate)
            slow.append(percentile(times, _SLOW))
            rate, times = _together(_writer(folder, line), spool, _PROCESSES, context)
            bare.append(rate)
            bare_slow.append(percentile(times, _SLOW))
    more = ratio_of_medians(four, one)
    slower = ratio_of_medians(slow, bare_slow)
    note = f"on {cores()} cores"
    return [
        Row(
            "many-throughput",
            f"{_PROCESSES} processes, events a second of all, against one",
            more.value,
            "x",
            more.spread,
            {
                "one, events a second": _median(one),
                "four, events a second": _median(four),
                "four bare writers, lines a second": _median(bare),
            },
            bound=at_least(1.7),
            note=note,
        ),
        Row(
            "many-slowest",
            f"{_PROCESSES} processes, the 99.9th percentile of a call, against bare writers",
            slower.value,
            "x",
            slower.spread,
            {"record, us": _median(slow) / 1e3, "bare write, us": _median(bare_slow) / 1e3},
            bound=at_most(2.5),
            note=note,
        ),
    ]


def _median(values: list[float]) -> float:
    return percentile(values, 0.5)


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


def _together(
    make: Callable[[str], Callable[[], object]], spool: str, count: int, context: Context
) -> tuple[float, list[float]]:
    """Return how many calls a second `count` processes made in all, and how long each call took, in nanoseconds."""
    ready = _FORK.Barrier(count)
    told: SimpleQueue[tuple[float, bytes]] = _FORK.SimpleQueue()
    work = (make, spool, ready, told, context.scale.window_s)
    processes = [_FORK.Process(target=_work, args=work, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    found = [told.get() for _ in processes]
    for process in processes:
        process.join(_TIMEOUT_S)
    times = array("q")
    for _, packed in found:
        times.frombytes(packed)
    return sum(rate for rate, _ in found), list(map(float, times))


def _work(
    make: Callable[[str], Callable[[], object]],
    spool: str,
    ready: Barrier,
    told: SimpleQueue[tuple[float, bytes]],
    window_s: float,
) -> None:
    call = make(spool)
    call()
    times = array("q")
    append, clock = times.append, time.perf_counter_ns
    ready.wait(_TIMEOUT_S)
    with quiet():
        began = now = clock()
        end = began + int(window_s * 1e9)
        while now < end:
            before = now
            call()
            now = clock()
            append(now - before)
    told.put((len(times) / ((now - began) / 1e9), times.tobytes()))
