"""A large backlog and many partitions: how soon the sender begins, what memory it takes, what an event costs then."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .harness import percentile
from .programs import Ended, Program, sender, wait_for
from .servers import NoServer, serving
from .spools import filled
from .turns import Turns, window
from .values import Row, at_most, missing

if TYPE_CHECKING:
    from pathlib import Path

    from .context import Context
    from .servers import Server

__all__ = ["run"]

_IN_FLIGHT: Final = 128
_STARTS: Final = 3
_FIRST_S: Final = at_most(1.0)
_MEMORY_MB: Final = at_most(40.0)

_FIRST: Final = 100
_SMALL: Final = 200_000  # more than goes out in the two seconds
_WIDE: Final = 1_000_000
_UNIT: Final = "us of CPU an event"
_SPREAD: Final = (1, 10, 100, 1_000)


def run(context: Context) -> list[Row]:
    """Make each spool once, and measure on it what there is to measure."""
    lines, partitions = context.scale.lines, context.scale.partitions
    with context.room("backlog") as folder:
        context.say(f"  {lines:,} lines")
        deep = filled(folder / "deep", lines)
        rows = [_first(deep, "lines", f"{lines:,} lines in one partition")]
        rows.append(_memory(context, folder, deep))
        context.say(f"  {partitions:,} partitions")
        wide = filled(folder / "wide", lines, partitions)
        rows.append(_first(wide, "partitions", f"{lines:,} lines in {partitions:,} partitions"))
    return rows + _costs(context)


# The first request


def _first(spool: str, name: str, where: str) -> Row:
    took = [_first_request_s(spool) for _ in range(_STARTS)]
    return Row(
        f"backlog-first-{name}",
        f"from the start of the sender to its first request, {where}",
        percentile(took, 0.5),
        "s",
        (min(took), max(took)),
        bound=_FIRST_S,
    )


def _first_request_s(spool: str) -> float:
    """Return after how many seconds the first byte of a request came; nobody answers it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60)
        began = time.monotonic()
        with sender(spool, f"http://127.0.0.1:{listening.getsockname()[1]}"):
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(60)
                connection.recv(1)
                return time.monotonic() - began


# Memory


def _memory(context: Context, folder: Path, spool: str) -> Row:
    name = "backlog-memory"
    what = f"memory at most, {context.scale.lines:,} lines of backlog, {_IN_FLIGHT} in flight, TLS"
    try:
        with serving(folder / "nginx") as server:
            peak, sent = _peak(context, server, spool)
    except (NoServer, Ended) as error:
        return missing(name, what, "MB", str(error), _MEMORY_MB)
    return Row(
        name, what, peak / 1e6, "MB", parts={"events sent meanwhile": sent}, bound=_MEMORY_MB
    )


def _peak(context: Context, server: Server, spool: str) -> tuple[int, int]:
    url = server.url("tls")
    before = server.count()
    with sender(spool, url, in_flight=_IN_FLIGHT, ca_file=server.ca_file) as program:
        wait_for(lambda: _has_sent(program, server, before), "the first events")
        time.sleep(context.scale.warm_s + context.scale.windows * context.scale.window_s)
        return program.peak_bytes(), server.count() - before


def _has_sent(program: Program, server: Server, before: int) -> bool:
    program.must_run()
    return server.count() - before > _FIRST


# Cost


def _costs(context: Context) -> list[Row]:
    most = context.scale.lines
    sizes = [size for size in (_SMALL, 1_000_000, 10_000_000) if size <= most] or [most]
    counts = [count for count in _SPREAD if count <= context.scale.partitions]
    deep = [_Shape("lines", size, 1) for size in sizes]
    wide = [_Shape("partitions", min(_WIDE, most), count) for count in counts]
    with context.room("cost") as folder:
        try:
            with serving(folder / "nginx") as server:
                return _cost(context, server, deep) + _cost(context, server, wide)
        except (NoServer, Ended) as error:
            return [missing(one.id, one.what, _UNIT, str(error)) for one in (*deep, *wide)]


@dataclass(frozen=True, slots=True)
class _Shape:
    """A backlog, and on which axis it stands."""

    axis: str
    lines: int
    partitions: int

    @property
    def id(self) -> str:
        return f"backlog-cost-{self.axis}-{self.lines if self.axis == 'lines' else self.partitions}"

    @property
    def what(self) -> str:
        where = "one partition" if self.partitions == 1 else f"{self.partitions:,} partitions"
        return f"an event, {self.lines:,} lines in {where}"


def _cost(context: Context, server: Server, shapes: list[_Shape]) -> list[Row]:
    """Let a sender run on each of them for a while, again and again."""
    found = {shape: Turns() for shape in shapes}
    for _ in range(max(1, context.scale.windows // 5)):
        for shape, turns in found.items():
            context.say(f"  {shape.what}")
            _take(context, server, shape, turns)
    return [_cost_row(shape, turns) for shape, turns in found.items()]


def _take(context: Context, server: Server, shape: _Shape, turns: Turns) -> None:
    """Add what an event costs a sender that begins with this backlog, once its first second is over.

    It stands still in no part of it: what it does once a second must be there as often as it is.
    """
    with context.room("shape") as folder:
        spool = filled(folder / "spool", shape.lines, shape.partitions)
        before = server.count()
        with sender(spool, server.url("plain")) as program:
            wait_for(lambda: _has_sent(program, server, before), "the first events", 60)
            time.sleep(min(1.0, context.scale.window_s))
            taken = window(program, server.count, min(1.0, 2 * context.scale.window_s))
    turns.cpu += taken.cpu
    turns.rate += taken.rate


def _cost_row(shape: _Shape, turns: Turns) -> Row:
    return Row(
        shape.id,
        shape.what,
        percentile(turns.cpu, 0.5) * 1e6,
        _UNIT,
        (percentile(turns.cpu, 0.1) * 1e6, percentile(turns.cpu, 0.9) * 1e6),
        {"events a second": percentile(turns.rate, 0.5)},
        {"axis": shape.axis, "lines": shape.lines, "partitions": shape.partitions},
    )
