"""One connection of requests: a command goes out, an outcome comes back, one after another.

Owns how requests is used: its adapter says through which pool of urllib3 the API is reached, with the proxy, its
password and the certificates that are believed; each command then goes through that pool. So there is no following of
redirects, no cookie jar, no .netrc and no rewriting of URLs to switch off, and what a `Session` finds out for each
request is found out once. Knows nothing about threads. Invariants: the URL goes out as `api.py` made it; a connection
is used again only after its answer was read to the end.
"""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from urllib3 import Retry, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection

from sender.api import MAX_HEAD, Answer, outcome_of, outcome_of_failure, request_for

from .faults import outcome_of_error
from .settings import MAX_BODY
from .wire import headers_of, without_key

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from urllib3 import BaseHTTPResponse, HTTPConnectionPool

    from kmq.command import Command
    from sender.api import Request
    from sender.flow import Outcome

    from .guard import Guard
    from .route import Route
    from .settings import TransportSettings

__all__ = ["Connection", "hush_urllib3"]

_FIRST_FINAL_STATUS: Final = 200

_ONCE: Final = Retry(total=False, redirect=False)
"""No retry and no redirect of urllib3's own, and its errors as they come."""


class Connection:
    """Sends commands one at a time, over one connection for as long as the server keeps it.

    Belongs to one thread. Through `guard` another one can end an exchange. `tls` says which certificates are believed.
    """

    def __init__(  # noqa: PLR0913 - what it is told, and what is handed in to be testable
        self,
        settings: TransportSettings,
        route: Route,
        tls: ssl.SSLContext | None,
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
        self._adapter = _Adapter(tls)
        self._pool = self._find_pool()
        # A proxy that reads the request wants the whole URL in it.
        read_by_proxy = route.proxy is not None and self._pool.scheme == "http"
        self._before = settings.base if read_by_proxy else urlsplit(settings.base).path
        self._timeout = Timeout(settings.timeout_s, settings.timeout_s)
        self._headers = {method: headers_of(settings, method) for method in ("GET", "POST")}
        self._used = clock()

    def exchange(self, command: Command) -> Outcome:
        """Send `command` and return what came of it; whatever goes wrong is an outcome."""
        self._forget_idle()
        self._guard.begin()
        outcome = self._outcome(command)
        return outcome_of_failure("timeout") if self._guard.end() else outcome

    def close(self) -> None:
        """Close the connection."""
        self._adapter.close()
        self._pool.close()

    def _outcome(self, command: Command) -> Outcome:
        try:
            answer = self._answer(request_for(command, self._settings.key))
        except Exception as error:  # noqa: BLE001 - a fault that nobody foresaw must not take a place in flight with it
            return outcome_of_error(error)
        head = without_key(answer.head, command.key or self._settings.key)
        return outcome_of(replace(answer, head=head), self._wall())

    def _answer(self, request: Request) -> Answer:
        method, path, query = request
        target = self._before + path
        response = self._pool.urlopen(
            method,
            f"{target}?{query}" if method == "GET" else target,
            body=None if method == "GET" else query.encode("ascii"),
            headers=self._headers[method],
            retries=_ONCE,
            redirect=False,
            assert_same_host=False,  # a proxy's pool is asked for another host's URLs
            timeout=self._timeout,
            preload_content=False,
            decode_content=False,
        )
        return _read(response)

    def _forget_idle(self) -> None:
        now = self._clock()
        if now - self._used >= self._settings.idle_s:
            self.close()
            self._pool = self._find_pool()
        self._used = now

    def _find_pool(self) -> HTTPConnectionPool:
        return self._adapter.pool(self._settings.url, self._route.proxy, self._guard)


def hush_urllib3() -> None:
    """Silence urllib3's loggers for good: their lines hold the URL, and with it key and person."""
    logging.getLogger("urllib3").propagate = False
    for name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
        logging.getLogger(f"urllib3.{name}").disabled = True


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
    """A connection whose socket `guard` knows, from connecting on and again at each use."""

    response_class = _Response
    guard: Guard

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self.guard.watch(sock)
        return sock

    def request(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed through as they come
        if self.sock is not None:
            self.guard.watch(self.sock)
        super().request(*args, **kwargs)


class _WatchedTLS(HTTPSConnection, _Watched):
    """The same over TLS: `HTTPSConnection` adds its handshake to what `_Watched` connects."""


class _Adapter(HTTPAdapter):
    """requests' adapter, asked for the pool that leads to one URL; its connections can be ended from outside."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        # One context for all: reading the certificates for each connection takes 20 ms and a megabyte each time.
        self._tls = tls
        super().__init__(pool_connections=1, pool_maxsize=1)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - handed through
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)

    def pool(self, url: str, proxy: str | None, guard: Guard) -> HTTPConnectionPool:
        """Return the pool through which `url` is reached."""
        manager = self.poolmanager if proxy is None else self._proxied(proxy)
        pool: HTTPConnectionPool = manager.connection_from_url(url)
        kind = _WatchedTLS if pool.scheme == "https" else _Watched

        def connection(**told: Any) -> _Watched:  # noqa: ANN401 - handed through
            made = kind(**told)
            made.guard = guard
            return made

        pool.ConnectionCls = connection  # type: ignore[assignment]  # it is called like the class
        return pool

    def _proxied(self, proxy: str) -> Any:  # noqa: ANN401 - requests has no types
        return self.proxy_manager_for(proxy, ssl_context=self._tls, proxy_ssl_context=self._tls)
