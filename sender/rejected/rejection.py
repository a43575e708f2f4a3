r"""One rejected command and its line in `rejected/`: names, ids and form, in both directions. Pure.

Owns what a line holds and how text that is no UTF-8 stays readable and exact. Knows nothing about files or locks.

    {"id":"2026-11-23:17","at":"2026-11-23T20:51:07.114Z","reason":"answered-400",...,"text":"{\"_p\":..."}
    {"gone":"2026-11-23:17","how":"delivered"}

Invariant: `parse(form(rejection))` is that rejection, byte for byte of `raw`, and a form is one line of valid UTF-8.
What `parse` accepts is safe to print and to count with: it is input from other programs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeVar

from kmq.command import MAX_LINE
from kmq.spool import is_partition

__all__ = [
    "MAX_FORM",
    "Gone",
    "How",
    "New",
    "Rejection",
    "as_json",
    "at_text",
    "bearable",
    "cut",
    "day_of",
    "file_day",
    "file_name",
    "form",
    "gone_form",
    "id_of",
    "id_of_number",
    "number_of_id",
    "number_of_place",
    "parse",
    "parse_id",
]

MAX_FORM: Final = 1 << 20
"""Bytes of a line in `rejected/`, at most: 64 KiB of text of which each byte is a `\\udcXX`, and room for the rest."""

_MAX_SAID: Final = 500
_NUMBER_BITS: Final = 50
_TOKEN_BITS: Final = 32
_OFFSET_BITS: Final = 63
_MAX_WHOLE: Final = (1 << 63) - 1
_MAX_AT: Final = (
    253_402_300_799  # the last second of the year 9999; what lies beyond cannot be shown
)

_DAY: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_PROGRAM: Final = re.compile(r"[a-z][a-z0-9]{0,31}")
_CODE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_ID: Final = re.compile(rf"({_DAY}):([1-9][0-9]{{0,14}})")
_FILE: Final = re.compile(rf"({_DAY})-{_PROGRAM.pattern}(?:\.[1-9][0-9]{{0,5}})?\.jsonl")

# What json leaves as it is and a file of UTF-8 or a terminal cannot bear: lone surrogates, controls.
_UNBEARABLE: Final = re.compile("[\x7f-\x9f\ud800-\udfff]")

How = Literal["delivered", "dropped"]


@dataclass(frozen=True, slots=True)
class New:
    """A command that can never be delivered, before it is kept.

    `reason` is a code of small letters, digits and hyphens. `size` is the length in bytes of the whole line, where
    `raw` is its head only.
    """

    reason: str
    raw: bytes
    rule: str = ""
    partition: str | None = None
    offset: int | None = None
    end: int | None = None
    status: int | None = None
    said: str = ""
    size: int | None = None

    def __post_init__(self) -> None:
        """Refuse a reason that no reader of the file would accept: the line would be written and never listed."""
        _code(self.reason)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A command that is kept: when (`at`, seconds since the epoch), why, where from, and its text as `raw`.

    `reason` is a stable code, `rule` a sentence, `status` and `said` the API's answer where there was one; `program`
    is who kept it. `size` is in bytes and exceeds `raw` where that is a head only.
    """

    id: str
    at: float
    reason: str
    rule: str
    partition: str | None
    offset: int | None
    end: int | None
    raw: bytes
    status: int | None
    said: str
    size: int
    program: str

    @property
    def place(self) -> tuple[str, int] | None:
        """Where it lay in the spool, which is the same for a command that was rejected twice."""
        if self.partition is None or self.offset is None:
            return None
        return (self.partition, self.offset)

    @property
    def is_whole(self) -> bool:
        """Whether `raw` is all of it."""
        return len(self.raw) == self.size


@dataclass(frozen=True, slots=True)
class Gone:
    """The rejection `id` has left the list."""

    id: str
    how: How


