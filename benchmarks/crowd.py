"""Many processes that hold a partition each, and append at a leisurely pace: what a large host looks like to a sender.

`python -m benchmarks.crowd SPOOL COUNT RATE FOLDER` is these processes: each records RATE times a second (0: once, and
waits) and notes when each call began and how long it took; when standard input ends they write their notes and end.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import sys
import time
from array import array
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kmq import Client

from .calls import NAME, PERSON, PROPERTIES, make_spool
from .harness import percentile, ratio_of_medians
from .programs import Ended, Program, sender, wait_for
from .servers import NoServer, serving
from .values import Row, at_most, missing

if TYPE_CHECKING:
    from .context import Context
    from .servers import Server

__all__ = ["crowd", "run"]

_EVENTS_A_SECOND: Final = 2_000
_SLOW: Final = 0.99
_GIVEN: Final = PROPERTIES[2]
_LINE_BYTES: Final = 100
_ALLOWED_S: Final = 3
_PATIENCE_S: Final = 20.0
_ROWS: Final = (
    ("crowd-lag", "partitions written to at once: how many had a lag that grew", "", at_most(0)),
    (
        "crowd-slowest",
        "the 99th percentile of an append, with a sender against without",
        "x",
        at_most(1.25),
    ),
)


def crowd(spool: str, count: int, rate: float, folder: Path) -> Program:
    """Start so many processes; return when each has a partition."""
    program = Program("-m", "benchmarks.crowd", spool, str(count), str(rate), str(folder))
    try:
        wait_for(lambda: _there(program, spool, count), f"{count} partitions", 120)
    except BaseException:
        program.__exit__()
        raise
    return program


def _there(program: Program, spool: str, count: int) -> bool:
    program.must_run()
    return sum(not name.startswith(".") for name in os.listdir(spool)) >= count


def run(context: Context) -> list[Row]:
    """Let all partitions be written to, with and without a sender in turns."""
    count = context.scale.partitions
    with context.room("crowd") as folder:
        try:
            with serving(folder / "nginx") as server:
                return _rows(context, folder, server, count)
        except (NoServer, Ended) as error:
            return [
                missing(name, f"{count:,} {what}", unit, str(error), bound)
                for name, what, unit, bound in _ROWS
            ]


def _rows(context: Context, folder: Path, server: Server, count: int) -> list[Row]:
    spool = make_spool(folder / "spool")
    notes = folder / "notes"
    notes.mkdir()
    rate = max(0.5, _EVENTS_A_SECOND / count)
    phase_s = max(0.3, 8 * context.scale.window_s)
    phases: list[tuple[float, float, bool]] = []
    grown: list[int] = []
    with crowd(spool, count, rate, notes) as writers:
        for _ in range(max(1, context.scale.windows // 3)):
            phases.append(_phase(phase_s, with_sender=False))
            with sender(spool, server.url("plain")) as program:
                _catch_up(spool, rate)
                before = _lags(spool)
                phases.append(_phase(phase_s, with_sender=True))
                after = _lags(spool)
                program.terminate()
            grown.append(_grown(before, after, rate))
        writers.stop(60)
    calm, busy = _times(notes, phases)
    lag = Row(
        "crowd-lag",
        f"{count:,} {_ROWS[0][1]}",
        max(grown),
        "",
        parts={"events a second, in all": rate * count, "seconds of each phase": phase_s},
        bound=_ROWS[0][3],
    )
    with_sender, without = ([percentile(some, _SLOW) for some in one] for one in (busy, calm))
    found = ratio_of_medians(with_sender, without)
    slowest = Row(
        "crowd-slowest",
        f"{count:,} processes: {_ROWS[1][1]}",
        found.value,
        "x",
        found.spread,
        {
            "with, us": percentile(with_sender, 0.5) / 1e3,
            "without, us": percentile(without, 0.5) / 1e3,
            "median with, us": _median_us(busy),
            "median without, us": _median_us(calm),
        },
        bound=_ROWS[1][3],
    )
    return [lag, slowest]


def _catch_up(spool: str, rate: float) -> None:
    """Wait until the sender has sent what was appended without it; where it never does, its lags will show it."""
    with contextlib.suppress(Ended):
        wait_for(
            lambda: max(_lags(spool).values(), default=0) <= _ALLOWED_S * rate * _LINE_BYTES,
            "the lag's end",
            _PATIENCE_S,
        )


def _phase(seconds: float, *, with_sender: bool) -> tuple[float, float, bool]:
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic(), with_sender


def _lags(spool: str) -> dict[str, int]:
    """Return what lies between the checkpoint and the end of each partition, in bytes."""
    offsets: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError):
        document = json.loads(Path(spool, "checkpoint.json").read_text("ascii"))
        offsets = document["partitions"]
    ends = {}
    for entry in os.scandir(spool):
        if entry.is_dir() and not entry.name.startswith(".") and entry.name != "rejected":
            newest = max(Path(entry.path).glob("*.jsonl"))
            ends[entry.name] = int(newest.stem) + newest.stat().st_size
    return {name: end - offsets.get(name, 0) for name, end in ends.items()}


def _grown(before: dict[str, int], after: dict[str, int], rate: float) -> int:
    """Return how many partitions lag more than before, by more than what one or two checkpoints leave open.

    A checkpoint is written each second, and tells of answers only.
    """
    allowed = max(_ALLOWED_S * rate, 3) * _LINE_BYTES
    return sum(lag > before.get(name, 0) + allowed for name, lag in after.items())


def _times(
    notes: Path, phases: list[tuple[float, float, bool]]
) -> tuple[list[list[float]], list[list[float]]]:
    """Return how long the calls of each phase without and with a sender took, in nanoseconds."""
    pairs = array("q")
    for path in notes.iterdir():
        pairs.frombytes(path.read_bytes())
    calls = sorted(zip(pairs[::2], pairs[1::2], strict=True))
    found: tuple[list[list[float]], list[list[float]]] = ([], [])
    for first, last, with_sender in phases:
        begin, end = (bisect_left(calls, (int(moment * 1e9), 0)) for moment in (first, last))
        if begin == end:
            raise Ended("no call was made in one of the phases")
        found[with_sender].append([float(took) for _, took in calls[begin:end]])
    return found


def _median_us(phases: list[list[float]]) -> float:
    return percentile([percentile(one, 0.5) for one in phases], 0.5) / 1e3


# The processes themselves


def main() -> None:
    """Be the crowd."""
    spool, count, rate, folder = sys.argv[1:]
    for _ in range(int(count)):
        if os.fork() == 0:
            _be_one(spool, float(rate), folder)
            os._exit(0)
    sys.stdin.buffer.read()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _be_one(spool: str, rate: float, folder: str) -> None:
    client = Client(spool)
    client.identify(PERSON)
    client.record(NAME, _GIVEN)
    notes = array("q")
    pause = 1 / rate if rate else None
    due = time.monotonic() + random.random() * (pause or 0)  # noqa: S311 - so that not all call at once
    clock = time.monotonic_ns
    while not select.select(
        [0], [], [], None if pause is None else max(0.0, due - time.monotonic())
    )[0]:
        began = clock()
        client.record(NAME, _GIVEN)
        notes.extend((began, clock() - began))
        due += pause or 0
    if notes:
        Path(folder, str(os.getpid())).write_bytes(notes.tobytes())


if __name__ == "__main__":
    main()
