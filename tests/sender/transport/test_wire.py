"""What arrives: the bytes of a request, the same from each transport and on each resend."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest

from kmq.command import Command, Number, decode, encode
from sender.api import request_for
from sender.flow import Verdict
from sender.transport.settings import TransportSettings
from sender.transport.wire import without_key
from tests.sender.transport.helpers import BOB, TRANSPORTS, deliver
from tests.support.misbehaving import answer, answering
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sender.flow import Sink
    from tests.support.misbehaving import Conversation, MisbehavingServer

    Serve = Callable[..., MisbehavingServer]
    SinkFor = Callable[..., Sink]

AT = 1262304000
AWKWARD = [
    BOB,
    Command("bob@bob.com", AT, "Paid", properties={"Amount": Number("99.90"), "Plan Name": "Pro"}),
    Command("~._-", AT, "%7E%2e%2E%zz%", properties={"../..": "//", "a=b&c": "#?;@:,"}),
    Command("a+b c", AT, properties={"": "", "'\"<>": "[]{}|\\^`"}),
    Command("ünïcödé", AT, "\U0001f600\u2028\u00a0", properties={"e\u0301": "\u00e9"}),
    Command("".join(map(chr, range(1, 256))), AT, "\x00\r\n\t"),
    Command("User 12345", AT, other="bob@bob.com"),
    Command("bob", AT, "long", properties={"v": "y z~%" * 600}),
    Command("bob", AT, "own key", key="k&e/y"),
]


@pytest.fixture
def server(serve: Serve) -> MisbehavingServer:
    """Return a server that answers as the API does."""
    return serve(answering(answer()))


@pytest.mark.parametrize("command", AWKWARD, ids=range(len(AWKWARD)))
def test_a_request_arrives_as_it_was_made(
    server: MisbehavingServer, sink_for: SinkFor, command: Command
) -> None:
    """Not a byte of path, query or body is quoted anew, normalised or put in another order."""
    assert deliver(sink_for(server.url), command)[0].verdict is Verdict.DELIVERED
    made = request_for(command, "api-key")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    line = head.split(b"\r\n")[0].decode("ascii")
    if made.method == "GET":
        assert (line, body) == (f"GET {made.path}?{made.query} HTTP/1.1", b"")
    else:
        assert (line, body) == (f"POST {made.path} HTTP/1.1", made.query.encode())


def test_the_headers_are_these(server: MisbehavingServer, sink_for: SinkFor) -> None:
    """A GET has four headers, and a user agent that says whose it is."""
    deliver(sink_for(server.url, user_agent="kmq-sender/1.0.0"), BOB)
    assert headers_of(server.requests[0]) == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "kmq-sender/1.0.0",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


def test_a_post_says_what_its_body_is(server: MisbehavingServer, sink_for: SinkFor) -> None:
    """A POST adds type and length, and does not ask whether it may go on."""
    command = Command("bob", AT, "long", properties={"v": "y" * 60_000})
    deliver(sink_for(server.url), command)
    headers = headers_of(server.requests[0])
    assert headers.pop("content-length") == str(len(request_for(command, "api-key").query))
    assert headers.pop("content-type") == "application/x-www-form-urlencoded"
    assert sorted(headers) == ["accept", "accept-encoding", "host", "user-agent"]


def test_a_resend_is_byte_identical(serve: Serve, sink_for: SinkFor) -> None:
    """Also after failures, cookies and another kind of request on the same connection."""
    rich = {
        "Set-Cookie": "session=1; Path=/",
        "ETag": '"1"',
        "Last-Modified": "Tue, 14 Nov 2023 22:14:00 GMT",
    }
    server = serve(answering(answer(503, rich), answer(200, rich), answer(200, rich)))
    sink = sink_for(server.url, max_in_flight=1)
    for command in (
        BOB,
        Command("bob", AT, "long", properties={"v": "y" * 3000}),
        BOB,
        decode(encode(BOB)),
    ):
        deliver(sink, command)
    first, _, again, decoded = server.requests
    assert first == again == decoded
    assert b"ookie" not in first


def test_a_path_in_the_url_stands_before_the_apis(
    server: MisbehavingServer, sink_for: SinkFor
) -> None:
    """A gateway may live below a path; a slash at its end is not doubled."""
    deliver(sink_for(f"{server.url}/km/"), BOB)
    assert server.targets[0].startswith("/km/e?_k=api-key&")


def test_netrc_adds_no_credentials(
    server: MisbehavingServer, sink_for: SinkFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password for that host in ~/.netrc is not for the tracking API."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login bob password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    deliver(sink_for(server.url), BOB)
    assert "authorization" not in headers_of(server.requests[0])


def test_the_processs_own_environment_is_not_read(
    server: MisbehavingServer, sink_for: SinkFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies come from the environment that was handed in, never behind its back."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert deliver(sink_for(server.url), BOB)[0].verdict is Verdict.DELIVERED


def test_a_connection_is_used_again(server: MisbehavingServer, sink_for: SinkFor) -> None:
    """Commands in a row share a connection, POSTs and rejections among them."""
    deliver(sink_for(server.url, max_in_flight=1), *AWKWARD)
    assert len(server.requests) == len(AWKWARD)
    assert server.connections == 1


def test_a_connection_that_the_server_closed_is_no_fault(serve: Serve, sink_for: SinkFor) -> None:
    """A server that ends idle connections costs a new one and nothing else."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(answer())

    server = serve(behave)
    sink = sink_for(server.url, max_in_flight=1)
    for turn in range(1, 4):
        assert deliver(sink, BOB)[0].verdict is Verdict.DELIVERED
        wait_until(partial(closed_are, server, turn))
    assert server.connections == 3


