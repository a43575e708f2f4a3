"""When a partition that had nothing more to give is looked at again: in one of two rounds, whose moments all share.

Owns the pace. Knows nothing about files: each member says itself whether it stirs, by a look that concludes nothing.

Would each keep its own moments, 1,000 quiet partitions would wake the sender 4,000 times a second. And such a look
costs a tenth of a read that finds nothing, so that 1,000 of them take about 1 % of a core.

Invariant: each member is looked at within a quarter of a second, and one that had data within the last second every
20 ms; where more than a hundred had, as often as 5,000 looks a second allow.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from .partition_files import QUIET_POLL_S

if TYPE_CHECKING:
    from .partition_reader import PartitionReader

__all__ = ["ACTIVE_POLL_S", "Rounds"]

ACTIVE_POLL_S: Final = 0.02

_AT_FULL_PACE: Final = 100


class _Round:
    """Members that are looked at together, at each multiple of a number of seconds."""

    def __init__(self) -> None:
        self.members: dict[PartitionReader, None] = {}
        self.due = math.inf

    def add(self, member: PartitionReader, now: float, step_s: float) -> None:
        if not self.members:
            self.due = _tick(now, step_s)
        self.members[member] = None

    def remove(self, member: PartitionReader) -> None:
        self.members.pop(member, None)
        if not self.members:
            self.due = math.inf

    def go(self, now: float, step_s: float) -> list[PartitionReader]:
        """Look at each member, and let go of those that stir; return these."""
        stirring = [member for member in self.members if member.stirs(now)]
        self.due = _tick(now, step_s)
        for member in stirring:
            self.remove(member)
        return stirring


class Rounds:
    """The partitions that wait, each in the round of the active or in that of the quiet ones."""

    def __init__(self) -> None:
        self._active = _Round()
        self._quiet = _Round()

    def __contains__(self, member: PartitionReader) -> bool:
        """Say whether it waits here, so that nothing of it was there at the last look that was not given out."""
        return member in self._active.members or member in self._quiet.members

    def add(self, member: PartitionReader, now: float) -> None:
        """Take in a partition that was just read to its end."""
        if now < member.active_until:
            self._active.add(member, now, self._active_step_s())
        else:
            self._quiet.add(member, now, QUIET_POLL_S)

    def remove(self, member: PartitionReader) -> None:
        """Let go of a partition, if it waits here."""
        self._active.remove(member)
        self._quiet.remove(member)

    def stirring(self, now: float) -> list[PartitionReader]:
        """Look where it is time, and let go of those that may have something new; return these."""
        found = []
        if now >= self._active.due:
            found += self._active.go(now, self._active_step_s())
            for member in [other for other in self._active.members if now >= other.active_until]:
                self._active.remove(member)
                self._quiet.add(member, now, QUIET_POLL_S)
        if now >= self._quiet.due:
            found += self._quiet.go(now, QUIET_POLL_S)
        return found

    def due(self) -> float:
        """Return when it is time for the next look, infinity if nobody waits."""
        return min(self._active.due, self._quiet.due)

    def _active_step_s(self) -> float:
        crowd = len(self._active.members) / _AT_FULL_PACE
        return min(QUIET_POLL_S, ACTIVE_POLL_S * max(1.0, crowd))


def _tick(now: float, step_s: float) -> float:
    return (math.floor(now / step_s) + 1) * step_s
