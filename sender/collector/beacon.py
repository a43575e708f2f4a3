"""Answering tracking requests as the API does, or as one was told to, and keeping each.

Owns the tracking half of the collector: limits, what is good and what is bad, the 1x1 GIF. The API answers 200 even
to what it cannot use, so this does too, unless `strict`. Knows nothing about routes, nor about the JSON API.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from dataclasses import dataclass
from random import random
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from sender.tracking import Refused, command_of, pairs_of

from .arrivals import Arrival
from .exchange import (
    NO_STORE,
    Gone,
    Reply,
    TooLong,
    connection_of,
    header_values,
    read_body,
    reply,
    text_reply,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .arrivals import Answer, Arrivals
    from .exchange import Receive, Scope, Send
    from .moods import Mood, Moods

__all__ = ["GIF", "MAX_BODY", "MAX_URL", "Beacon", "Settings"]

GIF: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")
"""A transparent image of one pixel, 43 bytes: what browsers must be able to decode."""

MAX_URL: Final = 65_534
"""Bytes of path and query, one less than what the protocol keeps, so that more can be told from just enough."""

MAX_BODY: Final = 4 * 65_536
"""Bytes of a body: a line of the spool has 64 KiB, and each of its bytes may take three when percent-encoded."""

_HEAD: Final = 1_024
_TYPES: Final = frozenset({b"application/x-www-form-urlencoded", b"text/plain", b""})
_OK: Final = 200
_AS_THE_API: Final = Reply(_OK, GIF, b"image/gif", (NO_STORE,))


@dataclass(frozen=True, slots=True)
class Settings:
    """How tracking requests are answered while nobody has asked for anything else.

    `fail` is the share (0 to 1) that gets 503, `latency_s` the seconds by which every answer is late; `strict` gives
    400 to what the API would drop without a word.
    """

    strict: bool = False
    fail: float = 0.0
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Came:
    """What came: the text as on the wire, its parameters, and the rule that it breaks, if any."""

    raw: bytes
    pairs: list[tuple[str, str]]
    refused: Refused | None = None
    status: int = _OK
    """What HTTP itself makes of it, whatever the API would answer."""


class Beacon:
    """The three paths of the tracking API.

    `kept` and `moods` are shared with whoever shows and sets them. `record` gets each arrival once it is kept and
    before it is answered. Setting `ending` ends every delay at once.
    """

    def __init__(  # noqa: PLR0913 - clock and chance are handed in
        self,
        kept: Arrivals,
        moods: Moods,
        settings: Settings,
        *,
        record: Callable[[Arrival], None] | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random,
    ) -> None:
        self._kept = kept
        self._moods = moods
        self._settings = settings
        self._record = record
        self._clock = clock
        self._chance = chance
        self.ending = asyncio.Event()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keep the request and answer it."""
        try:
            came = await _read(scope, receive)
        except Gone:
            return
        now = self._clock()
        refused = came.refused or _fault(scope["path"], came.pairs, now)
        mood = self._moods.take()
        answer = self._reply(came, refused, mood)
        self._keep(scope, came, now, refused, "drop" if answer is None else answer.status)
        await self._pause(
            self._settings.latency_s if mood is None or mood.delay_s is None else mood.delay_s
        )
        if answer is None:
            connection_of(scope).hang_up()
        else:
            await reply(send, answer)

    def _reply(self, came: _Came, refused: Refused | None, mood: Mood | None) -> Reply | None:
        if mood is not None and (mood.drop or mood.speaks):
            return None if mood.drop else _told(mood)
        if mood is None and self._settings.fail and self._chance() < self._settings.fail:
            return text_reply(503, "the collector was started with --fail", NO_STORE)
        if came.status != _OK:
            return text_reply(came.status, str(refused), NO_STORE)
        if self._settings.strict and refused is not None:
            return text_reply(400, str(refused), NO_STORE)
        return _AS_THE_API

    def _keep(
        self, scope: Scope, came: _Came, now: float, refused: Refused | None, answer: Answer
    ) -> None:
        arrival = Arrival(
            seq=self._kept.next_number(),
            at=now,
            method=scope["method"],
            path=scope["path"],
            params=dict(came.pairs),
            raw=came.raw.decode(errors="surrogateescape"),
            answer=answer,
            bad=None if refused is None else refused.code,
        )
        self._kept.add(arrival)
        if self._record is not None:
            self._record(arrival)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), seconds)


async def _read(scope: Scope, receive: Receive) -> _Came:
    query: bytes = scope["query_string"]
    if len(scope["raw_path"]) + 1 + len(query) > MAX_URL:
        return _unreadable(414, query, "url-too-long", f"a URL has at most {MAX_URL:,} bytes")
    if scope["method"] != "POST":
        return _parsed(query)
    try:
        body = await read_body(receive, MAX_BODY)
    except TooLong as error:
        return _unreadable(
            413, error.head, "body-too-long", f"a body has at most {MAX_BODY:,} bytes"
        )
    if not _TYPES.issuperset(_media_types(scope)):
        return _unreadable(
            415, body, "wrong-type", "a body is application/x-www-form-urlencoded or text/plain"
        )
    return _parsed(query, body)


def _unreadable(status: int, raw: bytes, code: str, rule: str) -> _Came:
    return _Came(raw[:_HEAD], [], Refused(code, rule), status)


def _media_types(scope: Scope) -> set[bytes]:
    values = header_values(scope, b"content-type")
    return {value.partition(b";")[0].strip().lower() for value in values}


def _parsed(query: bytes, body: bytes | None = None) -> _Came:
    raw = query if body is None else body
    try:
        return _Came(raw, pairs_of(query) + pairs_of(body or b""))
    except Refused as refused:
        return _Came(raw, _loose_pairs(query) + _loose_pairs(body or b""), refused)


def _loose_pairs(encoded: bytes) -> list[tuple[str, str]]:
    # Only for being shown: bytes that are no UTF-8 become lone surrogates.
    text = encoded.decode(errors="surrogateescape")
    return parse_qsl(text, keep_blank_values=True, errors="surrogateescape")


def _fault(path: str, pairs: list[tuple[str, str]], now: float) -> Refused | None:
    try:
        tracked = command_of(path, pairs, now)
    except Refused as refused:
        return refused
    return Refused("no-key", "it has no _k") if tracked.key is None else None


def _told(mood: Mood) -> Reply:
    headers = [NO_STORE]
    if mood.retry_after is not None:
        headers.append((b"retry-after", str(mood.retry_after).encode()))
    if mood.location is not None:
        headers.append((b"location", mood.location.encode()))
    if mood.body is None and mood.status < 300:  # noqa: PLR2004 - every 2xx
        return Reply(mood.status, GIF, (mood.content_type or "image/gif").encode(), tuple(headers))
    body = f"the collector was told to answer {mood.status}\n" if mood.body is None else mood.body
    kind = (mood.content_type or "text/plain; charset=utf-8").encode()
    return Reply(mood.status, body.encode(errors="replace"), kind, tuple(headers))
