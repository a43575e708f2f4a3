"""Which delivered segments may go, in which order, and when the clock may be asked. Pure.

Owns the rules of retention: age by the files' own time, bytes in all, oldest first. Knows nothing about directories,
and takes what is delivered from the offsets handed in.

Invariant: a segment is named only if it lies whole below its partition's offset and all before it in that partition
are named too; the newest one only if it ends exactly there, since more may have been appended to it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["AT_ONCE", "ClockWatch", "Limits", "SegmentFile", "expired", "limits"]

_MAX_DISAGREEMENT_S: Final = 60.0
_SETTLING_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment as it was listed: `start` and `size` in bytes, `modified` in seconds since the epoch.

    `newest` says that it is the last one of its partition. Of a partition that someone holds, the newest one is not
    to be handed to `expired`.
    """

    partition: str
    start: int
    size: int
    modified: float
    newest: bool

    @property
    def end(self) -> int:
        """The offset behind its last byte."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Limits:
    """How long (seconds) and how much (bytes) of what was delivered stays, whichever ends first."""

    age_s: float
    max_bytes: int


AT_ONCE: Final = Limits(age_s=0.0, max_bytes=0)
"""Nothing that was delivered stays: for a disk that is full, or a spool near its cap."""


def limits(age_s: float, max_bytes: int, max_spool: int) -> Limits:
    """Return the limits of these settings: what was delivered takes at most half of the cap of the spool.

    >>> limits(604800.0, 1 << 30, 1 << 30)
    Limits(age_s=604800.0, max_bytes=536870912)
    """
    return Limits(age_s, min(max_bytes, max_spool // 2))


def expired(
    segments: Iterable[SegmentFile],
    covered: Mapping[str, int],
    limits: Limits,
    now: float | None,
) -> list[SegmentFile]:
    """Return the segments that may go, oldest first.

    `covered` are the offsets below which everything is delivered or rejected; a partition without one stands at 0.
    `now` is in seconds since the epoch, None where the clock is not to be trusted: only the size counts then.
    """
    delivered = _oldest_first(segments, covered)
    retained = sum(segment.size for _since, segment in delivered)
    going = []
    for since, segment in delivered:
        if not (retained > limits.max_bytes or _is_too_old(since, limits, now)):
            break  # what follows is younger
        going.append(segment)
        retained -= segment.size
    return going


def _is_too_old(since: float, limits: Limits, now: float | None) -> bool:
    return now is not None and now - since > limits.age_s


def _oldest_first(
    segments: Iterable[SegmentFile], covered: Mapping[str, int]
) -> list[tuple[float, SegmentFile]]:
    by_partition: defaultdict[str, list[SegmentFile]] = defaultdict(list)
    for segment in segments:
        by_partition[segment.partition].append(segment)
    delivered = [
        aged
        for name, found in by_partition.items()
        for aged in _delivered(found, covered.get(name, 0))
    ]
    return sorted(delivered, key=lambda aged: (aged[0], aged[1].partition, aged[1].start))


def _delivered(segments: list[SegmentFile], offset: int) -> Iterator[tuple[float, SegmentFile]]:
    since = float("-inf")
    for segment in sorted(segments, key=attrgetter("start")):
        if segment.end > offset or (segment.newest and segment.end != offset):
            return
        # A clock that was set back between two segments must not make the later one go first.
        since = max(since, segment.modified)
        yield since, segment


class ClockWatch:
    """Whether the wall clock can be trusted with the age of files: not while it disagrees with the monotonic one.

    When the two advanced by more than a minute apart from each other between two looks, someone set the clock (or the
    machine slept). It is trusted again once they have agreed for an hour of the monotonic one, so that a clock that is
    set wrong and mended within the hour removes nothing. A first look has nothing to compare with and trusts: a sender
    that runs for seconds (`--drain`) would never remove anything otherwise.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._agreed_since: float | None = None

    def trusts(self, wall: float, monotonic: float) -> bool:
        """Take a look, in seconds of both clocks; return whether `wall` can be trusted."""
        if self._disagree(wall, monotonic):
            self._agreed_since = monotonic
        self._last = (wall, monotonic)
        return self._agreed_since is None or monotonic - self._agreed_since >= _SETTLING_S

    def _disagree(self, wall: float, monotonic: float) -> bool:
        if self._last is None:
            return False
        return abs((wall - self._last[0]) - (monotonic - self._last[1])) > _MAX_DISAGREEMENT_S
