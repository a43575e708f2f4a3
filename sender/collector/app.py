"""The collector as an ASGI application: which path is answered by what, and for whom.

Owns routes, methods, and the guard against pages that reach this machine under a name of their own (DNS rebinding).
Knows nothing about servers, sockets or processes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from .beacon import MAX_URL
from .exchange import connection_of, header_values, reply, text_reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .beacon import Beacon
    from .control import Control
    from .exchange import Receive, Reply, Scope, Send

__all__ = ["LOOPBACK_NAMES", "Collector"]

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

_TRACKING: Final = frozenset({b"/e", b"/s", b"/a"})
_METHODS: Final = {
    b"/e": ("GET", "POST"),
    b"/s": ("GET", "POST"),
    b"/a": ("GET", "POST"),
    b"/api/summary": ("GET",),
    b"/api/requests": ("GET",),
    b"/api/reset": ("POST",),
    b"/api/answer": ("POST",),
}


class Collector:
    """The application. `names` are host names under which it may be asked, besides those of the loopback interface."""

    def __init__(self, beacon: Beacon, control: Control, names: Iterable[str] = ()) -> None:
        self._beacon = beacon
        self._control = control
        self._names = LOOPBACK_NAMES | {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._answer(scope, receive, send)
        except asyncio.CancelledError:
            # The server is ending and waits no longer for this client; uvicorn would log it as an error of ours.
            connection_of(scope).hang_up()

    def end(self) -> None:
        """Answer at once what is being delayed: the server is ending."""
        self._beacon.ending.set()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
            await reply(send, refusal)
        elif scope["raw_path"] in _TRACKING:
            await self._beacon.answer(scope, receive, send)
        else:
            await reply(send, await self._controlled(scope, receive))

    async def _controlled(self, scope: Scope, receive: Receive) -> Reply:
        path = scope["raw_path"]
        if path == b"/api/answer":
            return await self._control.answer(scope, receive)
        if path == b"/api/reset":
            return self._control.reset(scope)
        return (
            self._control.requests(scope) if path == b"/api/requests" else self._control.summary()
        )

    def _refusal(self, scope: Scope) -> Reply | None:
        # HTTP/1.0 without a Host passes: a browser always sends one.
        if not all(self._is_ours(host) for host in header_values(scope, b"host")):
            return text_reply(
                403, "this host name is not the collector's: ask 127.0.0.1 or localhost"
            )
        path = scope["raw_path"]
        methods = _METHODS.get(path)
        if methods is None:
            return (
                text_reply(414, f"a URL has at most {MAX_URL:,} bytes")
                if len(path) > MAX_URL
                else _NO_PAGE
            )
        if scope["method"] in methods:
            return None
        allowed = ", ".join(methods)
        return text_reply(405, f"allowed here: {allowed}", (b"allow", allowed.encode()))

    def _is_ours(self, host: bytes) -> bool:
        return _without_port(host.decode("latin-1")) in self._names


_NO_PAGE: Final = text_reply(
    404, "not here: /e /s /a take tracking requests, /api/summary tells what came"
)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).strip().lower()
