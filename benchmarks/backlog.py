"""A large backlog and many partitions: how soon the sender begins, what memory it takes, what an event costs then."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Final

from .harness import percentile
from .programs import Ended, Program, sender, wait_for
from .servers import NoServer, serving
from .spools import filled
from .turns import in_turns
from .values import Row, at_most, missing

if TYPE_CHECKING:
    from pathlib import Path

    from .context import Context
    from .servers import Server
    from .turns import Turns

__all__ = ["run"]

_IN_FLIGHT: Final = 128
_STARTS: Final = 3
_FIRST_S: Final = at_most(1.0)
_MEMORY_MB: Final = at_most(40.0)

# Cost is compared over the first fifty thousand lines, so that the smallest backlog does not end before.
_TURNS: Final = 5
_TURN_S: Final = 0.2
_SMALL: Final = 100_000
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
        wait_for(lambda: _has_sent(program, server, before), "the first thousand events")
        time.sleep(context.scale.warm_s + context.scale.windows * context.scale.window_s)
        return program.peak_bytes(), server.count() - before


def _has_sent(program: Program, server: Server, before: int) -> bool:
    program.must_run()
    return server.count() - before > min(1_000, _SMALL)


# Cost


def _costs(context: Context) -> list[Row]:
    most = context.scale.lines
    sizes = [size for size in (_SMALL, 1_000_000, 10_000_000) if size <= most] or [most]
    counts = [count for count in _SPREAD if count <= context.scale.partitions]
    deep = {f"{size:,} lines in one partition": (size, 1) for size in sizes}
    wide = {
        f"{min(_WIDE, most):,} lines in {count:,} partition{'s' if count > 1 else ''}": (
            min(_WIDE, most),
            count,
        )
        for count in counts
    }
    return _cost(context, "lines", deep) + _cost(context, "partitions", wide)


def _cost(context: Context, axis: str, shapes: dict[str, tuple[int, int]]) -> list[Row]:
    """Let a sender run on each of these spools, in turns."""
    context.say(f"  cost against {axis}")
    with context.room(f"cost-{axis}") as folder, contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(serving(folder / "nginx"))
            programs = {}
            for number, (name, shape) in enumerate(shapes.items()):
                spool = filled(folder / f"spool-{number}", *shape)
                programs[name] = stack.enter_context(sender(spool, server.url("plain")))
            found = in_turns(programs, server.count, turns=_TURNS, turn_s=_TURN_S, warm_s=_TURN_S)
        except (NoServer, Ended) as error:
            return [
                missing(_id(axis, shape), name, _UNIT, str(error)) for name, shape in shapes.items()
            ]
    return [_cost_row(axis, name, shapes[name], turns) for name, turns in found.items()]


def _cost_row(axis: str, name: str, shape: tuple[int, int], turns: Turns) -> Row:
    spread = percentile(turns.cpu, 0.1) * 1e6, percentile(turns.cpu, 0.9) * 1e6
    at: dict[str, float | str] = {"axis": axis, "lines": shape[0], "partitions": shape[1]}
    return Row(_id(axis, shape), name, min(turns.cpu) * 1e6, _UNIT, spread, at=at)


def _id(axis: str, shape: tuple[int, int]) -> str:
    return f"backlog-cost-{axis}-{shape[axis == 'partitions']}"
