"""Where to begin reading a partition, given what the checkpoint says and which segments are there.

Pure: values in, a `Placement` out. Whether an offset is believed is decided here and nowhere else, for the reader and
for `verify` alike.

An offset fits if a line can begin there: it is a segment's start, or the byte before it is a newline, or it is a
segment's end, and nobody continues it (a torn tail was rejected there). One that does not fit is not believed, and the
partition is read from its oldest segment: twice rather than lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Extent", "Placement", "place"]


@dataclass(frozen=True, slots=True)
class Extent:
    """The bytes of a partition that a segment holds, `start` up to `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Read the segment that starts at `segment`, from offset `at`; positions below `floor` were given out before.

    `problem` is None where the offset fits, else `gap`, `overlap` or `offset-does-not-fit`.
    """

    segment: int
    at: int
    floor: int
    problem: str | None = None


def place(
    extents: Sequence[Extent],
    offset: int | None,
    ends_a_line: Callable[[int, int], bool],
    continued: Callable[[], bool] = lambda: False,
) -> Placement:
    """Return where to begin among `extents` (not empty, in order) for the checkpoint's `offset`, None if it has none.

    `ends_a_line(segment, offset)` says whether the byte before `offset` in that segment is a newline, `continued()`
    whether somebody may still append to the newest one.

    >>> place([Extent(0, 90), Extent(90, 200)], 90, lambda segment, offset: False)
    Placement(segment=90, at=90, floor=90, problem=None)
    """
    oldest = extents[0].start
    if offset is None:
        return Placement(oldest, oldest, oldest)
    holder = next((extent for extent in reversed(extents) if extent.start <= offset), None)
    if holder is None:
        return Placement(oldest, oldest, oldest, "gap")
    first = next((extent for extent in extents if extent.start <= offset < extent.end), holder)
    if first is not holder:
        # Two segments hold this offset. Which of them it was written for cannot be known, so the first one is
        # read again as a whole, and what it gives lies at `floor`.
        return Placement(first.start, first.start, offset, "overlap")
    if holder.end < offset:
        # No line began there. It may have stood in a segment that was removed early; nothing older is left then.
        return Placement(oldest, oldest, oldest, "offset-does-not-fit")
    is_newest = holder is extents[-1]
    if (
        offset == holder.start
        or (offset == holder.end and not is_newest)
        or ends_a_line(holder.start, offset)
        or (offset == holder.end and not continued())
    ):
        return Placement(holder.start, offset, offset)
    return Placement(oldest, oldest, oldest, "offset-does-not-fit")
