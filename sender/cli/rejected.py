"""`kmq-sender rejected`: list, show, resend or drop what could not be delivered.

Owns the options, what they choose, and how each command ends. What is kept, and how it is sent again, is
`sender.rejected`'s and `sender.resend`'s; how it is shown is `rejected_text`'s.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Final

import click

from kmq import __version__
from sender.rejected import RejectedStore
from sender.rejected.rejection import parse_id
from sender.rejected.resend import Resend
from sender.transport.choose import make_sink
from sender.transport.settings import TransportSettings

from .exits import Exit, Failure
from .kinds import AGE, TIME, Text, Whole
from .options import (
    HelpCommand,
    HelpGroup,
    api_key_file_option,
    ca_file_option,
    json_option,
    resolve_key,
    resolve_spool,
    resolve_url,
    spool_option,
    url_option,
)
from .rejected_text import listed_json, listed_table, shown_json, why_it_stays
from .text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sender.rejected import Rejection
    from sender.rejected.resend import Tally

__all__ = ["rejected_command"]

_PROGRAM: Final = "operator"

_RESEND_EXAMPLES: Final = """
Examples:
  kmq-sender rejected resend 2026-11-23:17
  kmq-sender rejected resend --reason answered-400 --all
"""


class _ListByDefault(HelpGroup):
    """A group that takes options without a command as those of `list`, and keeps the order of its commands."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return them from the harmless to the one that deletes."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `list` before what begins with an option, or before nothing."""
        asks_for_help = args[:1] in (["-h"], ["--help"])
        if not asks_for_help and (not args or args[0].startswith("-")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


class _Id(Text):
    """The id of a rejected command, such as 2026-11-23:17."""

    name = "id"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the id as it is."""
        try:
            parse_id(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)
        return str(value)


_reason_option = click.option(
    "--reason",
    metavar="CODE",
    help="Only this reason, e.g. torn, not-json, no-person, answered-400.",
)
_since_option = click.option(
    "--since", metavar="TIME", type=TIME, help="Rejected at or after TIME."
)
_ids_argument = click.argument("ids", metavar="[ID]...", nargs=-1, type=_Id())


@click.group("rejected", cls=_ListByDefault)
def rejected_command() -> None:
    """List, show, resend or drop what could not be delivered."""


@rejected_command.command("list", cls=HelpCommand)
@spool_option
@json_option
@_reason_option
@_since_option
@click.option(
    "--limit",
    metavar="N",
    type=Whole(),
    default=50,
    show_default=True,
    help="At most so many.",
)
def list_command(
    *, spool: str | None, as_json: bool, reason: str | None, since: float | None, limit: int
) -> None:
    """Newest first: id, when, reason, where it came from. Values are hidden."""
    store = _store(spool)
    counter = itertools.count()
    found = (one for one, _ in zip(_matching(store, reason, since), counter, strict=False))
    newest = heapq.nlargest(limit, found, key=lambda one: parse_id(one.id))
    show = listed_json if as_json else listed_table
    matching = next(counter)
    click.echo(show(newest, matching, store.unreadable))
    if not as_json:
        _say_unshown(matching - len(newest), store.unreadable)


@rejected_command.command("show", cls=HelpCommand)
@click.argument("rejection_id", metavar="ID", type=_Id())
@spool_option
def show_command(*, rejection_id: str, spool: str | None) -> None:
    """One command whole, with the answer or the rule, and where it lay."""
    (rejection,) = _found(_store(spool), [rejection_id])
    click.echo(shown_json(rejection))


@rejected_command.command("resend", cls=HelpCommand, epilog=_RESEND_EXAMPLES)
@_ids_argument
@click.option("--all", "all_", is_flag=True, help="All that match the filters.")
@_reason_option
@_since_option
@spool_option
@url_option
@api_key_file_option
@ca_file_option
def resend_command(  # noqa: PLR0913 - one for each option
    *,
    ids: tuple[str, ...],
    all_: bool,
    reason: str | None,
    since: float | None,
    spool: str | None,
    url: str,
    api_key_file: str | None,
    ca_file: str | None,
) -> Exit:
    """Send again. What is delivered leaves the list; nothing else does."""
    if all_ == bool(ids):
        raise click.UsageError("name either IDs or --all")
    if ids and (reason or since is not None):
        raise click.UsageError("--reason and --since choose among --all, not among IDs")
    store, url = _store(spool), resolve_url(url)
    chosen = _matching(store, reason, since) if all_ else _found(store, ids)
    key = resolve_key(os.environ, api_key_file)
    agent = f"kmq-sender/{__version__}"
    settings = TransportSettings(url, key, ca_file=ca_file, user_agent=agent)
    return _say_resent(_resend(store, chosen, settings), url)


