"""The status for people: a few lines and a table.

Owns the words, the columns and the colours (which click drops where it does not write to a terminal). Pure. What must
be mended is said with the command that mends it; and as long as nothing is lost, it says that too.
"""

from __future__ import annotations

import shlex
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from kmq.spool import SYSTEM_SPOOL
from sender.status.survey import FRESH_S

from .status_json import state_of
from .text import count, duration, milliseconds, moment, plural, signal_name, size, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sender.status import Blocked, Snapshot
    from sender.status.survey import Lag, PartitionSurvey, Survey

__all__ = ["Shown", "page"]

_COLOURS: Final = {"SENDING": "green", "RETRYING": "yellow", "BLOCKED": "red", "STOPPED": "red"}
_HEADER: Final = ("PARTITION", "WRITER", "SEGMENTS", "SIZE", "WAITING", "BYTES", "OLDEST", "IN")
_NUMBERS: Final = frozenset({2, 3, 4, 5, 6, 7})
_INDENT: Final = " " * 11
_WIDTH: Final = 80
_MOST_ROWS: Final = 40
_NO_WORD: Final = "killed, ended at once by a second signal, or a power cut"
_TENTHS_BELOW: Final = 10


@dataclass(frozen=True, slots=True)
class Shown:
    """How it is shown: the cap in bytes, whether commands must name the spool, whether idle partitions get rows."""

    max_bytes: int
    named: bool = False
    all_partitions: bool = False


def page(survey: Survey, shown: Shown) -> str:
    """Return the whole page."""
    blocks = ["\n".join(_lines(survey, shown))]
    if survey.partitions or survey.unreadable:
        blocks.append(_partitions(survey, shown))
    if survey.rejected_kept:
        command = f"kmq-sender rejected list{_option(survey, shown)}"
        blocks.append(f"{count(survey.rejected_kept)} rejected: {command}")
    return "\n\n".join(blocks)


def _lines(survey: Survey, shown: Shown) -> Iterator[str]:
    yield _line("spool", _spool(survey, shown))
    yield from _sender(survey, shown)
    yield from _state(survey)
    yield _line("waiting", _waiting(survey.lag))
    last = survey.sender.snapshot
    if last is None:
        return
    if survey.sender.current:
        yield _line("rate", _rate(last))
    yield _line("totals", _totals(last))
    if last.last_error is not None:
        error = last.last_error
        ago = duration(max(0.0, survey.at - error.at))
        yield _line("last error", f"{ago} ago: {error.message or error.kind}")


def _line(name: str, text: str) -> str:
    return f"{name:10} {text}"


def _spool(survey: Survey, shown: Shown) -> str:
    path = click.format_filename(survey.path)
    return (
        f"{path}   {size(survey.bytes)} of {size(shown.max_bytes)}, {size(survey.free_bytes)} free"
    )


# The sender


def _sender(survey: Survey, shown: Shown) -> Iterator[str]:
    if survey.sender.running:
        yield _line("sender", f"running, {_running(survey)}")
        return
    yield _line(
        "sender", f"{click.style('NOT RUNNING', fg='red')}; {_ended(survey.sender.snapshot)}"
    )
    yield f"{_INDENT}{_nothing_lost(survey.lag)}; start: {_start(survey, shown)}"


def _running(survey: Survey) -> str:
    sender, last = survey.sender, survey.sender.snapshot
    if last is None or not sender.current:
        return f"{sender.holder or 'its process cannot be told'}, no figures of it yet"
    process = sender.holder or f"process {last.pid}"
    lasted = duration(max(0.0, survey.at - last.started))
    return f"{process}, {lasted}, {last.transport} to {last.url}"


def _ended(last: Snapshot | None) -> str:
    if last is None:
        return "none ever ran here"
    seen = f"last seen {moment(last.at)} as kmq-sender[{last.pid}]"
    if last.ended is None:
        return f"{seen}, {_NO_WORD}"
    how, _, number = last.ended.partition(" ")
    stopped = how == "signal"
    return f"{seen}, {f'stopped by {signal_name(number)}' if stopped else f'ended: {last.ended}'}"


def _start(survey: Survey, shown: Shown) -> str:
    if survey.path == SYSTEM_SPOOL:
        return "systemctl start kmq-sender"
    return f"kmq-sender run{_option(survey, shown)}"


def _option(survey: Survey, shown: Shown) -> str:
    return f" --spool {shlex.quote(survey.path)}" if shown.named else ""


def _nothing_lost(lag: Lag) -> str:
    if not lag.commands:
        return "nothing waits"
    verb = "waits" if lag.commands == 1 else "wait"
    return f"nothing is lost: {_commands(lag)} {verb}"


def _commands(lag: Lag) -> str:
    return plural(lag.commands, "command") if lag.exact else f"~{plural(lag.commands, 'command')}"


