"""What a replay would send: commands by kind, event and hour, and where they lie.

Owns the count. Pure; memory is bounded however many different names there are.
"""

from __future__ import annotations

import time
from bisect import bisect_right, insort
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .filters import Filter, command_in, fold
from .heads import hint
from .source import ReplaySource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kmq.command import Command
    from sender.flow import Line

    from .source import Piece

__all__ = ["HOUR_S", "Tally", "tally"]

HOUR_S: Final = 3_600

_MAX_DIFFERENT: Final = 100_000
_LINES: Final = 2_000
_BYTES: Final = 1 << 20
_STREAM_PATIENCE_S: Final = 0.05


@dataclass(slots=True)
class Tally:
    """Counts. `events` are by folded name, `spelled` has the first spelling of each; `hours` by their first second.

    `others` counts commands whose event was one too many to keep apart, `unreadable` lines that are no command.
    `hints` say of files whose first line is none what their form is.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    spelled: dict[str, str] = field(default_factory=dict)
    others: int = 0
    hours: Counter[int] = field(default_factory=Counter)
    partitions: Counter[str] = field(default_factory=Counter)
    pieces: set[tuple[str, int]] = field(default_factory=set)
    unreadable: int = 0
    hints: dict[str, str] = field(default_factory=dict)

    @property
    def commands(self) -> int:
        """How many in all."""
        return self.kinds.total()

    def add(self, command: Command) -> None:
        """Count a command."""
        self.kinds[command.kind] += 1
        if command.name is not None:
            self._add_event(command.name)
        hour = command.time - command.time % HOUR_S
        if hour in self.hours or len(self.hours) < _MAX_DIFFERENT:
            self.hours[hour] += 1

    def _add_event(self, name: str) -> None:
        folded = fold(name)
        if folded not in self.events and len(self.events) >= _MAX_DIFFERENT:
            self.others += 1
            return
        self.events[folded] += 1
        self.spelled.setdefault(folded, name)


def tally(
    pieces: Sequence[Piece],
    wanted: Filter,
    passed: Callable[[Piece, OSError], None],
    *,
    wait: Callable[[float], None] = time.sleep,
) -> Tally:
    """Read `pieces` and count what `wanted` takes; `passed` is told of a piece that cannot be read."""
    counted = Tally()
    source = ReplaySource(pieces, passed)
    places = _Pieces(pieces)
    while not source.ended:
        lines = source.read(_LINES, _BYTES)
        for line in lines:
            _count(counted, line, wanted, places)
        if not lines and not source.ended:
            wait(_STREAM_PATIENCE_S)
    return counted


def _count(counted: Tally, line: Line, wanted: Filter, places: _Pieces) -> None:
    command = command_in(line)
    if command is None:
        _pass(counted, line)
    elif wanted.matches(command):
        counted.add(command)
        counted.partitions[line.position.partition] += 1
        counted.pieces.add(places.of(line))


def _pass(counted: Tally, line: Line) -> None:
    counted.unreadable += 1
    words = hint(line.raw) if line.position.start == 0 else None
    if words is not None:
        counted.hints[line.position.partition] = words


class _Pieces:
    """Tells from which piece a line came."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._starts: defaultdict[str, list[int]] = defaultdict(list)
        for piece in pieces:
            insort(self._starts[piece.name], piece.start)

    def of(self, line: Line) -> tuple[str, int]:
        name, start = line.position.partition, line.position.start
        starts = self._starts[name]
        return name, starts[bisect_right(starts, start) - 1]
