"""What a transport is told, and what it refuses to be told."""

from __future__ import annotations

import pytest

from kmq.errors import InvalidSetting
from sender.transport.settings import TransportSettings

URL = "https://trk.kissmetrics.io"


def test_the_defaults_are_those_of_the_contract() -> None:
    """20 s, 32 in flight; an exchange as a whole has three times its timeout."""
    settings = TransportSettings(URL, "k")
    assert (settings.timeout_s, settings.max_in_flight, settings.whole_s) == (20.0, 32, 60.0)


def test_the_key_stands_in_no_repr() -> None:
    """Settings that land in a log tell nothing."""
    assert "s3cret" not in repr(TransportSettings(URL, "s3cret"))


@pytest.mark.parametrize(
    "url", [URL, "http://127.0.0.1:8035", "http://[::1]:8035", "HTTP://h/km", "https://h:65535/"]
)
def test_a_url_may_have_a_port_and_a_path(url: str) -> None:
    """The API, a collector, a gateway below a path."""
    assert TransportSettings(url, "k").base == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "trk.kissmetrics.io",
        "ftp://trk.kissmetrics.io",
        "https://",
        "https:///e",
        "https://h:port",
        "https://h:65536",
        "https://[::1",
        "https://h?x=1",
        "https://h?",
        "https://h#x",
        "https://h /x",
        "https://h\n",
        "https://b\u00fccher.example",
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    """The error names the option, the variable, and what is allowed."""
    with pytest.raises(
        InvalidSetting, match=r"--url \(KMQ_URL\) is .* http:// or https:// with a host"
    ):
        TransportSettings(url, "k")


def test_a_url_with_a_password_is_refused_unseen() -> None:
    """The password does not land in the log by way of the error."""
    with pytest.raises(InvalidSetting, match="a URL with a user in it") as caught:
        TransportSettings("https://bob:s3cret@h", "k")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
def test_a_timeout_is_a_time(timeout_s: float) -> None:
    """None at all would wait for ever."""
    with pytest.raises(InvalidSetting, match="KMQ_TIMEOUT"):
        TransportSettings(URL, "k", timeout_s=timeout_s)


def test_something_must_be_in_flight() -> None:
    """With nothing in flight nothing would ever be sent."""
    with pytest.raises(InvalidSetting, match="KMQ_MAX_IN_FLIGHT"):
        TransportSettings(URL, "k", max_in_flight=0)
