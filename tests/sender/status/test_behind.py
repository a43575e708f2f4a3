"""Since when a partition is behind: never by a `_t`, and not for ever on a busy one."""

from __future__ import annotations

from sender.status.behind import Behind

P = "20261123T204501Z-4f2a91c3"


class Watched:
    """A partition that a test moves: one look a second."""

    def __init__(self, first_seen: float | None = None) -> None:
        self.now = 1_000.0
        self._behind = Behind(lambda: self.now, lambda _: first_seen)

    def look(self, mark: int, end: int) -> float | None:
        """Look, a second later than before; return since when it is behind."""
        self.now += 1
        return self._behind.look({P: mark}, {P: end}).get(P)


def test_at_its_end_it_is_not_behind() -> None:
    """A partition of which everything is done has no lag."""
    assert Watched().look(100, 100) is None


def test_it_is_behind_since_it_last_stood_at_its_end() -> None:
    """What was appended since then waits since then at the most."""
    one = Watched()
    one.look(100, 100)
    stood = one.now
    assert [one.look(100, 200), one.look(100, 300), one.look(150, 300)] == [stood] * 3
    assert one.look(300, 300) is None


def test_a_busy_partition_that_is_never_at_rest_is_hardly_behind() -> None:
    """Where the mark follows the end a second later, the lag stays at a second or two, however long that goes on."""
    one = Watched()
    one.look(0, 0)
    for end in range(100, 100_000, 100):
        since = one.look(end - 100, end)
        assert since is None or one.now - since <= 2


def test_after_a_start_it_is_behind_since_the_time_of_its_file() -> None:
    """What was there before the sender waits at least since the file was written."""
    one = Watched(first_seen=400.0)
    assert [one.look(0, 100), one.look(0, 100)] == [400.0, 400.0]


def test_a_file_from_the_future_counts_from_now() -> None:
    """A clock that was set back makes no negative lag."""
    one = Watched(first_seen=9_999.0)
    assert one.look(0, 100) == one.now


def test_without_a_file_it_counts_from_the_first_look() -> None:
    """A partition whose file cannot be asked is behind since it was seen."""
    one = Watched()
    assert one.look(0, 100) == one.now


def test_its_memory_is_bounded_and_errs_towards_long() -> None:
    """After an outage of hours the lag may show too long, by what was thinned out, but never too short."""
    one = Watched(first_seen=0.0)
    appended = {}
    for end in range(10, 50_000, 10):
        one.look(0, end)
        appended[end] = one.now
    assert sum(map(len, one._behind._moments.values())) <= 65
    since = one.look(25_000, 50_000)
    assert since is not None
    assert since <= appended[25_000]


def test_a_partition_that_is_gone_is_forgotten() -> None:
    """Nothing is kept of what was removed."""
    behind = Behind(lambda: 5.0)
    behind.look({P: 0}, {P: 10})
    assert behind.look({}, {}) == {}
    assert not behind._moments
    assert not behind._since


def test_a_partition_without_a_mark_is_behind_from_its_start() -> None:
    """Of what was only just found nothing is done."""
    assert Behind(lambda: 5.0).look({}, {P: 10}) == {P: 5.0}
