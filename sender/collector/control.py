"""The collector's JSON API: what came, and how to answer what comes next.

    GET  /api/summary     {"total": 7, "good": 5, "bad": 2, "warnings": {}}
    GET  /api/requests    ?kind=record|set|alias &person= &event= &bad=1|0 &since=SEQ
                          {"requests": [...], "next": SEQ, "dropped": N}
    POST /api/reset       forget all
    POST /api/answer      a form of `moods`; {} is as the API does

Owns their parameters and their errors; knows nothing about tracking requests. What changes something needs the header
`X-KMQ: 1`, which a page of another site cannot send without a preflight, and no preflight is answered.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qsl

from sender.tracking import KINDS

from .arrivals import Wanted
from .exchange import Gone, Reply, TooLong, header_values, json_reply, read_body, text_reply
from .moods import WrongForm, mood_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .arrivals import Arrivals
    from .exchange import Receive, Scope
    from .moods import Moods

__all__ = ["Control"]

T = TypeVar("T")

_MAX_FORM: Final = 4 * 65_536
_SEQ: Final = re.compile(r"[0-9]{1,15}")


class Control:
    """The JSON API over what is kept and the mood that holds."""

    def __init__(self, kept: Arrivals, moods: Moods) -> None:
        self._kept = kept
        self._moods = moods

    def summary(self) -> Reply:
        """Return the counts."""
        return json_reply(self._kept.summary())

    def requests(self, scope: Scope) -> Reply:
        """Return the requests that the query asks for."""
        try:
            asked = dict(
                parse_qsl(
                    scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict"
                )
            )
            return json_reply(self._kept.since(_number(asked), _wanted(asked)))
        except ValueError as error:
            return text_reply(400, _wrong(error))

    def reset(self, scope: Scope) -> Reply:
        """Forget all requests; the mood stays."""
        if not _is_meant(scope):
            return _NOT_MEANT
        self._kept.reset()
        return json_reply(self._kept.summary())

    async def answer(self, scope: Scope, receive: Receive) -> Reply:
        """Let the mood that the body asks for hold from now on, and say it."""
        if not _is_meant(scope):
            return _NOT_MEANT
        try:
            form = json.loads(await read_body(receive, _MAX_FORM))
            mood = mood_of(form)
        except (Gone, TooLong):
            return text_reply(413, f"a form has at most {_MAX_FORM:,} bytes")
        except (ValueError, RecursionError) as error:
            return text_reply(400, _wrong(error))
        if mood is None:
            self._moods.clear()
        else:
            self._moods.set(mood)
        return json_reply(form)


_NOT_MEANT: Final = text_reply(403, "this needs the header X-KMQ: 1, so that no web page can do it")


class _WrongQuery(ValueError):  # noqa: N818 - it is what was asked
    """A parameter of the JSON API that cannot be; the text is for the caller."""


def _is_meant(scope: Scope) -> bool:
    return header_values(scope, b"x-kmq") == [b"1"]


def _wrong(error: Exception) -> str:
    if isinstance(error, WrongForm | _WrongQuery):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"the form is no JSON: {error.msg} at character {error.pos}"
    return "this is no UTF-8, or nested too deeply"


def _number(asked: Mapping[str, str]) -> int:
    since = asked.get("since", "0")
    if not _SEQ.fullmatch(since):
        raise _WrongQuery(
            f"since is {since[:60]!r}: it must be the `next` of an earlier answer, a whole number"
        )
    return int(since)


def _wanted(asked: Mapping[str, str]) -> Wanted:
    for name in asked:
        if name not in _PARAMETERS:
            raise _WrongQuery(f"{name[:60]!r} is no parameter: there are {', '.join(_PARAMETERS)}")
    return Wanted(
        kind=_one_of(asked, "kind", {kind: kind for kind in KINDS.values()}),
        person=asked.get("person"),
        event=asked.get("event"),
        bad=_one_of(asked, "bad", {"1": True, "0": False}),
    )


_PARAMETERS: Final = ("kind", "person", "event", "bad", "since")


def _one_of(asked: Mapping[str, str], name: str, allowed: Mapping[str, T]) -> T | None:
    given = asked.get(name)
    if given is None:
        return None
    if given not in allowed:
        raise _WrongQuery(f"{name} is {given[:60]!r}: it must be one of {', '.join(allowed)}")
    return allowed[given]
