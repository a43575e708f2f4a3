"""The way to the API: through which proxy, and whose certificates are believed.

Owns the reading of `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, `REQUESTS_CA_BUNDLE` and `SSL_CERT_FILE`, once for all
transports, since requests and libcurl each read them in their own way. Knows nothing about either. A proxy's
URL, which may hold a password, stands in no error.
"""

from __future__ import annotations

import binascii
import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from kmq.errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .settings import TransportSettings

__all__ = ["CA_RULE", "Route", "bypasses", "find_route", "speaks_tls"]

_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
CA_RULE: Final = "a readable file of PEM certificates"
_PEM: Final = re.compile(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.+?)-----END (?:TRUSTED |X509 )?CERTIFICATE-----",
    re.DOTALL,
)
_SEQUENCE: Final = b"\x30"
"""With which a certificate begins in DER."""


@dataclass(frozen=True, slots=True)
class Route:
    """`proxy` is a URL or None; `ca` is a PEM file, or a directory of them as OpenSSL wants it."""

    proxy: str | None = field(repr=False)
    ca: str

    @property
    def ca_is_directory(self) -> bool:
        """Whether `ca` is a directory of certificates."""
        return os.path.isdir(self.ca)


def find_route(settings: TransportSettings, environ: Mapping[str, str]) -> Route:
    """Return the way to `settings.url`; raise `InvalidSetting` for a proxy or certificates that cannot work."""
    proxy = _proxy(settings.url, environ)
    return Route(proxy, _certificates(settings, environ, checked=speaks_tls(settings.url, proxy)))


def speaks_tls(url: str, proxy: str | None) -> bool:
    """Tell whether the way to `url` needs certificates, at its end or at the proxy's."""
    return "https://" in f"{url} {proxy}".lower()


def _proxy(url: str, environ: Mapping[str, str]) -> str | None:
    parts = urlsplit(url)
    name = f"{parts.scheme}_proxy"
    # A CGI script's HTTP_PROXY is the visitor's `Proxy:` header.
    upper = (
        ""
        if name == "http_proxy" and "REQUEST_METHOD" in environ
        else environ.get(name.upper(), "")
    )
    proxy = environ.get(name, "") or upper
    no_proxy = environ.get("no_proxy", "") or environ.get("NO_PROXY", "")
    if not proxy or bypasses(parts.hostname or "", parts.port, no_proxy):
        return None
    return _checked_proxy(proxy if "://" in proxy else f"http://{proxy}", name.upper())


def _checked_proxy(proxy: str, variable: str) -> str:
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InvalidSetting(
            variable, "a proxy (not shown)", "http://HOST:PORT or https://HOST:PORT"
        )
    return proxy


def bypasses(host: str, port: int | None, no_proxy: str) -> bool:
    """Tell whether the list `no_proxy` wants `host` reached directly: names, `.suffixes`, `host:port`, networks, `*`.

    >>> bypasses("trk.kissmetrics.io", None, "localhost, .kissmetrics.io"), bypasses("10.1.2.3", 80, "10.0.0.0/8")
    (True, True)
    """
    return any(
        _matches(host.lower(), port, entry) for entry in no_proxy.lower().replace(",", " ").split()
    )


def _matches(host: str, port: int | None, entry: str) -> bool:
    name = entry.removeprefix("*").removeprefix(".")
    if not name:
        return entry == "*"
    return f".{host}".endswith(f".{name}") or name == f"{host}:{port}" or _in_network(host, name)


def _in_network(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False


def _certificates(settings: TransportSettings, environ: Mapping[str, str], *, checked: bool) -> str:
    given = {
        "--ca-file (KMQ_CA_FILE)": settings.ca_file,
        **{name: environ.get(name) for name in _CA_VARIABLES},
    }
    for source, path in given.items():
        if path:
            if checked:
                _check_certificates(source, path)
            return path
    import certifi  # noqa: PLC0415 - a megabyte and 8 ms for whoever names certificates of his own

    return certifi.where()


def _check_certificates(source: str, path: str) -> None:
    # Not through `ssl`: beside libcurl, which brings its own OpenSSL, that is four megabytes more.
    try:
        if os.path.isdir(path) or _holds_a_certificate(Path(path).read_bytes()):
            return
    except OSError as error:
        raise InvalidSetting(source, path, CA_RULE) from error
    raise InvalidSetting(source, path, CA_RULE)


def _holds_a_certificate(pem: bytes) -> bool:
    r"""Tell whether `pem` holds a certificate that can be decoded; what it certifies is for TLS to see.

    >>> _holds_a_certificate(b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
    True
    """
    try:
        return any(binascii.a2b_base64(each).startswith(_SEQUENCE) for each in _PEM.findall(pem))
    except binascii.Error:
        return False
