"""The collector, as the show drives it: what has arrived, and how it is to answer.

Owns the few requests to its JSON API. Knows nothing about the show. Speaks with this machine alone, past any proxy.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["StandIn", "port_in"]

_TIMEOUT_S: Final = 10.0
_LISTENS: Final = re.compile(r"^collector listens on http://127\.0\.0\.1:([0-9]+)$", re.MULTILINE)
_OK: Final = 200


def port_in(said: str) -> int | None:
    """Return the port that a collector says it listens on, None if it has not said so yet.

    >>> port_in("collector listens on http://127.0.0.1:41217")
    41217
    """
    match = _LISTENS.search(said)
    return None if match is None else int(match[1])


class StandIn:
    """The collector on a port of 127.0.0.1. Each method raises OSError when it does not answer."""

    def __init__(self, port: int) -> None:
        self._port = port

    @property
    def url(self) -> str:
        """What the sender is given for an API."""
        return f"http://127.0.0.1:{self._port}"

    def total(self) -> int:
        """Return how many requests have arrived."""
        return int(self._asked("GET", "/api/summary")["total"])

    def arrivals(self) -> list[dict[str, Any]]:
        """Return all requests that have arrived, oldest first."""
        return list(self._asked("GET", "/api/requests")["requests"])

    def answer(self, form: Mapping[str, object]) -> None:
        """Answer as `form` says from now on; as the API does where it is empty."""
        self._asked("POST", "/api/answer", json.dumps(form))

    def _asked(self, method: str, target: str, body: str | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request(method, target, body, {"X-KMQ": "1"})
            answer = connection.getresponse()
            text = answer.read()
        if answer.status != _OK:
            raise OSError(f"the collector answers {answer.status} to {target}")
        value: dict[str, Any] = json.loads(text)
        return value
