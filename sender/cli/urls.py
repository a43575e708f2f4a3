"""The API's URL, as an option or a variable gives it.

Owns what such a URL is, and the words where one is none. A wrong one is a wrong setting (78), not a wrong usage. What
may hold a password or a key is never shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from kmq.errors import shown

from .exits import Exit, Failure

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["DEFAULT_URL", "resolve_url", "url_fault"]

DEFAULT_URL: Final = "https://trk.kissmetrics.io"

_SCHEMES: Final = frozenset({"http", "https"})
_MAY_HIDE_A_SECRET: Final = frozenset("@?#")


def resolve_url(text: str) -> str:
    """Return the API's URL without a slash at its end, else end the command with 78.

    It is asked for by what sends, and only then: what sends nothing must not fail for it.
    """
    text = text.strip()
    fault = url_fault(text)
    if fault is not None:
        given = "" if _MAY_HIDE_A_SECRET & set(text) else f" is {shown(text)}: it"
        raise Failure(f"--url (KMQ_URL){given} {fault}, e.g. {DEFAULT_URL}", Exit.CONFIG)
    return text.rstrip("/")


def url_fault(text: str) -> str | None:
    """Return what `text` must be to be the API's URL, or None. Never shows the URL: it may hold a password.

    >>> url_fault("https://bob:secret@trk.example.com")
    'must hold no user and no password'
    >>> url_fault("http://127.0.0.1:8035")
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        return "must hold no character that no URL has"
    try:
        parts = urlsplit(text)
    except ValueError:  # a bracket that is not closed, or no IPv6 address within
        return "must name a valid host"
    return _parts_fault(parts)


def _parts_fault(parts: SplitResult) -> str | None:
    if parts.scheme not in _SCHEMES:
        return "must begin with http:// or https://"
    if "@" in parts.netloc:
        return "must hold no user and no password"
    if parts.query or parts.fragment:
        return "must hold no query and no fragment, which are kmq's to write"
    if not parts.hostname:
        return "must name a host"
    return None if _has_valid_port(parts) else "must have a port from 1 to 65535, or none"


def _has_valid_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False
