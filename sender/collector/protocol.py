"""uvicorn's HTTP protocol, with what ASGI does not give: closing without an answer, and a bounded URL.

A tracking client must cope with a connection that ends instead of answering, so the collector must be able to do
that. An application cannot: when it raises or returns, uvicorn answers 500. So each request's scope carries its
connection (`exchange.Connection`). Leans on two attributes of uvicorn's request cycle (`transport`, `disconnected`);
the tests of the running collector notice when one of them goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .exchange import EXTENSION

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ["MAX_TARGET", "CollectorProtocol"]

MAX_TARGET: Final = 65_535
"""Bytes that are kept of a request's target, its URL as sent. The parser takes no more: its offsets have 16 bits."""


class CollectorProtocol(HttpToolsProtocol):
    """Keeps at most `MAX_TARGET` bytes of a URL, and puts the connection into the scope."""

    def on_url(self, url: bytes) -> None:
        """Take a piece of the URL; what is beyond the limit is dropped here and refused by the application."""
        super().on_url(url[: MAX_TARGET - len(self.url)])

    def on_headers_complete(self) -> None:
        """Start the application's task, which runs after this returns, and so finds the extension."""
        super().on_headers_complete()
        self.scope["extensions"] = {EXTENSION: {"connection": _Connection(self.cycle)}}


class _Connection:
    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def hang_up(self) -> None:
        # `disconnected` is what uvicorn sets when the client has closed: nothing is sent or complained of any more.
        self._cycle.disconnected = True
        self._cycle.transport.close()