def day_of(at: float) -> str:
    """Return the day, in UTC, of a time in seconds since the epoch.

    >>> day_of(1_795_467_067)
    '2026-11-23'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def id_of(day: str, number: int) -> str:
    """Return the id of the `number`-th rejection of a day.

    >>> id_of("2026-11-23", 17)
    '2026-11-23:17'
    """
    return f"{day}:{number}"


def parse_id(text: str) -> tuple[str, int]:
    """Return the day and the number of an id; raise ValueError if it is none.

    >>> parse_id("2026-11-23:17")
    ('2026-11-23', 17)
    """
    match = _ID.fullmatch(text)
    if match is None:
        raise ValueError("an id is a day and a number, such as 2026-11-23:17")
    return match[1], int(match[2])


def number_of_id(rejection_id: str) -> int:
    """Return an id as one number, which takes half the memory; a later id is a larger one.

    >>> number_of_id("2026-11-23:17") < number_of_id("2026-11-24:1")
    True
    """
    day, number = parse_id(rejection_id)
    return int(day.replace("-", "")) << _NUMBER_BITS | number


def id_of_number(number: int) -> str:
    """Return the id that `number` stands for.

    >>> id_of_number(number_of_id("2026-11-23:17"))
    '2026-11-23:17'
    """
    day = f"{number >> _NUMBER_BITS:08d}"
    return id_of(f"{day[:4]}-{day[4:6]}-{day[6:]}", number & ((1 << _NUMBER_BITS) - 1))


def number_of_place(partition: str, offset: int) -> int:
    """Return a place as one number, another one for each.

    >>> number_of_place("20261123T204501Z-4f2a91c3", 0) == number_of_place("20261123T204501Z-4f2a91c3", 1)
    False
    """
    made, _, token = partition.partition("-")
    digits = int(made.replace("T", "").rstrip("Z"))
    return (digits << _TOKEN_BITS | int(token, 16)) << _OFFSET_BITS | offset


def file_name(day: str, program: str, again: int = 0) -> str:
    """Return the name of a program's file of a day; `again` counts those that had to be given up.

    >>> file_name("2026-11-23", "sender"), file_name("2026-11-23", "sender", 1)
    ('2026-11-23-sender.jsonl', '2026-11-23-sender.1.jsonl')
    """
    if not _PROGRAM.fullmatch(program):
        raise ValueError(f"a program's name is small letters and digits, not {program!r}")
    return f"{day}-{program}.{again}.jsonl" if again else f"{day}-{program}.jsonl"


def file_day(name: str) -> str | None:
    """Return the day of a file's name, or None if it is no such name.

    >>> file_day("2026-11-23-sender.jsonl"), file_day("lock")
    ('2026-11-23', None)
    """
    match = _FILE.fullmatch(name)
    return match[1] if match else None


def cut(new: New, rejection_id: str, at: float, program: str) -> Rejection:
    """Return `new` as it is kept: its text at most 64 KiB, what the API said at most 500 characters."""
    return Rejection(
        id=rejection_id,
        at=at,
        reason=new.reason,
        rule=new.rule,
        partition=new.partition,
        offset=new.offset,
        end=new.end,
        raw=new.raw[:MAX_LINE],
        status=new.status,
        said=new.said[:_MAX_SAID],
        size=len(new.raw) if new.size is None else new.size,
        program=program,
    )


def form(rejection: Rejection) -> bytes:
    """Return the line of a rejection, with its newline."""
    fields = {
        "id": rejection.id,
        "at": at_text(rejection.at),
        "reason": rejection.reason,
        "rule": rejection.rule,
        "partition": rejection.partition,
        "offset": rejection.offset,
        "end": rejection.end,
        "status": rejection.status,
        "said": rejection.said,
        "size": rejection.size,
        "program": rejection.program,
        "text": rejection.raw.decode("utf-8", "surrogateescape"),
    }
    return f"{as_json(fields)}\n".encode()


def gone_form(rejection_id: str, how: How) -> bytes:
    r"""Return the line that says that a rejection has left the list.

    >>> gone_form("2026-11-23:17", "dropped")
    b'{"gone":"2026-11-23:17","how":"dropped"}\n'
    """
    return f"{as_json({'gone': rejection_id, 'how': how})}\n".encode()


def as_json(value: object, indent: int | None = None) -> str:
    r"""Return `value` as JSON that stays readable, is valid UTF-8 and moves no cursor.

    >>> print(as_json("caf\u00e9 \udcff \x9b2J"))
    "café \udcff \u009b2J"
    """
    separators = (",", ": " if indent else ":")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    return bearable(text)


def bearable(text: str) -> str:
    """Return JSON with those characters escaped that a file of UTF-8 or a terminal cannot bear."""
    return _UNBEARABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def at_text(at: float) -> str:
    """Return a time as RFC 3339 in UTC, to the millisecond.

    >>> at_text(1_795_467_067.25)
    '2026-11-23T20:51:07.250Z'
    """
    moment = datetime.fromtimestamp(round(at, 3), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(line: bytes) -> Rejection | Gone:
    """Return what a line says; raise ValueError where it is torn or strange.

    After a failed sync of what stood before it, a power cut can leave zeros there, the newline before it included.
    """
    fields = _object(line.rpartition(b"\0")[2])
    if "gone" in fields:
        return Gone(_id(fields["gone"]), _how(fields.get("how")))
    return Rejection(
        id=_id(fields.get("id")),
        at=_at(fields.get("at")),
        reason=_code(fields.get("reason")),
        rule=_a(str, fields.get("rule")),
        partition=_partition(fields.get("partition")),
        offset=_optional_whole(fields.get("offset")),
        end=_optional_whole(fields.get("end")),
        raw=_a(str, fields.get("text")).encode("utf-8", "surrogateescape"),
        status=_optional_whole(fields.get("status")),
        said=_a(str, fields.get("said")),
        size=_whole(fields.get("size")),
        program=_program(fields.get("program")),
    )


def _object(data: bytes) -> dict[str, object]:
    try:
        value: object = json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return _a(dict, value)


T = TypeVar("T")


def _a(kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"no {kind.__name__}")  # noqa: TRY004 - the line is wrong, not a call
    return value


def _id(value: object) -> str:
    text = _a(str, value)
    parse_id(text)
    return text


def _at(value: object) -> float:
    moment = datetime.fromisoformat(_a(str, value))
    if moment.tzinfo is None or not 0 <= moment.timestamp() < _MAX_AT:
        raise ValueError("no time with its zone")
    return moment.timestamp()


def _code(value: object) -> str:
    return _matching(_CODE, value)


def _program(value: object) -> str:
    return _matching(_PROGRAM, value)


def _matching(pattern: re.Pattern[str], value: object) -> str:
    text = _a(str, value)
    if not pattern.fullmatch(text):
        raise ValueError("no such name")
    return text


def _partition(value: object) -> str | None:
    if value is None:
        return None
    name = _a(str, value)
    if not is_partition(name):
        raise ValueError("no partition's name")
    return name


def _whole(value: object) -> int:
    number = _a(int, value)
    if isinstance(value, bool) or not 0 <= number <= _MAX_WHOLE:
        raise ValueError("no count")
    return number


def _optional_whole(value: object) -> int | None:
    return None if value is None else _whole(value)


def _how(value: object) -> How:
    if value == "delivered":
        return "delivered"
    if value == "dropped":
        return "dropped"
    raise ValueError("gone in no known way")
