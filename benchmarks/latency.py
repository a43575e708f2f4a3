"""A server that takes its time: which share the sender reaches of what in flight and latency allow.

With N in flight and an answer after L seconds no client gets more than N / L answers a second. Whatever a sender loses
between an answer and its next request shows as a smaller share.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .programs import Ended, sender
from .sending import bare
from .servers import DELAYS_MS, NoServer, serving_late
from .spools import filled
from .turns import window
from .values import Row, at_least, missing

if TYPE_CHECKING:
    from pathlib import Path

    from .context import Context
    from .programs import Program
    from .servers import Kind, Server
    from .values import Bound

__all__ = ["run"]

_BOUNDS: Final = {32: at_least(0.95), 128: at_least(0.94), 512: at_least(0.93)}
_KINDS: Final[dict[Kind, str]] = {"plain": "plain", "tls": "TLS", "h2": "HTTP/2 over TLS"}
_ASKED_MS: Final = 50
_CURVE: Final = (8, 32, 128, 512)
_SOME: Final = (128,)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One point: how it is asked, after how long it is answered, and how many are in flight."""

    kind: Kind
    delay_ms: int
    in_flight: int

    @property
    def id(self) -> str:
        return f"latency-{self.kind}-{self.delay_ms}-{self.in_flight}"

    @property
    def what(self) -> str:
        return (
            f"{self.in_flight} in flight, answers after {self.delay_ms} ms, {_KINDS[self.kind]}: "
            "share of in flight / latency"
        )

    @property
    def limit(self) -> float:
        """How many answers a second there can be."""
        return self.in_flight / (self.delay_ms / 1000)

    @property
    def bound(self) -> Bound | None:
        judged = self.kind != "h2" and self.delay_ms == _ASKED_MS
        return _BOUNDS.get(self.in_flight) if judged else None

    def missing(self, why: str) -> Row:
        return missing(self.id, self.what, "x", why, self.bound)


def run(context: Context) -> list[Row]:
    """Measure what is bounded; for the published figures also how it goes with other latencies."""
    full = context.scale.name == "full"
    cells = [_Cell(kind, _ASKED_MS, one) for kind in ("plain", "tls") for one in _BOUNDS]
    cells += [_Cell("h2", _ASKED_MS, one) for one in (_BOUNDS if full else _SOME)]
    if full:
        curve = [_Cell("plain", delay, one) for delay in DELAYS_MS for one in _CURVE]
        cells += [cell for cell in curve if cell not in cells]
    with context.room("latency") as folder:
        try:
            with serving_late(folder) as server:
                return [_row(context, folder, server, cell) for cell in cells]
        except NoServer as error:
            return [cell.missing(str(error)) for cell in cells]


def _row(context: Context, folder: Path, server: Server, cell: _Cell) -> Row:
    if cell.kind not in server.ports:
        return cell.missing(f"{server.name} speaks no HTTP/2")
    context.say(f"  {cell.id}")
    seconds = context.scale.warm_s + 4 * context.scale.window_s
    parts = {}
    try:
        with context.room(f"spool-{cell.id}") as place:
            spool = filled(place / "spool", int(cell.limit * (seconds + 4)))
            with sender(
                spool,
                server.url(cell.kind, cell.delay_ms),
                in_flight=cell.in_flight,
                ca_file=None if cell.kind == "plain" else server.ca_file,
            ) as program:
                ours, used = _rate(context, server, program, cell.in_flight)
        if context.scale.name == "full":
            with bare(
                folder,
                server,
                "pycurl-epoll",
                cell.kind,
                delay_ms=cell.delay_ms,
                in_flight=cell.in_flight,
            ) as program:
                theirs, _ = _rate(context, server, program, cell.in_flight)
                parts["share of bare pycurl"] = theirs / cell.limit
    except Ended as error:
        return cell.missing(str(error))
    return Row(
        cell.id,
        cell.what,
        ours / cell.limit,
        "x",
        None,
        {"events a second": ours, **parts, "sender, us of CPU an event": used * 1e6},
        {"kind": cell.kind, "delay_ms": cell.delay_ms, "in_flight": cell.in_flight},
        cell.bound,
        "" if server.name == "nginx" else f"{server.name} stood in for nginx",
    )


def _rate(
    context: Context, server: Server, program: Program, in_flight: int
) -> tuple[float, float]:
    before = server.count()
    until = time.monotonic() + 20
    # All connections are there, and used for the second time.
    while server.count() - before < 3 * in_flight:
        program.must_run()
        if time.monotonic() > until:
            raise Ended("it sent too little to be measured")
        time.sleep(0.05)
    time.sleep(context.scale.warm_s)
    found = window(program, server.count, 3 * context.scale.window_s)
    return found.rate[0], found.cpu[0]
