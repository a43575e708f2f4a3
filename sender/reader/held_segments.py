"""The segments of a partition that were read and are not yet covered by a checkpoint, and their sync.

Owns which segments are kept from their first read until a checkpoint covers them: only through the descriptor that
they were read through is a write-back that failed in between sure to be reported. One whose bytes are all durable may
rest meanwhile. Knows nothing about reading or checkpoints.

Invariant: a mark that `sync` returned may be written. All of its own segment below it is durable, or was when this
process began; so is each segment before, but for one whose sync failed. What failed once stays failed in this process,
since a later sync that succeeds proves nothing: no mark lies within such a segment. One beyond it rests on none of its
bytes: it is the next one's start, or more, and all below was delivered, or is kept in `rejected/`. Would it hold the
mark for good, nothing of its partition could ever be removed, until apps find the spool full.

The names of the segments are synced as well as their bytes: whoever started one may have died before it did so.

What all of it waits for, the disk, is waited for in `syncs`, which another thread may run: `begin` chooses what is
synced, `end` takes note of what came of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .syncs import PartitionSyncs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kmq.durable import Files

    from .partition_files import Troubles
    from .segment_reader import SegmentReader

__all__ = ["HeldSegments"]


class HeldSegments:
    """Segments in the order in which they were left, each with the reading position at that moment."""

    def __init__(self, troubles: Troubles, files: Files) -> None:
        self._troubles = troubles
        self._files = files
        self._unread: dict[int, int] = {}
        self._refused: set[int] = set()
        self._left: list[tuple[int, SegmentReader]] = []
        self._good_mark = 0
        self._failed: set[int] = set()
        self._named_up_to = -1

    def start_from(self, offset: int) -> None:
        """Begin at `offset`: a checkpoint may be written there without any sync."""
        self._good_mark = offset

    def leave(self, segment: SegmentReader, offset: int) -> None:
        """Keep a segment that was read to its end at the reading position `offset`."""
        self._left.append((offset, segment))

    def sync(self, mark: int, current: SegmentReader | None) -> int:
        """Make what lies below `mark` durable; return the mark that may be written, lower where a sync failed."""
        for left_at, segment in self._left:
            # What was left below the mark was given out whole, also where its bytes overlap with the next one's.
            whole = left_at <= mark
            if self._synced(segment, segment.at if whole else mark):
                continue
            if not whole:
                return self._lowered(mark, segment)
            self._report(segment.start)
        if current is not None and not self._synced(current, mark):
            return self._lowered(mark, current)
        self._good_mark = max(self._good_mark, mark)
        return mark

    def begin(
        self, current: SegmentReader, unread: Sequence[tuple[int, str]], path: str, newest: int
    ) -> PartitionSyncs:
        """Return what makes durable all that was appended so far, also to `unread` segments (start, path).

        It bounds what a power cut takes from apps that do not sync, also while nothing can be sent. The names of the
        segments in the directory `path` are among it up to the `newest`, where this process has not synced them:
        whoever started one may have died before its sync, and an heir that does not sync appends to it for days.
        """
        self._unread = {start: self._unread.get(start, 0) for start, _ in unread}
        return PartitionSyncs(
            self._files,
            [*(segment for _, segment in self._left), current],
            [(start, file, self._unread[start]) for start, file in unread],
            path if newest > self._named_up_to else None,
            newest,
        )

    def end(self, syncs: PartitionSyncs) -> bool:
        """Take note of what came of `syncs`; return whether nothing of it is to be tried again."""
        for segment in syncs.segments:
            if segment.sync_failed:
                self._report(segment.start)
        self._unread |= syncs.durable
        for start in syncs.refused:
            # This was the one time that the kernel tells it: the descriptor that is kept later would not hear of it.
            self._refused.add(start)
            self._report(start)
        if syncs.named:
            self._named_up_to = syncs.newest
        return syncs.newest <= self._named_up_to

    def covered(self, mark: int) -> None:
        """Close what lies whole below `mark` of a checkpoint that is durable."""
        if not self._left:
            return
        for left_at, segment in self._left:
            if left_at <= mark:
                segment.close()
        self._left = [pair for pair in self._left if pair[0] > mark]

    def close(self) -> None:
        """Close all."""
        for _, segment in self._left:
            segment.close()
        self._left = []

    def _synced(self, segment: SegmentReader, mark: int) -> bool:
        if segment.start >= mark:
            return True
        return segment.start not in self._refused and segment.sync(min(mark, segment.at))

    def _lowered(self, mark: int, segment: SegmentReader) -> int:
        self._report(segment.start)
        return min(mark, max(self._good_mark, segment.start))

    def _report(self, start: int) -> None:
        if start not in self._failed:
            self._failed.add(start)
            self._troubles.fact("segment-sync-failed", start)
