"""Both transports, and what they meet: servers that misbehave, certificates made for the occasion."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from sender.transport.settings import TransportSettings
from tests.sender.transport.helpers import TRANSPORTS, Identity, make_identity
from tests.support.misbehaving import MisbehavingServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sender.flow import Sink
    from tests.support.misbehaving import Conversation


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Return a certificate for 127.0.0.1."""
    return make_identity(tmp_path_factory.mktemp("tls"), "127.0.0.1", "localhost")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """Return a certificate for a host that no server here is."""
    return make_identity(tmp_path_factory.mktemp("tls"), "elsewhere.example")


@pytest.fixture
def serve() -> Iterator[Callable[..., MisbehavingServer]]:
    """Return a function that starts a server with a behaviour; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(behave: Callable[[Conversation], None], **options: Any) -> MisbehavingServer:  # noqa: ANN401 - handed through
            return stack.enter_context(MisbehavingServer(behave, **options))

        yield start


@pytest.fixture(params=sorted(TRANSPORTS))
def transport(request: pytest.FixtureRequest) -> str:
    """Name the transport of this run of the test."""
    return str(request.param)


@pytest.fixture
def sink_for(transport: str) -> Iterator[Callable[..., Sink]]:
    """Return a function that makes a sink of the transport, in an empty environment, and closes it at the end."""
    with contextlib.ExitStack() as stack:

        def make(
            url: str,
            *,
            environ: dict[str, str] | None = None,
            wall: float = 0.0,
            **settings: Any,  # noqa: ANN401 - handed through
        ) -> Sink:
            told = TransportSettings(
                url, settings.pop("key", "api-key"), **{"timeout_s": 10.0, **settings}
            )
            sink = TRANSPORTS[transport](told, environ=environ or {}, wall=lambda: wall)
            stack.callback(sink.close)
            return sink

        yield make
