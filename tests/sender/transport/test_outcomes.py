"""What each transport makes of what it meets: the same outcomes from requests and from curl."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from sender.flow import Outcome, Verdict
from tests.sender.transport.helpers import BOB, deliver
from tests.support.misbehaving import GIF, answer, answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender.flow import Sink
    from tests.support.misbehaving import Conversation, MisbehavingServer

    Serve = Callable[..., MisbehavingServer]
    SinkFor = Callable[..., Sink]

PAGE = b"<!DOCTYPE html><html><title>Welcome to Hotel Wi-Fi</title></html>"


def outcome_of_answer(serve: Serve, sink_for: SinkFor, given: bytes, wall: float = 0.0) -> Outcome:
    """Return what comes of a command when the server answers `given` and closes."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(given)

    return deliver(sink_for(serve(behave).url, wall=wall), BOB)[0]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED),
        (202, Verdict.DELIVERED),
        (304, Verdict.DELIVERED),
        (302, Verdict.BLOCKED),
        (401, Verdict.BLOCKED),
        (403, Verdict.BLOCKED),
        (404, Verdict.BLOCKED),
        (407, Verdict.BLOCKED),
        (408, Verdict.RETRY),
        (425, Verdict.RETRY),
        (429, Verdict.RETRY),
        (500, Verdict.RETRY),
        (503, Verdict.RETRY),
        (999, Verdict.RETRY),
    ],
)
def test_a_status_means_what_the_api_module_says(
    serve: Serve, sink_for: SinkFor, status: int, verdict: Verdict
) -> None:
    """The status of the answer arrives, whatever it is."""
    body = b"" if status == 304 else GIF
    outcome = outcome_of_answer(serve, sink_for, answer(status, body=body))
    assert outcome == Outcome(verdict, f"answered-{status}", status)


def test_a_rejection_says_what_the_answer_said(serve: Serve, sink_for: SinkFor) -> None:
    """The head of the body comes along, without the key."""
    outcome = outcome_of_answer(
        serve, sink_for, answer(400, body=b"no product has the key api-key")
    )
    assert outcome == Outcome(
        Verdict.REJECTED, "answered-400", 400, said="no product has the key ***"
    )


def test_retry_after_comes_along_in_seconds(serve: Serve, sink_for: SinkFor) -> None:
    """A number of seconds is taken as it is."""
    assert (
        outcome_of_answer(serve, sink_for, answer(429, {"retry-AFTER": "17"})).retry_after_s == 17.0
    )


def test_retry_after_comes_along_as_a_date(serve: Serve, sink_for: SinkFor) -> None:
    """A date is measured against the clock that was handed in."""
    given = answer(503, {"Retry-After": "Tue, 14 Nov 2023 22:14:00 GMT"})
    assert outcome_of_answer(serve, sink_for, given, wall=1_700_000_000.0).retry_after_s == 40.0


def test_a_captive_portal_blocks(serve: Serve, sink_for: SinkFor) -> None:
    """A page where the API answers with an image delivers nothing."""
    given = answer(200, {"Content-Type": "text/html; charset=utf-8"}, PAGE)
    assert outcome_of_answer(serve, sink_for, given) == Outcome(Verdict.BLOCKED, "web-page", 200)


def test_a_captive_portal_that_names_no_type_blocks(serve: Serve, sink_for: SinkFor) -> None:
    """Then the body tells."""
    outcome = outcome_of_answer(serve, sink_for, answer(200, {"Content-Type": ""}, PAGE))
    assert outcome == Outcome(Verdict.BLOCKED, "web-page", 200)


def test_headers_that_are_no_ascii_do_no_harm(serve: Serve, sink_for: SinkFor) -> None:
    """A header is bytes, and some servers take that literally."""
    given = answer(200, {"Content-Type": "image/gif; name=\xe9\xff", "Retry-After": "\xff"})
    assert outcome_of_answer(serve, sink_for, given).verdict is Verdict.DELIVERED


def test_a_redirect_is_not_followed(serve: Serve, sink_for: SinkFor) -> None:
    """The command goes to the address in the settings or nowhere."""
    elsewhere = serve(answering(answer()))
    server = serve(answering(answer(307, {"Location": f"{elsewhere.url}/e"})))
    outcome = deliver(sink_for(server.url), BOB)[0]
    assert outcome == Outcome(Verdict.BLOCKED, "answered-307", 307)
    assert len(server.requests) == 1
    assert not elsewhere.connections


def test_a_chunked_answer_is_read(serve: Serve, sink_for: SinkFor) -> None:
    """An answer may come in chunks."""
    head = b"HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n"
    outcome = outcome_of_answer(serve, sink_for, head + b"5\r\nwrong\r\n5\r\n name\r\n0\r\n\r\n")
    assert outcome.said == "wrong name"


