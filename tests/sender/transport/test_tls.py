"""TLS: always verified, in each transport by the same certificates."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from sender.flow import Outcome, Verdict
from tests.sender.transport.helpers import BOB, certificate_directory, deliver
from tests.support.misbehaving import answer, answering

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sender.flow import Sink
    from tests.sender.transport.helpers import Identity
    from tests.support.misbehaving import Conversation, MisbehavingServer

    Serve = Callable[..., MisbehavingServer]
    SinkFor = Callable[..., Sink]

TLS = Outcome(Verdict.BLOCKED, "tls")


@pytest.fixture
def server(serve: Serve, identity: Identity) -> MisbehavingServer:
    """Return a server with a certificate of its own making."""
    return serve(answering(answer()), tls=identity.server())


def test_an_unknown_certificate_blocks(server: MisbehavingServer, sink_for: SinkFor) -> None:
    """Whoever signs for himself is not believed, and gets to see no request."""
    assert deliver(sink_for(server.url), BOB) == [TLS]
    assert not server.requests


def test_a_certificate_that_was_given_is_believed(
    server: MisbehavingServer, sink_for: SinkFor, identity: Identity
) -> None:
    """--ca-file names it, and the connection is used again."""
    sink = sink_for(server.url, ca_file=str(identity.certificate), max_in_flight=1)
    assert [outcome.verdict for outcome in deliver(sink, BOB, BOB)] == [Verdict.DELIVERED] * 2
    assert server.connections == 1


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_environment_may_name_certificates(
    server: MisbehavingServer, sink_for: SinkFor, identity: Identity, variable: str
) -> None:
    """Both of the usual variables work for both transports."""
    sink = sink_for(server.url, environ={variable: str(identity.certificate)})
    assert deliver(sink, BOB)[0].verdict is Verdict.DELIVERED


def test_a_directory_of_certificates_is_believed(
    server: MisbehavingServer, sink_for: SinkFor, identity: Identity, tmp_path: Path
) -> None:
    """REQUESTS_CA_BUNDLE may be a directory in OpenSSL's form."""
    sink = sink_for(
        server.url, environ={"REQUESTS_CA_BUNDLE": str(certificate_directory(identity, tmp_path))}
    )
    assert deliver(sink, BOB)[0].verdict is Verdict.DELIVERED


def test_a_certificate_for_another_host_blocks(
    serve: Serve, sink_for: SinkFor, stranger: Identity
) -> None:
    """Trusted, and not whom we called."""
    server = serve(answering(answer()), tls=stranger.server())
    assert deliver(sink_for(server.url, ca_file=str(stranger.certificate)), BOB) == [TLS]


def test_a_server_without_tls_blocks(serve: Serve, sink_for: SinkFor) -> None:
    """https:// where there is only http:// is a matter of settings."""

    def behave(conversation: Conversation) -> None:
        conversation.send(b"HTTP/1.1 400 This is plain HTTP\r\n\r\n")
        conversation.hang()

    server = serve(behave)
    assert deliver(sink_for(server.url.replace("http", "https")), BOB) == [TLS]


def test_a_server_without_a_common_cipher_blocks(
    serve: Serve, sink_for: SinkFor, identity: Identity
) -> None:
    """A server that cannot agree on anything does not become better by waiting."""
    context = identity.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # its key is no RSA key
    server = serve(answering(answer()), tls=context)
    assert deliver(sink_for(server.url, ca_file=str(identity.certificate)), BOB) == [TLS]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_handshake_that_breaks_off_is_retried(serve: Serve, sink_for: SinkFor, how: str) -> None:
    """A line that went away says nothing about certificates."""

    def behave(conversation: Conversation) -> None:
        conversation.receive()
        getattr(conversation, how)()

    server = serve(behave)
    outcome = deliver(sink_for(server.url.replace("http", "https")), BOB)[0]
    assert outcome == Outcome(Verdict.RETRY, "closed")


def test_a_handshake_that_hangs_is_retried(serve: Serve, sink_for: SinkFor) -> None:
    """It counts as connecting, which is bounded."""
    server = serve(lambda conversation: conversation.hang())
    outcome = deliver(sink_for(server.url.replace("http", "https"), timeout_s=0.2), BOB)[0]
    assert outcome == Outcome(Verdict.RETRY, "timeout")


def test_a_server_that_drips_under_tls_is_cut_off(
    serve: Serve, sink_for: SinkFor, identity: Identity
) -> None:
    """The bound on an exchange holds under TLS too."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.drip(b"HTTP/1.1 200 OK\r\n" + b"X-Slow: y\r\n" * 90, every_s=0.05)

    server = serve(behave, tls=identity.server())
    sink = sink_for(server.url, ca_file=str(identity.certificate), timeout_s=0.5, max_in_flight=1)
    assert deliver(sink, BOB) == [Outcome(Verdict.RETRY, "timeout")]


def test_half_an_answer_under_tls_is_retried(
    serve: Serve, sink_for: SinkFor, identity: Identity
) -> None:
    """A break without goodbye in the middle of an answer is a line that broke, not a certificate that is wrong."""

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(answer()[:-10])
        conversation.reset()

    server = serve(behave, tls=identity.server())
    sink = sink_for(server.url, ca_file=str(identity.certificate))
    assert deliver(sink, BOB) == [Outcome(Verdict.RETRY, "closed")]


def test_certificates_that_vanish_lose_nothing(
    server: MisbehavingServer,
    sink_for: SinkFor,
    identity: Identity,
    tmp_path: Path,
    transport: str,
) -> None:
    """A bundle that is removed under a running sender stops libcurl; requests goes on with what it has read of it."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(identity.certificate.read_bytes())
    sink = sink_for(server.url, ca_file=str(bundle))
    bundle.unlink()
    outcome = deliver(sink, BOB)[0]
    assert outcome == TLS or (transport == "requests" and outcome.verdict is Verdict.DELIVERED)
