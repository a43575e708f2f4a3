"""A tracking request as it came -> a command: what other clients' requests mean.

Owns the rules by which a request to `/e`, `/s` or `/a` is a command, or is refused with a code; `sender.api` is the
inverse. Pure: knows nothing about HTTP servers, answers or the spool, and is given the time. For any query and any
parameters it returns or raises `Refused`, nothing else.

The rules come from what the existing clients send: `_t` in milliseconds (Node), twice (iOS, Android), without
`_d` (most), `&&` (Node), `+` and `%20` for a space, and resends with an unchanged `_t` (the vendor's JavaScript).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from kmq.command import MAX_LINE, Command, encode
from kmq.rules import Fault, name_fault, person_fault, text_fault, time_fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "KINDS",
    "MAX_PARAMETERS",
    "RESEND_WINDOW_S",
    "Refused",
    "Tracked",
    "command_of",
    "pairs_of",
]

KINDS: Final = {"/e": "record", "/s": "set", "/a": "alias"}
"""The API's three paths and the kind of command that each takes."""

MAX_PARAMETERS: Final = 1_000
"""Parameters of one request. More than that no client sends on purpose."""

RESEND_WINDOW_S: Final = 300
"""How far a `_t` without `_d=1` may lie from the receive time and still count.

The vendor's JavaScript library resends for five minutes what it believes unsent, with the `_t` of the first try.
With that second kept, KISSmetrics' duplicate rule lets the event count once.
"""

_PARAMETERS: Final = frozenset({"_k", "_p", "_n", "_t", "_d"})
_ONE_VALUE: Final = ("_p", "_n", "_k")
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Tracked:
    """What a request says: the command, and the product's key beside it (None where it was absent or empty).

    The command itself carries no key: whether this one is the sender's own is for the caller to know.
    """

    command: Command
    key: str | None


class Refused(Exception):  # noqa: N818 - it is what the request is
    """A request that is no command. `code` is stable and free of data, `rule` says what it breaks."""

    def __init__(self, code: str, rule: str) -> None:
        super().__init__(f"{code}: {rule}")
        self.code = code
        self.rule = rule


def pairs_of(encoded: bytes) -> list[tuple[str, str]]:
    """Return the parameters of a query or of a form body, in order; raise `Refused` where they are no UTF-8.

    Empty pairs are skipped, an empty value stays. UTF-8 may stand raw or percent-encoded.

    >>> pairs_of(b"_n=Signed+Up&&Plan%20Name=Pro&empty=")
    [('_n', 'Signed Up'), ('Plan Name', 'Pro'), ('empty', '')]
    """
    try:
        return parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise Refused("not-utf8", "a parameter is no UTF-8 after decoding") from None


def command_of(path: str, params: Sequence[tuple[str, str]], now: float) -> Tracked:
    """Return what a request to `path` with `params` says; `now` is its receive time in seconds since the epoch.

    Raises `Refused` where the API could make nothing of it, or something else than was meant.

    >>> command_of("/a", [("_k", "K"), ("_p", "bob"), ("_n", "bob@bob.com")], 1_500_000_000.0).command.other
    'bob@bob.com'
    """
    if path not in KINDS:
        raise Refused("no-such-path", "the tracking API has /e, /s and /a")
    fields = _fields(params)
    command = _command(KINDS[path], fields, _time(fields, now))
    if len(encode(command)) > MAX_LINE:
        raise Refused("too-long", f"as a line of the spool it has more than {MAX_LINE:,} bytes")
    return Tracked(command, fields.get("_k") or None)


def _fields(params: Sequence[tuple[str, str]]) -> dict[str, str]:
    # Of a repeated name the last value counts: iOS and Android send the caller's `_t` after their own.
    if len(params) > MAX_PARAMETERS:
        raise Refused("too-many", f"it has more than {MAX_PARAMETERS:,} parameters")
    fields = dict(params)
    if len(fields) != len(params):
        _check_repeated(params)
    if "_p2" in fields:
        raise Refused(
            "two-kinds", "_p2 is no parameter of the API, and in a line it would make an alias"
        )
    for value in fields.values():
        _hold(text_fault(value, "not-utf8"))
    return fields


def _check_repeated(params: Sequence[tuple[str, str]]) -> None:
    for name in _ONE_VALUE:
        if len({value for given, value in params if given == name}) > 1:
            raise Refused(
                "name-twice",
                f"{name} is given twice with different values, and which counts is unknown",
            )


def _command(kind: str, fields: Mapping[str, str], time: int) -> Command:
    person = _person(fields, "_p")
    if kind == "alias":
        return Command(person, time, other=_person(fields, "_n"))
    properties = _properties(fields)
    if kind == "record":
        return Command(person, time, _event(fields), properties=properties)
    if not properties:
        raise Refused("nothing-to-set", "a set needs at least one property")
    return Command(person, time, properties=properties)


def _person(fields: Mapping[str, str], name: str) -> str:
    person = fields.get(name)
    if person is None:
        raise Refused("no-person", f"it has no {name}")
    _hold(person_fault(person))
    return person


def _event(fields: Mapping[str, str]) -> str:
    name = fields.get("_n")
    if name is None:
        raise Refused("no-name", "it has no _n")
    _hold(name_fault(name))
    return name


def _properties(fields: Mapping[str, str]) -> dict[str, str]:
    properties = {name: value for name, value in fields.items() if name not in _PARAMETERS}
    for name in properties:
        _hold(name_fault(name, what="a property's name"))
    return properties


def _time(fields: Mapping[str, str], now: float) -> int:
    given = fields.get("_t", "")
    seconds = int(given) if _WHOLE.fullmatch(given) else None
    if fields.get("_d") == "1":
        return _meant(seconds)
    if seconds is not None and abs(seconds - now) <= RESEND_WINDOW_S:
        return seconds
    return int(now)


def _meant(seconds: int | None) -> int:
    if seconds is None:
        raise Refused("no-time", "with _d=1 there must be a _t in whole seconds")
    _hold(time_fault(seconds))
    return seconds


def _hold(fault: Fault | None) -> None:
    if fault is not None:
        raise Refused(fault.code, fault.rule)