# What it does


def _state(survey: Survey) -> Iterator[str]:
    state, last = state_of(survey), survey.sender.snapshot
    styled = click.style(state, fg=_COLOURS.get(state))
    if last is None or not survey.sender.current:
        yield _line("state", styled)
        return
    age_s = survey.at - last.at
    stale = f" (as of {duration(age_s)} ago)" if age_s > FRESH_S else ""
    if last.blocked is not None:
        yield _line("state", f"{styled} for {_blocked(last, last.blocked, survey.at)}{stale}")
        yield f"{_INDENT}{_nothing_lost(survey.lag)}{_next_probe(last.blocked, age_s)}"
        yield from textwrap.wrap(
            f"mend: {last.blocked.advice}",
            _WIDTH,
            initial_indent=_INDENT,
            subsequent_indent=f"{_INDENT}      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        return
    yield _line("state", f"{styled}{stale}")
    if state == "RETRYING":
        yield f"{_INDENT}{_nothing_lost(survey.lag)}"


def _blocked(last: Snapshot, blocked: Blocked, now: float) -> str:
    answer = f"{blocked.status} from {last.url}, " if blocked.status is not None else ""
    return f"{duration(max(0.0, now - blocked.since))}: {answer}{blocked.reason}"


def _next_probe(blocked: Blocked, age_s: float) -> str:
    if blocked.next_probe_s is None:
        return ""
    left_s = blocked.next_probe_s - age_s
    return f"; next probe in {duration(left_s)}" if left_s > 0 else "; a probe is on its way"


def _waiting(lag: Lag) -> str:
    if not lag.commands:
        return "nothing"
    return f"{_commands(lag)}, {size(lag.bytes)}, the oldest for {duration(lag.seconds)}"


def _rate(last: Snapshot) -> str:
    parts = [
        f"{_per_second(last.rate.into)} in",
        f"{_per_second(last.rate.out)} out",
        f"{count(last.in_flight)} in flight",
    ]
    if last.latency.p50_s is not None:
        parts.append(f"answer {milliseconds(last.latency.p50_s)} median")
    if last.latency.p99_s is not None:
        parts.append(f"{milliseconds(last.latency.p99_s)} p99")
    return ", ".join(parts)


def _per_second(rate: float) -> str:
    whole = rate >= _TENTHS_BELOW or rate.is_integer()
    return f"{rate:,.0f}/s" if whole else f"{rate:.1f}/s"


def _totals(last: Snapshot) -> str:
    totals = last.totals
    return (
        f"{count(totals.delivered)} delivered, {count(totals.retried)} retried, "
        f"{count(totals.rejected)} rejected (since {moment(totals.since)})"
    )


# Partitions


def _partitions(survey: Survey, shown: Shown) -> str:
    listed, rest = _most(survey.partitions)
    if shown.all_partitions:
        listed, rest = survey.partitions, []
    current = survey.sender.current
    rows = [_row(one, current=current) for one in listed]
    rows = sorted(rows + [_unreadable(name) for name in survey.unreadable])
    if rest:
        rows.append(_rest(rest))
    return table(_HEADER, rows, right=_NUMBERS)


def _most(partitions: list[PartitionSurvey]) -> tuple[list[PartitionSurvey], list[PartitionSurvey]]:
    """Return those that have a row, and those that share one: idle ones, and the emptiest where there are too many."""
    busy = [one for one in partitions if not one.idle]
    fullest = sorted(busy, key=lambda one: one.lag.bytes, reverse=True)[:_MOST_ROWS]
    names = {one.name for one in fullest}
    listed = [one for one in partitions if one.name in names]
    return listed, [one for one in partitions if one.name not in names]


def _row(one: PartitionSurvey, *, current: bool) -> list[str]:
    lag = one.lag
    return [
        one.name,
        str(one.writer or ""),
        count(one.segments),
        size(one.bytes),
        count(lag.commands, exact=lag.exact),
        size(lag.bytes),
        duration(lag.seconds) if lag.commands else "",
        _per_second(one.rate_in) if current and one.rate_in is not None else "",
    ]


def _unreadable(name: str) -> list[str]:
    return [name, "unreadable", *[""] * (len(_HEADER) - 2)]


def _rest(rest: list[PartitionSurvey]) -> list[str]:
    commands = sum(one.lag.commands for one in rest)
    exact = all(one.lag.exact for one in rest)
    return [
        f"{count(len(rest))} {'idle' if all(one.idle for one in rest) else 'more'}",
        "",
        count(sum(one.segments for one in rest)),
        size(sum(one.bytes for one in rest)),
        count(commands, exact=exact),
        size(sum(one.lag.bytes for one in rest)),
        "",
        "",
    ]
