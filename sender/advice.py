"""What an outcome that blocks means to the person who must mend it. Pure words; knows nothing about logs or tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .flow import Outcome

__all__ = ["Advice", "advice_for"]


@dataclass(frozen=True, slots=True)
class Advice:
    """Why nothing can be delivered, and how to mend it."""

    reason: str
    mend: str


_KEY: Final = Advice(
    "the API key is refused",
    "put the right key into /etc/kmq/api-key (or where the sender has it from), then restart the sender",
)
_URL: Final = Advice(
    "this URL is not the tracking API", "correct --url (KMQ_URL), then restart the sender"
)
_BY_CODE: Final = {
    "tls": Advice(
        "its certificate is not trusted, or TLS fails",
        "check the host's clock, or name the bundle with --ca-file",
    ),
    "web-page": Advice(
        "a web page answers in its place: a proxy or captive portal",
        "log in there, or set HTTPS_PROXY",
    ),
}
_BY_STATUS: Final = {
    401: _KEY,
    403: _KEY,
    404: _URL,
    407: Advice(
        "the proxy asks for a login",
        "put user and password into HTTPS_PROXY, then restart the sender",
    ),
}


def advice_for(outcome: Outcome) -> Advice:
    """Return the reason behind `outcome`, and the way out."""
    if outcome.code in _BY_CODE:
        return _BY_CODE[outcome.code]
    status = outcome.status or 0
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
        return Advice(
            "the API redirects",
            "give the final address with --url (KMQ_URL), then restart the sender",
        )
    return Advice(
        f"the API refuses everything (last {outcome.code})",
        "look at one refused command: kmq-sender rejected list",
    )
