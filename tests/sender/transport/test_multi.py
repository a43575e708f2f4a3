"""What only the transport on curl has: a library that waits for name servers, and errors by number."""

from __future__ import annotations

import errno
import threading
import time

import pycurl
import pytest

from sender.transport import multi
from sender.transport.multi import MultiSink
from sender.transport.route import find_route
from sender.transport.settings import TransportSettings
from sender.transport.sockets import Watch
from sender.transport.transfer import failure_of, options_of


class Stuck:
    """A multi handle that cannot be closed, as one with a name server that is silent."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def close(self) -> None:
        """Wait."""
        self.entered.set()
        self.leave.wait()


def test_closing_does_not_wait_for_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be closed is left to a daemon thread."""
    monkeypatch.setattr(multi, "_CLOSE_S", 0.01)
    sink = MultiSink(TransportSettings("http://127.0.0.1:9", "k", max_in_flight=1), environ={})
    real, stuck = sink._multi, Stuck()
    sink._multi = stuck
    sink.close()
    assert stuck.entered.wait(20)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "kmq-transport")
    stuck.leave.set()
    real.close()
    sink._sockets.close()


@pytest.mark.parametrize(
    ("error", "text", "system", "failure"),
    [
        (pycurl.E_COULDNT_CONNECT, "", errno.ECONNREFUSED, "refused"),
        (pycurl.E_COULDNT_CONNECT, "", errno.ENETUNREACH, "unreachable"),
        (pycurl.E_COULDNT_RESOLVE_PROXY, "", 0, "no-address"),
        (pycurl.E_SSL_CONNECT_ERROR, "error:0A00010B:SSL routines::wrong version number", 0, "tls"),
        (pycurl.E_SSL_CONNECT_ERROR, "SSL_connect: SSL_ERROR_SYSCALL in connection", 0, "closed"),
        (pycurl.E_SSL_CONNECT_ERROR, "Recv failure: Connection reset by peer", 0, "closed"),
        (
            pycurl.E_SSL_CONNECT_ERROR,
            "error:0A000126:SSL::unexpected eof while reading",
            0,
            "closed",
        ),
        (pycurl.E_SSL_CACERT_BADFILE, "", 0, "tls"),
        (pycurl.E_SEND_ERROR, "", 0, "closed"),
        (pycurl.E_OUT_OF_MEMORY, "", 0, "no-answer"),
        (9999, "what libcurl may come up with", 0, "no-answer"),
    ],
)
def test_an_error_is_known_by_its_number(error: int, text: str, system: int, failure: str) -> None:
    """Numbers stay from release to release; a handshake that breaks off has none of its own."""
    assert failure_of(error, text, system) == failure


def test_each_wait_is_bounded_and_the_whole_is_too() -> None:
    """A stalled exchange ends after one timeout, at whole seconds and at least one, a dripping one after three."""
    settings = TransportSettings("http://127.0.0.1:9", "k", timeout_s=2.4)
    told = options_of(settings, find_route(settings, {}))
    assert told[pycurl.LOW_SPEED_LIMIT] == 1
    assert told[pycurl.LOW_SPEED_TIME] == 2
    assert told[pycurl.CONNECTTIMEOUT_MS] == 2400
    assert told[pycurl.TIMEOUT_MS] == 7200


def test_waiting_goes_by_the_timers_last_word() -> None:
    """A timer that is far away or was taken back cuts no wait short."""
    watch = Watch(pycurl.CurlMulti())
    began = time.monotonic()
    watch._on_timer(3_600_000)
    watch.wait(0.01)
    watch._on_timer(-1)
    watch.wait(0.01)
    assert time.monotonic() - began >= 0.02
    watch.close()
