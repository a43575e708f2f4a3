"""The target *line*: one line, decoded, encoded, sent, and salvaged from behind what is broken."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, NoReturn

from kmq.command import MAX_LINE, Command, Unreadable, decode, encode, salvage
from sender.api import request_for

from .mutations import mutated
from .proof import proved, proven_start
from .target import LineLost, require
from .values import intact

if TYPE_CHECKING:
    from random import Random

__all__ = ["Lines"]

_UNSPOILT = 0.02


class Lines:
    """Anything is a command that can be written and sent, or unreadable; what is intact is read."""

    def make(self, rng: Random) -> bytes:
        """Return a line, mostly spoilt."""
        if rng.random() < _UNSPOILT:
            return proved(rng)
        return mutated(rng, intact(rng), lambda: intact(rng))

    def check(self, data: bytes, rng: Random) -> None:
        """Read it, and read an intact one behind it."""
        try:
            command = decode(data)
        except Unreadable as unreadable:
            _check_refusal(unreadable)
            if proven_start(data) == 0:
                raise LineLost("it is intact, and was refused") from None
        else:
            _check_command(command, data)
        _check_neighbour(data, proved(rng))

    def close(self) -> None:
        """Hold nothing."""


def _check_refusal(unreadable: Unreadable) -> None:
    require(unreadable.code and unreadable.rule, "a refusal says why")
    require(unreadable.rule.isprintable(), "a rule acts on no terminal")


def _check_command(command: Command, data: bytes) -> None:
    document = json.loads(
        data.decode("utf-8"), parse_constant=_never, parse_int=str, parse_float=str
    )
    require(document["_p"] == command.person, "the person is the one that stands there")
    # 29647689e2 is a whole number, too, and JSON.
    require(command.time == Decimal(document["_t"]), "so is the time")
    line = encode(command)
    require(line.startswith(b'{"_p":') and line.count(b"\n") == 1, "a line is one line")
    if len(line) <= MAX_LINE:  # 1e399 has five characters here and 400 in a line of kmq's own
        require(decode(line) == command, "a command that was read is written and read again")
    request = request_for(command, "s3cret")
    require(request.query.isascii() and request.query.isprintable(), "a request is plain ASCII")


def _check_neighbour(data: bytes, line: bytes) -> None:
    before = data.replace(b"\n", b"") + b"\0"
    if len(before) + len(line) <= MAX_LINE and salvage(before + line) != len(before):
        raise LineLost("it stood behind a zero, and was not given back")


def _never(text: str) -> NoReturn:
    raise AssertionError(f"{text} was read as a number")
