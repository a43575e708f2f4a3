"""HTTP/2, which only the transport on curl speaks, and where a server offers it: many exchanges, one connection."""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from kmq.command import Command
from sender.flow import Outcome, Verdict
from sender.transport.multi import MultiSink
from sender.transport.settings import TransportSettings
from tests.sender.transport.helpers import deliver
from tests.support.http2 import Frames
from tests.support.misbehaving import MisbehavingServer, answer, answering

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from tests.sender.transport.helpers import Identity
    from tests.support.misbehaving import Conversation

    Serve = Callable[..., MisbehavingServer]
    SinkOf = Callable[..., MultiSink]

AT = 1262304000
CANCEL = 8


def posted(number: int) -> Command:
    """Return a command that is too long for a GET: its body tells whose it is."""
    return Command(f"person-{number}-", AT, "x", properties={"v": "y" * 2000})


def person_of(body: bytes) -> str:
    """Return whose command `body` is."""
    return body.partition(b"_p=")[2].partition(b"&")[0].decode()


@pytest.fixture
def tls(identity: Identity) -> ssl.SSLContext:
    """Return the context of a server that offers HTTP/2."""
    context = identity.server()
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture(params=["swept", "watched"])
def sink_of(request: pytest.FixtureRequest, identity: Identity) -> Iterator[SinkOf]:
    """Return a function that makes a sink for a server; it is closed at the end."""
    sinks = []

    def make(server: MisbehavingServer, in_flight: int) -> MultiSink:
        settings = TransportSettings(
            server.url,
            "api-key",
            max_in_flight=in_flight,
            ca_file=str(identity.certificate),
        )
        many = in_flight + 1 if request.param == "swept" else 1
        sinks.append(MultiSink(settings, environ={}, many=many))
        return sinks[-1]

    yield make
    for sink in sinks:
        sink.close()


def test_more_than_a_hundred_share_a_connection(
    serve: Serve, sink_of: SinkOf, tls: ssl.SSLContext
) -> None:
    """All that is in flight goes at once: the server answers nothing until it has every request."""
    at_once = 150

    def behave(conversation: Conversation) -> None:
        frames = Frames(conversation)
        waiting = []
        while (request := frames.request()) is not None:
            waiting.append(request)
            if len(waiting) == at_once:
                for each in waiting:
                    frames.answer(each.stream, 400, person_of(each.body).encode())

    server = serve(behave, tls=tls)
    outcomes = deliver(sink_of(server, at_once), *map(posted, range(at_once)))
    assert [outcome.said for outcome in outcomes] == [f"person-{n}-" for n in range(at_once)]
    assert server.connections == 1


def test_a_server_that_goes_away_costs_no_delivery(
    serve: Serve, sink_of: SinkOf, tls: ssl.SSLContext
) -> None:
    """What it has not looked at goes over the next connection, by itself, and what it has is not sent twice."""
    seen: list[str] = []
    lock = threading.Lock()

    def behave(conversation: Conversation) -> None:
        frames, last = Frames(conversation), 0
        requests = iter(frames.request, None)
        for last, body in islice(requests, 50):
            with lock:
                seen.append(person_of(body))
            frames.answer(last)
        frames.go_away(last)
        for _ in requests:  # what is not answered here was begun before the client knew
            pass

    server = serve(behave, tls=tls)
    outcomes = deliver(sink_of(server, 16), *map(posted, range(200)))
    assert {outcome.code for outcome in outcomes} == {"answered-200"}
    assert sorted(seen) == sorted(f"person-{n}-" for n in range(200))
    assert server.connections >= 4


def test_a_stream_that_breaks_off_is_retried(
    serve: Serve, sink_of: SinkOf, tls: ssl.SSLContext
) -> None:
    """It takes no other with it."""

    def behave(conversation: Conversation) -> None:
        frames = Frames(conversation)
        while (request := frames.request()) is not None:
            if person_of(request.body) == "person-1-":
                frames.refuse(request.stream, CANCEL)
            else:
                frames.answer(request.stream)

    server = serve(behave, tls=tls)
    outcomes = deliver(sink_of(server, 3), *map(posted, range(3)))
    assert [outcome.code for outcome in outcomes] == ["answered-200", "closed", "answered-200"]
    assert server.connections == 1


def test_a_connection_that_breaks_off_is_retried(
    serve: Serve, sink_of: SinkOf, tls: ssl.SSLContext
) -> None:
    """Half an answer is none, for every exchange that went over it."""

    def behave(conversation: Conversation) -> None:
        frames = Frames(conversation)
        for request in islice(iter(frames.request, None), 4):
            frames.begin_answer(request.stream, 200)

    server = serve(behave, tls=tls)
    outcomes = deliver(sink_of(server, 4), *map(posted, range(4)))
    assert outcomes == [Outcome(Verdict.RETRY, "closed")] * 4
    assert server.connections == 1


def test_an_answer_past_its_bound_ends_its_stream(
    serve: Serve, sink_of: SinkOf, tls: ssl.SSLContext
) -> None:
    """Its status counts, as over HTTP/1.1, and the next command is answered."""

    def behave(conversation: Conversation) -> None:
        frames = Frames(conversation)
        while (request := frames.request()) is not None:
            if person_of(request.body) == "person-0-":
                frames.flood(request.stream, 400)
            else:
                frames.answer(request.stream, 400)

    sink = sink_of(serve(behave, tls=tls), 1)
    first, second = deliver(sink, posted(0), posted(1))
    assert first.verdict is second.verdict is Verdict.REJECTED


def test_a_server_that_offers_none_is_spoken_to_in_http_1(
    serve: Serve, sink_of: SinkOf, identity: Identity
) -> None:
    """Also when many begin at once, which wait for the first connection to tell."""
    server = serve(answering(answer()), tls=identity.server())
    outcomes = deliver(sink_of(server, 8), *map(posted, range(24)))
    assert set(outcomes) == {Outcome(Verdict.DELIVERED, "answered-200", 200)}
    assert 1 <= server.connections <= 8
    assert all(b" HTTP/1.1\r\n" in request for request in server.requests)
