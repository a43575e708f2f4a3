"""The target *tracking*: any request of anybody is a command that can be spooled and sent, or refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmq.command import decode, encode
from sender.api import request_for
from sender.tracking import Refused, Tracked, command_of, pairs_of

from .mutations import mutated
from .target import require
from .values import query

if TYPE_CHECKING:
    from random import Random

__all__ = ["Trackings"]

_PATHS = ("/e", "/e", "/s", "/a", "/a", "/x", "", "/../e")
_KEY = "s3cret"


class Trackings:
    """A request in, a command or a refusal out; and `api` and `tracking` are each other's inverse."""

    def make(self, rng: Random) -> bytes:
        """Return the parameters of a request, mostly spoilt."""
        return query(rng) if rng.random() < 0.05 else mutated(rng, query(rng), lambda: query(rng))

    def check(self, data: bytes, rng: Random) -> None:
        """Read it, for each of the paths that there are and some that are not."""
        path, now = rng.choice(_PATHS), rng.choice((1.3e9, 1.8e9, 4.2e9))
        try:
            tracked = command_of(path, pairs_of(data), now)
        except Refused as refused:
            require(refused.code and refused.rule.isprintable(), "a refusal says why")
            return
        _check(tracked)

    def close(self) -> None:
        """Hold nothing."""


def _check(tracked: Tracked) -> None:
    command = tracked.command
    require(decode(encode(command)) == command, "what is taken can be spooled")
    request = request_for(command, _KEY)
    again = command_of(request.path, pairs_of(request.query.encode("ascii")), float(command.time))
    require(again == Tracked(command, _KEY), "what is sent says what was taken")
