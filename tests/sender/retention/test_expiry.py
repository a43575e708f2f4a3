"""What retention lets go: by age and size, oldest first, and never what is not covered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.retention import Limits, limits
from sender.retention.expiry import AT_ONCE, ClockWatch, SegmentFile, expired

if TYPE_CHECKING:
    from collections.abc import Iterable

P = "20261123T204501Z-4f2a91c3"
Q = "20261123T204501Z-90be12aa"

DAY = 86_400.0
NOW = 1_000 * DAY
FOREVER = Limits(float("inf"), 1 << 60)
WEEK = Limits(7 * DAY, 1 << 60)


def partition(
    name: str, sizes: Iterable[int], *, days: Iterable[float], held: bool = False
) -> list[SegmentFile]:
    """Return the segments of a partition, each so many days old; of a held one without the newest."""
    found: list[SegmentFile] = []
    start = 0
    for size, age in zip(sizes, days, strict=True):
        found.append(SegmentFile(name, start, size, NOW - age * DAY, newest=False))
        start += size
    last = found.pop()
    newest = SegmentFile(name, last.start, last.size, last.modified, newest=True)
    return found if held else [*found, newest]


def starts(going: list[SegmentFile]) -> list[tuple[str, int]]:
    """Return which ones go."""
    return [(segment.partition, segment.start) for segment in going]


def test_segments_past_their_age_go() -> None:
    """Seven days by the file's own time."""
    found = partition(P, [10, 10, 10], days=[9, 8, 1], held=True)
    assert starts(expired(found, {P: 30}, WEEK, NOW)) == [(P, 0), (P, 10)]


def test_what_is_exactly_as_old_as_the_limit_stays() -> None:
    """Kept for seven days means not less."""
    found = partition(P, [10, 10], days=[7, 1], held=True)
    assert expired(found, {P: 20}, WEEK, NOW) == []


def test_what_is_not_covered_stays_whatever_its_age() -> None:
    """By the byte: one that is not covered keeps its whole segment, and all behind it."""
    found = partition(P, [10, 10, 10], days=[99, 99, 99])
    assert starts(expired(found, {P: 19}, WEEK, NOW)) == [(P, 0)]
    assert expired(found, {P: 9}, AT_ONCE, NOW) == []
    assert expired(found, {}, AT_ONCE, NOW) == []


def test_the_newest_segment_goes_only_with_all_of_its_partition() -> None:
    """Whoever removes it takes the lock first; while any part stays, so does the newest."""
    found = partition(P, [10, 10], days=[9, 8])
    assert starts(expired(found, {P: 20}, WEEK, NOW)) == [(P, 0), (P, 10)]
    assert starts(expired(found, {P: 19}, WEEK, NOW)) == [(P, 0)]
    young = partition(P, [10, 10], days=[1, 8])
    assert expired(young, {P: 20}, WEEK, NOW) == []


def test_the_newest_segment_must_end_exactly_where_the_checkpoint_stands() -> None:
    """An offset beyond the end was taken from another state of the partition, and proves nothing."""
    found = partition(P, [10], days=[9])
    assert expired(found, {P: 11}, WEEK, NOW) == []


def test_an_empty_partition_without_an_entry_goes_by_its_age() -> None:
    """A process made it and died before its first append."""
    assert starts(expired(partition(P, [0], days=[8]), {}, WEEK, NOW)) == [(P, 0)]


def test_more_than_the_size_goes_oldest_first_over_all_partitions() -> None:
    """The younger of two partitions is kept longer."""
    found = [
        *partition(P, [10, 10, 10], days=[3, 1, 0], held=True),
        *partition(Q, [10, 10, 10], days=[2.5, 2, 0], held=True),
    ]
    covered = {P: 30, Q: 30}
    assert starts(expired(found, covered, Limits(7 * DAY, 20), NOW)) == [(P, 0), (Q, 0)]
    assert starts(expired(found, covered, Limits(7 * DAY, 19), NOW)) == [(P, 0), (Q, 0), (Q, 10)]
    assert expired(found, covered, Limits(7 * DAY, 40), NOW) == []


def test_what_was_not_delivered_does_not_count_towards_the_size() -> None:
    """A backlog must not push out what replay can still use."""
    found = partition(P, [10, 1_000, 10], days=[2, 1, 0], held=True)
    assert expired(found, {P: 10}, Limits(7 * DAY, 10), NOW) == []


