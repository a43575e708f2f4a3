"""Rejected commands as people and programs read them: the list, which hides values, and one command whole.

Owns columns, keys and what is hidden. Pure. What it prints comes from other programs: it may move no cursor.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NoReturn

from kmq.command import Unreadable, decode
from sender.advice import advice_for
from sender.flow import Verdict
from sender.rejected.rejection import as_json, at_text, bearable

from .text import plural, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sender.flow import Outcome
    from sender.rejected import Rejection

__all__ = ["listed_json", "listed_table", "shown_json", "why_it_stays"]

_HEADER: Final = ("ID", "WHEN", "REASON", "FROM", "WHAT")
_CLOCK: Final = slice(11, 19)
_REQUEST: Final = re.compile(rb"/[esa](?=[?\s]|$)")


def listed_table(newest: Sequence[Rejection], _matching: int, _unreadable: int) -> str:
    """Return the list for people. WHEN is the time of day in UTC, as the day in the id is."""
    if not newest:
        return "nothing is on the list"
    return table(_HEADER, [_row(one) for one in newest])


def listed_json(newest: Sequence[Rejection], matching: int, unreadable: int) -> str:
    """Return the list for programs: `matching` counts what the filters chose, `unreadable` what nobody can list."""
    listed = [_listed(one) for one in newest]
    return as_json({"rejected": listed, "matching": matching, "unreadable": unreadable}, 2)


def _row(one: Rejection) -> tuple[str, str, str, str, str]:
    kind = _kind(one)
    size = plural(one.size, "byte")
    return (
        one.id,
        at_text(one.at)[_CLOCK],
        one.reason,
        _source(one),
        f"{kind}, {size}" if kind else size,
    )


def _source(one: Rejection) -> str:
    return one.program if one.place is None else f"{one.place[0]} at {one.place[1]:,}"


def _kind(one: Rejection) -> str | None:
    """Return which kind of command it is, or of request, without a value of it; None if it cannot be read."""
    request = _REQUEST.match(one.raw)
    if request:
        return request[0].decode()
    try:
        return decode(one.raw).kind
    except Unreadable:
        return None


def _listed(one: Rejection) -> dict[str, object]:
    return {
        "id": one.id,
        "at": at_text(one.at),
        "reason": one.reason,
        "partition": one.partition,
        "offset": one.offset,
        "status": one.status,
        "kind": _kind(one),
        "size": one.size,
        "program": one.program,
    }


def why_it_stays(one: Rejection, outcome: Outcome | None) -> str:
    """Return in words why a command that was to be sent again is still on the list; None means it cannot be sent."""
    if outcome is None:
        return f"it cannot be sent: {_why_unsendable(one)}"
    answer = (
        f"the API answers {outcome.status}" if outcome.status else f"no answer ({outcome.code})"
    )
    if outcome.verdict is Verdict.BLOCKED:
        advice = advice_for(outcome)
        return f"{answer}: {advice.reason}; {advice.mend}"
    if outcome.verdict is Verdict.REJECTED:
        return f"{answer}: it refuses the command for what it says"
    return f"{answer}, also when asked again; try later"


def _why_unsendable(one: Rejection) -> str:
    if one.reason == "torn":
        return "its line is torn, and no call had acknowledged it"
    if not one.is_whole:
        return (
            f"its line has {one.size:,} bytes, more than a line may have, and only its head is kept"
        )
    try:
        decode(one.raw)
    except Unreadable as unreadable:
        return f"it is no command: {unreadable.rule}"
    return one.rule or one.reason


def shown_json(one: Rejection) -> str:
    """Return one rejected command whole, `command` parsed if its text is an object of JSON."""
    fields = {
        **_listed(one),
        "end": one.end,
        "rule": one.rule,
        "said": one.said,
        "text": one.raw.decode("utf-8", "surrogateescape"),
    }
    # The text itself and not what a parser makes of it: numbers keep their digits, and what is mended can be appended.
    return f'{as_json(fields, 2)[:-2]},\n  "command": {_command_text(one)}\n}}'


def _command_text(one: Rejection) -> str:
    try:
        text = one.raw.decode("utf-8")
        value: object = json.loads(
            text, parse_int=str, parse_float=str, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        return "null"
    return bearable(text.strip()) if isinstance(value, dict) else "null"


def _no_constant(text: str) -> NoReturn:
    raise ValueError(text)
