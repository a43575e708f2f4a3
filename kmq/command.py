"""A command and its line: the form in which it lies in the spool, and can be imported by KISSmetrics as it is.

Owns the line form in both directions: `encode` and `decode` are inverse for every valid command. Pure: knows
nothing about files, calls or the network. `decode` is strict, because a line is input from another program: what
it accepts can be sent, and whatever a crash can leave (a cut line, a block of zeros) it refuses.

    {"_p":"bob@bob.com","_t":1234567890,"_n":"Signed Up","Plan":"Pro","Amount":99.95}

`_p` always comes first when kmq writes; a line of another program may order its keys otherwise.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from json.encoder import encode_basestring as _quoted
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, NoReturn, TypeGuard

from .rules import Fault, name_fault, person_fault, text_fault, time_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MAX_LINE", "Command", "Number", "Unreadable", "decode", "encode", "plain", "salvage"]

MAX_LINE: Final = 65_536
"""Bytes of a line, its newline included. Longer ones are refused at the call, since the reader refuses them."""

_MARK: Final = b'{"_p":'
_MAX_NUMBER: Final = 400
_WHOLE_DIGITS: Final = 18
_WHOLE: Final = re.compile(r"-?\d{1,18}")
_MAX_PROVEN: Final = 1_000

Kind = Literal["record", "set", "alias"]


class Number(str):
    r"""A property's value that stands unquoted in the line: a plain decimal, as text, so that no digit is lost.

    >>> encode(Command("bob", 1_500_000_000, "Paid", properties={"Amount": Number("99.90")}))
    b'{"_p":"bob","_t":1500000000,"_n":"Paid","Amount":99.90}\n'
    """

    __slots__ = ()


class Command(NamedTuple):
    """One `record`, `set` or `alias`, complete in itself.

    `time` is in whole seconds since the epoch. `name` is set for a record, `other` for an alias, neither for a set.
    Values are the texts that go over the wire; a `Number` among them stands unquoted in the line. `key` is the API
    key of the app, where it has one of its own.
    """

    person: str
    time: int
    name: str | None = None
    other: str | None = None
    properties: Mapping[str, str] = MappingProxyType({})
    key: str | None = None

    @property
    def kind(self) -> Kind:
        """Which of the three it is.

        >>> Command("bob", 1_500_000_000, other="bob@bob.com").kind
        'alias'
        """
        if self.other is not None:
            return "alias"
        return "set" if self.name is None else "record"


class Unreadable(Exception):  # noqa: N818 - it is what the line is
    """A line that is no command. `code` is stable (`not-json`, `no-person`), `rule` says what it breaks."""

    def __init__(self, code: str, rule: str) -> None:
        super().__init__(f"{code}: {rule}")
        self.code = code
        self.rule = rule


def encode(command: Command) -> bytes:
    r"""Return the line of `command`, with its newline: UTF-8, compact, unescaped where JSON allows it.

    >>> encode(Command("bob", 1_500_000_000, other="bob@bob.com"))
    b'{"_p":"bob","_t":1500000000,"_p2":"bob@bob.com"}\n'
    """
    parts = [f'{{"_p":{_quoted(command.person)},"_t":{command.time}']
    if command.name is not None:
        parts.append(f',"_n":{_quoted(command.name)}')
    if command.other is not None:
        parts.append(f',"_p2":{_quoted(command.other)}')
    parts.extend(
        f",{_quoted(name)}:{value if isinstance(value, Number) else _quoted(value)}"
        for name, value in command.properties.items()
    )
    if command.key is not None:
        parts.append(f',"_k":{_quoted(command.key)}')
    parts.append("}\n")
    return "".join(parts).encode()


def decode(line: bytes) -> Command:
    """Return the command of `line`, with or without its newline; raise `Unreadable` if it is none.

    The dearest step of an event in the sender, and so one longer function: a call for each look cost a sixth of it. A
    name that was proven once is known, and properties that need no change stay in the dictionary they were read into.

    >>> decode(b'{"_p":"bob","_t":1500000000,"gender":"male"}').kind
    'set'
    """
    if len(line) > MAX_LINE:
        raise Unreadable("too-long", f"a line has at most {MAX_LINE:,} bytes")
    text = _text(line)
    pairs = _parsed(text)
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Unreadable("name-twice", "a name stands in it twice, and which counts is unknown")
    person = fields.pop("_p", None)
    if type(person) is not str:
        raise _no_string("_p", person, "no-person")
    if (fault := person_fault(person)) is not None:
        raise Unreadable(fault.code, fault.rule)
    time = _time(fields.pop("_t", None))
    name = fields.pop("_n", None)
    if name is not None and type(name) is not str:
        raise _no_string("_n", name, "no-name")
    other = _string(fields, "_p2", "no-person") if "_p2" in fields else None
    key = _string(fields, "_k", "no-key") if "_k" in fields else None
    # Only an escape can bring in a lone surrogate.
    properties = fields if "\\" not in text and _are_proven(fields) else _properties(fields)
    command = tuple.__new__(Command, (person, time, name, other, properties, key))
    if name not in _PROVEN_EVENTS or other is not None or key is not None:
        _check_kind(command)
    return command


def salvage(line: bytes) -> int | None:
    """Return where an intact command begins in `line` after a block of zeros, or None.

    A power cut can leave zeros where bytes were on their way; what the next process appended behind them is whole.

    >>> salvage(b'{"_p":"a' + bytes(8) + b'{"_p":"bob","_t":1500000000,"_n":"x"}')
    16
    """
    start = line.find(_MARK, line.rfind(b"\0") + 1) if b"\0" in line else -1
    if start < 0:
        return None
    try:
        decode(line[start:])
    except Unreadable:
        return None
    return start


def _text(line: bytes) -> str:
    # json.loads would guess UTF-16 and UTF-32 from bytes; this is UTF-8 or nothing.
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable("not-utf8", f"byte {error.start} is no UTF-8") from None


def _parsed(text: str) -> tuple[tuple[str, object], ...]:
    """Return the pairs of the object, so that a name that stands twice is seen."""
    try:
        # `decode` looks for blanks on both sides, of which kmq writes none.
        decoder = _DECODER_OF_SHORT if len(text) <= _MAX_NUMBER else _DECODER
        value, end = decoder.raw_decode(text) if text[:1] == "{" else (None, -1)
        if end != len(text):
            value = decoder.decode(text)
    except RecursionError:
        raise Unreadable("not-json", "it is nested too deeply") from None
    except ValueError as error:
        raise Unreadable("not-json", _without_data(error)) from None
    if not isinstance(value, tuple):
        raise Unreadable("not-json", "it is no object")
    return value


def _without_data(error: ValueError) -> str:
    # The decoder's own words speak of Python; where it stopped, counted from 1 as people do, says more.
    return (
        f"no JSON at character {error.pos + 1}"
        if isinstance(error, json.JSONDecodeError)
        else "no JSON"
    )


def _no_constant(text: str) -> NoReturn:
    raise Unreadable("not-a-number", f"{text} is no number")


def plain(number: Decimal) -> Number | None:
    """Return `number` as a plain decimal without an exponent, or None where it has over 400 characters.

    Every float has fewer; what has more (1e400, an integer of thousands of digits) nobody can have meant.

    >>> plain(Decimal("1.5E+3"))
    '1500'
    """
    if not number.is_finite() or abs(number.adjusted()) >= _MAX_NUMBER:
        return None
    text = format(number, "f")
    return Number(text) if len(text) <= _MAX_NUMBER else None


def _literal(text: str) -> Number:
    # The digits stay as they stand: int() refuses more than 4,300 of them, float() makes 1e400 infinite.
    number = _without_exponent(text) if "e" in text or "E" in text else Number(text)
    if number is None or len(number) > _MAX_NUMBER:
        raise Unreadable("not-a-number", "a number beyond any that can be meant")
    return number


def _without_exponent(text: str) -> Number | None:
    try:
        return plain(Decimal(text))
    except ArithmeticError:  # an exponent that Decimal itself cannot hold
        return None


def _decoder(parse_int: Callable[[str], Number]) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=tuple,
        parse_int=parse_int,
        parse_float=_literal,
        parse_constant=_no_constant,
    )


_DECODER: Final = _decoder(_literal)
_DECODER_OF_SHORT: Final = _decoder(Number)
"""For texts of at most `_MAX_NUMBER` characters: no integer in one is too long."""


def _string(fields: dict[str, object], name: str, code: str) -> str | None:
    value = fields.pop(name)
    if value is None or type(value) is str:
        return value
    raise _no_string(name, value, code)


def _no_string(name: str, value: object, code: str) -> Unreadable:
    return Unreadable(code, f"it has no {name}" if value is None else f"{name} is no string")


def _time(value: object) -> int:
    if type(value) is not Number or not _is_whole(value):
        raise Unreadable("no-time", "_t is missing or no whole number of seconds")
    seconds = int(value)
    if (fault := time_fault(seconds)) is not None:
        raise Unreadable(fault.code, fault.rule)
    return seconds


def _is_whole(number: Number) -> bool:
    # Digits are the usual case, and to look for them takes a third of the time of the pattern.
    return (number.isdigit() and len(number) <= _WHOLE_DIGITS) or _WHOLE.fullmatch(
        number
    ) is not None


_PROVEN_EVENTS: Final[set[str]] = set()
_PROVEN_PROPERTIES: Final[set[str]] = set()


def _are_proven(fields: dict[str, object]) -> TypeGuard[dict[str, str]]:
    for name, value in fields.items():  # noqa: SIM110 - `all` with a generator takes twice as long
        if name not in _PROVEN_PROPERTIES or not isinstance(value, str):
            return False
    return True


def _prove(name: str, proven: set[str], what: str) -> None:
    _hold(name_fault(name, what=what))
    if len(proven) >= _MAX_PROVEN:
        proven.clear()
    proven.add(name)


def _properties(fields: dict[str, object]) -> dict[str, str]:
    # `_d` is no property: every command is sent with `_d=1`, since its `_t` is always meant.
    return {
        name: _value(value)
        for name, value in fields.items()
        if value is not None and name != "_d" and _is_property(name)
    }


def _is_property(name: str) -> bool:
    _prove(name, _PROVEN_PROPERTIES, "a property's name")
    return True


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise Unreadable(
            "nested", "a value is a list or an object, and KISSmetrics takes text and numbers only"
        )
    _hold(text_fault(value, "not-utf8"))
    return value


def _check_kind(command: Command) -> None:
    if command.other is not None:
        _check_alias(command)
    elif command.name is not None:
        _prove(command.name, _PROVEN_EVENTS, "an event name")
    elif not command.properties:
        raise Unreadable("nothing-to-set", "it has no _n, no _p2 and no property")
    if command.key is not None:
        _check_key(command.key)


def _check_key(key: str) -> None:
    if not key.strip():
        raise Unreadable("no-key", "_k is empty")
    _hold(text_fault(key, "no-key"))


def _check_alias(command: Command) -> None:
    if command.other is not None:
        _hold(person_fault(command.other))
    if command.name is not None or command.properties:
        raise Unreadable(
            "two-kinds", "it has _p2 (an alias) and more beside it, which the API would drop"
        )


def _hold(fault: Fault | None) -> None:
    if fault is not None:
        raise Unreadable(fault.code, fault.rule)
