"""One HTTP exchange as an ASGI application sees it: reading a bounded body, answering, closing without an answer.

Owns what ASGI makes laborious, and knows nothing about tracking requests. What it needs beyond ASGI it finds in the
scope's extension `kmq.connection`, put there by `protocol`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

__all__ = [
    "EXTENSION",
    "NO_STORE",
    "Connection",
    "Gone",
    "Receive",
    "Reply",
    "Scope",
    "Send",
    "TooLong",
    "connection_of",
    "header_values",
    "json_reply",
    "read_body",
    "reply",
    "text_reply",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

EXTENSION: Final = "kmq.connection"
NO_STORE: Final = (b"cache-control", b"no-store")

_WITHOUT_BODY: Final = frozenset({204, 304})


class Connection(Protocol):
    """What an application may do beyond ASGI."""

    def hang_up(self) -> None:
        """Close the connection without an answer."""
        ...


class Gone(Exception):  # noqa: N818 - the client is
    """The client went away before its body had come whole."""


class TooLong(Exception):  # noqa: N818 - the body is
    """The body is longer than what is read; `head` is what was read of it."""

    def __init__(self, head: bytes) -> None:
        super().__init__("the body is too long")
        self.head = head


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status, body, its media type, and further headers (names in lower case)."""

    status: int
    body: bytes
    content_type: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


def text_reply(status: int, text: str, *headers: tuple[bytes, bytes]) -> Reply:
    """Return one line of text as an answer."""
    return Reply(status, f"{text}\n".encode(), b"text/plain; charset=utf-8", headers)


def json_reply(value: object, status: int = 200) -> Reply:
    """Return `value` as JSON, in ASCII, so that lone surrogates stand escaped."""
    return Reply(status, json.dumps(value).encode() + b"\n", b"application/json", (NO_STORE,))


async def reply(send: Send, answer: Reply) -> None:
    """Send `answer`; a client that is gone is no error."""
    headers = [(b"content-type", answer.content_type), *answer.headers]
    body = b"" if answer.status in _WITHOUT_BODY else answer.body
    if answer.status not in _WITHOUT_BODY:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the request's body; raise `TooLong` over `limit` bytes and `Gone` if it never came whole."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body += message["body"]
        more = message["more_body"]
        if len(body) > limit:
            raise TooLong(bytes(body[:limit]))
    return bytes(body)


def connection_of(scope: Scope) -> Connection:
    """Return the connection that the request came over."""
    connection: Connection = scope["extensions"][EXTENSION]["connection"]
    return connection


def header_values(scope: Scope, name: bytes) -> list[bytes]:
    """Return the values of the header `name` (in lower case), in order."""
    return [value for given, value in scope["headers"] if given == name]