@rejected_command.command("drop", cls=HelpCommand)
@_ids_argument
@click.option("--older-than", metavar="AGE", type=AGE, help="All that were rejected longer ago.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@spool_option
def drop_command(
    *, ids: tuple[str, ...], older_than: float | None, yes: bool, spool: str | None
) -> Exit:
    """Remove for good. The only command of kmq that deletes undelivered data."""
    if (older_than is None) == (not ids):
        raise click.UsageError("name either IDs or --older-than")
    store = _store(spool)
    if older_than is None:
        doomed = [one.id for one in _found(store, ids)]
    else:
        oldest_kept = time.time() - older_than
        doomed = [one.id for one in store.each() if one.at < oldest_kept]
    return _drop(store, doomed, yes=yes)


def _say_unshown(hidden: int, unreadable: int) -> None:
    if hidden:
        click.echo(f"{hidden:,} more; see them with --limit", err=True)
    if unreadable:
        what = "unreadable in rejected/ (torn, or nothing of kmq's), left as it is"
        click.echo(f"{unreadable:,} {what}", err=True)


def _store(spool: str | None) -> RejectedStore:
    return RejectedStore(resolve_spool(spool, must_exist=True), _PROGRAM)


def _matching(store: RejectedStore, reason: str | None, since: float | None) -> Iterator[Rejection]:
    for one in store.each():
        if (reason is None or one.reason == reason) and (since is None or one.at >= since):
            yield one


def _found(store: RejectedStore, ids: Sequence[str]) -> list[Rejection]:
    """Return the commands of these ids, each once. One that is not on the list ends it all, before anything is done."""
    found = store.found(frozenset(ids))
    missing = [id_ for id_ in dict.fromkeys(ids) if id_ not in found]
    if missing:
        raise Failure(
            f"not on the list: {', '.join(missing)}; see kmq-sender rejected list", Exit.NO_INPUT
        )
    return [found[id_] for id_ in dict.fromkeys(ids)]


def _resend(
    store: RejectedStore, chosen: Iterable[Rejection], settings: TransportSettings
) -> Tally:
    with closing(make_sink("auto", settings)) as sink:
        resend = Resend(
            sink,
            store,
            monotonic=time.monotonic,
            wait=time.sleep,
            random=random.random,
            stays=lambda one, got: click.echo(
                f"{one.id} stays: {why_it_stays(one, got)}", err=True
            ),
        )
        return resend.run(chosen)


def _say_resent(tally: Tally, url: str) -> Exit:
    said = [f"{tally.delivered:,} delivered"]
    if tally.stayed:
        said.append(f"{tally.stayed:,} not delivered")
    if tally.unsendable:
        said.append(f"{tally.unsendable:,} cannot be sent")
    if tally.untried:
        said.append(f"{tally.untried:,} not tried")
    click.echo(", ".join(said))
    if tally.stayed and not tally.answered:
        raise Failure(f"the API cannot be reached at {url}; all stay on the list", Exit.UNAVAILABLE)
    return Exit.INCOMPLETE if tally.undone else Exit.OK


def _drop(store: RejectedStore, doomed: Sequence[str], *, yes: bool) -> Exit:
    if not doomed:
        click.echo("nothing to drop")
        return Exit.OK
    if not yes and not _agreed(len(doomed)):
        click.echo("nothing was dropped", err=True)
        return Exit.INCOMPLETE
    store.leave(doomed, "dropped")
    click.echo(f"{len(doomed):,} dropped")
    return Exit.OK


def _agreed(number: int) -> bool:
    if not _is_terminal():
        # Nobody can be asked, and what is dropped is gone: a script says that it means it.
        raise click.UsageError(
            "there is no terminal to ask on, and nothing was dropped; add -y to drop for good"
        )
    return click.confirm(f"Drop {plural(number, 'rejected command')} for good?", err=True)


def _is_terminal() -> bool:
    return sys.stdin.isatty()
