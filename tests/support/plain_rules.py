"""The rules of a line as plainly as they can be said: what `kmq.command.decode` must agree with, line by line.

Owns one reading of the rules that knows nothing of speed: each name, each value and each line is looked at anew, by
`json` from the standard library and `kmq.rules`. It keeps nothing between two lines.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import NoReturn

from kmq.command import MAX_LINE, Command, Number, Unreadable, plain
from kmq.rules import Fault, name_fault, person_fault, text_fault, time_fault

__all__ = ["decode_plainly"]

_MAX_NUMBER = 400


class _Object(list[tuple[str, object]]):
    """A JSON object, as its pairs."""


def decode_plainly(line: bytes) -> Command:
    """Return the command of `line`, or raise `Unreadable` with the code of the first rule that it breaks."""
    if len(line) > MAX_LINE:
        raise Unreadable("too-long", "")
    fields = _fields(_parsed(line))
    person = _string(fields, "_p", "no-person")
    if person is None:
        raise Unreadable("no-person", "")
    _hold(person_fault(person))
    command = Command(
        person,
        _time(fields),
        _string(fields, "_n", "no-name"),
        _string(fields, "_p2", "no-person"),
        key=_string(fields, "_k", "no-key"),
        properties=_properties(fields),
    )
    _check_kind(command)
    return command


def _parsed(line: bytes) -> _Object:
    try:
        value = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_Object,
            parse_int=_number,
            parse_float=_number,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError:
        raise Unreadable("not-utf8", "") from None
    except (RecursionError, ValueError):
        raise Unreadable("not-json", "") from None
    if not isinstance(value, _Object):
        raise Unreadable("not-json", "")
    return value


def _no_constant(_text: str) -> NoReturn:
    raise Unreadable("not-a-number", "")


def _number(text: str) -> Number:
    try:
        number = plain(Decimal(text)) if re.search("[eE]", text) else Number(text)
    except ArithmeticError:
        number = None
    if number is None or len(number) > _MAX_NUMBER:
        raise Unreadable("not-a-number", "")
    return number


def _fields(pairs: _Object) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Unreadable("name-twice", "")
    return fields


def _string(fields: dict[str, object], name: str, code: str) -> str | None:
    value = fields.pop(name, None)
    if value is None:
        return None
    if not isinstance(value, str) or isinstance(value, Number):
        raise Unreadable(code, "")
    return value


def _time(fields: dict[str, object]) -> int:
    value = fields.pop("_t", None)
    if not isinstance(value, Number) or not re.fullmatch(r"-?\d{1,18}", value):
        raise Unreadable("no-time", "")
    _hold(time_fault(int(value)))
    return int(value)


def _properties(fields: dict[str, object]) -> dict[str, str]:
    properties: dict[str, str] = {}
    for name, value in fields.items():
        if value is None or name == "_d":
            continue
        _hold(name_fault(name))
        if isinstance(value, bool):
            properties[name] = "true" if value else "false"
        elif isinstance(value, str):
            _hold(text_fault(value, "not-utf8"))
            properties[name] = value
        else:
            raise Unreadable("nested", "")
    return properties


def _check_kind(command: Command) -> None:
    if command.other is not None:
        _hold(person_fault(command.other))
        if command.name is not None or command.properties:
            raise Unreadable("two-kinds", "")
    elif command.name is not None:
        _hold(name_fault(command.name))
    elif not command.properties:
        raise Unreadable("nothing-to-set", "")
    if command.key is not None:
        if not command.key.strip():
            raise Unreadable("no-key", "")
        _hold(text_fault(command.key, "no-key"))


def _hold(fault: Fault | None) -> None:
    if fault is not None:
        raise Unreadable(fault.code, fault.rule)
