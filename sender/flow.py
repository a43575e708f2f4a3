"""What flows through the sender, and its two seams.

A *source* gives lines with their positions; a *sink* takes commands and reports outcomes. Whatever
can read stands on the one side (the spool, files for a replay, a stream), whatever can deliver on
the other (the API through requests or curl, a stream). This module owns those shapes and does
nothing. What there is one of for each event is a named tuple: as frozen dataclasses these took as long as all of the
dispatcher.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kmq.command import Command

__all__ = ["Delivery", "Event", "Line", "Outcome", "Position", "Sink", "Source", "Verdict"]


class Position(NamedTuple):
    """Where a line was read: bytes `start` up to `end` of a partition, its newline included.

    A position says nothing about delivery. What was committed is an offset of the checkpoint,
    another type.
    """

    partition: str
    start: int
    end: int


class Line(NamedTuple):
    """One line as it stands in a segment, its newline stripped.

    `fault` is set where the line can be no command whatever it says: `torn` (it has no newline and
    never will) or `too-long` (`raw` is then its head only).
    """

    position: Position
    raw: bytes
    fault: str | None = None


class Source(Protocol):
    """Gives lines, in order within a partition."""

    def read(self, max_lines: int, max_bytes: int) -> list[Line]:
        """Return what is there now, at most so much; never waits."""
        ...


class Verdict(enum.Enum):
    """What an answer means for a command."""

    DELIVERED = "delivered"
    RETRY = "retry later"
    REJECTED = "rejected"
    BLOCKED = "blocked"


class Outcome(NamedTuple):
    """What came of handing a command to a sink.

    `code` is stable and free of data (`answered-503`, `timeout`, `tls`). `retry_after_s` are the
    seconds that the API asked for, already capped. `said` is the head of the answer's body, for
    what is rejected.
    """

    verdict: Verdict
    code: str
    status: int | None = None
    retry_after_s: float | None = None
    said: str = ""


class Delivery(NamedTuple):
    """A command on its way, under a ticket by which its outcome comes back."""

    ticket: int
    command: Command


class Sink(Protocol):
    """Takes commands, reports outcomes, in any order."""

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Take `deliveries`, wait at most `wait_s` seconds for the first outcomes, return those that came.

        A network fault is an outcome, never an exception. With nothing in flight it returns at
        once.
        """
        ...

    def close(self) -> None:
        """Let go of connections; what is still in flight is not reported any more."""
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """A fact worth a log line and a count: a stable code, where, and what a person needs to know of it."""

    code: str
    partition: str | None = None
    offset: int | None = None
    detail: str = ""
