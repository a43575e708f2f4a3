"""Which segments a partition has, found by listing and opened one by one.

Owns the listing of one partition's directory, what in it can be read, and that each trouble is reported once and not at
every look. Knows nothing about reading positions: it is asked for the segment that follows another.

Only what can be opened as a regular file is a segment. A link, a pipe, a device or a directory that bears such a name
is passed by, and seals nothing that stands before it.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from kmq.durable import NO_REGULAR_FILE
from kmq.spool import segment_path, segment_starts
from sender.flow import Event

from .descriptors import OUT_OF_DESCRIPTORS, Descriptors, Shortage
from .listing import Listing
from .placing import Extent
from .segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmq.durable import Files

    from .segment_file import Pread

__all__ = ["QUIET_POLL_S", "PartitionFiles", "Surroundings", "Troubles"]

QUIET_POLL_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a reader is handed: where facts go, how it reads and syncs, and what it shares with all others."""

    report: Callable[[Event], None]
    files: Files
    pread: Pread
    descriptors: Descriptors
    shortage: Shortage


class Troubles:
    """What goes wrong in one partition, or with the spool (None), told when it begins and not again before it was over.

    That descriptors ran out goes wrong in all of them at once, and is the `shortage`'s to tell.
    """

    def __init__(
        self, partition: str | None, report: Callable[[Event], None], shortage: Shortage
    ) -> None:
        self._partition = partition
        self._report = report
        self._shortage = shortage
        self._now: set[str] = set()
        self._short: set[str] = set()

    def __contains__(self, code: str) -> bool:
        return code in self._now or code in self._short

    def __bool__(self) -> bool:
        """Whether anything goes wrong now."""
        return bool(self._now or self._short)

    def met(self, code: str, error: OSError, offset: int | None) -> None:
        """Take note that something is not possible now."""
        if error.errno in OUT_OF_DESCRIPTORS:
            self._short.add(code)
            self._shortage.met(error.errno)
            return
        if code not in self._now:
            self._now.add(code)
            self.fact(code, offset, os.strerror(error.errno or errno.EIO))

    def over(self, code: str) -> None:
        """Take note that it is possible again; that is reported where the trouble was."""
        self._short.discard(code)
        if code in self._now:
            self._now.remove(code)
            self.fact("works-again", None, code)

    def fact(self, code: str, offset: int | None, detail: str = "") -> None:
        """Report what is so for good."""
        self._report(Event(code, self._partition, offset, detail))


class PartitionFiles:
    """The segments of the partition `name` in the directory `path`.

    `renewed` says that the last `look` listed them anew.
    """

    def __init__(self, name: str, path: str, around: Surroundings, troubles: Troubles) -> None:
        self.gone = False
        self.renewed = False
        self._name = name
        self._path = path
        self._around = around
        self._troubles = troubles
        self._listing = Listing(path, self._starts)
        self._passed_by: set[int] = set()
        self._told: set[int] = set()
        self._retry_at = -math.inf

    def look(self, now: float, *, again: bool = False) -> bool:
        """List if it is due, or `again` whether due or not; return whether what is known is as new as was asked for.

        A directory that is gone has no segments any more, and that is known too.
        """
        self.renewed = False
        if self.gone:
            return True
        try:
            self.renewed = self._listing.look(now, again=again)
        except (FileNotFoundError, NotADirectoryError):
            self.gone = True
            return True
        except OSError as error:
            self._troubles.met("spool-unreadable", error, None)
            return False
        if self.renewed:
            self._troubles.over("spool-unreadable")
            self._passed_by.clear()
            self._told.intersection_update(self._listing.entries)
        return True

    def stirs(self, now: float) -> bool:
        """Say whether a `look` would list the directory anew, or find it gone."""
        return self.gone or self._listing.is_due(now)

    def forget(self) -> list[int]:
        """Forget the listing of a directory that is gone, and return it."""
        entries = self._listing.entries
        self._listing.forget()
        return entries

    def come_back(self) -> None:
        """Take note that a directory of that name is there again."""
        self.gone = False

    def none_left(self) -> bool:
        """Say whether it is known that no segment is there."""
        return self.gone or (self._listing.known and not self._listing.entries)

    def after(self, start: int) -> int | None:
        """Return the start of the segment that follows the one at `start`, None if none is listed."""
        entries = self._listing.entries
        following = islice(entries, bisect_right(entries, start), None)
        return next((found for found in following if found not in self._passed_by), None)

    def newest(self) -> int:
        """Return the start of the newest segment that is listed, -1 if none is."""
        return self._listing.entries[-1] if self._listing.entries else -1

    def beyond(self, start: int) -> list[tuple[int, str]]:
        """Return the start and the path of each listed segment after the one at `start`."""
        entries = self._listing.entries
        following = islice(entries, bisect_right(entries, start), None)
        return [(found, segment_path(self._path, found)) for found in following]

    def open_after(self, start: int, now: float) -> SegmentReader | None:
        """Open the segment that follows the one at `start`; None if there is none, or it cannot be opened now."""
        if now < self._retry_at:
            return None
        while (found := self.after(start)) is not None:
            segment = self.open(found)
            if segment is not None:
                return segment
            if found not in self._passed_by:
                self._retry_at = now + QUIET_POLL_S
                break
        return None

    def open(self, start: int) -> SegmentReader | None:
        """Open the segment at `start`; None if it cannot be: passed by for good, or reported as `open-failed`."""
        try:
            segment = self._opened(start)
        except FileNotFoundError:
            self._pass_by("segment-gone", start)
        except OSError as error:
            if error.errno in NO_REGULAR_FILE:
                self._pass_by("no-segment", start)
            else:
                self._troubles.met("open-failed", error, start)
        else:
            self._troubles.over("open-failed")
            return segment
        return None

    def extents(self) -> list[Extent]:
        """Return the bytes that each listed segment holds now. Raises OSError."""
        found = ((start, self._size(start)) for start in self._listing.entries)
        return [Extent(start, start + size) for start, size in found if size is not None]

    def end(self) -> int:
        """Return the offset of the partition's end as of now, listed anew. Raises OSError."""
        for start in reversed(self._starts()):
            found = self.named(start)
            if found is not None and stat.S_ISREG(found.st_mode):
                return start + found.st_size
        return 0

    def named(self, start: int) -> os.stat_result | None:
        """Return what bears the name of the segment at `start`, None if nothing does."""
        try:
            return os.lstat(segment_path(self._path, start))
        except FileNotFoundError:
            return None

    def ends_a_line(self, start: int, offset: int) -> bool:
        """Say whether the byte before `offset` of the segment at `start` is a newline. Raises OSError."""
        segment = self._opened(start)
        try:
            return segment.ends_a_line(offset)
        finally:
            segment.close()

    def _starts(self) -> list[int]:
        return self._around.descriptors.make_room(lambda: segment_starts(self._path))

    def _opened(self, start: int) -> SegmentReader:
        around = self._around
        return SegmentReader.open(
            self._name,
            self._path,
            start,
            pread=around.pread,
            files=around.files,
            descriptors=around.descriptors,
        )

    def _size(self, start: int) -> int | None:
        found = self.named(start)
        if found is None:
            self._pass_by("segment-gone", start)
        elif not stat.S_ISREG(found.st_mode):
            self._pass_by("no-segment", start)
        else:
            return found.st_size
        return None

    def _pass_by(self, code: str, start: int) -> None:
        self._passed_by.add(start)
        if start not in self._told:
            self._told.add(start)
            self._troubles.fact(code, start)
