"""What a transport is told: where to send, under which key, how patiently.

Owns the values and their checks; knows nothing about HTTP libraries. A `TransportSettings` that exists can be used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

from kmq.errors import InvalidSetting, shown

__all__ = ["MAX_BODY", "TransportSettings"]

MAX_BODY: Final = 65_536
"""Bytes of an answer's body that are read so that its connection can be used again; past it the connection goes."""

_WHOLE_FACTOR: Final = 3

_URL_RULE: Final = "http:// or https:// with a host in ASCII, without user, query or fragment"


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """How to reach the API. Raises `InvalidSetting` for what cannot work.

    `timeout_s` bounds connecting and each wait for bytes; `whole_s` bounds an exchange in all, so that a server that
    drips cannot hold a place for ever. A connection unused for `idle_s` is not used again: what lies between may
    have forgotten it. `key` stays out of the repr.

    >>> TransportSettings("https://trk.kissmetrics.io", "secret").whole_s
    60.0
    """

    url: str
    key: str = field(repr=False)
    timeout_s: float = 20.0
    ca_file: str | None = None
    max_in_flight: int = 32
    user_agent: str = "kmq-sender"
    idle_s: float = 60.0

    def __post_init__(self) -> None:
        _check_url(self.url)
        if not self.timeout_s > 0:
            raise InvalidSetting(
                "--timeout (KMQ_TIMEOUT)", str(self.timeout_s), "more than 0 seconds"
            )
        if self.max_in_flight < 1:
            raise InvalidSetting(
                "--max-in-flight (KMQ_MAX_IN_FLIGHT)", str(self.max_in_flight), "1 or more"
            )

    @property
    def base(self) -> str:
        """The URL that a path is appended to, without a slash at its end."""
        return self.url.rstrip("/")

    @property
    def whole_s(self) -> float:
        """Seconds for one exchange from handing over to the last byte, connecting included."""
        return _WHOLE_FACTOR * self.timeout_s


def _check_url(url: str) -> None:
    parts = _split(url)
    if parts is None or not _is_usable(url, parts):
        # What stands before an @ is a password: the text of an error goes to a log.
        given = "a URL with a user in it" if "@" in url else shown(url).strip("'")
        raise InvalidSetting("--url (KMQ_URL)", given, _URL_RULE)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - reading it checks it: raises ValueError for a port that is none
    except ValueError:
        return None
    return parts


def _is_usable(url: str, parts: SplitResult) -> bool:
    plain = url.isascii() and url.isprintable() and " " not in url
    bare = "@" not in parts.netloc and not {"?", "#"} & set(url)
    return plain and bare and parts.scheme in {"http", "https"} and bool(parts.hostname)
