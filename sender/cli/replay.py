"""`kmq-sender replay`: send commands again, from the spool or from files.

Owns the options, the question and how a replay ends. What it reads and sends is `sender.replay`'s; how its
course is told is `replay_text`'s.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import click

from kmq import __version__
from kmq.errors import spool_error
from sender.dispatcher import Window
from sender.replay import Filter, Replay, ReplaySource
from sender.replay.source import Missing, file_pieces, spool_pieces
from sender.replay.tally import tally
from sender.signals import Signals
from sender.transport.choose import make_sink
from sender.transport.settings import TransportSettings

from .exits import Exit, Failure
from .kinds import RATE, TIME
from .options import (
    HelpCommand,
    api_options,
    log_options,
    resolve_key,
    resolve_spool,
    resolve_url,
    spool_option,
)
from .replay_course import Course
from .replay_text import counted, question, result, shortfall, uncounted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sender.replay.source import Piece

__all__ = ["replay_command"]

_ASK_FROM: Final = 1_000

_EXAMPLES: Final = """
Examples:
  kmq-sender replay --since 2h --dry-run
  kmq-sender replay --person bob@bob.com --since 2026-11-01
  kmq-sender replay --rate 50 /backup/kmq-2026-11/*.jsonl
  zcat events.jsonl.gz | kmq-sender replay -
"""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is read and where it goes."""

    pieces: Sequence[Piece]
    wanted: Filter
    url: str
    window: Window

    @property
    def countable(self) -> bool:
        return all(piece.again for piece in self.pieces)


@click.command("replay", cls=HelpCommand, epilog=_EXAMPLES)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@spool_option
@api_options
@click.option("--person", metavar="ID", multiple=True, help="Only this identity; may be repeated.")
@click.option(
    "--event", metavar="NAME", help="Only events of this name, case ignored as KISSmetrics does."
)
@click.option(
    "--kind", type=click.Choice(["record", "set", "alias"]), help="Only this kind of command."
)
@click.option(
    "--since",
    metavar="TIME",
    type=TIME,
    help="Only commands with _t at or after TIME: 2026-11-23T20:45Z, 2026-11-23, '2h' (ago) or epoch seconds.",
)
@click.option("--until", metavar="TIME", type=TIME, help="Only commands with _t before TIME.")
@click.option(
    "--rate",
    metavar="N",
    type=RATE,
    help="At most N commands a second.  [default: no limit]",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Count what would be sent, by kind, event and hour; send nothing.",
)
@click.option(
    "-y",
    "--yes",
    is_flag=True,
    help="Do not ask before sending more than 1,000 commands (asked on a terminal only).",
)
@log_options
def replay_command(  # noqa: PLR0913 - click hands over each option by its name
    *,
    sources: tuple[str, ...],
    spool: str | None,
    url: str,
    api_key_file: str | None,
    transport: Literal["auto", "requests", "curl"],
    max_in_flight: int,
    timeout: float,
    ca_file: str | None,
    person: tuple[str, ...],
    event: str | None,
    kind: str | None,
    since: float | None,
    until: float | None,
    rate: float | None,
    dry_run: bool,
    yes: bool,
    log_format: str,
    log_level: str,
) -> Exit:
    """Send commands again, from the spool or from files.

    Of the spool (delivered ones that retention still keeps, and undelivered ones), or of SOURCE files, directories, or
    - for standard input, in KISSmetrics' JSON import format.

    Each command keeps its own _t, so that what KISSmetrics already has counts once. Moves no checkpoint and may run
    beside the sender.
    """
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until: nothing lies between them")
    wanted = Filter(frozenset(person), event, kind, since, until)
    pieces, course = _pieces(sources, spool), Course(log_format, log_level)
    if dry_run:
        return _count(pieces, wanted, course, of_spool=not sources)
    plan = _Plan(pieces, wanted, resolve_url(url), Window(max_in_flight, rate))
    sink = make_sink(
        transport,
        TransportSettings(
            url=plan.url,
            key=resolve_key(os.environ, api_key_file),
            timeout_s=timeout,
            ca_file=ca_file,
            max_in_flight=max_in_flight,
            user_agent=f"kmq-sender/{__version__}",
        ),
    )
    with contextlib.closing(sink):
        total = _total(plan, course)
        if not yes and not _may_send(plan, total):
            click.echo("nothing was sent")
            return Exit.INCOMPLETE
        source = ReplaySource(plan.pieces, course.failed)
        replay = Replay(
            source,
            sink,
            plan.wanted,
            window=plan.window,
            passed=course.passed,
            random=random.random,
        )
        with contextlib.closing(source):
            return _run(replay, course, total)


def _pieces(sources: Sequence[str], spool: str | None) -> list[Piece]:
    if not sources:
        return spool_pieces(resolve_spool(spool, must_exist=True))
    try:
        return file_pieces(sources)
    except Missing as missing:
        raise Failure(f"there is no {click.format_filename(missing.path)}", Exit.NO_INPUT) from None
    except PermissionError as error:
        where = click.format_filename(error.filename)
        raise Failure(f"cannot list {where}: {error.strerror}", Exit.NO_PERMISSION) from error
    except OSError as error:
        raise spool_error(error, "list", str(error.filename)) from error


def _count(pieces: Sequence[Piece], wanted: Filter, course: Course, *, of_spool: bool) -> Exit:
    counts = tally(pieces, wanted, course.failed)
    click.echo(counted(counts, pieces, of_spool=of_spool))
    for source, words in counts.hints.items():
        click.echo(f"{source}: {words}", err=True)
    return _unless_short(uncounted(course.failures), course)


def _total(plan: _Plan, course: Course) -> int | None:
    """Count first where that is worth it: for the question and the bar, which only a terminal gets."""
    if not course.on_terminal or not plan.countable:
        return None
    # What cannot be read is told when it is to be sent.
    return tally(plan.pieces, plan.wanted, lambda _piece, _error: None).commands


def _may_send(plan: _Plan, total: int | None) -> bool:
    if total is None or total <= _ASK_FROM or not sys.stdin.isatty():
        return True
    return click.confirm(question(total, plan.url), err=True)


def _run(replay: Replay, course: Course, total: int | None) -> Exit:
    began = time.monotonic()
    asked = Signals()
    with asked.caught(), course.shown(replay, total):
        replay.run(lambda: asked.stopped_by is not None, course.look)
    course.ended(replay)
    click.echo(result(replay.delivered, replay.rejected, time.monotonic() - began))
    return _unless_short(
        shortfall(replay.rejected, course.failures, asked.stopped_by, done=replay.done), course
    )


def _unless_short(missing: str | None, course: Course) -> Exit:
    if missing is None:
        return Exit.OK
    raise Failure(missing, Exit.NO_PERMISSION if course.forbidden else Exit.INCOMPLETE)
