"""`kmq-sender collector`: stand in for the tracking API on this machine.

Owns the command's options and what it says where it cannot start. What it runs is `sender.collector`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Final

import click

from sender.collector import Arrivals, Beacon, Collector, Control, Moods, Settings
from sender.collector.listen import listen_of, open_socket, url_of
from sender.collector.requestfile import RequestFile
from sender.logs import Log

from .exits import Exit, Failure
from .kinds import Amount, Whole
from .options import HelpCommand, log_options

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from sender.collector.arrivals import Arrival

__all__ = ["collector_command"]

_EXAMPLES: Final = """
Examples:
  kmq-sender collector                       # then: KMQ_URL=http://127.0.0.1:8035 kmq-sender run
  kmq-sender collector --fail 0.1 --latency 0.2
  curl -s 127.0.0.1:8035/api/summary; curl -X POST 127.0.0.1:8035/api/reset -H 'X-KMQ: 1'
  curl -X POST 127.0.0.1:8035/api/answer -H 'X-KMQ: 1' -d '{"status": 503, "count": 3}'
"""

_EXTRA: Final = frozenset({"httptools", "uvicorn", "uvloop"})
_LONGEST_S: Final = 3_600


@click.command("collector", cls=HelpCommand, epilog=_EXAMPLES)
@click.option(
    "--listen",
    metavar="ADDRESS",
    default="127.0.0.1:8035",
    envvar="KMQ_COLLECTOR_LISTEN",
    show_envvar=True,
    show_default=True,
    help="host:port, or unix:PATH.",
)
@click.option(
    "--keep",
    metavar="N",
    type=Whole(),
    default=10_000,
    show_default=True,
    help="Requests kept in memory.",
)
@click.option(
    "--log", "log_file", metavar="FILE", help="Append every request to FILE as a JSON line."
)
@click.option(
    "--strict",
    is_flag=True,
    help="Answer 400 with the reason to what KISSmetrics would silently drop.",
)
@click.option(
    "--fail",
    metavar="SHARE",
    type=Amount(most=1),
    default=0.0,
    show_default=True,
    help="Answer this share with 503.",
)
@click.option(
    "--latency",
    metavar="SECONDS",
    type=Amount(most=_LONGEST_S),
    default=0.0,
    show_default=True,
    help="Answer so much later.",
)
@log_options
def collector_command(  # noqa: PLR0913 - one for each option
    *,
    listen: str,
    keep: int,
    log_file: str | None,
    strict: bool,
    fail: float,
    latency: float,
    log_format: str,
    log_level: str,
) -> Exit:
    """Stand in for the tracking API on this machine.

    Keeps what arrives, shows it as JSON, and answers otherwise when told to. Sends nothing anywhere and listens to this
    machine only. Needs pip install 'kmq[web]'.
    """
    serve = _server()
    events = Log(log_format, log_level)
    with _listening(listen) as listening, _recorder(log_file, events) as record:
        arrivals, moods = Arrivals(keep), Moods()
        beacon = Beacon(arrivals, moods, Settings(strict, fail, latency), record=record)
        app = Collector(beacon, Control(arrivals, moods), [listen_of("--listen", listen).host])
        url = url_of(listening)
        code = serve(app, listening, lambda: click.echo(f"collector listens on {url}"))
    return Exit(code)


def _server() -> Callable[[Collector, socket.socket, Callable[[], None]], int]:
    # Inside a function because an extra may be missing; whoever runs another command need not have it.
    try:
        from sender.collector.server import serve  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        raise Failure(
            f"the collector needs {error.name}: pip install 'kmq[web]'", Exit.CONFIG
        ) from error
    return serve


@contextlib.contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    try:
        listening = open_socket("--listen", address)
    except OSError as error:
        forbidden = error.errno in {errno.EACCES, errno.EPERM}
        raise Failure(
            f"cannot listen on {address}: {os.strerror(error.errno or 0)}; give another with --listen",
            Exit.NO_PERMISSION if forbidden else Exit.CONFIG,
        ) from error
    try:
        yield listening
    finally:
        listening.close()
        path = listen_of("--listen", address).path
        if path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


@contextlib.contextmanager
def _recorder(path: str | None, events: Log) -> Iterator[Callable[[Arrival], None] | None]:
    if path is None:
        yield None
        return

    def failed(said: str) -> None:
        events.warning(
            "requests-not-logged", "requests are missing from {path}: {said}", path=path, said=said
        )

    try:
        file = RequestFile(path, failed)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", Exit.CANNOT_CREATE) from error
    with contextlib.closing(file):
        yield file.record
