"""Removes what was delivered and has been kept long enough, and never anything that a checkpoint does not cover.

Owns how segments and whole partitions are removed, and what a crash left of that. Which ones go is `expiry`'s to say.
Knows nothing about why a command counts as delivered: whoever calls hands in the offsets.

Invariants: a partition is removed whole only under its lock, after a last look that found every byte of it covered, and
the lock is let go only when nothing of it is left. Nothing is followed that is a link, and no name is touched that has
not the form of a partition or a segment. What vanishes meanwhile is no error; what cannot be removed is reported once
and does not keep the rest from being removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from kmq.durable import FILES, Files, sync_directory
from kmq.locks import Denied, take
from kmq.spool import (
    GONE_PREFIX,
    NEW_PREFIX,
    is_partition,
    partitions,
    segment_path,
    segment_start,
    writer_lock,
)
from sender.flow import Event

from .attempts import Attempts
from .expiry import AT_ONCE, ClockWatch, Limits, SegmentFile, expired, limits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kmq.spool import Spool

__all__ = ["ClockWatch", "Limits", "Retention", "SegmentFile", "expired", "limits"]

_ABANDONED_S: Final = 3_600.0


class Retention:
    """Removes delivered segments of a spool, within `limits`.

    `clock` gives seconds since the epoch, `monotonic` seconds that never jump. `report` is told what was removed
    (`segments-removed`, `partition-removed`, `removed-early`), what could not be (`removal-failed`), and that the
    clock jumped (`clock-stepped`).
    """

    def __init__(  # noqa: PLR0913 - clocks, the log's ear and the file operations are handed in
        self,
        spool: Spool,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        report: Callable[[Event], None],
        files: Files = FILES,
    ) -> None:
        self._spool = spool
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._report = report
        self._files = files
        self._watch = ClockWatch()
        self._trusted = True
        self._attempts = Attempts("removal-failed", report)

    def apply(self, durable: Mapping[str, int], *, urgent: bool = False) -> list[str]:
        """Remove what may go, given the offsets of a checkpoint that is durable and was believed.

        With `urgent` (disk full, cap near) all that is covered goes, whatever its age. Returns the partitions that were
        removed whole: their entries are to be dropped from the next checkpoint.
        """
        now = self._trusted_now()
        segments = [found for name in self._partitions() for found in self._survey(name, durable)]
        within = AT_ONCE if urgent else self._limits
        return self._remove(expired(segments, durable, within, now), durable)

    def last_resort(self, done: Mapping[str, int]) -> int:
        """Remove the oldest sealed segment that lies below `done`; return the bytes freed, 0 if there is none.

        For a disk so full that no checkpoint can be written. `done` are the offsets below which every command is
        delivered, or rejected and synced. One at a time: a checkpoint is to be tried after each. A sender that starts
        again before that finds a gap, and passes it. The bytes are free once nobody has the segment open.
        """
        listed = [found for name in self._partitions() for found in self._listed(name)]
        sealed = [segment for segment in listed if not segment.newest and segment.size]
        stuck: set[str] = set()
        for segment in expired(sealed, done, AT_ONCE, None):
            if self._unlink(segment, stuck):
                self._report(Event("removed-early", segment.partition, segment.start))
                return segment.size
        return 0

    def sweep(self) -> None:
        """Remove what a crash left of a removal (`.gone-`) or of a partition's making (`.new-`, over an hour old)."""
        for name in self._names():
            if self._is_leftover(name, GONE_PREFIX):
                self._clear(name)
            elif self._is_leftover(name, NEW_PREFIX) and self._is_abandoned(name):
                self._clear_unheld(name)

    # Looking

    def _trusted_now(self) -> float | None:
        wall = self._clock()
        trusted = self._watch.trusts(wall, self._monotonic())
        if self._trusted and not trusted:
            detail = "the clock jumped, retention by age rests for an hour"
            self._report(Event("clock-stepped", detail=detail))
        self._trusted = trusted
        return wall if trusted else None

    def _partitions(self) -> list[str]:
        with self._attempts.of("list", self._spool.path):
            return partitions(self._spool)
        return []

    def _names(self) -> list[str]:
        with self._attempts.of("list", self._spool.path):
            return sorted(os.listdir(self._spool.path))
        return []

    def _survey(self, name: str, durable: Mapping[str, int]) -> list[SegmentFile]:
        """Return the segments of a partition; the newest one only if it is covered and nobody holds the partition."""
        offset = durable.get(name, 0)
        segments = self._listed(name) or self._husk(name, offset)
        if segments and not (segments[-1].end == offset and self._is_idle(name)):
            segments.pop()
        return segments

    def _listed(self, name: str) -> list[SegmentFile]:
        with self._attempts.of("list", self._spool.partition(name), name):
            found = _regular_segments(self._spool.partition(name))
            last = max(found, default=0)
            return [
                SegmentFile(name, start, status.st_size, status.st_mtime, newest=start == last)
                for start, status in sorted(found.items())
            ]
        return []

    def _husk(self, name: str, offset: int) -> list[SegmentFile]:
        # All segments were removed by hand: what is left goes as an empty one would.
        modified = _modified(self._spool.partition(name))
        return [] if modified is None else [SegmentFile(name, offset, 0, modified, newest=True)]

    def _is_idle(self, name: str) -> bool:
        lock = self._take(name)
        if not isinstance(lock, Denied):
            os.close(lock)
        return lock is not Denied.HELD

    def _take(self, name: str) -> int | Denied:
        path = writer_lock(self._spool.partition(name))
        with self._attempts.of("lock", path, name):
            return take(path)
        return Denied.HELD  # a lock that cannot be tried may be held

    # Removing

    def _remove(self, going: list[SegmentFile], durable: Mapping[str, int]) -> list[str]:
        whole: list[str] = []
        sealed: list[int] = []
        stuck: set[str] = set()
        for segment in going:
            if not segment.newest:
                sealed.extend([segment.size] if self._unlink(segment, stuck) else [])
            elif segment.partition not in stuck and self._remove_whole(segment.partition, durable):
                whole.append(segment.partition)
        self._say_removed(whole, sealed)
        return whole

    def _say_removed(self, whole: list[str], sealed: list[int]) -> None:
        if sealed:
            detail = f"delivered segments removed: {len(sealed):,}, {sum(sealed):,} bytes"
            self._report(Event("segments-removed", detail=detail))
        for name in whole:
            self._report(Event("partition-removed", name))

    def _unlink(self, segment: SegmentFile, stuck: set[str]) -> bool:
        """Remove a segment; one that stays makes its partition `stuck`, and those behind it stay too: no gaps."""
        if segment.partition in stuck:
            return False
        path = segment_path(self._spool.partition(segment.partition), segment.start)
        with self._attempts.of("remove", path, segment.partition, segment.start):
            self._files.unlink(path)
        if os.path.lexists(path):
            stuck.add(segment.partition)
        return segment.partition not in stuck

    def _remove_whole(self, name: str, durable: Mapping[str, int]) -> bool:
        lock = self._take(name)
        if lock is Denied.HELD:
            return False
        try:
            return self._is_covered(name, durable.get(name, 0)) and self._bury(name)
        finally:
            # Whoever waits to adopt it must find it held for as long as its lock file has a name.
            _let_go(lock)

    def _is_covered(self, name: str, offset: int) -> bool:
        """Take the last look, under the lock: whatever was appended or put there since keeps the partition."""
        path = self._spool.partition(name)
        with self._attempts.of("remove", path, name):
            found = _regular_segments(path)
            _refuse_strangers(path, found)
            ends = [start + status.st_size for start, status in found.items()]
            return max(ends, default=offset) == offset
        return False

    def _bury(self, name: str) -> bool:
        path = self._spool.partition(name)
        with self._attempts.of("rename", path, name):
            self._files.rename(path, self._spool.partition(GONE_PREFIX + name))
            # From here on it is no partition any more, even if the rest fails and is left to a sweep.
            self._clear(GONE_PREFIX + name)
            return True
        return False

    def _clear(self, name: str) -> None:
        path = self._spool.partition(name)
        with self._attempts.of("clear", path, name):
            # The new name must be durable before anything in it goes, or a power cut brings back half a partition.
            sync_directory(self._spool.path, files=self._files)
            for entry in sorted(os.listdir(path)):
                if _is_ours(path, entry):
                    self._files.unlink(os.path.join(path, entry))
            # What comes back with a power cut, empty or not, is swept at the next start.
            self._files.rmdir(path)

    # What a crash left

    def _is_leftover(self, name: str, prefix: str) -> bool:
        path = self._spool.partition(name)
        return (
            name.startswith(prefix)
            and is_partition(name.removeprefix(prefix))
            and _modified(path) is not None
        )

    def _is_abandoned(self, name: str) -> bool:
        # Looked at before its lock is: whoever makes a partition must find the lock free that it has just made.
        modified = _modified(self._spool.partition(name))
        return modified is not None and self._clock() - modified > _ABANDONED_S

    def _clear_unheld(self, name: str) -> None:
        lock = self._take(name)
        if lock is Denied.HELD:
            return
        try:
            self._clear(name)
        finally:
            _let_go(lock)


def _let_go(lock: int | Denied) -> None:
    if not isinstance(lock, Denied):
        os.close(lock)


def _regular_segments(path: str) -> dict[int, os.stat_result]:
    found = {}
    for name in os.listdir(path):
        start = segment_start(name)
        if start is None:
            continue
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(os.path.join(path, name))
            if stat.S_ISREG(status.st_mode):
                found[start] = status
    return found


def _refuse_strangers(path: str, found: dict[int, os.stat_result]) -> None:
    strangers = len(os.listdir(path)) - len(found) - os.path.lexists(writer_lock(path))
    if strangers:
        raise OSError(errno.ENOTEMPTY, "it holds something that is neither a segment nor its lock")


def _is_ours(path: str, entry: str) -> bool:
    return segment_start(entry) is not None or entry == os.path.basename(writer_lock(path))


def _modified(path: str) -> float | None:
    """Return when a directory changed last, None if it is none (a link is none)."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_mtime if stat.S_ISDIR(status.st_mode) else None
