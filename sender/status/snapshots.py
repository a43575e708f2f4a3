"""From the sender's own figures to the snapshot that it writes for others to see.

Owns the translation, and the rate of each partition. Knows nothing about the file: `status` does.
"""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from kmq import __version__
from kmq.clock import CLOCK, Clock
from kmq.spool import segment_path, segment_starts
from sender import status
from sender.advice import advice_for
from sender.dispatcher import GateState
from sender.dispatcher.figures import Rate

from .snapshot import Behind, Blocked, LastError, Latency, Snapshot, State, Totals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kmq.spool import Spool
    from sender.dispatcher import Dispatcher
    from sender.flow import Line

__all__ = ["Snapshots"]

_HALF, _NEARLY_ALL = 0.5, 0.99
_USUAL_LINE: Final = 100.0
_SAID_AGAIN_S: Final = 5.0
"""A snapshot says this often that the sender runs, half of the time after which it counts as stale."""
_EACH: Final = 16


class Snapshots:
    """Takes snapshots of one sender, which sends to `url` through `transport`."""

    def __init__(self, spool: Spool, url: str, transport: str, *, clock: Clock = CLOCK) -> None:
        self._spool = spool
        self._url = url
        self._transport = transport
        self._clock = clock
        self._started = clock.wall()
        self._behind = Behind(clock.wall, self._modified)
        self._ends: dict[str, int] = {}
        self._grown: dict[str, Rate] = {}
        self._said: Snapshot | None = None
        self._lines_read = 0
        self._bytes_read = 0

    def read(self, lines: Iterable[Line]) -> None:
        """Take in lines that were read: their mean length tells how many are in so many bytes. Some of them do."""
        for line in islice(lines, None, None, _EACH):
            self._lines_read += 1
            self._bytes_read += line.position.end - line.position.start

    def commands_in(self, n_bytes: float) -> float:
        """Return about how many commands so many bytes of the spool hold."""
        mean = self._bytes_read / self._lines_read if self._lines_read else _USUAL_LINE
        return n_bytes / mean

    def take(
        self,
        dispatcher: Dispatcher,
        marks: Mapping[str, int],
        ends: Mapping[str, int],
        ended: str | None = None,
    ) -> Snapshot:
        """Return the sender as it is now, given the low-water mark and the end of every partition."""
        now = self._clock.monotonic()
        figures = dispatcher.figures
        self._grow(ends, now)
        rates_in = self._rates(now)
        return Snapshot(
            at=self._clock.wall(),
            pid=os.getpid(),
            started=self._started,
            version=__version__,
            url=self._url,
            transport=self._transport,
            state=_state(dispatcher, ended, flows=figures.out.per_second(now) > 0),
            in_flight=dispatcher.in_flight,
            totals=Totals(
                figures.delivered, figures.retried, figures.rejected.total(), self._started
            ),
            rate=status.Rate(sum(rates_in.values()), figures.out.per_second(now), figures.window_s),
            latency=Latency(figures.latency(_HALF), figures.latency(_NEARLY_ALL)),
            blocked=self._blocked(dispatcher, now),
            last_error=_last_error(dispatcher),
            behind=self._behind.look(marks, ends),
            rates_in=rates_in,
            ended=ended,
        )

    def is_news(self, snapshot: Snapshot) -> bool:
        """Say whether `snapshot` is to be written: it says what the last one that was does not, or that one is old.

        To give a file's name to another one makes a file system write it out at once: a fifth of what an idle sender
        costs.
        """
        said = self._said
        if (
            said is not None
            and abs(snapshot.at - said.at) < _SAID_AGAIN_S
            and replace(snapshot, at=said.at) == said
        ):
            return False
        self._said = snapshot
        return True

    def _blocked(self, dispatcher: Dispatcher, now: float) -> Blocked | None:
        gate = dispatcher.gate
        if gate.state is not GateState.BLOCKED or gate.cause is None:
            return None
        advice = advice_for(gate.cause)
        return Blocked(
            since=self._clock.wall() - (now - gate.since),
            status=gate.cause.status,
            reason=advice.reason,
            advice=advice.mend,
            next_probe_s=max(0.0, gate.next_try_at() - now),
        )

    def _grow(self, ends: Mapping[str, int], now: float) -> None:
        for name, end in ends.items():
            grown = end - self._ends.get(name, end)
            if grown > 0:
                self._grown.setdefault(name, Rate()).add(grown, now)
        self._ends = dict(ends)

    def _rates(self, now: float) -> dict[str, float]:
        self._grown = {name: rate for name, rate in self._grown.items() if not rate.idle(now)}
        rates = {name: rate.per_second(now) for name, rate in self._grown.items()}
        return {name: self.commands_in(rate) for name, rate in rates.items() if rate}

    def _modified(self, partition: str) -> float | None:
        path = self._spool.partition(partition)
        try:
            return os.lstat(segment_path(path, segment_starts(path)[0])).st_mtime
        except (OSError, IndexError):
            return None


def _state(dispatcher: Dispatcher, ended: str | None, *, flows: bool) -> State:
    if ended is not None:
        return "STOPPED"
    if dispatcher.gate.state is GateState.BLOCKED:
        return "BLOCKED"
    if dispatcher.gate.state is GateState.RETRYING:
        return "RETRYING"
    return "SENDING" if dispatcher.waiting or flows else "IDLE"


def _last_error(dispatcher: Dispatcher) -> LastError | None:
    error = dispatcher.figures.last_error
    if error is None:
        return None
    message = (
        f"{error.status} from the API" if error.status else f"no answer from the API ({error.code})"
    )
    return LastError(error.at, error.code, error.status, message)
