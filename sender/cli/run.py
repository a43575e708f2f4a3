"""`kmq-sender run`: send the spool, and go on.

Owns the command's options and how a run ends as an exit code. What it runs is `sender.daemon`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal

import click

from kmq import __version__
from sender.aside import Threaded
from sender.daemon import Daemon
from sender.dispatcher import Window
from sender.holding import AnotherSender, hold
from sender.logs import Log
from sender.plan import End, Plan
from sender.retention import limits
from sender.status.holders import holder_of
from sender.transport.choose import make_sink, resolve
from sender.transport.settings import TransportSettings

from .exits import Exit, Failure
from .options import (
    AGE,
    CAP,
    RATE,
    SIZE,
    Amount,
    HelpCommand,
    api_options,
    log_options,
    resolve_key,
    resolve_spool,
    resolve_url,
    spool_option,
)

if TYPE_CHECKING:
    from kmq.spool import Spool
    from sender.flow import Sink

__all__ = ["run_command"]

_EXAMPLES: Final = """
Examples:
  kmq-sender run
  kmq-sender run --drain --drain-timeout 60     # cron, end of a batch job
  KMQ_URL=http://127.0.0.1:8035 kmq-sender run  # to a local collector

Signals: TERM or INT finish what is in flight (10 s at most), write the
checkpoint, exit 0; a second one ends at once (130 or 143).
USR1 logs the status.
"""

_EXITS: Final = {
    End.STOPPED: Exit.OK,
    End.DRAINED: Exit.OK,
    End.DRAIN_TIMEOUT: Exit.TEMPORARY,
    End.LOCK_LOST: Exit.CANNOT_CREATE,
}


@click.command("run", cls=HelpCommand, epilog=_EXAMPLES)
@spool_option
@api_options
@click.option(
    "--rate",
    metavar="N",
    type=RATE,
    envvar="KMQ_RATE",
    show_envvar=True,
    help="At most N requests a second.  [default: no limit]",
)
@click.option(
    "--retention-age",
    metavar="AGE",
    type=AGE,
    default="7d",
    envvar="KMQ_RETENTION_AGE",
    show_envvar=True,
    show_default=True,
    help="How long delivered segments stay for replay.",
)
@click.option(
    "--retention-size",
    metavar="SIZE",
    type=SIZE,
    default="1GiB",
    envvar="KMQ_RETENTION_SIZE",
    show_envvar=True,
    show_default=True,
    help="How many bytes of delivered segments stay.",
)
@click.option(
    "--max-spool",
    metavar="SIZE",
    type=CAP,
    default="4GiB",
    envvar="KMQ_MAX_SPOOL",
    show_envvar=True,
    show_default=True,
    help="Cap on the spool, as the apps have it; retention keeps at most half of it.",
)
@click.option(
    "--drain",
    is_flag=True,
    help="Exit 0 once all that was in the spool at the start is delivered or rejected.",
)
@click.option(
    "--drain-timeout",
    metavar="SECONDS",
    type=Amount(),
    help="With --drain: give up after this long, exit 75, lose nothing.",
)
@log_options
def run_command(  # noqa: PLR0913 - click hands over each option by its name
    *,
    spool: str | None,
    url: str,
    api_key_file: str | None,
    transport: Literal["auto", "requests", "curl"],
    max_in_flight: int,
    timeout: float,
    ca_file: str | None,
    rate: float | None,
    retention_age: float,
    retention_size: int,
    max_spool: int,
    drain: bool,
    drain_timeout: float | None,
    log_format: str,
    log_level: str,
) -> Exit:
    """Send the spool, and go on sending what is appended, until told to stop.

    One sender a spool; a second one exits 75 and names the first one's process.
    """
    if drain_timeout is not None and not drain:
        raise click.UsageError("--drain-timeout needs --drain")
    where, url = resolve_spool(spool), resolve_url(url)
    chosen = resolve(transport)
    sink = make_sink(
        chosen,
        TransportSettings(
            url=url,
            key=resolve_key(os.environ, api_key_file),
            timeout_s=timeout,
            ca_file=ca_file,
            max_in_flight=max_in_flight,
            user_agent=f"kmq-sender/{__version__}",
        ),
    )
    plan = Plan(
        spool=where,
        url=url,
        transport=chosen,
        window=Window(max_in_flight, rate),
        limits=limits(retention_age, retention_size, max_spool),
        max_spool=max_spool,
        drain=drain,
        drain_timeout_s=drain_timeout,
    )
    return _sent(plan, sink, Log(log_format, log_level))


def _sent(plan: Plan, sink: Sink, log: Log) -> Exit:
    try:
        lock = hold(plan.spool)
    except AnotherSender:
        raise Failure(
            f"another sender runs on {plan.spool.path}: {_who(plan.spool)}; one spool has one sender",
            Exit.TEMPORARY,
        ) from None
    try:
        return _EXITS[Daemon(plan, lock, sink, log, aside=Threaded()).run()]
    finally:
        os.close(lock)


def _who(spool: Spool) -> str:
    holder = holder_of(spool.sender_lock)
    return str(holder) if holder else "its process cannot be told"