def test_without_a_trusted_clock_only_the_size_counts() -> None:
    """A clock that is a year ahead removes nothing for its age."""
    found = partition(P, [10, 10, 10], days=[400, 399, 0], held=True)
    assert expired(found, {P: 30}, WEEK, None) == []
    assert starts(expired(found, {P: 30}, Limits(7 * DAY, 10), None)) == [(P, 0)]


def test_at_once_takes_all_that_is_covered() -> None:
    """A full disk: also what was delivered a moment ago, and with a clock that nobody trusts."""
    found = partition(P, [10, 10, 10], days=[0, 0, 0])
    assert starts(expired(found, {P: 30}, AT_ONCE, None)) == [(P, 0), (P, 10), (P, 20)]


def test_a_clock_that_was_set_back_does_not_reverse_the_order() -> None:
    """The second segment bears an older time than the first: the first still goes first."""
    found = partition(P, [10, 10, 10], days=[1, 9, 0], held=True)
    assert expired(found, {P: 30}, WEEK, NOW) == []
    assert starts(expired(found, {P: 30}, Limits(7 * DAY, 10), NOW)) == [(P, 0)]


segments = st.lists(
    st.tuples(st.integers(0, 50), st.floats(0, 20, allow_nan=False)), min_size=1, max_size=6
)


@given(
    st.dictionaries(st.sampled_from([P, Q]), st.tuples(segments, st.integers(0, 320)), min_size=1),
    st.integers(0, 400),
    st.floats(0, 20, allow_nan=False),
)
def test_whatever_goes_is_covered_and_the_first_of_its_partition(
    spool: dict[str, tuple[list[tuple[int, float]], int]], max_bytes: int, days: float
) -> None:
    """What stays of a partition is its end, and all that is not covered is in it."""
    listed = {
        name: partition(name, [size for size, _ in found], days=[age for _, age in found])
        for name, (found, _) in spool.items()
    }
    covered = {name: offset for name, (_, offset) in spool.items()}
    everything = [segment for found in listed.values() for segment in found]
    going = expired(everything, covered, Limits(days * DAY, max_bytes), NOW)
    for name, found in listed.items():
        gone = [segment for segment in going if segment.partition == name]
        assert gone == found[: len(gone)]
        assert all(segment.end <= covered[name] for segment in gone)


def test_delivered_segments_take_at_most_half_of_the_cap() -> None:
    """Else the spool would be full of what was delivered."""
    assert limits(DAY, 1 << 30, 4 << 30) == Limits(DAY, 1 << 30)
    assert limits(DAY, 3 << 30, 4 << 30) == Limits(DAY, 2 << 30)


def test_clocks_that_agree_are_trusted_from_the_first_look() -> None:
    """A sender that runs for seconds has only one."""
    watch = ClockWatch()
    assert watch.trusts(NOW, 5.0)
    assert watch.trusts(NOW + 60.0, 65.0)
    assert watch.trusts(NOW + 180.0, 125.0), "a minute apart is no disagreement"


@pytest.mark.parametrize("jump_s", [61.0, -61.0, 365 * DAY])
def test_a_clock_that_jumped_is_not_trusted_for_an_hour(jump_s: float) -> None:
    """Forwards or backwards: it may be mended before anything is removed."""
    watch = ClockWatch()
    watch.trusts(NOW, 0.0)
    wall = NOW + jump_s
    assert not watch.trusts(wall + 1.0, 1.0)
    assert not watch.trusts(wall + 3_600.0, 3_600.0)
    assert watch.trusts(wall + 3_601.0, 3_601.0)


def test_each_jump_starts_the_hour_anew() -> None:
    """Also the one that mends it: which of the two was right cannot be known."""
    watch = ClockWatch()
    watch.trusts(NOW, 0.0)
    assert not watch.trusts(NOW + DAY, 10.0)
    assert not watch.trusts(NOW + 3_000.0, 3_000.0)
    assert not watch.trusts(NOW + 6_500.0, 6_500.0)
    assert watch.trusts(NOW + 6_600.0, 6_600.0)


def test_many_small_corrections_are_no_jump() -> None:
    """A clock that is slewed for days stays trusted."""
    watch = ClockWatch()
    assert all(watch.trusts(NOW + look * 90.0, look * 60.0) for look in range(100))
