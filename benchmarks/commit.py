"""`sync=True`: how many durable events a second, by so many threads, against bare write and fdatasync in one thread.

What is compared waits for the disk, so that time by the wall counts here.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

from kmq import Client

from .calls import NAME, PERSON, PROPERTIES, line_of, make_spool
from .harness import percentile, quiet, ratio_of_medians
from .machine import file_system, is_in_memory
from .values import Row, at_least

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .context import Context

__all__ = ["run"]

_BOUNDS: Final = {
    1: at_least(0.95),
    2: None,
    4: None,
    8: at_least(2.5),
    16: None,
    64: at_least(5.5),
}
_GIVEN: Final = PROPERTIES[2]


def run(context: Context) -> list[Row]:
    """Let each number of threads take turns with bare syncs, which go before each: the disk's speed changes too."""
    counts = [one for one, bound in _BOUNDS.items() if bound or context.scale.name == "full"]
    durable: dict[int, list[float]] = {threads: [] for threads in counts}
    bare: dict[int, list[float]] = {threads: [] for threads in counts}
    with context.room("commit") as folder:
        client = Client(make_spool(folder / "spool"), sync=True)
        client.record(NAME, _GIVEN, person=PERSON)
        once = _bare(folder / "bare", line_of(folder / "spool"))
        with quiet():
            for _ in range(max(2, context.scale.windows)):
                for threads in counts:
                    bare[threads].append(_rate([once], context))
                    durable[threads].append(_rate([_durable(client)] * threads, context))
        note = f"on {file_system(str(folder))}"
        note += ": in memory, where a sync costs nothing" if is_in_memory(str(folder)) else ""
    return [_row(threads, durable[threads], bare[threads], note) for threads in counts]


def _row(threads: int, durable: list[float], bare: list[float], note: str) -> Row:
    found = ratio_of_medians(durable, bare)
    return Row(
        f"commit-{threads}",
        f"`sync=True`, {threads} thread{'s' if threads > 1 else ''}, against bare write and fdatasync",
        found.value,
        "x",
        found.spread,
        {
            "events a second": percentile(durable, 0.5),
            "bare syncs a second": percentile(bare, 0.5),
        },
        {"threads": threads},
        _BOUNDS[threads],
        note,
    )


def _durable(client: Client) -> Callable[[], object]:
    return lambda: client.record(NAME, _GIVEN, person=PERSON)


def _bare(path: Path, line: bytes) -> Callable[[], object]:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def once() -> None:
        os.write(fd, line)
        os.fdatasync(fd)

    return once


def _rate(calls: list[Callable[[], object]], context: Context) -> float:
    """Return how often all of these calls returned a second, each repeated in a thread of its own."""
    counts = [0] * len(calls)
    go = threading.Event()
    over = threading.Event()

    def repeat(place: int, call: Callable[[], object]) -> None:
        go.wait()
        while not over.is_set():
            call()
            counts[place] += 1

    threads = [
        threading.Thread(target=repeat, args=(place, call)) for place, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    go.set()
    time.sleep(context.scale.window_s / 2)
    over.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)
