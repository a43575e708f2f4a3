"""What sending costs: the sender beside a bare loop of ready URLs, on the same server, in turns.

The sender reads, decodes, makes each request, keeps order, judges answers and writes checkpoints; the bare loop only
asks. CPU of the client's process counts; the server has a core of its own.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from sender.api import request_for

from .harness import percentile, ratio_of_medians
from .programs import Ended, Program, sender
from .servers import NoServer, serving
from .spools import NEXT, commands, filled
from .turns import in_turns
from .values import Row, at_least, missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .context import Context
    from .servers import Kind, Server
    from .turns import Turns
    from .values import Bound

__all__ = ["bare", "run"]

_IN_FLIGHT: Final = 32
_LINES_A_SECOND: Final = 60_000  # more than any sender sends, so that none runs dry

_PAIRS: Final[tuple[tuple[str, Kind, str, str, str, Bound | None], ...]] = (
    ("curl-plain", "plain", "curl", "pycurl", "sender, curl, against bare pycurl", at_least(0.70)),
    ("curl-tls", "tls", "curl", "pycurl", "sender, curl, TLS, against bare pycurl", at_least(0.75)),
    ("curl-h2", "h2", "curl", "pycurl", "sender, curl, HTTP/2 over TLS, against bare pycurl", None),
    (
        "requests-plain",
        "plain",
        "requests",
        "requests",
        "sender, requests, against bare `Session.get`",
        at_least(1.5),
    ),
    (
        "requests-tls",
        "tls",
        "requests",
        "requests",
        "sender, requests, TLS, against bare `Session.get`",
        None,
    ),
)
_PEERS: Final = {
    "pycurl": "pycurl, a loop of ready URLs",
    "aiohttp": "aiohttp",
    "urllib3": "urllib3 `PoolManager.request`",
    "requests-prepared": "requests, one prepared request",
    "requests": "requests `Session.get`",
    "httpx": "httpx `Client.get`",
}


def run(context: Context) -> list[Row]:
    """Measure the pairs, then every library by itself."""
    with context.room("sending") as folder:
        try:
            with serving(folder / "nginx") as server:
                rows = [_pair(context, folder, server, pair) for pair in _PAIRS]
                return rows + _libraries(context, folder, server)
        except NoServer as error:
            rows = [missing(name, what, "x", str(error), bound) for name, *_, what, bound in _PAIRS]
            return rows + [_unmeasured(name, str(error)) for name in _PEERS]


def bare(  # noqa: PLR0913 - where, whom and how many it asks
    folder: Path,
    server: Server,
    library: str,
    kind: Kind,
    *,
    delay_ms: int = 0,
    in_flight: int = _IN_FLIGHT,
) -> Program:
    """Start a bare client."""
    base = server.url(kind, delay_ms)
    urls = folder / f"urls-{kind}-{delay_ms}"
    if not urls.exists():
        requests = (request_for(command, "0123456789abcdef") for command in commands(NEXT))
        urls.write_text("\n".join(f"{base}{one.path}?{one.query}" for one in requests), "ascii")
    ca = [] if kind == "plain" else [server.ca_file]
    return Program("-m", "benchmarks.bare", library, str(urls), str(in_flight), *ca)


def _pair(
    context: Context,
    folder: Path,
    server: Server,
    pair: tuple[str, Kind, str, str, str, Bound | None],
) -> Row:
    name, kind, transport, library, what, bound = pair
    context.say(f"  {name}")
    scale = context.scale
    lines = int(_LINES_A_SECOND * (scale.warm_s + scale.windows * scale.window_s + 1))
    with context.room(f"spool-{name}") as place:
        spool = filled(place / "spool", lines)
        starts: dict[str, Callable[[], Program]] = {
            "sender": lambda: sender(
                spool,
                server.url(kind),
                transport=transport,
                in_flight=_IN_FLIGHT,
                ca_file=None if kind == "plain" else server.ca_file,
            ),
            "bare": lambda: bare(folder, server, library, kind),
        }
        try:
            found = _in_turns(context, server, starts)
        except Ended as error:
            return missing(name, what, "x", str(error), bound)
    return _compared(name, what, found["sender"], found["bare"], bound)


def _compared(name: str, what: str, ours: Turns, theirs: Turns, bound: Bound | None) -> Row:
    # Medians: threads that fight for the interpreter are cheaper where other programs keep one core from them, so that
    # the least of many turns would be the one in which the machine was busiest.
    share = ratio_of_medians(theirs.cpu, ours.cpu)
    return Row(
        f"sending-{name}",
        what,
        share.value,
        "x",
        share.spread,
        {
            "sender, us of CPU an event": percentile(ours.cpu, 0.5) * 1e6,
            "bare, us of CPU an event": percentile(theirs.cpu, 0.5) * 1e6,
            "sender, events a second": percentile(ours.rate, 0.5),
            "bare, events a second": percentile(theirs.rate, 0.5),
        },
        bound=bound,
    )


def _in_turns(
    context: Context, server: Server, starts: dict[str, Callable[[], Program]]
) -> dict[str, Turns]:
    with contextlib.ExitStack() as stack:
        programs = {name: stack.enter_context(start()) for name, start in starts.items()}
        scale = context.scale
        return in_turns(
            programs,
            server.count,
            turns=scale.windows,
            turn_s=scale.window_s,
            warm_s=scale.warm_s / 2,
        )


def _libraries(context: Context, folder: Path, server: Server) -> list[Row]:
    found: dict[str, Turns] = {}
    rows: list[Row] = []
    for library in _PEERS:
        context.say(f"  {library}")
        try:
            starts = {library: lambda: bare(folder, server, library, "plain")}  # noqa: B023 - called at once
            found |= _in_turns(context, server, starts)
        except Ended as error:
            rows.append(_unmeasured(library, str(error)))
            continue
        used = found[library].cpu
        parts = {"events a second": percentile(found[library].rate, 0.5)}
        rows.append(
            Row(
                f"sending-by-{library}",
                _PEERS[library],
                percentile(used, 0.5) * 1e6,
                "us of CPU an event",
                (percentile(used, 0.1) * 1e6, percentile(used, 0.9) * 1e6),
                parts,
            )
        )
    return rows


def _unmeasured(library: str, why: str) -> Row:
    return missing(f"sending-by-{library}", _PEERS[library], "us of CPU an event", why)
