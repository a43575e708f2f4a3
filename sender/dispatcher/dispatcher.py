"""The dispatcher: from lines that were read to commands that are done, over one sink.

Owns the window of what is in flight, the fate of each command, and the low-water mark of each
partition. Knows nothing about where lines come from, how a sink delivers, or how a checkpoint is
written; the daemon and the replay both drive it.

Invariant: a command counts as done only when it was delivered, or stands in `rejected/`; the
low-water mark of a partition never passes one that is not.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kmq.clock import CLOCK, Clock
from kmq.command import Unreadable, decode, salvage
from sender.api import delay_s
from sender.flow import Delivery, Line, Outcome, Sink, Verdict
from sender.rejected import New

from .figures import Figures, LastError
from .gate import Gate, GateState, Sent
from .lanes import Entry, Lanes
from .track import Track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kmq.command import Command

__all__ = ["Dispatcher", "Window"]

MAX_BEYOND: Final = 100_000
"""Commands of one partition beyond its low-water mark, at most: what one that hangs may make the sender send twice."""

_READ_AHEAD_LINES: Final = 20_000
_READ_AHEAD_BYTES: Final = 16 << 20
_STUCK_FAILURES: Final = 50
_STUCK_S: Final = 3_600.0
_KEEP_AGAIN_S: Final = 1.0
_BURST_S: Final = 0.02
_NO_PERSON: Final = ""

_FAULTS: Final = {
    "torn": "the line has no newline: its write never ended, and no call was told that it did",
    "too-long": "a line has at most 65,536 bytes",
}


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
        self.keep_error: OSError | None = None
        """Why what was rejected could not be kept, for as long as it cannot."""
        self._sink = sink
        self._keep = keep
        self._window = window
        self._random = random
        self._clock = clock
        self._tickets = itertools.count(1)
        self._tracks: defaultdict[str, Track] = defaultdict(Track)
        self._lanes = Lanes()
        self._in_flight: dict[int, Entry] = {}
        self._to_keep: list[tuple[Entry, New]] = []
        self._keep_again_at = 0.0
        self._waiting_lines = 0
        self._waiting_bytes = 0
        self._next_request_at = 0.0

    @property
    def in_flight(self) -> int:
        """Commands that were handed to the sink and not answered yet."""
        return len(self._in_flight)

    @property
    def waiting(self) -> int:
        """Commands that were read and are not done, those in flight among them."""
        return self._waiting_lines

    def room(self) -> tuple[int, int]:
        """Return how many lines and bytes more may be read ahead, over all partitions."""
        return max(0, _READ_AHEAD_LINES - self._waiting_lines), max(
            0, _READ_AHEAD_BYTES - self._waiting_bytes
        )

    def hungry(self, partition: str) -> bool:
        """Say whether nothing of `partition` is waiting: it may read on whatever the others hold."""
        return partition not in self._tracks or self._tracks[partition].open == 0

    def crowded(self) -> set[str]:
        """Return the partitions of which too much lies beyond the low-water mark for reading on."""
        return {name for name, track in self._tracks.items() if len(track) >= MAX_BEYOND}

    def low_water(self) -> dict[str, int]:
        """Return, for each partition with something not done, the offset below which everything is."""
        marks = {name: track.low_water() for name, track in self._tracks.items()}
        for name, mark in marks.items():
            if mark is None:
                del self._tracks[name]
        return {name: mark for name, mark in marks.items() if mark is not None}

    def beyond(self) -> int:
        """Return how many commands are done and lie beyond a low-water mark: they would be sent again after a crash."""
        return sum(track.done_beyond() for track in self._tracks.values())

    def offer(self, lines: Iterable[Line]) -> None:
        """Take in lines, in the order in which they stand in their partitions."""
        for line in lines:
            self._take_in(line)

    def turn(self, wait_s: float) -> int:
        """Send what may go, wait at most `wait_s` seconds for answers, settle those that came; return how many did."""
        answers = self._sink.exchange(self._chosen(), wait_s)
        for ticket, outcome in answers:
            self._settle(self._in_flight.pop(ticket), outcome)
        self._keep_rejected()
        return len(answers)

    def next_due_s(self) -> float | None:
        """Return the seconds until something can be sent or kept; None if only news can change that."""
        now = self._clock.monotonic()
        moments = [self._keep_again_at] if self._to_keep else []
        moments.extend(self._next_send(now))
        return max(0.0, min(moments) - now) if moments else None

    def stop(self) -> None:
        """Send nothing more, except what lies below something that was sent already.

        Answers come in any order, and the checkpoint is a low-water mark: without these few, what
        was delivered beyond one that was not sent would be sent again after the next start.
        """
        reached = {
            name: track.last_touched(self._in_flight) for name, track in self._tracks.items()
        }
        self._lanes.cut(lambda entry: entry.position.start <= reached[entry.position.partition])

    def settled(self) -> bool:
        """Say, after `stop`, whether there is nothing left to wait for."""
        return not self._in_flight and (not self._lanes or self.gate.state is not GateState.OPEN)

    def _next_send(self, now: float) -> list[float]:
        if len(self._in_flight) >= self._window.max_in_flight:
            return []
        due = self._lanes.next_due(now)
        if self.gate.state is not GateState.OPEN and (self._in_flight or due is None):
            return []
        return (
            []
            if due is None
            else [
                max(self._next_request_at, self.gate.next_try_at(), due if self._is_open() else now)
            ]
        )

    def _is_open(self) -> bool:
        return self.gate.state is GateState.OPEN

    def _take_in(self, line: Line) -> None:
        entry = Entry(next(self._tickets), line.position, line.raw, _NO_PERSON)
        self._tracks[line.position.partition].add(entry)
        self._waiting_lines += 1
        self._waiting_bytes += len(line.raw)
        if not line.raw and line.fault is None:
            # An empty line says nothing, and keeping it would cost 250 times its size.
            self.figures.events["blank-line"] += 1
            self._end_part(entry)
            return
        if line.fault is not None:
            self._reject(entry, line.fault, _FAULTS[line.fault])
            return
        try:
            self._take_in_command(entry, decode(line.raw))
        except Unreadable as unreadable:
            self._take_in_unreadable(entry, unreadable)

    def _take_in_command(self, entry: Entry, command: Command) -> None:
        entry.person, entry.own_key = command.person, command.key is not None
        self._lanes.add(entry)

    def _take_in_unreadable(self, entry: Entry, unreadable: Unreadable) -> None:
        intact = salvage(entry.raw)
        if intact is None:
            self._reject(entry, unreadable.code, unreadable.rule)
            return
        # What stands before the intact command is kept; both must end before the mark may pass the line.
        entry.open_parts = 2
        self._reject_head(entry, entry.raw[:intact])
        entry.raw, entry.cut_off = entry.raw[intact:], intact
        self._waiting_bytes -= intact
        self._take_in_command(entry, decode(entry.raw))

    def _chosen(self) -> list[Delivery]:
        now = self._clock.monotonic()
        chosen: list[Delivery] = []
        while (entry := self._next(now)) is not None:
            entry.window, entry.sent_at = self.gate.window, now
            self._in_flight[entry.ticket] = entry
            chosen.append(Delivery(entry.ticket, decode(entry.raw)))
        return chosen

    def _next(self, now: float) -> Entry | None:
        if len(self._in_flight) >= self._window.max_in_flight or now < self._next_request_at:
            return None
        entry = self._lanes.pop(
            now,
            lambda entry: self.gate.may_send(entry.ticket, now, len(self._in_flight)),
            early=not self._is_open() and now >= self.gate.next_try_at(),
        )
        if entry is not None and self._window.rate is not None:
            self._next_request_at = (
                max(self._next_request_at, now - _BURST_S) + 1 / self._window.rate
            )
        return entry

    def _settle(self, entry: Entry, outcome: Outcome) -> None:
        now = self._clock.monotonic()
        outage = not self._is_open() and self.gate.met_by_all()
        sent = Sent(entry.ticket, entry.person, entry.window, entry.own_key)
        verdict = self.gate.judge(sent, outcome, now, len(self._in_flight))
        if outcome.status is not None:
            self.figures.answered(now - entry.sent_at)
        if verdict is Verdict.DELIVERED:
            self._deliver(entry, now)
            if outage:
                self._lanes.hasten()
            return
        self.figures.last_error = LastError(self._clock.wall(), outcome.code, outcome.status)
        if verdict is Verdict.REJECTED:
            self._lanes.leave(entry)
            self._reject(
                entry, outcome.code, "the API refused it for what it says", outcome=outcome
            )
        else:
            self._try_again(entry, outcome, now)

    def _deliver(self, entry: Entry, now: float) -> None:
        self.figures.delivered += 1
        self.figures.out.add(1, now)
        self._lanes.leave(entry)
        self._end_part(entry)

    def _try_again(self, entry: Entry, outcome: Outcome, now: float) -> None:
        self.figures.retried += 1
        if entry.tries == 0:
            entry.first_failed_at = now
        elif self.figures.delivered > entry.deliveries_seen:
            entry.failures_beside_deliveries += 1
        entry.tries += 1
        entry.deliveries_seen = self.figures.delivered
        if (
            entry.failures_beside_deliveries >= _STUCK_FAILURES
            and now - entry.first_failed_at >= _STUCK_S
        ):
            self._lanes.leave(entry)
            self._reject(
                entry,
                "stuck",
                f"it failed {entry.tries} times while others were delivered",
                outcome=outcome,
            )
            return
        entry.due = now + max(delay_s(entry.tries, self._random()), outcome.retry_after_s or 0.0)
        self._lanes.back(entry)

    def _reject(
        self, entry: Entry, reason: str, rule: str, *, outcome: Outcome | None = None
    ) -> None:
        position = entry.position
        partition, offset, end = _place(entry, position.start + entry.cut_off, position.end)
        new = New(
            reason,
            entry.raw,
            rule=rule,
            partition=partition,
            offset=offset,
            end=end,
            status=outcome.status if outcome else None,
            said=outcome.said if outcome else "",
            size=position.end - position.start if reason == "too-long" else None,
        )
        self._to_keep.append((entry, new))

    def _reject_head(self, entry: Entry, head: bytes) -> None:
        start = entry.position.start
        partition, offset, end = _place(entry, start, start + len(head))
        new = New(
            "zeros",
            head,
            rule="a block of zeros, as a power cut leaves it, and what stood before it",
            partition=partition,
            offset=offset,
            end=end,
        )
        self._to_keep.append((entry, new))

    def _keep_rejected(self) -> None:
        if not self._to_keep or self._clock.monotonic() < self._keep_again_at:
            return
        try:
            self._keep([new for _, new in self._to_keep])
        except OSError as error:
            self.keep_error = error
            self._keep_again_at = self._clock.monotonic() + _KEEP_AGAIN_S
            return
        self.keep_error = None
        kept, self._to_keep = self._to_keep, []
        for entry, new in kept:
            self.figures.rejected[new.reason] += 1
            self._end_part(entry)

    def _end_part(self, entry: Entry) -> None:
        entry.open_parts -= 1
        if entry.done:
            self._waiting_lines -= 1
            self._waiting_bytes -= len(entry.raw)
            entry.raw = b""
            self._tracks[entry.position.partition].open -= 1


def _place(entry: Entry, offset: int, end: int) -> tuple[str | None, int | None, int | None]:
    # A place is listed once. Lines of segments that overlap can lie at one offset, with too few bytes between its start
    # and end, and the second would be taken for the first: such a line has no place of its own.
    if entry.position.end - entry.position.start < entry.cut_off + len(entry.raw):
        return (None, None, None)
    return (entry.position.partition, offset, end)
