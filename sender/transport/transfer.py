"""One exchange of libcurl: its options, what is kept of the answer, what its errors mean.

Owns an easy handle, used for one command after another. Knows nothing about the multi handle that works it.
Invariants: the URL goes out as `api.py` made it, and the text of libcurl's errors, which may hold URL and key, stays
here.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

import pycurl

from sender.api import (
    MAX_HEAD,
    Answer,
    outcome_of,
    outcome_of_failure,
    outcome_of_tunnel,
    request_for,
)
from sender.flow import Verdict

from .headers import new_lines, read
from .settings import MAX_BODY
from .wire import ACCEPT, ENCODING, without_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender.api import Failure
    from sender.flow import Delivery, Outcome

    from .headers import Usual
    from .route import Route
    from .settings import TransportSettings

__all__ = ["Transfer", "failure_of", "options_of"]

_TLS_ERRORS: Final = frozenset(
    {
        pycurl.E_SSL_CONNECT_ERROR,
        pycurl.E_PEER_FAILED_VERIFICATION,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_CIPHER,
        pycurl.E_SSL_CRL_BADFILE,
        pycurl.E_SSL_ISSUER_ERROR,
        pycurl.E_SSL_INVALIDCERTSTATUS,
        pycurl.E_SSL_PINNEDPUBKEYNOTMATCH,
        pycurl.E_USE_SSL_FAILED,
    },
)

_WEIRD_SERVER_REPLY: Final = 8  # pycurl knows it only by its old name, FTP_WEIRD_SERVER_REPLY
_HTTP2_STREAM: Final = 92  # pycurl has no name for it

_FAILURES: Final[dict[int, Failure]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: "no-address",
    pycurl.E_COULDNT_RESOLVE_PROXY: "no-address",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_GOT_NOTHING: "closed",
    pycurl.E_PARTIAL_FILE: "closed",
    pycurl.E_RECV_ERROR: "closed",
    pycurl.E_SEND_ERROR: "closed",
    pycurl.E_HTTP2: "closed",
    _HTTP2_STREAM: "closed",
    pycurl.E_UNSUPPORTED_PROTOCOL: "not-http",  # an answer that does not begin like HTTP ("HTTP/0.9")
    _WEIRD_SERVER_REPLY: "not-http",
}

# OpenSSL 3 and before it: the other side went away in the middle of the handshake, which is no wrong certificate.
_BROKEN_HANDSHAKE: Final = (
    "unexpected eof",
    "SSL_ERROR_SYSCALL",
    "Connection reset",
    "Broken pipe",
)

_FIRST_REFUSAL: Final = 300

# HTTP/2 where a server offers it over TLS, if this libcurl can.
_HTTP_VERSION: Final = (
    pycurl.CURL_HTTP_VERSION_2TLS
    if pycurl.version_info()[4] & pycurl.VERSION_HTTP2
    else pycurl.CURL_HTTP_VERSION_1_1
)


class Transfer:
    """A libcurl handle with the options that every request has; `begin` gives it a command, `outcome` ends it.

    It is written for speed: what does not change from one request to the next is set once, and libcurl calls a deque's
    `append` for a header line, since a function of ours for each of eight would cost a third of the exchange.
    """

    def __init__(self, settings: TransportSettings, route: Route, usual: Usual) -> None:
        self.ticket = 0
        self.handle: Any = pycurl.Curl()
        self._set = self.handle.setopt
        self._base = settings.base
        self._key = self._own_key = settings.key
        self._usual = usual
        self._posts = False
        self._lines = new_lines()
        self._head = b""
        self._size = 0
        for option, value in options_of(settings, route).items():
            self._set(option, value)
        self._set(pycurl.HEADERFUNCTION, self._lines.append)
        self._set(pycurl.WRITEFUNCTION, self._on_body)

    def begin(self, delivery: Delivery) -> None:
        """Make the handle ready to send `delivery`."""
        self.ticket = delivery.ticket
        self._key = delivery.command.key or self._own_key
        self._lines.clear()
        self._head = b""
        self._size = 0
        method, path, query = request_for(delivery.command, self._own_key)
        if method == "GET":
            self._set(pycurl.URL, f"{self._base}{path}?{query}")
            if self._posts:
                self._set(pycurl.HTTPGET, 1)
                self._posts = False
        else:
            self._set(pycurl.URL, self._base + path)
            self._set(pycurl.POSTFIELDS, query)
            self._posts = True

    def outcome(self, error: int, text: str, wall: Callable[[], float]) -> Outcome:
        """Return what came of it: `error` and `text` are libcurl's, 0 where an answer came; `wall` as in api.py."""
        if error == 0 and (usual := self._usual.outcome_of(self._lines)) is not None:
            return usual
        if error == 0 or self._has_enough():
            return self._answered(wall())
        tunnel = self.handle.getinfo(pycurl.HTTP_CONNECTCODE)
        if tunnel >= _FIRST_REFUSAL:
            return outcome_of_tunnel(tunnel)
        return outcome_of_failure(failure_of(error, text, self.handle.getinfo(pycurl.OS_ERRNO)))

    def close(self) -> None:
        """Free the handle."""
        self.handle.close()

    def _answered(self, now: float) -> Outcome:
        status, kind, retry_after = read(self._lines)
        # libcurl takes a status line that it cannot read ("HTTP/3.1 503", "hTTP/1.1 503") for 200.
        if status != self.handle.getinfo(pycurl.RESPONSE_CODE):
            return outcome_of_failure("not-http")
        head = without_key(self._head, self._key)
        outcome = outcome_of(Answer(status, kind, retry_after, head), now)
        if outcome.verdict is Verdict.DELIVERED:
            self._usual.learn(self._lines, outcome)
        return outcome

    def _has_enough(self) -> bool:
        return self._size > MAX_BODY

    def _on_body(self, data: bytes) -> int | None:
        if (more := MAX_HEAD - len(self._head)) > 0:
            self._head += data[:more]
        self._size += len(data)
        # Anything but None or the length ends the transfer and drops its connection.
        return 0 if self._has_enough() else None


