"""`kmq-sender demo`: show it all on this machine.

Owns the command's options, how the show looks on a terminal, and the account in words. What it shows is `sender.demo`.
"""

from __future__ import annotations

import contextlib
import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import click

from sender.demo.show import WRITERS, Script, perform
from sender.demo.telling import ShowFailed, Stopped, Tone

from .exits import Exit, Failure
from .kinds import Amount, Whole
from .options import HelpCommand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sender.demo.account import Account

__all__ = ["demo_command"]

_EXAMPLES: Final = """
Examples:
  kmq-sender demo
  kmq-sender demo --seconds 60 --events 10000
"""

_WEB: Final = ("httptools", "uvicorn", "uvloop")
_STYLES: Final[dict[Tone, dict[str, object]]] = {
    "plain": {},
    "good": {"fg": "green"},
    "bad": {"fg": "red"},
    "faint": {"dim": True},
}
_NAMED_AT_MOST: Final = 5


@click.command("demo", cls=HelpCommand, epilog=_EXAMPLES)
@click.option(
    "--seconds",
    metavar="SECONDS",
    type=Amount(least=1, most=3_600),
    default=20,
    show_default=True,
    help="How long it lasts, about.",
)
@click.option(
    "--events",
    metavar="N",
    type=Whole(least=10, most=100_000),
    default=2_000,
    show_default=True,
    help=f"How many commands each of the {WRITERS} writers records.",
)
def demo_command(seconds: float, events: int) -> Exit:
    """Show it all on this machine in half a minute.

    A collector, writers, a sender that is killed half-way, and the count at the end. Sends nothing to KISSmetrics, and
    leaves nothing behind. Needs pip install 'kmq[web]'.
    """
    _check_web()
    with _ended_by_signal() as got:
        try:
            account = perform(Script(seconds, events), _Terminal(), lambda: bool(got))
        except ShowFailed as error:
            raise Failure(str(error), Exit.INCOMPLETE) from error
        except Stopped:
            return Exit.INTERRUPTED if got[0] == signal.SIGINT else Exit.TERMINATED
    _present(account)
    return Exit.OK if account.sound else Exit.INCOMPLETE


def _check_web() -> None:
    missing = [name for name in _WEB if find_spec(name) is None]
    if missing:
        raise Failure(
            f"the demo's collector needs {', '.join(missing)}: pip install 'kmq[web]'", Exit.CONFIG
        )


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[list[int]]:
    """Collect signals that ask for an end, instead of dying of them with the show's processes still running."""
    got: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda n, _: got.append(n)) for number in numbers}
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Terminal:
    """Prints what is told, in colours where there is a terminal."""

    def happened(self, at_s: float, who: str, what: str, tone: Tone = "plain") -> None:
        """Print one line, with its moment."""
        click.echo(f"{at_s:5.1f} s  {who:<10} {_styled(what, tone)}")

    def say(self, text: str = "", tone: Tone = "plain") -> None:
        """Print one line."""
        click.echo(_styled(text, tone))


def _styled(text: str, tone: Tone) -> str:
    return click.style(text, **_STYLES[tone])  # type: ignore[arg-type]  # each holds arguments of style


def _present(account: Account) -> None:
    click.echo()
    for line in _account_lines(account):
        click.echo(line)
    click.echo(_styled(account.verdict, "good" if account.sound else "bad"))


def _account_lines(account: Account) -> Iterator[str]:
    yield f"acknowledged  {account.acknowledged:>6,} commands: their calls had returned"
    if account.unacknowledged:
        count = len(account.unacknowledged)
        yield f"              {count:>6,} more arrived: written, and the writer killed before its call returned"
    yield f"arrived       {account.requests:>6,} requests"
    for answer, count in sorted(account.answers.items()):
        yield f"              {count:>6,} {_meaning(answer, account.again)}"
    if not account.changed:
        yield f"twice         {account.repeats:>6,} requests repeat another, byte by byte, _t included: they count once"
    if account.twin:
        yield f"              #{account.twin.first:,} and #{account.twin.second:,} are both {account.twin.text}"
    yield from _faults(account)


def _meaning(answer: str, again: int) -> str:
    if answer == "200":
        return f"answered 200, {again:,} of them again: no checkpoint had covered them when the sender died"
    return f"{'dropped' if answer == 'drop' else f'answered {answer}'}, and tried again"


def _faults(account: Account) -> Iterator[str]:
    for what, commands in (("lost", account.lost), ("changed", account.changed)):
        for command in commands[:_NAMED_AT_MOST]:
            yield f"{what:<13} {command}"
        if len(commands) > _NAMED_AT_MOST:
            yield f"{what:<13} and {len(commands) - _NAMED_AT_MOST:,} more"
