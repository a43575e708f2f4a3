"""Where a segment ends and the next one begins elsewhere: a gap, or an overlap.

Owns how long reading waits there, and where lines of segments that overlap lie. Knows nothing about files.

A writer names each segment by the end of the one before. So either a segment was removed here, or another program put
a file there, and the segment before may still be appended to. Its writer looks once a second, and before it appends,
whether its segment is still the newest, and moves to another partition if not; so reading goes on across a seam, where
somebody holds the partition, only when it is twice as old.

Two segments that overlap can only be another program's work. Then no line is left out: the first is read to its end,
and what it holds beyond the next one's start lies at that start; what the next one holds below the reading position
lies at that position. Offsets only grow, and several lines can lie at one.
"""

from __future__ import annotations

import math
from typing import Final

from sender.flow import Line, Position

__all__ = ["SEAM_S", "Seam", "moved"]

SEAM_S: Final = 2.0


class Seam:
    """The seam at which reading waits, and since when."""

    def __init__(self) -> None:
        self._between = (-1, -1)
        self._since = -math.inf

    def is_old(self, before: int, behind: int, now: float) -> bool:
        """Say whether the seam between these two segments was met so long ago that no writer can be unaware of it."""
        if (before, behind) != self._between:
            self._between, self._since = (before, behind), now
        return now >= self._since + SEAM_S


def moved(line: Line, floor: int, ceiling: float) -> Line:
    """Return `line` with a position that lies between the two."""
    start = int(max(floor, min(line.position.start, ceiling)))
    end = int(max(floor, min(line.position.end, ceiling)))
    return line._replace(position=Position(line.position.partition, start, end))
