"""What an API, or whoever stands in its place, may answer to do harm: both transports, real sockets, bounded memory."""

from __future__ import annotations

import gzip
import io
import itertools
from typing import TYPE_CHECKING

import pytest

from kmq.command import Command
from sender.flow import Outcome, Verdict
from sender.transport.connection import _Bounded
from sender.transport.settings import MAX_BODY
from tests.sender.transport.helpers import BOB, deliver
from tests.support.memory import Peak
from tests.support.misbehaving import answer, answering
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from sender.flow import Sink
    from tests.support.misbehaving import Conversation, MisbehavingServer

    Serve = Callable[..., MisbehavingServer]
    SinkFor = Callable[..., Sink]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MUCH = b"x" * 65_536
BOUND = 24 << 20  # of which some MiB are the server's, which runs in this process too

DELIVERS, WAITS = {Verdict.DELIVERED}, {Verdict.RETRY}
EITHER = DELIVERS | WAITS
CLOSED = Outcome(Verdict.RETRY, "closed")

# What comes first, what is repeated without end, and what that may mean.
ENDLESS = {
    "body": (OK + b"\r\n", MUCH, DELIVERS),
    "body of a length": (OK + b"Content-Length: 999999999999\r\n\r\n", MUCH, DELIVERS),
    "body of 400": (b"HTTP/1.1 400 No\r\n\r\n", MUCH, {Verdict.REJECTED}),
    "body of 503": (b"HTTP/1.1 503 No\r\n\r\n", MUCH, WAITS),
    "chunk": (CHUNKED + b"ffffffffff\r\n", MUCH, DELIVERS),
    "chunk of -1 bytes": (CHUNKED + b"-1\r\n", MUCH, EITHER),
    "chunk of -2 bytes": (CHUNKED + b"-2\r\n", MUCH, EITHER),
    "size of a chunk": (CHUNKED, b"0" * 65_536, WAITS),
    "extension of a chunk": (CHUNKED + b"5;", MUCH, WAITS),
    "chunks of one byte": (CHUNKED, b"1\r\nx\r\n" * 10_000, EITHER),
    "line of a trailer": (CHUNKED + b"0\r\nX: ", MUCH, EITHER),
    "trailers": (CHUNKED + b"0\r\n", b"X-More: y\r\n" * 6_000, EITHER),
    "status line": (b"HTTP/1.1 200 ", MUCH, WAITS),
    "header": (OK + b"X-More: ", MUCH, WAITS),
    "folded header": (OK + b"X-More: y\r\n", b" " + b"z" * 60_000 + b"\r\n", WAITS),
    "headers": (OK, b"X-More: y\r\n" * 6_000, WAITS),
    "100": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000, WAITS),
    "100 with headers": (b"", b"HTTP/1.1 100 Continue\r\nX: " + b"y" * 5_000 + b"\r\n\r\n", WAITS),
    "103": (b"", b"HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n" * 2_000, WAITS),
    "empty lines": (b"", b"\r\n" * 30_000, WAITS),
    "zeros": (b"", bytes(65_536), WAITS),
}


