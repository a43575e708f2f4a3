"""One partition, read from its checkpoint on: every whole line once, in order, at its offset.

Owns which segment is read, when it is left for the next, and when a torn tail is given up. Knows nothing about other
partitions, budgets or deliveries.

The invariant hangs on four orders of events:

- A segment is left only after a read that met its end and that began when its successor was already open. A writer
  starts the next segment after its last append to this one, so nothing can be appended between the two.
- Where the next one begins elsewhere than this ends, it is left only when nothing more can come: see `seam`.
- A gap is believed only if it is still there in a listing that began after the segment behind it was seen. A directory
  is not read at one moment: of two segments that are made meanwhile, a listing can hold the later one alone.
- An unfinished tail is torn only if a successor stands behind it, or if it is still there when the partition's
  `writer.lock` is ours, the segments were listed again and the end was read again, in this order.
"""

from __future__ import annotations

import contextlib
import math
import os
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from kmq import locks
from kmq.spool import writer_lock

from .held_segments import HeldSegments
from .partition_files import QUIET_POLL_S, PartitionFiles, Surroundings, Troubles
from .placing import place
from .seam import Seam, moved

if TYPE_CHECKING:
    from sender.flow import Line

    from .segment_reader import SegmentReader
    from .syncs import PartitionSyncs

__all__ = ["RETRY_S", "PartitionReader"]

RETRY_S: Final = 5.0

_ACTIVE_FOR_S: Final = 1.0
_NAMES_EVERY_S: Final = 1.0
_BLINDING: Final = ("read-failed", "open-failed", "spool-unreadable")