def test_a_close_without_an_answer_is_retried(serve: Serve, sink_for: SinkFor) -> None:
    """Nothing came back, so nobody knows."""
    assert outcome_of_answer(serve, sink_for, b"") == Outcome(Verdict.RETRY, "closed")


@pytest.mark.parametrize(
    "half",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\nGIF89a",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2b\r\nGIF89a",
    ],
)
def test_half_an_answer_is_retried(serve: Serve, sink_for: SinkFor, half: bytes) -> None:
    """An answer that breaks off is none, even if it began with 200."""
    assert outcome_of_answer(serve, sink_for, half) == Outcome(Verdict.RETRY, "closed")


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16" + bytes(40),
        b"\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
    ],
)
def test_garbage_is_retried(serve: Serve, sink_for: SinkFor, garbage: bytes) -> None:
    """Something listens there that speaks no HTTP."""
    assert outcome_of_answer(serve, sink_for, garbage) == Outcome(Verdict.RETRY, "not-http")


def test_a_garbled_chunk_is_retried(serve: Serve, sink_for: SinkFor) -> None:
    """An answer whose body cannot be read is none."""
    given = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nGIF89a\r\n"
    assert outcome_of_answer(serve, sink_for, given).verdict is Verdict.RETRY


def test_headers_without_end_are_no_answer(serve: Serve, sink_for: SinkFor) -> None:
    """Whoever sends headers for ever is not waited for, nor kept in memory."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            conversation.send(b"X-More: " + b"x" * 8000 + b"\r\n")

    outcome = deliver(sink_for(serve(behave).url), BOB)[0]
    assert outcome.verdict is Verdict.RETRY
    assert outcome.code in {"closed", "not-http"}  # libcurl has no word of its own for it


def test_a_reset_is_retried(serve: Serve, sink_for: SinkFor) -> None:
    """A connection that is torn down is the network's affair."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.reset()

    assert deliver(sink_for(serve(behave).url), BOB)[0] == Outcome(Verdict.RETRY, "closed")


def test_a_refused_connection_is_retried(sink_for: SinkFor) -> None:
    """Nobody listens there, now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert deliver(sink_for(f"http://127.0.0.1:{port}"), BOB)[0] == Outcome(
        Verdict.RETRY, "refused"
    )


def test_a_name_without_an_address_is_retried(sink_for: SinkFor) -> None:
    """The name server has its bad moments too."""
    assert deliver(sink_for("http://kmq.invalid"), BOB)[0] == Outcome(Verdict.RETRY, "no-address")


def test_no_way_to_the_network_is_retried(sink_for: SinkFor) -> None:
    """An address that no route leads to is the network's affair."""
    # Linux refuses at once to connect a TCP socket to a broadcast address.
    assert deliver(sink_for("http://255.255.255.255"), BOB)[0] == Outcome(
        Verdict.RETRY, "unreachable"
    )


def test_a_server_that_says_nothing_runs_into_the_timeout(serve: Serve, sink_for: SinkFor) -> None:
    """The wait for the first byte is bounded."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.hang()

    assert deliver(sink_for(serve(behave).url, timeout_s=0.2), BOB)[0] == Outcome(
        Verdict.RETRY, "timeout"
    )


def test_a_server_that_stops_half_way_runs_into_the_timeout(
    serve: Serve, sink_for: SinkFor
) -> None:
    """So is the wait for each further one."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(answer()[:-10])
        conversation.hang()

    assert deliver(sink_for(serve(behave).url, timeout_s=0.2), BOB)[0] == Outcome(
        Verdict.RETRY, "timeout"
    )


@pytest.mark.parametrize(
    ("begin", "drops"),
    [
        (b"", b"HTTP/1.1 200 OK\r\n" + b"X-Slow: y\r\n" * 90),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    ],
    ids=["headers", "body"],
)
def test_a_server_that_drips_is_cut_off(
    serve: Serve, sink_for: SinkFor, begin: bytes, drops: bytes
) -> None:
    """Each byte comes in time and the answer never ends: the exchange as a whole is bounded too."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(begin)
        conversation.drip(drops, every_s=0.05)

    server = serve(behave)
    sink = sink_for(server.url, timeout_s=0.4, max_in_flight=1)
    assert deliver(sink, BOB, BOB) == [Outcome(Verdict.RETRY, "timeout")] * 2
    assert server.connections == 2


def test_a_server_that_drips_later_is_cut_off(serve: Serve, sink_for: SinkFor) -> None:
    """The same on a connection that served well before."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(answer())
        conversation.request()
        conversation.drip(b"HTTP/1.1 200 OK\r\n" + b"X-Slow: y\r\n" * 90, every_s=0.05)

    server = serve(behave)
    sink = sink_for(server.url, timeout_s=0.4, max_in_flight=1)
    assert deliver(sink, BOB)[0].verdict is Verdict.DELIVERED
    assert deliver(sink, BOB) == [Outcome(Verdict.RETRY, "timeout")]
    assert server.connections == 1