def options_of(settings: TransportSettings, route: Route) -> dict[int, object]:
    """Return the options that every handle has, whatever it sends."""
    return {
        pycurl.NOSIGNAL: 1,
        pycurl.HTTP_VERSION: _HTTP_VERSION,
        # Whoever begins while the first connection is being made waits to hear whether it carries many: one of HTTP/2
        # instead of 128 of them saves 10 MB. Plain HTTP carries one exchange at a time, whatever the server says.
        pycurl.PIPEWAIT: int(settings.url.lower().startswith("https:")),
        pycurl.HTTP09_ALLOWED: 0,
        pycurl.FOLLOWLOCATION: 0,
        pycurl.NETRC: pycurl.NETRC_IGNORED,
        pycurl.HTTP_CONTENT_DECODING: 0,
        pycurl.USERAGENT: settings.user_agent,
        pycurl.ACCEPT_ENCODING: ENCODING,
        pycurl.HTTPHEADER: [f"Accept: {ACCEPT}", "Expect:"],
        pycurl.MAXAGE_CONN: int(settings.idle_s),
        # "" is not None: either would make libcurl look into the environment by itself.
        pycurl.PROXY: route.proxy or "",
        pycurl.NOPROXY: "",
        **_patience(settings),
        **_trust(route),
    }


def _patience(settings: TransportSettings) -> dict[int, object]:
    return {
        pycurl.CONNECTTIMEOUT_MS: _milliseconds(settings.timeout_s),
        pycurl.TIMEOUT_MS: _milliseconds(settings.whole_s),
        pycurl.LOW_SPEED_LIMIT: 1,  # byte a second, over the time of one wait; libcurl counts in whole seconds
        pycurl.LOW_SPEED_TIME: max(1, round(settings.timeout_s)),
    }


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # 0 would be no limit


def _trust(route: Route) -> dict[int, object]:
    trust: dict[int, object] = {
        pycurl.SSL_VERIFYPEER: 1,
        pycurl.SSL_VERIFYHOST: 2,
        pycurl.PROXY_SSL_VERIFYPEER: 1,
        pycurl.PROXY_SSL_VERIFYHOST: 2,
    }
    if route.ca_is_directory:
        return {**trust, pycurl.CAPATH: route.ca, pycurl.PROXY_CAPATH: route.ca}
    return {**trust, pycurl.CAINFO: route.ca, pycurl.PROXY_CAINFO: route.ca}


def failure_of(error: int, text: str, system: int) -> Failure:
    """Return the failure that libcurl calls `error`, with its `text` and the `system`'s own error number."""
    if error == pycurl.E_COULDNT_CONNECT:
        return "refused" if system == errno.ECONNREFUSED else "unreachable"
    if error == pycurl.E_SSL_CONNECT_ERROR and any(words in text for words in _BROKEN_HANDSHAKE):
        return "closed"
    return "tls" if error in _TLS_ERRORS else _FAILURES.get(error, "no-answer")
