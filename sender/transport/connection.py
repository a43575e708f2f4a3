"""One connection of requests: a command goes out, an outcome comes back, one after another.

Owns how requests is used: through its adapter, below its `Session`, so that there is no following of redirects, no
cookie jar, no .netrc and no rewriting of URLs to switch off. Knows nothing about threads. Invariants: the URL goes out
as `api.py` made it; a connection is used again only after its answer was read to the end.
"""

from __future__ import annotations

import io
import logging
from contextvars import ContextVar
from dataclasses import replace
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from sender.api import MAX_HEAD, Answer, outcome_of, outcome_of_failure, request_for

from .faults import outcome_of_error
from .settings import MAX_BODY
from .wire import headers_of, url_of, without_key

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from urllib3 import BaseHTTPResponse

    from kmq.command import Command
    from sender.api import Request
    from sender.flow import Outcome

    from .guard import Guard
    from .route import Route
    from .settings import TransportSettings

__all__ = ["Connection", "hush_urllib3"]

_FIRST_FINAL_STATUS: Final = 200

_GUARD: ContextVar[Guard] = ContextVar("guard")
"""Whose exchange this thread makes: urllib3 builds its connections itself and hands nothing through."""


class Connection:
    """Sends commands one at a time, over one connection for as long as the server keeps it.

    Belongs to one thread. Through `guard` another one can end an exchange.
    """

    def __init__(
        self,
        settings: TransportSettings,
        route: Route,
        guard: Guard,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._route = route
        self._guard = guard
        self._clock = clock
        self._wall = wall
        self._adapter = _Adapter(pool_connections=1, pool_maxsize=1)
        self._proxies = {urlsplit(settings.url).scheme: route.proxy} if route.proxy else {}
        self._used = clock()

    def exchange(self, command: Command) -> Outcome:
        """Send `command` and return what came of it; whatever goes wrong is an outcome."""
        _GUARD.set(self._guard)
        self._forget_idle()
        self._guard.begin()
        outcome = self._outcome(command)
        return outcome_of_failure("timeout") if self._guard.end() else outcome

    def close(self) -> None:
        """Close the connection."""
        self._adapter.close()

    def _outcome(self, command: Command) -> Outcome:
        try:
            answer = self._answer(request_for(command, self._settings.key))
        except Exception as error:  # noqa: BLE001 - a fault that nobody foresaw must not take a place in flight with it
            return outcome_of_error(error)
        head = without_key(answer.head, command.key or self._settings.key)
        return outcome_of(replace(answer, head=head), self._wall())

    def _answer(self, request: Request) -> Answer:
        timeout_s = self._settings.timeout_s
        response = self._adapter.send(
            _prepared(self._settings, request),
            stream=True,
            timeout=(timeout_s, timeout_s),
            verify=self._route.ca,
            proxies=self._proxies,
        )
        return _read(response.raw)

    def _forget_idle(self) -> None:
        now = self._clock()
        if now - self._used >= self._settings.idle_s:
            self._adapter.close()
        self._used = now


def hush_urllib3() -> None:
    """Silence urllib3's loggers for good: their lines hold the URL, and with it key and person."""
    logging.getLogger("urllib3").propagate = False
    for name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
        logging.getLogger(f"urllib3.{name}").disabled = True


def _prepared(settings: TransportSettings, request: Request) -> PreparedRequest:
    # Filled in by hand: `prepare` would take the URL apart, quote it anew and put it together again.
    prepared = PreparedRequest()
    prepared.method = request.method
    prepared.url = url_of(settings, request)
    prepared.headers = CaseInsensitiveDict(headers_of(settings, request))
    if request.method == "POST":
        prepared.body = request.query.encode("ascii")
        prepared.headers["Content-Length"] = str(len(prepared.body))
    return prepared


def _read(raw: BaseHTTPResponse) -> Answer:
    # What is closed early here is closed because what follows on the connection would be taken for the next answer.
    if raw.status < _FIRST_FINAL_STATUS:
        raw.close()
        head = b""
    else:
        head = _head(raw)
    raw.release_conn()
    return Answer(
        raw.status, raw.headers.get("Content-Type", ""), raw.headers.get("Retry-After"), head
    )


def _head(raw: BaseHTTPResponse) -> bytes:
    head, size = b"", 0
    for chunk in raw.stream(MAX_BODY, decode_content=False):
        head += chunk[: MAX_HEAD - len(head)]
        size += len(chunk)
        if size > MAX_BODY:
            raw.close()
            break
    return head


class _Bounded(io.BufferedReader):
    """What a connection is read through: no read takes more than an answer may have.

    A chunk that says to have -1 bytes is read to the end by http.client and urllib3 alike, and the line of a chunk's
    size by urllib3 before 2.8.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(_bounded(size))

    def readline(self, size: int | None = -1, /) -> bytes:
        return super().readline(_bounded(size))


def _bounded(size: int | None) -> int:
    most = MAX_BODY + 1
    return most if size is None or size < 0 else min(size, most)


class _Response(HTTPResponse):
    """An answer that is read in bounded pieces."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed through as they come
        super().__init__(*args, **kwargs)
        self.fp = _Bounded(self.fp.detach())


class _Watched(HTTPConnection):
    """A connection whose socket the guard of its thread knows, from connecting on and again at each use."""

    response_class = _Response

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        _GUARD.get().watch(sock)
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed through as they come
        if self.sock is not None:
            _GUARD.get().watch(self.sock)
        super().request(*args, **kwargs)


class _WatchedTLS(HTTPSConnection, _Watched):
    """The same over TLS: `HTTPSConnection` adds its handshake to what `_Watched` connects."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _PoolTLS(HTTPSConnectionPool):
    ConnectionCls = _WatchedTLS


class _Adapter(HTTPAdapter):
    """requests' adapter with connections that can be ended from outside."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed through
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _PoolTLS}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - handed through
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _PoolTLS}
        return manager
