"""Which transport is chosen, and what choosing loads."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Literal

import pytest

from kmq.errors import InvalidSetting
from sender.transport import TransportSettings, make_sink
from sender.transport.choose import resolve
from sender.transport.multi import MultiSink
from sender.transport.pooled import PooledSink

if TYPE_CHECKING:
    from sender.flow import Sink
    from tests.sender.transport.helpers import Identity

SETTINGS = TransportSettings("http://127.0.0.1:9", "k", max_in_flight=1)


def kind_of(name: Literal["auto", "requests", "curl"]) -> type[Sink]:
    """Return the class of the transport called `name`."""
    sink = make_sink(name, SETTINGS)
    sink.close()
    return type(sink)


@pytest.fixture
def without_pycurl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pycurl impossible to import."""
    monkeypatch.setitem(sys.modules, "pycurl", None)
    for name in ("multi", "sockets", "transfer"):
        monkeypatch.delitem(sys.modules, f"sender.transport.{name}")


def test_a_transport_is_chosen_by_name() -> None:
    """`auto` takes curl where it is there."""
    assert kind_of("requests") is PooledSink
    assert kind_of("curl") is MultiSink
    assert kind_of("auto") is MultiSink


@pytest.mark.usefixtures("without_pycurl")
def test_auto_is_requests_where_there_is_no_curl() -> None:
    """Without its extra kmq sends all the same."""
    assert kind_of("auto") is PooledSink


def test_what_auto_means_can_be_asked() -> None:
    """The log and the status name what is used, not what was asked for."""
    assert resolve("auto") == "curl"
    assert (resolve("curl"), resolve("requests")) == ("curl", "requests")


@pytest.mark.usefixtures("without_pycurl")
def test_what_auto_means_without_curl_can_be_asked() -> None:
    """It is requests, and a name stays what it is."""
    assert resolve("auto") == "requests"
    assert resolve("curl") == "curl"


@pytest.mark.usefixtures("without_pycurl")
def test_curl_by_name_must_be_there() -> None:
    """Who asks for curl is told how to get it."""
    with pytest.raises(
        InvalidSetting, match=r"--transport \(KMQ_TRANSPORT\).*pip install 'kmq\[curl\]'"
    ):
        make_sink("curl", SETTINGS)


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        (None, []),
        ("requests", ["certifi", "requests", "ssl"]),
        ("curl", ["pycurl"]),
        ("auto", ["pycurl"]),
    ],
)
def test_only_the_chosen_library_is_loaded(
    name: str | None, loaded: list[str], identity: Identity
) -> None:
    """Importing the package loads neither; and beside libcurl, which has its own, Python's TLS is not loaded."""
    settings = f'"https://127.0.0.1:9", "k", ca_file={str(identity.certificate)!r}'
    program = f"""
import sys
from sender.transport import TransportSettings, make_sink
if {name!r}:
    make_sink({name!r}, TransportSettings({settings})).close()
print([name for name in ("certifi", "pycurl", "requests", "ssl") if name in sys.modules])
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout.strip() == str(loaded)