def test_a_huge_answer_is_not_read_to_its_end(serve: Serve, sink_for: SinkFor) -> None:
    """Its status counts, its connection is dropped, and the next command goes over a new one."""
    refused = []

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(answer(200, {"Content-Length": str(2**40)}, b"x" * 70_000))
        try:
            while True:
                conversation.send(b"x" * 65536)
        except OSError:
            refused.append(True)

    server = serve(behave)
    sink = sink_for(server.url, max_in_flight=1)
    assert [outcome.verdict for outcome in deliver(sink, BOB, BOB)] == [Verdict.DELIVERED] * 2
    assert server.connections == 2
    wait_until(lambda: len(refused) == 2, what="the transport dropped both connections")


def test_a_bomb_is_not_unpacked(serve: Serve, sink_for: SinkFor) -> None:
    """An encoding that nobody asked for stays packed."""
    server = serve(answering(answer(400, {"Content-Encoding": "gzip"}, b"no gzip at all")))
    assert deliver(sink_for(server.url), BOB)[0].said == "no gzip at all"


def test_an_interim_answer_never_answers_the_next_request(serve: Serve, sink_for: SinkFor) -> None:
    """After a 103, which requests takes for the answer, the real one must not be taken for the next command's."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"

    def behave(conversation: Conversation) -> None:
        first = b"poison" in (conversation.request() or b"")
        conversation.send(hints + answer(200) if first else answer(400, body=b"mine"))
        conversation.request()

    sink = sink_for(serve(behave).url, max_in_flight=1)
    poisoned, own = deliver(sink, Command("bob", AT, "poison"), BOB)
    assert poisoned.code in {"answered-103", "answered-200"}
    assert own.said == "mine"


def test_requests_and_curl_send_the_same_bytes(serve: Serve) -> None:
    """A spool may change transports half-way: apart from the order of headers, nothing differs."""
    seen = {}
    server = serve(answering(answer()))
    for name, make in TRANSPORTS.items():
        server.requests.clear()
        sink = make(TransportSettings(server.url, "api-key", max_in_flight=1), environ={})
        deliver(sink, *AWKWARD)
        sink.close()
        seen[name] = [form_of(request) for request in server.requests]
    assert seen["curl"] == seen["curl-many"] == seen["requests"]


def test_a_key_is_taken_out_of_an_answer() -> None:
    """An empty key is none, and takes nothing out."""
    assert without_key(b"key s3cret s3cret", "s3cret") == b"key *** ***"
    assert without_key(b"key", "") == b"key"


def closed_are(server: MisbehavingServer, number: int) -> bool:
    """Tell whether `number` of the server's connections have ended."""
    return server.closed == number


def headers_of(request: bytes) -> dict[str, str]:
    """Return the headers of `request`, names in lower case."""
    lines = request.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def form_of(request: bytes) -> tuple[str, str, bytes]:
    """Return request line, sorted headers and body of `request`."""
    line = request.split(b"\r\n", 1)[0].decode("ascii")
    return line, json.dumps(headers_of(request), sort_keys=True), request.partition(b"\r\n\r\n")[2]
