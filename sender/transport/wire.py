"""What both transports put on the wire alike, and what neither may keep of an answer.

Owns the headers; knows nothing about HTTP libraries. It is what makes the
transports interchangeable in the middle of a spool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .settings import TransportSettings

__all__ = ["ACCEPT", "ENCODING", "FORM_TYPE", "headers_of", "without_key"]

ACCEPT: Final = "*/*"
ENCODING: Final = "identity"
"""An answer is an image of 43 bytes, and one that unpacks to gigabytes is nobody's wish."""

FORM_TYPE: Final = "application/x-www-form-urlencoded"


def headers_of(settings: TransportSettings, method: str) -> dict[str, str]:
    """Return the headers of a request, as far as they are not the library's own (Host, Content-Length)."""
    headers = {"User-Agent": settings.user_agent, "Accept": ACCEPT, "Accept-Encoding": ENCODING}
    if method == "POST":
        headers["Content-Type"] = FORM_TYPE
    return headers


def without_key(head: bytes, key: str) -> bytes:
    """Return the head of an answer's body without the key, which an error page may quote.

    >>> without_key(b"no product has the key s3cret", "s3cret")
    b'no product has the key ***'
    """
    return head.replace(key.encode(), b"***") if key else head
