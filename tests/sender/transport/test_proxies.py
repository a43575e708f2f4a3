"""Proxies: named by the environment, the same for each transport, and never the judge of a command."""

from __future__ import annotations

import gc
import socket
from typing import TYPE_CHECKING

import pytest

from sender.flow import Outcome, Verdict
from tests.sender.transport.helpers import BOB, deliver
from tests.support.misbehaving import answer, answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender.flow import Sink
    from tests.sender.transport.helpers import Identity
    from tests.support.misbehaving import Conversation, MisbehavingServer

    Serve = Callable[..., MisbehavingServer]
    SinkFor = Callable[..., Sink]

TUNNEL = b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n"


def test_a_plain_request_goes_through_the_proxy(serve: Serve, sink_for: SinkFor) -> None:
    """The proxy gets the whole URL; the host need not even have an address here."""
    proxy = serve(answering(answer()))
    sink = sink_for("http://api.invalid:8035", environ={"HTTP_PROXY": proxy.url})
    assert deliver(sink, BOB)[0].verdict is Verdict.DELIVERED
    assert proxy.targets == [
        "http://api.invalid:8035/e?_k=api-key&_p=bob&_n=Signed+Up&gender=male&_t=1262304000&_d=1",
    ]


def test_a_proxy_may_want_a_password(serve: Serve, sink_for: SinkFor) -> None:
    """User and password in the proxy's URL go to the proxy."""
    proxy = serve(answering(answer()))
    with_user = proxy.url.replace("//", "//bob:secret@")
    deliver(sink_for("http://api.invalid", environ={"http_proxy": with_user}), BOB)
    assert b"Proxy-Authorization: Basic Ym9iOnNlY3JldA==" in proxy.requests[0]


def test_no_proxy_names_what_is_reached_directly(serve: Serve, sink_for: SinkFor) -> None:
    """NO_PROXY wins over HTTP_PROXY."""
    server, proxy = serve(answering(answer())), serve(answering(answer()))
    sink = sink_for(server.url, environ={"HTTP_PROXY": proxy.url, "NO_PROXY": "127.0.0.0/8"})
    assert deliver(sink, BOB)[0].verdict is Verdict.DELIVERED
    assert (server.connections, proxy.connections) == (1, 0)


def test_a_proxy_that_wants_a_login_blocks(serve: Serve, sink_for: SinkFor) -> None:
    """407 is about the settings."""
    proxy = serve(answering(answer(407)))
    sink = sink_for("http://api.invalid", environ={"HTTP_PROXY": proxy.url})
    assert deliver(sink, BOB) == [Outcome(Verdict.BLOCKED, "answered-407", 407)]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (407, Outcome(Verdict.BLOCKED, "proxy-refused", 407)),
        (403, Outcome(Verdict.BLOCKED, "proxy-refused", 403)),
        (400, Outcome(Verdict.BLOCKED, "proxy-refused", 400)),
        (502, Outcome(Verdict.RETRY, "proxy-failed", 502)),
    ],
)
def test_a_proxy_that_gives_no_tunnel_judges_no_command(
    serve: Serve, sink_for: SinkFor, status: int, outcome: Outcome
) -> None:
    """Whatever it answers to CONNECT, it has not seen the command, so that nothing is rejected."""
    proxy = serve(answering(answer(status)))
    assert deliver(sink_for("https://api.invalid", environ={"HTTPS_PROXY": proxy.url}), BOB) == [
        outcome
    ]
    assert proxy.targets == ["api.invalid:443"]


def test_a_request_under_tls_goes_through_a_tunnel(
    serve: Serve, sink_for: SinkFor, identity: Identity
) -> None:
    """The proxy sees the host's name, and of the rest nothing; the tunnel is used again."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(TUNNEL)
        conversation.start_tls(identity.server())
        answering(answer())(conversation)

    proxy = serve(behave)
    sink = sink_for(
        "https://localhost:1",
        environ={"HTTPS_PROXY": proxy.url},
        ca_file=str(identity.certificate),
        max_in_flight=1,
    )
    assert [outcome.verdict for outcome in deliver(sink, BOB, BOB)] == [Verdict.DELIVERED] * 2
    assert [target.partition("?")[0] for target in proxy.targets] == ["localhost:1", "/e", "/e"]


def test_a_tunnel_to_the_wrong_server_blocks(
    serve: Serve, sink_for: SinkFor, identity: Identity
) -> None:
    """A proxy that looks into TLS is not believed without its certificate."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(TUNNEL)
        conversation.start_tls(identity.server())
        conversation.hang()

    sink = sink_for("https://localhost:1", environ={"HTTPS_PROXY": serve(behave).url})
    assert deliver(sink, BOB) == [Outcome(Verdict.BLOCKED, "tls")]


def test_a_rejection_through_a_tunnel_is_the_apis(
    serve: Serve, sink_for: SinkFor, identity: Identity
) -> None:
    """Once the tunnel stands, it is the API that answers."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(TUNNEL)
        conversation.start_tls(identity.server())
        answering(answer(400, body=b"wrong"))(conversation)

    environ = {"HTTPS_PROXY": serve(behave).url}
    sink = sink_for("https://localhost:1", environ=environ, ca_file=str(identity.certificate))
    assert deliver(sink, BOB) == [Outcome(Verdict.REJECTED, "answered-400", 400, said="wrong")]


@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
def test_a_proxy_that_drips_is_cut_off(serve: Serve, sink_for: SinkFor) -> None:
    """The bound on an exchange holds for the way to the tunnel too."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.drip(b"HTTP/1.1 200 OK\r\n" + b"X-Slow: y\r\n" * 90, every_s=0.05)

    sink = sink_for(
        "https://api.invalid", environ={"HTTPS_PROXY": serve(behave).url}, timeout_s=0.4
    )
    assert deliver(sink, BOB) == [Outcome(Verdict.RETRY, "timeout")]
    # CPython does not close a socket that it cannot wrap since the other side is gone. It is to go in this test.
    gc.collect()


def test_a_proxy_that_is_away_is_retried(sink_for: SinkFor) -> None:
    """It may come back."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    sink = sink_for("http://api.invalid", environ={"HTTP_PROXY": f"127.0.0.1:{port}"})
    assert deliver(sink, BOB) == [Outcome(Verdict.RETRY, "refused")]


def test_a_proxy_without_an_address_is_retried(sink_for: SinkFor) -> None:
    """Its name server may come back too."""
    sink = sink_for("https://api.invalid", environ={"HTTPS_PROXY": "http://proxy.invalid:3128"})
    assert deliver(sink, BOB) == [Outcome(Verdict.RETRY, "no-address")]
