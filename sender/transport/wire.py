"""What both transports put on the wire alike, and what neither may keep of an answer.

Owns the headers and the joining of URL and request; knows nothing about HTTP libraries. It is what makes the
transports interchangeable in the middle of a spool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sender.api import Request

    from .settings import TransportSettings

__all__ = ["ACCEPT", "ENCODING", "FORM_TYPE", "headers_of", "url_of", "without_key"]

ACCEPT: Final = "*/*"
ENCODING: Final = "identity"
"""An answer is an image of 43 bytes, and one that unpacks to gigabytes is nobody's wish."""

FORM_TYPE: Final = "application/x-www-form-urlencoded"


def headers_of(settings: TransportSettings, request: Request) -> dict[str, str]:
    """Return the headers of `request`, as far as they are not the library's own (Host, Content-Length)."""
    headers = {"User-Agent": settings.user_agent, "Accept": ACCEPT, "Accept-Encoding": ENCODING}
    if request.method == "POST":
        headers["Content-Type"] = FORM_TYPE
    return headers


def url_of(settings: TransportSettings, request: Request) -> str:
    """Return the URL that `request` goes to: with its query if it is a GET."""
    url = f"{settings.base}{request.path}"
    return f"{url}?{request.query}" if request.method == "GET" else url


def without_key(head: bytes, key: str) -> bytes:
    """Return the head of an answer's body without the key, which an error page may quote.

    >>> without_key(b"no product has the key s3cret", "s3cret")
    b'no product has the key ***'
    """
    return head.replace(key.encode(), b"***") if key else head
