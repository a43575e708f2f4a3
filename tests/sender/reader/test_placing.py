"""Where reading begins: which offsets of a checkpoint are believed, and what is done about the others."""

from __future__ import annotations

import pytest

from sender.reader.placing import Extent, Placement, place

SEGMENTS = [Extent(100, 200), Extent(200, 300), Extent(300, 350)]


@pytest.mark.parametrize(
    ("offset", "segment"),
    [(100, 100), (150, 100), (200, 200), (300, 300), (320, 300), (350, 300)],
)
def test_an_offset_that_fits_is_believed(offset: int, segment: int) -> None:
    """A segment's start, a place behind a newline, and a segment's end are where a line can begin."""
    assert place(SEGMENTS, offset, lambda _segment, at: at in {150, 320}) == Placement(
        segment, offset, offset
    )


@pytest.mark.parametrize("offset", [101, 151, 299, 301, 351, 10**18])
def test_an_offset_that_does_not_fit_sends_the_partition_again(offset: int) -> None:
    """Half a line in, or beyond the end: from the oldest segment, twice rather than lost."""
    assert place(SEGMENTS, offset, lambda _segment, at: at == 150) == Placement(
        100, 100, 100, "offset-does-not-fit"
    )


def test_beyond_the_end_nothing_is_believed_whatever_is_read_there() -> None:
    """The file may have grown since it was measured: what stands there is not what the offset was written for."""
    assert place(SEGMENTS, 351, lambda _segment, _at: True).problem == "offset-does-not-fit"


def test_without_an_offset_the_oldest_segment_is_first() -> None:
    """That it starts above 0 is retention's doing, and nothing is wrong."""
    assert place(SEGMENTS, None, lambda _segment, _at: False) == Placement(100, 100, 100)


@pytest.mark.parametrize("offset", [0, 50, 99])
def test_below_the_oldest_segment_is_a_gap(offset: int) -> None:
    """What stood between the offset and the oldest segment is gone and was not covered."""
    assert place(SEGMENTS, offset, lambda _segment, _at: True) == Placement(100, 100, 100, "gap")


@pytest.mark.parametrize("offset", [201, 250, 299])
def test_an_offset_inside_a_gap_does_not_fit(offset: int) -> None:
    """No line begins there. What is older goes first, so that a checkpoint that covered it would find none."""
    there = [Extent(100, 200), Extent(300, 350)]
    assert place(there, offset, lambda _segment, _at: False) == Placement(
        100, 100, 100, "offset-does-not-fit"
    )


def test_the_end_of_a_line_that_is_still_written_does_not_fit() -> None:
    """A living writer will finish it: beginning behind its first half would take the rest for a line."""
    there = [Extent(100, 200)]
    held = place(there, 200, lambda _segment, _at: False, lambda: True)
    assert held == Placement(100, 100, 100, "offset-does-not-fit")
    finished = place(there, 200, lambda _segment, _at: False, lambda: False)
    assert finished == Placement(100, 200, 200)


def test_a_newline_is_asked_for_only_where_it_decides() -> None:
    """Starts and ends need no look into the file."""

    def never(_segment: int, _at: int) -> bool:
        raise AssertionError("asked")

    for offset in (100, 200, 300):
        assert place(SEGMENTS, offset, never).problem is None


@pytest.mark.parametrize(
    ("there", "offset", "first"),
    [
        ([Extent(0, 100), Extent(60, 160)], 60, 0),
        ([Extent(0, 100), Extent(60, 160)], 80, 0),
        ([Extent(0, 1000), Extent(100, 200)], 500, 0),
        ([Extent(0, 50), Extent(50, 300), Extent(60, 70), Extent(70, 400)], 100, 50),
    ],
)
def test_where_two_segments_hold_the_offset_the_first_is_read_again(
    there: list[Extent], offset: int, first: int
) -> None:
    """Which of them it was written for cannot be known; what is read again lies at the offset."""
    assert place(there, offset, lambda _segment, _at: True) == Placement(
        first, first, offset, "overlap"
    )


def test_beyond_an_overlap_an_offset_is_like_any_other() -> None:
    """Once the first segment is covered whole only the second counts."""
    there = [Extent(0, 100), Extent(60, 160)]
    assert place(there, 100, lambda _segment, at: at == 100) == Placement(60, 100, 100)
    assert place(there, 120, lambda _segment, at: at == 120) == Placement(60, 120, 120)
