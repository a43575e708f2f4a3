"""The way to the API: which proxy and which certificates the environment and the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import certifi
import pytest

from kmq.errors import InvalidSetting
from sender.transport.route import Route, bypasses, find_route
from sender.transport.settings import TransportSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.sender.transport.helpers import Identity


def route(
    environ: Mapping[str, str], url: str = "https://trk.kissmetrics.io", ca_file: str | None = None
) -> Route:
    """Return the route to `url`."""
    return find_route(TransportSettings(url, "k", ca_file=ca_file), environ)


def test_without_any_word_the_way_is_direct() -> None:
    """No proxy, and the certificates of certifi."""
    assert route({}) == Route(None, certifi.where())


def test_the_proxy_is_that_of_the_scheme() -> None:
    """HTTPS_PROXY is for https, HTTP_PROXY for http."""
    environ = {"HTTPS_PROXY": "http://a:1", "HTTP_PROXY": "http://b:2", "ALL_PROXY": "socks5://c:3"}
    assert route(environ).proxy == "http://a:1"
    assert route(environ, "http://127.0.0.1:8035").proxy == "http://b:2"


def test_lower_case_wins() -> None:
    """As everywhere where both are known."""
    assert route({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"}).proxy == "http://a:1"


def test_an_empty_variable_is_none() -> None:
    """A variable is often emptied to switch it off."""
    assert route({"https_proxy": "", "HTTPS_PROXY": "http://b:2"}).proxy == "http://b:2"
    assert route({"HTTPS_PROXY": "", "REQUESTS_CA_BUNDLE": "", "SSL_CERT_FILE": ""}) == route({})


def test_a_proxy_without_a_scheme_is_http() -> None:
    """HOST:PORT is how many write it."""
    assert route({"HTTPS_PROXY": "proxy.example:3128"}).proxy == "http://proxy.example:3128"


def test_a_visitors_header_names_no_proxy() -> None:
    """Under CGI, HTTP_PROXY is what a visitor sent as `Proxy:`."""
    environ = {"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}
    assert route(environ, "http://127.0.0.1:8035").proxy is None


@pytest.mark.parametrize(
    "proxy",
    ["socks5://bob:secret@a:1", "http://bob:secret@a:port", "http://", "http://[bob:secret@a"],
)
def test_a_proxy_that_cannot_work_is_refused(proxy: str) -> None:
    """The error names the variable, what is allowed, and no password."""
    with pytest.raises(InvalidSetting, match=r"HTTPS_PROXY .*http://HOST:PORT") as caught:
        route({"HTTPS_PROXY": proxy})
    assert "secret" not in str(caught.value)


def test_a_proxys_password_stands_in_no_repr() -> None:
    """A route that lands in a log tells nothing."""
    assert "secret" not in repr(route({"HTTPS_PROXY": "http://bob:secret@a:1"}))


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("", False),
        (",", False),
        ("*", True),
        ("trk.kissmetrics.io", True),
        ("TRK.Kissmetrics.IO", True),
        ("kissmetrics.io", True),
        (".kissmetrics.io", True),
        ("*.kissmetrics.io", True),
        ("metrics.io", False),
        ("localhost 127.0.0.1,.io", True),
        ("trk.kissmetrics.io:443", True),
        ("trk.kissmetrics.io:80", False),
        ("10.0.0.0/8", False),
    ],
)
def test_no_proxy_matches_names(no_proxy: str, direct: bool) -> None:  # noqa: FBT001 - a table's column
    """Names, suffixes, ports, and a star for all."""
    assert bypasses("trk.kissmetrics.io", 443, no_proxy) is direct


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.9/24", True),
        ("::1", "[::1]", True),
        ("::1", "::/64", True),
        ("::1", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_matches_networks(host: str, no_proxy: str, direct: bool) -> None:  # noqa: FBT001 - a table's column
    """An address may be named by its network."""
    assert bypasses(host, None, no_proxy) is direct


def test_certificates_are_looked_for_in_order(identity: Identity) -> None:
    """--ca-file, then REQUESTS_CA_BUNDLE, then SSL_CERT_FILE."""
    mine, other = str(identity.certificate), certifi.where()
    assert route({"REQUESTS_CA_BUNDLE": other, "SSL_CERT_FILE": other}, ca_file=mine).ca == mine
    assert route({"REQUESTS_CA_BUNDLE": mine, "SSL_CERT_FILE": other}).ca == mine
    assert route({"SSL_CERT_FILE": mine}).ca == mine


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"no certificate at all",
        b"-----BEGIN CERTIFICATE-----\nMAA",
        b"-----BEGIN CERTIFICATE-----\nMAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
    ],
)
def test_certificates_that_cannot_be_read_are_refused(
    tmp_path: Path, content: bytes | None
) -> None:
    """Before anything is sent, with the name of the setting."""
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(InvalidSetting, match=r"--ca-file \(KMQ_CA_FILE\) .*bundle\.pem.*PEM"):
        route({}, ca_file=str(bundle))
    with pytest.raises(InvalidSetting, match="SSL_CERT_FILE"):
        route({"SSL_CERT_FILE": str(bundle)})


def test_certificates_that_nobody_needs_are_not_read() -> None:
    """A plain collector is reached whatever SSL_CERT_FILE says; unless the proxy speaks TLS."""
    environ = {"SSL_CERT_FILE": "/nowhere/at/all.pem"}
    assert route(environ, "http://127.0.0.1:8035").proxy is None
    with pytest.raises(InvalidSetting):
        route({**environ, "HTTP_PROXY": "https://proxy:1"}, "http://127.0.0.1:8035")


def test_a_directory_of_certificates_may_be_empty(tmp_path: Path) -> None:
    """It is filled by others, also later."""
    found = route({"REQUESTS_CA_BUNDLE": str(tmp_path)})
    assert (found.ca, found.ca_is_directory) == (str(tmp_path), True)
