"""The spool's cap: measured by listing, at the moments that count, and never by a counter alone."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from kmq.cap import Cap
from kmq.errors import NoPermission, SpoolFull
from kmq.spool import Spool
from tests.support.clock import MovableClock

if TYPE_CHECKING:
    from collections.abc import Callable

SPOOL = Spool("/spool")
MIB = 1 << 20


class Sizes:
    """A spool's size that a test sets, and how often it was asked for."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.asked = 0
        self.error: OSError | None = None

    def __call__(self, _spool: Spool) -> int:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.size


@pytest.fixture
def sizes() -> Sizes:
    """Return an empty spool's size."""
    return Sizes()


@pytest.fixture
def capped(sizes: Sizes) -> Callable[[int], tuple[Cap, MovableClock]]:
    """Return a function that makes a cap of so many bytes, and the clock it goes by."""

    def make(max_bytes: int) -> tuple[Cap, MovableClock]:
        clock = MovableClock()
        return Cap(SPOOL, max_bytes, clock=clock, measured=sizes), clock

    return make


def test_the_first_line_is_measured(
    sizes: Sizes, capped: Callable[[int], tuple[Cap, MovableClock]]
) -> None:
    """Whatever stood there before counts from the first call on."""
    cap, _ = capped(100)
    sizes.size = 91
    with pytest.raises(SpoolFull) as caught:
        cap.admit(10)
    assert caught.value.errno == errno.ENOSPC
    assert "holds 91 of at most 100 bytes" in str(caught.value)
    cap.admit(9)


def test_own_appends_count_at_once(
    sizes: Sizes, capped: Callable[[int], tuple[Cap, MovableClock]]
) -> None:
    """Between two measurements the cap holds to the byte for one process."""
    cap, _ = capped(100)
    for _ in range(10):
        cap.admit(10)
    with pytest.raises(SpoolFull):
        cap.admit(1)
    assert sizes.asked == 1


def test_it_is_measured_again_after_each_mebibyte(
    sizes: Sizes, capped: Callable[[int], tuple[Cap, MovableClock]]
) -> None:
    """What other processes append is seen, and what the sender removed is not held against the app for ever."""
    cap, _ = capped(100 * MIB)
    for _ in range(2 * 16 + 1):
        cap.admit(MIB // 16)
    assert sizes.asked == 3


def test_while_full_it_is_measured_once_a_second(
    sizes: Sizes, capped: Callable[[int], tuple[Cap, MovableClock]]
) -> None:
    """Neither more often, even where each call would look (a rotation is due), nor less: room is found again."""
    cap, clock = capped(100)
    sizes.size = 100
    for _ in range(5):
        with pytest.raises(SpoolFull):
            cap.admit(1, look=True)
    assert sizes.asked == 1
    clock.advance(1.0)
    with pytest.raises(SpoolFull):
        cap.admit(1)
    assert sizes.asked == 2
    sizes.size = 0
    clock.advance(0.9)
    with pytest.raises(SpoolFull):
        cap.admit(1)
    clock.advance(0.2)
    cap.admit(1)
    cap.admit(1)
    assert sizes.asked == 3


def test_adoption_and_rotation_look(
    sizes: Sizes, capped: Callable[[int], tuple[Cap, MovableClock]]
) -> None:
    """`look` measures at once."""
    cap, _ = capped(100)
    cap.admit(1)
    sizes.size = 100
    with pytest.raises(SpoolFull):
        cap.admit(1, look=True)


def test_a_spool_that_is_gone_is_empty(
    sizes: Sizes, capped: Callable[[int], tuple[Cap, MovableClock]]
) -> None:
    """Somebody removed it: the append that follows must be able to find out and make it again."""
    cap, _ = capped(100)
    sizes.error = FileNotFoundError(errno.ENOENT, "gone")
    cap.admit(100)


def test_a_spool_that_cannot_be_listed_is_an_error(
    sizes: Sizes, capped: Callable[[int], tuple[Cap, MovableClock]]
) -> None:
    """Without a measurement nothing is promised."""
    cap, _ = capped(100)
    sizes.error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with pytest.raises(NoPermission, match="cannot list /spool"):
        cap.admit(1)
