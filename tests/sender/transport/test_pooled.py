"""What only the transport on requests has: threads, and reading the exceptions of three libraries."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import urllib3

from kmq.errors import InvalidSetting
from sender.flow import Delivery, Verdict
from sender.transport.faults import outcome_of_error
from sender.transport.guard import Guard
from sender.transport.pooled import PooledSink
from sender.transport.settings import TransportSettings
from tests.sender.transport.helpers import BOB, deliver
from tests.support.misbehaving import answer, answering
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.misbehaving import MisbehavingServer

    Serve = Callable[..., MisbehavingServer]


def test_its_threads_end_with_it(serve: Serve) -> None:
    """Also those that are in the middle of an exchange, and they are daemons in any case."""
    server = serve(lambda conversation: conversation.request() and conversation.hang())
    sink = PooledSink(
        TransportSettings(server.url, "k", max_in_flight=3, timeout_s=3600.0), environ={}
    )
    assert [worker.daemon for worker in sink._workers] == [True] * 3
    sink.exchange([Delivery(1, BOB)], 0.0)
    wait_until(lambda: server.requests)
    assert all(worker.is_alive() for worker in sink._workers)
    sink.close()
    wait_until(lambda: not any(worker.is_alive() for worker in sink._workers))


def test_an_idle_connection_is_not_trusted(serve: Serve) -> None:
    """What was unused too long is not used again: something on the way may have forgotten it without a word."""
    server = serve(answering(answer()))
    sink = PooledSink(TransportSettings(server.url, "k", max_in_flight=1, idle_s=0.0), environ={})
    assert deliver(sink, BOB)[0].verdict is Verdict.DELIVERED
    assert deliver(sink, BOB)[0].verdict is Verdict.DELIVERED
    sink.close()
    assert server.connections == 2


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    """What stands in its frame is read before anything is sent."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
    settings = TransportSettings("https://127.0.0.1:9", "k", ca_file=str(bundle))
    with pytest.raises(InvalidSetting, match=r"bundle\.pem.*PEM"):
        PooledSink(settings, environ={})


def wrapped(cause: Exception) -> Exception:
    """Return `cause` as urllib3 hands it on where it is told to try again, with the URL in its text."""
    return urllib3.exceptions.MaxRetryError(None, "/e?_k=s3cret", cause)  # type: ignore[arg-type]  # no pool is at hand, and none is looked at


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TimeoutError(), "timeout"),
        (urllib3.exceptions.ReadTimeoutError(None, "/e?_k=s3cret", "slow"), "timeout"),  # type: ignore[arg-type]
        (socket.gaierror(), "no-address"),
        (ConnectionRefusedError(), "refused"),
        (OSError(errno.EHOSTUNREACH, "no route"), "unreachable"),
        (OSError(errno.ENETUNREACH, "no network"), "unreachable"),
        (http.client.RemoteDisconnected("gone"), "closed"),
        (ConnectionResetError(), "closed"),
        (BrokenPipeError(), "closed"),
        (http.client.IncompleteRead(b""), "closed"),
        (ssl.SSLEOFError(), "closed"),
        (http.client.BadStatusLine("x"), "not-http"),
        (http.client.LineTooLong("header line"), "not-http"),
        (urllib3.exceptions.ProtocolError("strange"), "not-http"),
        (ssl.SSLCertVerificationError(), "tls"),
        (ssl.SSLError(), "tls"),
        (urllib3.exceptions.SSLError(), "tls"),
        (
            urllib3.exceptions.ProxyError("x", OSError("Tunnel connection failed: 407 Auth")),
            "proxy-refused",
        ),
        (
            urllib3.exceptions.ProxyError("x", OSError("Tunnel connection failed: 503 Away")),
            "proxy-failed",
        ),
        (OSError(errno.EMFILE, "too many open files"), "no-answer"),
        (RuntimeError("nobody foresaw this"), "no-answer"),
    ],
)
def test_an_exception_is_known_by_its_causes(error: Exception, code: str) -> None:
    """However the libraries wrap it."""
    assert outcome_of_error(error).code == code
    assert outcome_of_error(wrapped(error)).code == code
    assert outcome_of_error(urllib3.exceptions.HTTPError(error)).code == code


def test_causes_that_go_in_circles_come_to_an_end() -> None:
    """Exceptions may name each other."""
    first, second = RuntimeError(), ConnectionResetError()
    first.__cause__, second.__cause__ = second, first
    assert outcome_of_error(first).code == "closed"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return two connected sockets."""
    left, right = socket.socketpair()
    with left, right:
        yield left, right


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_guard_cuts_what_is_overdue(pair: tuple[socket.socket, socket.socket]) -> None:
    """Not before, and then at once: the reader meets the end."""
    clock = Clock()
    guard = Guard(10.0, clock)
    guard.begin()
    guard.watch(pair[0])
    clock.now = 9.9
    guard.cut_overdue()
    pair[1].send(b"x")
    assert pair[0].recv(10) == b"x"
    clock.now = 10.0
    guard.cut_overdue()
    assert pair[0].recv(10) == b""
    assert guard.end()


def test_a_guard_cuts_no_exchange_that_has_ended(pair: tuple[socket.socket, socket.socket]) -> None:
    """An old deadline means nothing to the next exchange on the same connection."""
    clock = Clock()
    guard = Guard(10.0, clock)
    guard.begin()
    guard.watch(pair[0])
    assert not guard.end()
    clock.now = 1000.0
    guard.cut_overdue()
    guard.begin()
    guard.watch(pair[0])
    guard.cut_overdue()
    assert not guard.end()
    pair[1].send(b"x")
    assert pair[0].recv(10) == b"x"


def test_a_guard_cuts_a_socket_that_comes_too_late(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """An exchange that was overdue while it connected is cut when it has."""
    clock = Clock()
    guard = Guard(10.0, clock)
    guard.begin()
    clock.now = 10.0
    guard.cut_overdue()
    guard.watch(pair[0])
    assert pair[0].recv(10) == b""
    assert guard.end()


def test_a_guard_that_is_stopped_lets_nothing_begin(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """After the sink is closed no exchange gets through."""
    guard = Guard(10.0, Clock())
    guard.stop()
    guard.begin()
    guard.watch(pair[0])
    assert pair[0].recv(10) == b""
    assert guard.end()


def test_a_guard_holds_no_connection_open(pair: tuple[socket.socket, socket.socket]) -> None:
    """Once its owner closes it after an exchange, the other side sees it."""
    guard = Guard(10.0, Clock())
    guard.begin()
    guard.watch(pair[0])
    guard.end()
    pair[0].close()
    assert pair[1].recv(10) == b""


def test_a_guard_survives_a_socket_that_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    """The other side may be faster than the cut."""
    guard = Guard(10.0, Clock())
    guard.begin()
    guard.watch(pair[0])
    guard.stop()
    guard.stop()
    assert guard.end()


def test_connections_are_closed_on_both_sides(serve: Serve) -> None:
    """Closing an idle sink ends its kept connections."""
    server = serve(answering(answer()))
    sink = PooledSink(TransportSettings(server.url, "k", max_in_flight=1), environ={})
    deliver(sink, BOB)
    sink.close()
    wait_until(lambda: server.closed == 1)