def endless(begin: bytes, piece: bytes) -> Callable[[Conversation], None]:
    """Return a behaviour that never ends an answer, as fast as it can."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(begin)
        while True:
            conversation.send(piece)

    return behave


@pytest.mark.parametrize("what", ENDLESS)
def test_an_answer_without_end_takes_little_memory_and_ends(
    serve: Serve, sink_for: SinkFor, what: str
) -> None:
    """Whichever part of it has no end: the exchange is over in bounded time, and the next command is sent anew."""
    begin, piece, verdicts = ENDLESS[what]
    server = serve(endless(begin, piece))
    sink = sink_for(server.url, timeout_s=0.3, max_in_flight=1)
    with Peak() as peak:
        outcomes = deliver(sink, BOB, BOB)
    # On a busy machine the timeout may come first, which is a wait as well.
    assert {outcome.verdict for outcome in outcomes} <= verdicts | WAITS
    wait_until(lambda: server.connections == 2, what="each command had a connection of its own")
    assert peak.grown < BOUND


LYING = {
    "a negative length": (OK + b"Content-Length: -5\r\n\r\nGIF89a", EITHER),
    "two lengths": (OK + b"Content-Length: 2\r\nContent-Length: 9999\r\n\r\nGIF89a", WAITS),
    "a length of 5,000 digits": (
        OK + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\nGIF89a",
        EITHER,
    ),
    "a length that is text": (OK + b"Content-Length: many\r\n\r\nGIF89a", EITHER),
    "too long a length": (OK + b"Content-Length: 100\r\n\r\nGIF89a", WAITS),
    "a length and chunks": (
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        EITHER,
    ),
    "an unknown encoding of the transfer": (
        OK + b"Transfer-Encoding: x-unknown\r\n\r\nGIF89a",
        EITHER,
    ),
    "half a chunk": (CHUNKED + b"ff\r\nGIF89a", WAITS),
    "no last chunk": (CHUNKED + b"6\r\nGIF89a\r\n", WAITS),
    "a chunk of no size": (CHUNKED + b"\r\nGIF89a\r\n0\r\n\r\n", WAITS),
    "a status of four digits": (b"HTTP/1.1 2000 OK\r\n\r\n", EITHER),
    "a negative status": (b"HTTP/1.1 -200 OK\r\n\r\n", WAITS),
    "a status of 5,000 digits": (b"HTTP/1.1 " + b"2" * 5_000 + b" OK\r\n\r\n", EITHER),
    "zeros in a header": (OK + b"X-Zero: a\0b\r\nContent-Length: 0\r\n\r\n", EITHER),
    "a header without a name": (OK + b": x\r\nContent-Length: 0\r\n\r\n", EITHER),
    "a header without a colon": (OK + b"nonsense\r\nContent-Length: 0\r\n\r\n", EITHER),
    "another version": (b"HTTP/7.0 200 OK\r\nContent-Length: 0\r\n\r\n", EITHER),
    "a version that is none": (b"HTTP/3.1 503 No\r\nContent-Length: 0\r\n\r\n", WAITS),
    "another case": (b"hTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", WAITS),
    "another case behind 100": (
        b"HTTP/1.1 100 Continue\r\n\r\nhTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        WAITS,
    ),
    "no version": (b"HTTP 200 OK\r\n\r\n", WAITS),
    "101": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", WAITS),
    "a status alone": (b"HTTP/1.1 200", EITHER),
    "bare newlines": (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", EITHER),
}


@pytest.mark.parametrize("what", LYING)
def test_an_answer_that_lies_harms_no_other(serve: Serve, sink_for: SinkFor, what: str) -> None:
    """It is never taken for a rejection, and what it leaves on its connection never answers the next command."""
    data, verdicts = LYING[what]

    def behave(conversation: Conversation) -> None:
        while (request := conversation.request()) is not None:
            if b"poison" not in request:
                conversation.send(answer(400, body=b"mine"))
                continue
            conversation.send(data)
            return

    sink = sink_for(serve(behave).url, max_in_flight=1)
    poisoned, own = deliver(sink, Command("bob", 1262304000, "poison"), BOB)
    assert poisoned.verdict in verdicts
    # It may go out on the old connection in the moment in which the server closes that.
    assert own in {Outcome(Verdict.REJECTED, "answered-400", 400, said="mine"), CLOSED}


def test_what_stands_behind_an_answer_never_answers_the_next_command(
    serve: Serve, sink_for: SinkFor
) -> None:
    """A second answer on the same connection would deliver a command that nobody has seen."""
    seen = itertools.count()

    def behave(conversation: Conversation) -> None:
        while conversation.request() is not None:
            conversation.send(
                answer(503) + answer(200) if next(seen) == 0 else answer(400, body=b"mine")
            )

    first, second = deliver(sink_for(serve(behave).url, max_in_flight=1), BOB, BOB)
    assert (first.code, second.code) in {
        ("answered-503", "answered-400"),
        ("answered-503", "closed"),
        ("answered-503", "not-http"),
    }


def test_a_bomb_takes_as_much_memory_as_it_has_bytes(serve: Serve, sink_for: SinkFor) -> None:
    """A body that unpacks to 64 MiB is not unpacked."""
    bomb = gzip.compress(bytes(64 << 20))[:60_000]
    server = serve(answering(answer(400, {"Content-Encoding": "gzip"}, bomb)))
    with Peak() as peak:
        outcome = deliver(sink_for(server.url), BOB)[0]
    assert outcome.verdict is Verdict.REJECTED
    assert outcome.said.isprintable()
    assert peak.grown < BOUND


def test_redirects_in_a_circle_are_not_begun(serve: Serve, sink_for: SinkFor) -> None:
    """Each is an answer about the settings, and costs one request."""
    server = serve(answering(answer(302, {"Location": "/e"})))
    outcomes = deliver(sink_for(server.url), BOB, BOB, BOB)
    assert outcomes == [Outcome(Verdict.BLOCKED, "answered-302", 302)] * 3
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("999999999", 300.0),
        ("9" * 5_000, None),
        ("-1", None),
        ("1e400", None),
        ("0x10", None),
        ("\xb2", None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:14:00 +99999999999", None),
    ],
)
def test_an_absurd_retry_after_is_bounded_or_ignored(
    serve: Serve, sink_for: SinkFor, said: str, seconds: float | None
) -> None:
    """No answer silences a host for longer than five minutes."""
    outcome = deliver(sink_for(serve(answering(answer(503, {"Retry-After": said}))).url), BOB)[0]
    assert outcome == Outcome(Verdict.RETRY, "answered-503", 503, seconds)


class Endless(io.RawIOBase):
    """Bytes without an end and without a newline."""

    def readable(self) -> bool:
        return True

    def readinto(self, into: WriteableBuffer, /) -> int:
        view = memoryview(into)
        view[:] = b"x" * len(view)
        return len(view)


@pytest.mark.parametrize("size", [None, -1, -5, 10, 1 << 40])
def test_no_read_takes_more_than_an_answer_may_have(size: int | None) -> None:
    """Whatever a library asks for: http.client and urllib3 take a size from the answer itself."""
    reader = _Bounded(Endless())
    expected = 10 if size == 10 else MAX_BODY + 1
    assert len(reader.read(size)) == expected
    assert len(reader.readline(size)) == expected
