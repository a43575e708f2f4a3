"""Sends rejected commands again: what is delivered leaves the list, nothing else does.

Owns how often each is tried and when there is no use in going on. Knows nothing about files or HTTP: it stands between
a store of rejected commands and a sink.

Invariant: a command leaves the list only after the API has taken it. Whenever this ends, also by an exception, those
that it has taken are off the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from kmq.command import Command, Unreadable, decode
from sender.api import delay_s
from sender.flow import Delivery, Outcome, Sink, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .rejection import Rejection
    from .store import RejectedStore

__all__ = ["Resend", "Tally", "command_of"]

_TRIES: Final = 3
_WINDOW: Final = 32
_BATCH: Final = 100  # that leave the list together: one sync, and at most so many are sent once more after a crash
_PATIENCE_S: Final = 1.0


@dataclass(slots=True)
class Tally:
    """What came of it, in commands. `answered` says whether the API answered anything at all."""

    delivered: int = 0
    stayed: int = 0
    unsendable: int = 0
    untried: int = 0
    answered: bool = False

    @property
    def undone(self) -> int:
        """How many are still on the list."""
        return self.stayed + self.unsendable + self.untried


@dataclass(slots=True)
class _Try:
    rejection: Rejection
    command: Command
    failures: int = 0
    due: float = 0.0


def command_of(rejection: Rejection) -> Command | None:
    """Return the command that was rejected, or None if it cannot be sent.

    A torn line is none, even if it happens to parse: without its newline no call ever acknowledged it.
    """
    if rejection.reason == "torn" or not rejection.is_whole:
        return None
    try:
        return decode(rejection.raw)
    except Unreadable:
        return None


class Resend:
    """Sends what it is given through `sink` and takes off `store` what was delivered.

    `monotonic` and `wait` are in seconds, `random` gives numbers in [0, 1), `stays` is told of each command that stays,
    with what came of it, or None where it cannot be sent at all.
    """

    def __init__(  # noqa: PLR0913 - the two seams it stands between, and what is handed in to be testable
        self,
        sink: Sink,
        store: RejectedStore,
        *,
        monotonic: Callable[[], float],
        wait: Callable[[float], None],
        random: Callable[[], float],
        stays: Callable[[Rejection, Outcome | None], None],
    ) -> None:
        self._sink = sink
        self._store = store
        self._monotonic = monotonic
        self._wait = wait
        self._random = random
        self._stays = stays
        self._tally = Tally()
        self._tickets = 0
        self._waiting: list[_Try] = []
        self._in_flight: dict[int, _Try] = {}
        self._delivered: list[str] = []
        self._useless = False

    def run(self, rejections: Iterable[Rejection]) -> Tally:
        """Send each, up to three times; end early when the API is not there or refuses the settings.

        Raises `SpoolError` where what was delivered cannot be taken off the list; sending that again does no harm.
        """
        source = self._sendable(rejections)
        try:
            while self._take_in(source):
                self._exchange()
        finally:
            self._take_off()
        self._tally.untried = sum(1 for _ in source)
        return self._tally

    def _sendable(self, rejections: Iterable[Rejection]) -> Iterator[_Try]:
        for rejection in rejections:
            command = command_of(rejection)
            if command is not None:
                yield _Try(rejection, command)
                continue
            self._tally.unsendable += 1
            self._stays(rejection, None)

    def _take_in(self, source: Iterator[_Try]) -> bool:
        room = _WINDOW - len(self._waiting) - len(self._in_flight)
        self._waiting.extend(islice(source, 0 if self._useless else room))
        return bool(self._waiting or self._in_flight)

    def _exchange(self) -> None:
        now = self._monotonic()
        due = [one for one in self._waiting if one.due <= now]
        self._waiting = [one for one in self._waiting if one.due > now]
        next_due_s = min((one.due - now for one in self._waiting), default=_PATIENCE_S)
        if not due and not self._in_flight:
            self._wait(next_due_s)
            return
        deliveries = [self._delivery(one) for one in due]
        for ticket, outcome in self._sink.exchange(deliveries, min(next_due_s, _PATIENCE_S)):
            self._judge(self._in_flight.pop(ticket), outcome)

    def _delivery(self, one: _Try) -> Delivery:
        self._tickets += 1
        self._in_flight[self._tickets] = one
        return Delivery(self._tickets, one.command)

    def _judge(self, one: _Try, outcome: Outcome) -> None:
        delivered = outcome.verdict is Verdict.DELIVERED
        self._tally.answered |= delivered or outcome.code.startswith("answered-")
        if delivered:
            self._deliver(one)
        elif outcome.verdict is Verdict.RETRY and one.failures + 1 < _TRIES:
            self._put_off(one, outcome)
        else:
            self._leave(one, outcome)

    def _deliver(self, one: _Try) -> None:
        self._tally.delivered += 1
        self._delivered.append(one.rejection.id)
        if len(self._delivered) >= _BATCH:
            self._take_off()

    def _take_off(self) -> None:
        self._store.leave(self._delivered, "delivered")
        self._delivered.clear()

    def _put_off(self, one: _Try, outcome: Outcome) -> None:
        one.failures += 1
        delay = max(delay_s(one.failures, self._random()), outcome.retry_after_s or 0.0)
        one.due = self._monotonic() + delay
        self._waiting.append(one)

    def _leave(self, one: _Try, outcome: Outcome) -> None:
        self._tally.stayed += 1
        self._stays(one.rejection, outcome)
        if outcome.verdict is Verdict.BLOCKED or not self._tally.answered:
            self._useless = True  # the others would meet the same: wrong settings, or nobody there
