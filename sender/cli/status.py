"""`kmq-sender status`: what the sender does and how far behind it is, for people and for programs.

Owns the options and which form is printed. What the figures are is `sender.survey`'s and `sender.status`'s, how they
read is `status_text`'s and `status_json`'s.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import click

from kmq import environment
from kmq.environment import DEFAULT_MAX_SPOOL
from kmq.spool import Spool, default_path
from sender import status
from sender.status.survey import survey

from .exits import Exit, Failure, exit_for
from .options import HelpCommand, json_option, resolve_spool, spool_option
from .status_json import as_json as json_of
from .status_text import Shown, page
from .text import plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sender.status.survey import Survey

__all__ = ["status_command"]

_EXAMPLES: Final = """
Examples:
  kmq-sender status
  kmq-sender status --json | jq .lag.seconds
"""


@click.command("status", cls=HelpCommand, epilog=_EXAMPLES)
@spool_option
@json_option
@click.option("--partitions", is_flag=True, help="One row per partition, also the idle ones.")
def status_command(*, spool: str | None, as_json: bool, partitions: bool) -> Exit:
    """Show what the sender does and how far behind it is.

    Reads the spool and status.json; needs no running sender, and says so when none runs.
    """
    where = resolve_spool(spool, must_exist=True)
    max_bytes = _max_bytes(os.environ)
    found = survey(where, now=time.time(), snapshot=status.load(where))
    if as_json:
        click.echo(json_of(found, max_bytes))
    else:
        shown = Shown(max_bytes, named=_is_named(where, os.environ), all_partitions=partitions)
        click.echo(page(found, shown))
    return _unless_unreadable(found)


def _unless_unreadable(found: Survey) -> Exit:
    if not found.unreadable:
        return Exit.OK
    first = next(iter(found.unreadable.values()))
    many = plural(len(found.unreadable), "partition")
    raise Failure(f"{many} counted nowhere above: {first}", exit_for(first))


def _max_bytes(environ: Mapping[str, str]) -> int:
    text = environ.get("KMQ_MAX_SPOOL")
    return environment.cap("KMQ_MAX_SPOOL", text) if text else DEFAULT_MAX_SPOOL


def _is_named(spool: Spool, environ: Mapping[str, str]) -> bool:
    # Commands that are proposed must find the same spool.
    return spool.path != default_path(environ)
