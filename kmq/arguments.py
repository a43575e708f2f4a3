"""From a call's arguments to a command: what Python has is turned into what KISSmetrics takes, or refused.

Owns the checks of a call. The API answers 200 even to what it cannot use, so that the call is the last place where a
mistake can be told to whoever made it. Pure: the time of the call is handed in. Knows nothing about the current
person, the spool, or what becomes of the command.

What is certainly wrong raises `InvalidCommand`; what is allowed and doubtful comes back as `Doubt`s.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from .command import Command, Number, plain
from .errors import InvalidCommand, shown
from .rules import (
    LONG_VALUE,
    MAX_NAME,
    SHARED_IDENTITIES,
    Fault,
    name_fault,
    person_fault,
    text_fault,
    time_fault,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Doubt", "alias", "api_key", "doubts", "person", "record", "set_properties"]

_FAR_AHEAD_S: Final = 86_400
_TIME: Final = "_t"
_WHETHER_TIME_COUNTS: Final = "_d"
_OWN_PARAMETERS: Final = frozenset({"_k", "_p", "_n", "_p2"})


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something allowed that is seldom meant. `about` is what to warn of only once; no person and no value is in it."""

    about: str
    text: str


def person(value: object) -> str:
    """Return `value` as an identity, or raise `InvalidCommand`.

    >>> person("bob@bob.com")
    'bob@bob.com'
    """
    text = _string("person", value, "pass the identity as text, e.g. str(user.id)")
    _hold("person", value, person_fault(text))
    return text


def api_key(value: object) -> str:
    """Return `value` as an API key, or raise `InvalidCommand` without showing it."""
    key = (
        value.strip() if isinstance(value, str) else ""
    )  # a key read from a file ends in a newline
    if not key or not key.isascii() or not key.isprintable():
        raise InvalidCommand(
            "api_key",
            "it must be the product's key, printable text",
            "copy it from KISSmetrics' settings",
        )
    return key


def record(
    who: str, name: object, properties: object, now: float, key: str | None = None
) -> Command:
    """Return the event `name` of `who`, with its `properties`; `now` is the time of the call in seconds.

    A `_t` among the properties is the event's own time, whatever `_d` says, since who gives a time means it.
    """
    text = _string("event name", name, "pass it as text; for properties alone call set()")
    _hold("event name", name, name_fault(text))
    values, time = _values(properties, now)
    return Command(who, time, text, properties=values, key=key)


def set_properties(
    who: str, properties: object, now: float, key: str | None = None
) -> Command | None:
    """Return the command that sets `properties` of `who`; None where every one of them is None: nothing is left."""
    if isinstance(properties, Mapping) and not properties:
        raise InvalidCommand(
            "set", "there is nothing to set", "give at least one property, e.g. {'gender': 'male'}"
        )
    values, time = _values(properties, now)
    if not values and not _has_none(properties):
        raise InvalidCommand(
            shown(properties), "a time alone sets nothing", "give at least one property beside it"
        )
    return Command(who, time, properties=values, key=key) if values else None


def alias(one: object, other: object, now: float, key: str | None = None) -> Command:
    """Return the command that says that two identities are one person; the order means nothing to KISSmetrics."""
    return Command(person(one), _whole_seconds(now), other=person(other), key=key)


def _string(what: str, value: object, way_out: str) -> str:
    if not isinstance(value, str):
        raise InvalidCommand(
            f"{what} {shown(value)}", f"it must be text, not {type(value).__name__}", way_out
        )
    return str.__str__(value)  # a StrEnum or another kind of str, as the plain text that it is


def _hold(what: str, value: object, fault: Fault | None) -> None:
    if fault is not None:
        raise InvalidCommand(f"{what} {shown(value)}", fault.rule, fault.way_out)


def _values(properties: object, now: float) -> tuple[dict[str, str], int]:
    if not isinstance(properties, Mapping):
        raise InvalidCommand(
            f"properties {shown(properties)}",
            f"they must be a mapping of names to values, not {type(properties).__name__}",
            "pass a dict",
        )
    given = dict(properties)
    time = given.pop(_TIME, None)
    given.pop(
        _WHETHER_TIME_COUNTS, None
    )  # always sent as 1: otherwise the time of the sending would count
    values = {
        _property_name(name): _value(name, value)
        for name, value in given.items()
        if value is not None
    }
    return values, _whole_seconds(now if time is None else time)


