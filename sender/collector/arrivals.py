"""The requests that came: the newest ones whole, all of them counted.

Owns what the collector remembers, numbered from 1 in the order of arrival. Bounded twice, by a number of requests
and by the bytes of their text; what is pushed out is still counted, and a reader who asks for what came since a
number learns how many of those are gone. Knows nothing about HTTP servers or answers; it is told them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from sender.tracking import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_KEPT_BYTES", "Answer", "Arrival", "Arrivals", "Wanted"]

MAX_KEPT_BYTES: Final = 64 << 20
"""Bytes (characters, in fact) of raw text kept, whatever the number of requests."""

Answer = int | Literal["drop"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it came, and how it was answered.

    `at` is in seconds since the epoch. `raw` is the query of a GET and the body of a POST, as on the wire (bytes that
    are no UTF-8 as lone surrogates). `bad` is the code of the rule that it breaks. A request that was answered with a
    failure, or not at all, has arrived all the same: `answer` tells it from the others.
    """

    seq: int
    at: float
    method: str
    path: str
    params: Mapping[str, str]
    raw: str
    answer: Answer
    bad: str | None

    def form(self) -> dict[str, object]:
        """Return it as the JSON API and the file of `--log` show it."""
        return {
            "seq": self.seq,
            "at": self.at,
            "method": self.method,
            "path": self.path,
            "params": self.params,
            "raw": self.raw,
            "answer": self.answer,
            "bad": self.bad,
        }


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests are asked for; None stands for all.

    `person` finds both sides of an alias; `event` goes without regard to case, as KISSmetrics' own names do.
    """

    kind: str | None = None
    person: str | None = None
    event: str | None = None
    bad: bool | None = None

    def fits(self, arrival: Arrival) -> bool:
        """Return whether `arrival` is one of them."""
        return (
            (self.kind is None or KINDS[arrival.path] == self.kind)
            and (self.person is None or self.person in _persons(arrival))
            and (self.event is None or self.event.casefold() == _event(arrival))
            and (self.bad is None or self.bad == (arrival.bad is not None))
        )


class Arrivals:
    """The newest `keep` requests, and the counts of all since the start or the last reset."""

    def __init__(self, keep: int, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._keep = keep
        self._max_bytes = max_bytes
        self._arrivals: deque[Arrival] = deque()
        self._bytes = 0
        self._last = 0
        self._reset_at = 0
        self._bad = 0

    def next_number(self) -> int:
        """Return the number of the request that comes next."""
        return self._last + 1

    def add(self, arrival: Arrival) -> None:
        """Keep `arrival`, whose number is `next_number()`, and push out the oldest ones if need be."""
        self._last = arrival.seq
        self._bad += arrival.bad is not None
        self._arrivals.append(arrival)
        self._bytes += len(arrival.raw)
        while self._arrivals and (
            len(self._arrivals) > self._keep or self._bytes > self._max_bytes
        ):
            self._bytes -= len(self._arrivals.popleft().raw)

    def reset(self) -> None:
        """Forget all; the counts start at 0 again, the numbers go on."""
        self._arrivals.clear()
        self._bytes = 0
        self._bad = 0
        self._reset_at = self._last

    def summary(self) -> dict[str, object]:
        """Return the counts of all requests, those included that were pushed out."""
        total = self._last - self._reset_at
        return {"total": total, "good": total - self._bad, "bad": self._bad, "warnings": {}}

    def since(self, number: int, wanted: Wanted) -> dict[str, object]:
        """Return what came after `number` and is `wanted`, oldest first.

        `next` is what to ask with the next time. `dropped` is how many came after `number` and were pushed out before
        they were asked for, wanted or not; what a reset forgot is not counted.
        """
        oldest = self._last - len(self._arrivals) + 1
        later = islice(self._arrivals, max(0, number - oldest + 1), None)
        return {
            "requests": [arrival.form() for arrival in later if wanted.fits(arrival)],
            "next": self._last,
            "dropped": max(0, oldest - 1 - max(number, self._reset_at)),
        }


def _persons(arrival: Arrival) -> tuple[str | None, ...]:
    params = arrival.params
    return (params.get("_p"), params.get("_n")) if arrival.path == "/a" else (params.get("_p"),)


def _event(arrival: Arrival) -> str | None:
    return arrival.params.get("_n", "").casefold() if arrival.path == "/e" else None