class PartitionReader:
    """The partition `name` in the directory `path`, read from `offset` of the checkpoint (None: it has none).

    `offset` is the reading position: all below was given out. It says nothing about delivery. `more` says that
    another `take` at once may give more. It gave something less than a second ago until `active_until`.
    """

    def __init__(self, name: str, path: str, offset: int | None, around: Surroundings) -> None:
        self.name = name
        self.offset = offset
        self.placed = False
        self.more = True
        self._path = path
        self._descriptors = around.descriptors
        self._troubles = Troubles(name, around.report, around.shortage)
        self._files = PartitionFiles(name, path, around, self._troubles)
        self._held = HeldSegments(self._troubles, around.files)
        self._current: SegmentReader | None = None
        self._next: SegmentReader | None = None
        self._replaced = False
        self._vanished = False
        self._mourned: SegmentReader | None = None
        self.active_until = self._rest_until = self._quiet_from = self._names_due = -math.inf
        self._settled = False
        self._seen_end = -1
        self._seam = Seam()

    def take(self, max_lines: int, max_bytes: int, now: float) -> list[Line]:
        """Return the next lines, in order; never waits, never raises for what is on disk.

        At most `max_lines` of at most `max_bytes` together, but one line whatever its length.
        """
        self.more = self._settled = False
        try:
            lines = self._take(max_lines, max_bytes, now)
        except OSError as error:
            self._troubles.met("read-failed", error, self.offset)
            self._rest_until = now + RETRY_S
            self.more = False
            return []
        self._troubles.over("read-failed")
        if lines:
            self.active_until = now + _ACTIVE_FOR_S
        self._settled = self._nothing_hangs()
        return lines

    def stirs(self, now: float) -> bool:
        """Say whether a `take` may find what the last one did not.

        Nothing is concluded from it but that a `take` is worth its cost: it is a `pread`, and a `stat` of the directory
        that costs four times as much. A segment that is started while the one before is quiet waits for that: a writer
        does so when the last line was an hour ago.
        """
        if now < self._rest_until:
            return False
        current = self._current
        if not self._settled or current is None or current.stirs():
            return True
        if now >= self.active_until and now < self._names_due:
            return False
        self._names_due = now + _NAMES_EVERY_S
        return self._files.stirs(now)

    def at_end(self) -> bool:
        """Say whether every whole line that was there at the last look was given out."""
        if any(code in self._troubles for code in _BLINDING):
            return False
        if self._current is None:
            return self._files.none_left()
        return self._current.at_end and self._successor(self._current) is None

    def unfinished(self) -> int:
        """Return how many bytes stood behind the last newline at the last look, neither given out nor given up."""
        return self._current.unfinished if self._current else 0

    def vanish(self) -> None:
        """Take note that the directory is gone: what is open is read to its end, the rest cannot be."""
        if self._vanished:
            return
        self._vanished = self._files.gone = self.more = True
        self._settled = False
        entries = self._files.forget()
        reached = self._next or self._current
        unread = entries[bisect_right(entries, reached.start) :] if reached else entries
        if unread:
            detail = f"{len(unread)} not read, the partition is gone"
            self._troubles.fact("segment-gone", unread[0], detail)

    def come_back(self) -> None:
        """Take note that a directory of that name is there again."""
        if self._vanished:
            self._vanished = False
            self.more = True
            self._files.come_back()

    def exhausted(self) -> bool:
        """Say whether nothing can come any more: the directory is gone, and what was open is read to its end."""
        return self._vanished and (
            self._current is None or (self.at_end() and not self._current.unfinished)
        )

    def sync(self, mark: int) -> int:
        """Make what lies below `mark` durable; return the mark that may be written.

        It is lower than `mark` where a segment's sync failed, now or ever in this process.
        """
        return self._held.sync(mark, self._current)

    def begin_syncs(self, now: float) -> PartitionSyncs | None:
        """Return what makes durable all that was appended so far, read or not; None where that cannot be known now."""
        with contextlib.suppress(OSError):  # the next read meets the same, and says so
            # Nobody reads while too much is waiting, and segments are started all the same.
            self._look(now)
        if self._current is None or self._vanished:
            return None
        unread = self._files.beyond(self._current.start)
        return self._held.begin(self._current, unread, self._path, self._files.newest())

    def end_syncs(self, syncs: PartitionSyncs) -> bool:
        """Take note of what came of `syncs`; return whether there is nothing to sync before more is appended."""
        return self._held.end(syncs)

    def covered(self, mark: int) -> None:
        """Close what lies whole below `mark` of a durable checkpoint; never the segment that is being read."""
        self._held.covered(mark)
        if self.exhausted() and mark >= (self.offset or 0):
            self.close()

    def end(self, *, looked: bool) -> int:
        """Return where the partition ends as of now, or, with `looked`, as of the last look. Raises OSError."""
        if looked and self._settled and self._current is not None:
            return self._current.at
        return self._files.end()

    def close(self) -> None:
        """Close every descriptor. What comes back later is read from the reading position on."""
        self._held.close()
        for segment in (self._current, self._next):
            if segment is not None:
                segment.close()
        self._current = self._next = None

    def _take(self, max_lines: int, max_bytes: int, now: float) -> list[Line]:
        self._look(now)
        current = self._current or self._begin(now)
        if current is None:
            return []
        self._open_next(current, now)  # before the read: see the first order above
        lines = self._given(current.take(max_lines, max_bytes))
        self._say_what_is_out_of_reach(current)
        self.more = not current.at_end or self._next is not None
        if lines or not current.at_end:
            return lines
        return self._at_its_end(current, now)

    def _look(self, now: float, *, again: bool = False) -> bool:
        known = self._files.look(now, again=again)
        if self._files.gone:
            self.vanish()
        elif self._current is not None and self._files.renewed:
            self._check_name(self._current)
            self._check_next(self._current)
        return known

    def _begin(self, now: float) -> SegmentReader | None:
        extents = self._files.extents()
        if not extents:
            return None
        placement = place(extents, self.offset, self._files.ends_a_line, self._is_held)
        segment = self._files.open(placement.segment)
        if segment is None:
            self._rest_until = now + RETRY_S
            return None
        segment.seek(placement.at, durable=placement.problem is None)
        if placement.problem is not None:
            self._troubles.fact(placement.problem, self.offset, f"read from {placement.at:,} on")
        self.offset = placement.floor
        self._held.start_from(placement.floor)
        self._current, self.placed = segment, True
        return segment

    def _is_held(self) -> bool:
        lock = self._lock()
        if isinstance(lock, int):
            os.close(lock)
        return lock is locks.Denied.HELD

    def _may_be_held(self) -> bool:
        try:
            return self._is_held()
        except OSError:
            return True

    def _given(self, lines: list[Line]) -> list[Line]:
        if not lines:
            return lines
        floor, ceiling = self.offset or 0, self._ceiling()
        if lines[0].position.start < floor or lines[-1].position.end > ceiling:
            lines = [moved(line, floor, ceiling) for line in lines]
        self.offset = lines[-1].position.end
        return lines

    def _ceiling(self) -> float:
        if self._next is None or self._replaced:
            return math.inf
        return max(self._next.start, self.offset or 0)

    def _at_its_end(self, current: SegmentReader, now: float) -> list[Line]:
        if self._next is None:
            return self._judge(current, now) if current.unfinished else []
        following = self._next
        if not current.ends_here():
            return []
        if not self._replaced and not self._is_passable(current, following, now):
            self.more = False  # whether anything is missing, or still to come, cannot be known now
            return []
        if self._next is not following:  # what the listing before had missed comes first
            return []
        # Whatever can fail comes first: a line that was given up and not returned would be skipped.
        upto = current.at + current.unfinished
        goes_on = (
            self._replaced
            and following.start < upto <= following.end()
            and following.ends_a_line(upto)
        )
        lines = self._given(current.give_up())
        if goes_on:
            following.seek(upto, durable=False)
        self._leave(current, following)
        return lines

    def _is_passable(self, current: SegmentReader, following: SegmentReader, now: float) -> bool:
        end = current.at + current.unfinished
        if following.start > end and not self._look(now, again=True):
            return False
        if following.start == end or self._seam.is_old(current.start, following.start, now):
            return True
        # Its writer may have appended, and died, since the end was read: read again after the look at the lock.
        return not self._may_be_held() and current.ends_here()

    def _leave(self, current: SegmentReader, following: SegmentReader) -> None:
        self._held.leave(current, self.offset or 0)
        if not self._replaced:
            self._report_seam(current.at, following.start)
        self.offset = max(self.offset or 0, following.start)
        self._current, self._next, self._replaced = following, None, False

    def _report_seam(self, end: int, start: int) -> None:
        if start > end:
            self._troubles.fact("gap", end, f"{start - end:,} bytes are missing")
        elif start < end:
            self._troubles.fact("overlap", start, f"{end - start:,} bytes")

    def _say_what_is_out_of_reach(self, current: SegmentReader) -> None:
        missing = current.out_of_reach()
        if missing and current is not self._mourned:
            self._mourned = current
            self._troubles.fact("segment-gone", current.at, f"{missing:,} bytes were not read")

    def _nothing_hangs(self) -> bool:
        """Say whether only an append, or a new name in the directory, can change what a `take` finds."""
        current = self._current
        return (
            current is not None
            and current.at_end
            and not current.unfinished
            and self._successor(current) is None
            and not self._troubles
        )

    # A tail that nobody will finish

    def _judge(self, current: SegmentReader, now: float) -> list[Line]:
        end = current.at + current.unfinished
        if end != self._seen_end:
            self._seen_end, self._quiet_from = end, now
        if now < self._quiet_from + QUIET_POLL_S:
            return []
        self._quiet_from = now
        try:
            lock = self._lock()
        except OSError as error:
            self._troubles.met("lock-failed", error, end)
            return []
        self._troubles.over("lock-failed")
        if lock is locks.Denied.HELD:
            return []
        try:
            return self._give_up(current, now)
        finally:
            if isinstance(lock, int):
                os.close(lock)

    def _lock(self) -> int | locks.Denied:
        return self._descriptors.make_room(lambda: locks.take(writer_lock(self._path)))

    def _give_up(self, current: SegmentReader, now: float) -> list[Line]:
        known = self._look(now, again=True)
        self._open_next(current, now)  # a name alone is no successor
        if not known or self._successor(current) is not None or not current.ends_here():
            return []
        return self._given(current.give_up())

    # The successor

    def _successor(self, current: SegmentReader) -> int | None:
        if self._next is not None:
            return self._next.start
        return current.start if self._replaced else self._files.after(current.start)

    def _open_next(self, current: SegmentReader, now: float) -> None:
        if self._replaced and self._next is None:
            self._next = self._files.open(current.start)
            self._replaced = self._next is not None
        if self._next is None:
            self._next = self._files.open_after(current.start, now)

    def _check_next(self, current: SegmentReader) -> None:
        expected = self._files.after(current.start)
        if self._next is not None and expected is not None and expected < self._next.start:
            self._next.close()
            self._next = None

    def _check_name(self, current: SegmentReader) -> None:
        # Moved here from elsewhere, or cut: the file that is open no longer gets what is appended. Where the name is
        # just gone, its writer moves to another partition, and what is open is read to its end.
        named = self._files.named(current.start)
        if named is not None and not self._replaced and not current.is_at(named):
            self._replaced = True
            if self._next is not None:  # what bears the name now comes first
                self._next.close()
                self._next = None
            self._troubles.fact("segment-replaced", current.start, "another file bears its name")
