"""The target *answer*, in two: what an answer means, as a pure question; and raw bytes from a real server.

The second takes each transport that is installed. Its server sends what it was given and closes, so that nothing has to
run into a timeout.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from typing import TYPE_CHECKING

from kmq.command import Command
from sender.api import MAX_HEAD, MAX_RETRY_AFTER_S, Answer, delay_s, outcome_of
from sender.flow import Delivery, Outcome, Sink, Verdict
from sender.transport.pooled import PooledSink
from sender.transport.settings import TransportSettings

from .mutations import mutated
from .target import require
from .values import answer, text

if TYPE_CHECKING:
    from random import Random

__all__ = ["Answers", "Wire"]

_STATUSES = (*range(100, 600, 7), 200, 204, 304, 400, 401, 404, 407, 429, 503, 0, -1, 999, 10**9)
_TYPES = (b"", b"image/gif", b"text/html; charset=utf-8", b"TEXT/HTML", b"application/xhtml+xml;x")
_AFTER = (
    *(b"", b"17", b"0", b"-5", b"1e400", b"999999999", b"9999999999", b" 120 ", b"\xb2", b"soon"),
    *(
        b"Tue, 14 Nov 2023 22:14:00 GMT",
        b"Tue, 14 Nov 99999 22:14:00 +9999",
        b"Sun, 31 Dec 0000 24:60:60 -0000",
    ),
)
_HEADS = (
    b"",
    b"GIF89a",
    b"<!DOCTYPE html><html>",
    b"no such key: _k=s3cret&_p=bob",
    b"\x1b[2J\xff\0",
)
_KEY = "s3cret"
_GOING_ON = 0.1
_MORE = b"x" * 65_536
_MOST_MORE = 8_000  # of them: twice what a worker may take
_PEOPLE = Command("bob", 1_262_304_000, "Signed Up")
# http.client takes for a blank whatever Python's text does, in Latin-1.
_SUCCESS = re.compile(
    rb"HTTP/\d[^ \xa0\x85]*[ \t\r\x0b\x0c\x1c-\x1f\x85\xa0]+[+0]*(?:2\d\d|304)", re.IGNORECASE
)


class Answers:
    """Status, headers and body in, an outcome out: the right one, and nothing in it that does harm."""

    def make(self, rng: Random) -> bytes:
        """Return the four parts, a line each but for the body."""
        parts = [rng.choice(_TYPES), rng.choice(_AFTER), rng.choice(_HEADS)]
        if rng.random() < 0.9:
            at = rng.randrange(3)
            parts[at] = mutated(rng, parts[at], lambda: text(rng).encode())
        kind, after, head = parts
        lines = (
            b"%d" % rng.choice(_STATUSES),
            kind.replace(b"\n", b" "),
            after.replace(b"\n", b" "),
            head,
        )
        return b"\n".join(lines)

    def check(self, data: bytes, rng: Random) -> None:
        """Judge the outcome by the classes of statuses alone."""
        status, kind, after, head = data.split(b"\n", 3)
        given = Answer(
            int(status),
            kind.decode("latin-1"),
            after.decode("latin-1") if after else None,
            head[:MAX_HEAD],
        )
        outcome = outcome_of(given, rng.choice((0.0, 1.7e9, 4.2e9)))
        _check_outcome(outcome, int(status))
        require(0 <= delay_s(rng.randint(1, 10**6), rng.random()) <= 30, "a delay is bounded")

    def close(self) -> None:
        """Hold nothing."""


def _check_outcome(outcome: Outcome, status: int) -> None:
    success = status // 100 == 2 or status == 304
    require(success or outcome.verdict is not Verdict.DELIVERED, "only success delivers")
    require(status // 100 == 4 or outcome.verdict is not Verdict.REJECTED, "only 4xx rejects")
    wait_s = outcome.retry_after_s
    require(wait_s is None or 0 <= wait_s <= MAX_RETRY_AFTER_S, "a wait is bounded")
    require(
        outcome.said.isprintable() and len(outcome.said) <= 500, "what was said acts on no terminal"
    )
    require(f"_k={_KEY}" not in outcome.said, "the key is in no answer that is kept")


class Wire:
    """Bytes of a server in, an outcome out, through each transport in turn."""

    def __init__(self) -> None:
        self._server = _Server()
        settings = TransportSettings(self._server.url, _KEY, max_in_flight=1)
        self._sinks = [make(settings, environ={}) for make in _transports()]

    def make(self, rng: Random) -> bytes:
        """Return what a server says."""
        data = answer(rng)
        return data if rng.random() < 0.05 else mutated(rng, data, lambda: answer(rng))

    def check(self, data: bytes, rng: Random) -> None:
        """Send a command, be answered so, and judge."""
        self._server.says = data
        self._server.goes_on = rng.random() < _GOING_ON
        outcome = _outcome(rng.choice(self._sinks))
        if outcome.verdict is Verdict.DELIVERED:
            require(_SUCCESS.search(data.replace(b"_", b"")), "nobody said that it was delivered")
        require(_KEY not in repr(outcome), "the key is in no outcome")

    def close(self) -> None:
        """Close the sinks and the server."""
        for sink in self._sinks:
            sink.close()
        self._server.close()


def _transports() -> list[type[PooledSink]]:
    found: list[type[PooledSink]] = [PooledSink]
    with contextlib.suppress(ImportError):
        from sender.transport.multi import MultiSink  # noqa: PLC0415 - curl is an extra

        found.append(MultiSink)  # type: ignore[arg-type]  # another sink, made alike
    return found


def _outcome(sink: Sink) -> Outcome:
    outcomes = sink.exchange([Delivery(1, _PEOPLE)], 1.0)
    while not outcomes:
        outcomes = sink.exchange([], 1.0)
    return outcomes[0][1]


class _Server:
    """Answers each request on each connection with `says`, `goes_on` with more than anybody should read, and closes."""

    def __init__(self) -> None:
        self.says = b""
        self.goes_on = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=8)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # Each by a thread of its own: a client may keep a connection that it reads no more, and come by another.
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request and (more := connection.recv(65_536)):
                request += more
            says, goes_on = self.says, self.goes_on
            connection.sendall(says)
            for _ in range(_MOST_MORE if goes_on else 0):
                connection.sendall(_MORE)