def _has_none(properties: object) -> bool:
    return isinstance(properties, Mapping) and any(value is None for value in properties.values())


def _property_name(name: object) -> str:
    text = _string("property name", name, "pass it as text")
    _hold("property name", name, name_fault(text, what="a property's name"))
    if text.startswith("_"):
        raise InvalidCommand(
            f"property {shown(name)}", _reserved(text), "rename it without the underscore"
        )
    return text


def _reserved(name: str) -> str:
    if name in _OWN_PARAMETERS:
        return "it would replace a parameter of the API (key, person or event), which data must never do"
    return "names that begin with an underscore are the API's own; only _t and _d may be given"


def _value(name: object, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = str.__str__(value)
        _hold(f"property {shown(name)}, value", value, text_fault(text, "not-utf8"))
        return text
    number = _number(value)
    if number is None:
        raise InvalidCommand(f"property {shown(name)}, value {shown(value)}", *_advice(value))
    return number


def _number(value: object) -> Number | None:
    if isinstance(value, float):
        return plain(Decimal(float.__repr__(value)))  # the shortest decimal that is this float
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return None if value.utcoffset() is None else Number(_epoch(value))
    try:
        return plain(Decimal(operator.index(value)))  # type: ignore[arg-type]  # whatever has __index__: int, IntEnum, numpy's
    except TypeError:
        return None


def _advice(value: object) -> tuple[str, str]:
    if isinstance(value, (float, Decimal, int)):
        return (
            "it is no number that has a plain decimal of at most 400 characters",
            "leave it out, or send it as text",
        )
    if isinstance(value, datetime):
        return (
            "a datetime without a time zone names no moment",
            "give it one, e.g. value.replace(tzinfo=timezone.utc)",
        )
    if isinstance(value, date):
        return (
            "a date without a time names no moment",
            "send value.isoformat(), or a datetime with a time zone",
        )
    if isinstance(value, (bytes, bytearray)):
        return "bytes are no text", "decode them"
    many = isinstance(value, Iterable)
    return (
        f"KISSmetrics takes text and numbers only, not {type(value).__name__}",
        "send one property for each part, or the parts as one text"
        if many
        else "send it as text, e.g. str(value)",
    )


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp() // 1)


def _whole_seconds(value: object) -> int:
    if isinstance(value, datetime) and value.utcoffset() is not None:
        seconds = _epoch(value)
    elif (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and abs(value) < float("inf")
    ):
        seconds = int(value)
    else:
        raise InvalidCommand(
            f"_t {shown(value)}",
            "it must be seconds since 1970, or a datetime with a time zone",
            "pass int(time.time()) or datetime.now(timezone.utc)",
        )
    _hold("_t", value, time_fault(seconds))
    return seconds


def doubts(command: Command, now: float) -> Iterator[Doubt]:
    """Yield what is allowed in `command` and seldom meant."""
    yield from _doubts_of_persons(command)
    for name in [command.name, *command.properties] if command.name else command.properties:
        yield from _doubts_of_name(str(name))
    for name, value in command.properties.items():
        if len(value) > LONG_VALUE:
            yield Doubt(
                f"long value of {name}",
                f"a value of property {name!r} has over {LONG_VALUE} characters: KISSmetrics may cut or drop it",
            )
    if command.time > now + _FAR_AHEAD_S:
        yield Doubt(
            "time ahead",
            "a command's _t is more than a day ahead: what KISSmetrics does with it is not documented",
        )


def _doubts_of_persons(command: Command) -> Iterator[Doubt]:
    for identity in (command.person, command.other):
        if identity is not None and identity.lower() in SHARED_IDENTITIES:
            yield Doubt(
                "shared identity",
                "an identity is one that many share: all of them become one person, for ever",
            )
    if command.person == command.other:
        yield Doubt("alias to itself", "an alias of an identity to itself says nothing")


def _doubts_of_name(name: str) -> Iterator[Doubt]:
    if "," in name or ":" in name:
        yield Doubt(
            f"folded {name}", f"in the name {name!r} KISSmetrics makes each ',' and ':' a space"
        )
    if len(name) == MAX_NAME:
        yield Doubt(
            f"longest {name}",
            f"the name {name[:30]!r}... has {MAX_NAME} characters, and some pages say under {MAX_NAME}",
        )
