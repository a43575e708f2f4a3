"""What the spool itself tells: how much lies in it, how much waits, who writes, whether a sender holds it.

Owns the count of what is undelivered, and since when the oldest of it waits. Reads and never changes; needs no running
sender, and takes no lock unless nothing else can tell. Knows nothing about how figures are shown.

Invariant: what is counted is what a sender that starts now would send, by the same rule for where it begins
(`sender.placing`). What vanishes meanwhile, because retention removes it, counts nothing.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kmq import locks
from kmq.durable import open_regular
from kmq.errors import SpoolError, spool_error
from kmq.spool import made_at, measure, partitions, segment_path, segment_starts, writer_lock
from sender import checkpoint
from sender.reader.placing import Extent, Placement, place
from sender.rejected import RejectedStore

from .holders import Holder, holders_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kmq.spool import Spool

    from .snapshot import Snapshot

__all__ = ["FRESH_S", "Lag", "PartitionSurvey", "SenderSurvey", "Survey", "survey"]

FRESH_S: Final = 10.0
"""A snapshot of a running sender is younger than this, unless the machine or its disk is in trouble."""

MAX_COUNTED: Final = 256 << 20
"""Bytes that are read, over all partitions, to count what waits; beyond it, it is estimated."""

_SAMPLE: Final = 256 << 10
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Lag:
    """What waits: commands (`exact`, or estimated from the length of lines), bytes, and the seconds of the oldest."""

    commands: int = 0
    bytes: int = 0
    seconds: float = 0.0
    exact: bool = True


@dataclass(frozen=True, slots=True)
class PartitionSurvey:
    """One partition. `checkpoint` is the offset that stands in the file, None if it has none yet."""

    name: str
    writer: Holder | None
    segments: int
    bytes: int
    checkpoint: int | None
    end: int
    lag: Lag
    rate_in: float | None

    @property
    def idle(self) -> bool:
        """Whether nobody writes there and nothing waits."""
        return self.writer is None and self.lag.commands == 0


@dataclass(frozen=True, slots=True)
class SenderSurvey:
    """Whether a sender holds the spool, by which process if that can be told, and the snapshot that it left.

    `current` says that the snapshot is that of the sender which runs now.
    """

    running: bool
    holder: Holder | None
    snapshot: Snapshot | None
    current: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """The spool at the moment `at` (epoch seconds); sizes in bytes. `id` is the device and inode of its directory.

    `unreadable` are the partitions of which nothing can be told, each with the reason; no figure counts them.
    """

    at: float
    path: str
    id: str
    bytes: int
    free_bytes: int
    sender: SenderSurvey
    partitions: list[PartitionSurvey]
    lag: Lag
    rejected_kept: int
    unreadable: Mapping[str, SpoolError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Segment:
    path: str
    start: int
    size: int
    modified: float

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class _Found:
    """A partition as it was listed, and where a sender would begin in it."""

    name: str
    segments: list[_Segment]
    placement: Placement

    @property
    def end(self) -> int:
        return self.segments[-1].end

    def waiting(self) -> list[tuple[_Segment, int]]:
        """Return the segments with something undelivered, each with the place in its file where that begins."""
        begin = self.placement.at
        return [
            (segment, max(0, begin - segment.start))
            for segment in self.segments
            if segment.end > max(begin, segment.start)
        ]

    def waiting_bytes(self) -> int:
        return sum(segment.size - skipped for segment, skipped in self.waiting())


def survey(spool: Spool, *, now: float, snapshot: Snapshot | None) -> Survey:
    """Look at the spool, at the moment `now` (epoch seconds), given what the sender last wrote of itself.

    A partition that cannot be read is named and passed over. Raises `SpoolError` where that is the spool itself.
    """
    try:
        return _survey(spool, now, snapshot)
    except SpoolError:
        raise
    except OSError as error:
        raise spool_error(error, "read", error.filename or spool.path) from error


def _survey(spool: Spool, now: float, snapshot: Snapshot | None) -> Survey:
    offsets = checkpoint.load(spool).offsets
    unreadable: dict[str, SpoolError] = {}
    found = list(_readable(spool, offsets, unreadable))
    writers = {one.name: writer_lock(spool.partition(one.name)) for one in found}
    holders = holders_of([spool.sender_lock, *writers.values()])
    counts = _count(spool, found, unreadable)
    surveyed = [
        PartitionSurvey(
            name=one.name,
            writer=(holders or {}).get(writers[one.name]),
            segments=len(one.segments),
            bytes=sum(segment.size for segment in one.segments),
            checkpoint=offsets.get(one.name),
            end=one.end,
            lag=_lag(one, counts[one.name], snapshot, now),
            rate_in=snapshot.rates_in.get(one.name) if snapshot else None,
        )
        for one in found
        if one.name in counts
    ]
    directory, system = os.stat(spool.path), os.statvfs(spool.path)
    return Survey(
        at=now,
        path=spool.path,
        id=f"{directory.st_dev:x}-{directory.st_ino:x}",
        bytes=measure(spool),
        free_bytes=system.f_bavail * system.f_frsize,
        sender=_sender(spool, holders, snapshot, now),
        partitions=surveyed,
        lag=_together([one.lag for one in surveyed]),
        rejected_kept=RejectedStore(spool, "status").count(),
        unreadable=dict(sorted(unreadable.items())),
    )


# The sender


def _sender(
    spool: Spool, holders: Mapping[str, Holder] | None, snapshot: Snapshot | None, now: float
) -> SenderSurvey:
    holder = (holders or {}).get(spool.sender_lock)
    running = holder is not None or _runs_unseen(spool, holders, snapshot, now)
    current = snapshot is not None and (
        running
        and snapshot.ended is None
        and (holder is None or holder.pid == snapshot.pid or _is_fresh(snapshot, now))
    )
    return SenderSurvey(running, holder, snapshot, current)


def _runs_unseen(
    spool: Spool, holders: Mapping[str, Holder] | None, snapshot: Snapshot | None, now: float
) -> bool:
    """Say whether a sender runs although none is listed.

    It may be in another container, or nobody may read the list. Only where that is possible the lock is tried, since a
    sender that starts in that very moment would find it taken.
    """
    fresh = snapshot is not None and snapshot.ended is None and _is_fresh(snapshot, now)
    if holders is not None and not fresh:
        return False
    try:
        lock = locks.take(spool.sender_lock)
    except SpoolError:
        return fresh
    if isinstance(lock, int):
        os.close(lock)
    return lock is locks.Denied.HELD


def _is_fresh(snapshot: Snapshot, now: float) -> bool:
    return abs(now - snapshot.at) <= FRESH_S


# Partitions


def _readable(
    spool: Spool, offsets: Mapping[str, int], unreadable: dict[str, SpoolError]
) -> Iterator[_Found]:
    for name in partitions(spool):
        found = None
        with _telling(spool, name, unreadable):
            found = _find(spool, name, offsets.get(name))
        if found is not None:
            yield found


@contextlib.contextmanager
def _telling(spool: Spool, name: str, unreadable: dict[str, SpoolError]) -> Iterator[None]:
    """Note the partition `name` as unreadable where the block cannot read it."""
    try:
        yield
    except OSError as error:
        unreadable[name] = spool_error(error, "read", error.filename or spool.partition(name))


def _find(spool: Spool, name: str, offset: int | None) -> _Found | None:
    segments = list(_segments(spool.partition(name)))
    if not segments:
        return None
    paths = {segment.start: segment.path for segment in segments}
    placement = place(
        [Extent(segment.start, segment.end) for segment in segments],
        offset,
        lambda start, at: _ends_a_line(paths[start], at - start),
    )
    return _Found(name, segments, placement)


def _segments(path: str) -> Iterator[_Segment]:
    try:
        starts = segment_starts(path)
    except FileNotFoundError:
        return
    for start in starts:
        segment = segment_path(path, start)
        try:
            file = os.lstat(segment)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(file.st_mode):
            yield _Segment(segment, start, file.st_size, file.st_mtime)


def _ends_a_line(path: str, at: int) -> bool:
    return any(chunk == b"\n" for chunk in _chunks(path, at - 1, at))


# What waits


def _count(
    spool: Spool, found: Sequence[_Found], unreadable: dict[str, SpoolError]
) -> dict[str, tuple[int, bool]]:
    """Return for each partition how many commands wait, and whether that is exact; none for one that is unreadable."""
    left = MAX_COUNTED  # spent on small ones first, so that most are exact
    counts = {}
    for one in sorted(found, key=_Found.waiting_bytes):
        waiting = one.waiting_bytes()
        exact = waiting <= left
        with _telling(spool, one.name, unreadable):
            counts[one.name] = (_counted(one) if exact else _estimated(one, waiting), exact)
        left -= min(left, waiting)
    return counts


def _counted(one: _Found) -> int:
    return sum(
        chunk.count(b"\n")
        for segment, skipped in one.waiting()
        for chunk in _chunks(segment.path, skipped, segment.size)
    )


def _estimated(one: _Found, waiting: int) -> int:
    segment, skipped = one.waiting()[0]
    sample = b"".join(_chunks(segment.path, skipped, min(segment.size, skipped + _SAMPLE)))
    return round(waiting * sample.count(b"\n") / max(1, len(sample)))


def _chunks(path: str, start: int, end: int) -> Iterator[bytes]:
    try:
        fd = open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        while start < end and (chunk := os.pread(fd, min(_CHUNK, end - start), start)):
            yield chunk
            start += len(chunk)
    finally:
        os.close(fd)


def _lag(one: _Found, count: tuple[int, bool], snapshot: Snapshot | None, now: float) -> Lag:
    commands, exact = count
    seconds = max(0.0, now - _since(one, snapshot)) if commands else 0.0
    return Lag(commands, one.waiting_bytes(), seconds, exact)


def _since(one: _Found, snapshot: Snapshot | None) -> float:
    """Return since when (epoch seconds) the oldest undelivered command of a partition waits, at the latest known.

    The sender knows best. A partition of which nothing was delivered was made for its first command, and its name says
    when. Else that command came after the sender's last look; and where no sender ever looked, the time of the file is
    all there is. Never by `_t`: one back-dated event would show years.
    """
    if snapshot is not None and one.name in snapshot.behind:
        return snapshot.behind[one.name]
    made = made_at(one.name) if one.placement.at == 0 else None
    if made is not None:
        return made
    if snapshot is not None:
        return snapshot.at
    return one.waiting()[0][0].modified


def _together(lags: Sequence[Lag]) -> Lag:
    return Lag(
        commands=sum(lag.commands for lag in lags),
        bytes=sum(lag.bytes for lag in lags),
        seconds=max((lag.seconds for lag in lags), default=0.0),
        exact=all(lag.exact for lag in lags),
    )
