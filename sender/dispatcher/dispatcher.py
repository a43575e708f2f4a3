"""The dispatcher: from lines that were read to commands that are done, over one sink.

Owns the window of what is in flight, the fate of each command, and the low-water mark of each
partition. Knows nothing about where lines come from, how a sink delivers, or how a checkpoint is
written; the daemon and the replay both drive it.

Invariant: a command counts as done only when it was delivered, or stands in `rejected/`; the
low-water mark of a partition never passes one that is not.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from kmq.clock import CLOCK, Clock
from kmq.command import Unreadable, decode, salvage
from sender.api import delay_s
from sender.flow import Delivery, Verdict

from .congestion import Congestion
from .entry import Entry, Trouble
from .figures import Figures, LastError
from .gate import Gate, GateState
from .lanes import Lanes
from .pace import Pace
from .refusals import FAULTS, Refusals
from .track import Tracks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kmq.command import Command
    from sender.flow import Line, Outcome, Sink
    from sender.rejected import New

__all__ = ["Dispatcher", "Window"]

# Half a second of sending. A line that waits takes 430 bytes beside its own, in a heap with holes about a kilobyte; one
# person's flood is in nobody's way as long as what comes behind it is among these.
_READ_AHEAD_LINES: Final = 5_000
_READ_AHEAD_BYTES: Final = 4 << 20
_STUCK_FAILURES: Final = 50
_STUCK_S: Final = 3_600.0
_TOO_MANY: Final = 429
_TOO_MUCH: Final = frozenset({"answered-429", "answered-503", "timeout"})

_PERSON: Final = b'{"_p":"'
_BACKSLASH: Final = ord("\\")


@dataclass(frozen=True, slots=True)
class Window:
    """How much may be under way: commands in flight, and requests a second (None: no limit)."""

    max_in_flight: int = 32
    rate: float | None = None


class Dispatcher:
    """Sends what it is offered through `sink`, and hands what can never be delivered to `keep`.

    `keep` raises OSError when it cannot write; the commands then wait, and are handed to it again a
    second later.
    """

    def __init__(
        self,
        sink: Sink,
        keep: Callable[[Sequence[New]], object],
        *,
        window: Window,
        random: Callable[[], float],
        clock: Clock = CLOCK,
    ) -> None:
        self.figures = Figures()
        self.gate = Gate(random)
        self._sink = sink
        self._random = random
        self._clock = clock
        self._tickets = itertools.count(1)
        self._tracks = Tracks()
        self._lanes = Lanes()
        self._refusals = Refusals(keep)
        self._in_flight: dict[int, Entry] = {}
        self._congestion = Congestion(window.max_in_flight)
        self._pace = None if window.rate is None else Pace(window.rate)

    @property
    def in_flight(self) -> int:
        """Commands that were handed to the sink and not answered yet."""
        return len(self._in_flight)

    @property
    def window(self) -> int:
        """Commands that may be in flight now: the cap, or fewer where the server has too much."""
        return self._congestion.window

    @property
    def waiting(self) -> int:
        """Commands that were read and are not done, those in flight among them."""
        return self._tracks.waiting_lines

    @property
    def keep_error(self) -> OSError | None:
        """Why what was rejected could not be kept, for as long as it cannot."""
        return self._refusals.error

    def room(self) -> tuple[int, int]:
        """Return how many lines and bytes more may be read ahead, over all partitions."""
        return max(0, _READ_AHEAD_LINES - self._tracks.waiting_lines), max(
            0, _READ_AHEAD_BYTES - self._tracks.waiting_bytes
        )

    def hungry(self, partition: str) -> bool:
        """Say whether nothing of `partition` is waiting: it may read on whatever the others hold."""
        return partition not in self._tracks

    def crowded(self) -> set[str]:
        """Return the partitions of which too much lies beyond the low-water mark for reading on."""
        return self._tracks.crowded()

    def low_water(self) -> dict[str, int]:
        """Return, for each partition with something not done, the offset below which everything is."""
        return self._tracks.low_water()

    def beyond(self) -> int:
        """Return how many commands are done and lie beyond a low-water mark: they would be sent again after a crash."""
        return self._tracks.done_beyond()

    def offer(self, lines: Iterable[Line]) -> None:
        """Take in lines, in the order in which they stand in their partitions."""
        for line in lines:
            self._take_in(line)

    def turn(self, wait_s: float) -> int:
        """Send what may go, wait at most `wait_s` seconds for answers, settle those that came; return how many did."""
        answers = self._sink.exchange(self._chosen(), wait_s)
        if answers:
            self._settle(answers, self._clock.monotonic())
        if self._refusals:
            self._keep_refusals()
        return len(answers)

    def next_due_s(self) -> float | None:
        """Return the seconds until something can be sent or kept; None if only news can change that."""
        now = self._clock.monotonic()
        moments = [self._refusals.due] if self._refusals else []
        moments.extend(self._next_send(now))
        return max(0.0, min(moments) - now) if moments else None

    def stop(self) -> None:
        """Send nothing more, except what lies below something that was sent already.

        Answers come in any order, and the checkpoint is a low-water mark: without these few, what
        was delivered beyond one that was not sent would be sent again after the next start.
        """
        reached = self._tracks.last_touched(self._in_flight)
        self._lanes.cut(
            self._in_flight.values(), lambda entry: entry.start <= reached[entry.track.partition]
        )

    def settled(self) -> bool:
        """Say, after `stop`, whether there is nothing left to wait for."""
        return not self._in_flight and (not self._lanes or self.gate.state is not GateState.OPEN)

    def _next_send(self, now: float) -> list[float]:
        if len(self._in_flight) >= self._congestion.window:
            return []
        due = self._lanes.next_due(now)
        if due is None or (not self._is_open() and self._in_flight):
            return []
        paced = 0.0 if self._pace is None else self._pace.due()
        return [max(paced, self.gate.next_try_at(), due if self._is_open() else now)]

    def _is_open(self) -> bool:
        return self.gate.state is GateState.OPEN

    # Taking in

    def _take_in(self, line: Line) -> None:
        (partition, start, end), raw, fault = line
        entry = self._tracks.enter(next(self._tickets), partition, start, end, raw)
        if fault is not None:
            self._refusals.add(entry, fault, FAULTS[fault])
        elif not raw:
            # An empty line says nothing, and keeping it would cost 250 times its size.
            self.figures.events["blank-line"] += 1
            self._tracks.end_part(entry)
        elif (person := _person_at_head(raw)) is not None:
            entry.person = person
            self._lanes.add(entry)
        else:
            self._look_into(entry)

    def _look_into(self, entry: Entry) -> None:
        try:
            entry.person = decode(entry.raw).person.encode()
        except Unreadable as unreadable:
            self._take_in_unreadable(entry, unreadable)
        else:
            self._lanes.add(entry)

    def _take_in_unreadable(self, entry: Entry, unreadable: Unreadable) -> None:
        intact = salvage(entry.raw)
        if intact is None:
            self._refusals.add(entry, unreadable.code, unreadable.rule)
            return
        # What stands before the intact command is kept; both must end before the mark may pass the line.
        entry.open_parts = 2
        self._refusals.add_head(entry, entry.raw[:intact])
        self._tracks.cut_off(entry, intact)
        self._look_into(entry)

    # Sending

    def _chosen(self) -> list[Delivery]:
        now, in_flight, window = self._clock.monotonic(), self._in_flight, self.gate.window
        self._lanes.wake(now)
        chosen: list[Delivery] = []
        following = self._lanes.pop if self._is_open() else partial(self._probe, now)
        room = self._room_in_flight(now)
        while len(chosen) < room and (entry := following()) is not None:
            command = self._command_of(entry)
            if command is not None:
                entry.window, entry.sent_at = window, now
                in_flight[entry.ticket] = entry
                chosen.append(tuple.__new__(Delivery, (entry.ticket, command)))
        if self._pace is not None:
            self._pace.sent(now, len(chosen))
        return chosen

    def _room_in_flight(self, now: float) -> int:
        room = self._congestion.window - len(self._in_flight)
        return room if self._pace is None else min(room, self._pace.allowed(now))

    def _probe(self, now: float) -> Entry | None:
        return self._lanes.pop_one_that(
            lambda entry: self.gate.may_send(entry.ticket, now, len(self._in_flight)),
            early=now >= self.gate.next_try_at(),
        )

    def _command_of(self, entry: Entry) -> Command | None:
        try:
            command = decode(entry.raw)
        except Unreadable as unreadable:
            self._lanes.leave(entry)
            self._refusals.add(entry, unreadable.code, unreadable.rule)
            return None
        entry.own_key = command.key is not None
        return command

    # Settling

    def _settle(self, answers: Sequence[tuple[int, Outcome]], now: float) -> None:
        figures, gate, delivered_before = self.figures, self.gate, self.figures.delivered
        full, last_sent_at = len(self._in_flight) >= self._congestion.window, -inf
        for ticket, outcome in answers:
            entry = self._in_flight.pop(ticket)
            if outcome.status is not None:
                figures.latencies.append(now - entry.sent_at)
            if outcome.verdict is Verdict.DELIVERED:
                last_sent_at = max(last_sent_at, entry.sent_at)
                if gate.calm:
                    self._deliver(entry)
                    continue
            self._judge(entry, outcome, now)
        self._congestion.answered(len(answers), now - last_sent_at, now, full=full)
        if figures.delivered > delivered_before:
            figures.out.add(figures.delivered - delivered_before, now)

    def _deliver(self, entry: Entry) -> None:
        self.figures.delivered += 1
        self._lanes.leave(entry)
        self._tracks.end_part(entry)

    def _judge(self, entry: Entry, outcome: Outcome, now: float) -> None:
        outage = not self._is_open() and self.gate.met_by_all()
        if self._is_open() and outcome.code in _TOO_MUCH:  # closed, the gate has its own pace
            self._congestion.told(now, certain=outcome.status == _TOO_MANY)
        verdict = self.gate.judge(entry, outcome, now, len(self._in_flight))
        if verdict is Verdict.DELIVERED:
            self._deliver(entry)
            if outage:
                self._lanes.hasten()
            return
        self.figures.last_error = LastError(self._clock.wall(), outcome.code, outcome.status)
        if verdict is Verdict.REJECTED:
            self._refuse(entry, outcome, outcome.code, "the API refused it for what it says")
        else:
            self._try_again(entry, outcome, now)

    def _try_again(self, entry: Entry, outcome: Outcome, now: float) -> None:
        self.figures.retried += 1
        delivered = self.figures.delivered
        trouble = entry.trouble
        if trouble is None:
            trouble = entry.trouble = Trouble(now, delivered)
        else:
            trouble.again(delivered)
        if trouble.failures_beside_deliveries >= _STUCK_FAILURES and (
            now - trouble.first_failed_at >= _STUCK_S
        ):
            rule = f"it failed {trouble.tries} times while others were delivered"
            self._refuse(entry, outcome, "stuck", rule)
            return
        wait_s = max(delay_s(trouble.tries, self._random()), outcome.retry_after_s or 0.0)
        self._lanes.back(entry, now + wait_s)

    def _refuse(self, entry: Entry, outcome: Outcome, reason: str, rule: str) -> None:
        self._lanes.leave(entry)
        self._refusals.add(entry, reason, rule, outcome)

    def _keep_refusals(self) -> None:
        for entry, new in self._refusals.kept(self._clock.monotonic()):
            self.figures.rejected[new.reason] += 1
            self._tracks.end_part(entry)


def _person_at_head(raw: bytes) -> bytes | None:
    """Return the person of a line that begins as kmq begins it, without reading the rest; else None.

    What follows is read, and judged, when it is to be sent: to read all of it twice took a third of the time of an
    event, and a command takes four times the memory of its line. Of a line with an escape in the person, or with a
    zero (an intact command may stand behind it), this says nothing.
    """
    if not raw.startswith(_PERSON) or 0 in raw:
        return None
    person = raw[len(_PERSON) : raw.find(b'"', len(_PERSON))]
    return None if _BACKSLASH in person else person
