"""A lease: one write, by one at a time, for as long as it is good."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from kmq.durable import Files
from kmq.forks import same_process
from kmq.lease import TORN, Lease, Leases
from kmq.segment import Segment
from tests.support.files import files_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def leased(path: Path, left: int = 100, files: Files | None = None) -> tuple[Leases, Lease]:
    """Return a lease on a new segment in `path`, and where it lies."""
    segment = Segment.create(str(path), 0, 0.0, files=files or Files())
    leases, lease = Leases(), Lease(segment, left, same_process())
    leases.give(lease)
    return leases, lease


def content(path: Path) -> bytes:
    return (path / f"{0:020}.jsonl").read_bytes()


def test_an_append_is_one_write_and_tells_where(tmp_path: Path) -> None:
    """And the lease is there for the next one."""
    writes: list[bytes] = []

    def write(fd: int, data: bytes) -> int:
        writes.append(data)
        return os.write(fd, data)

    leases, lease = leased(tmp_path, files=files_with(write=write))
    assert leases.append(b"one\n") is lease.segment
    assert leases.append(b"two\n") is lease.segment
    assert writes == [b"one\n", b"two\n"]
    assert content(tmp_path) == b"one\ntwo\n"
    assert lease.left == 100 - 8


def test_without_a_lease_nothing_is_written() -> None:
    """The first call goes the long way."""
    assert Leases().append(b"one\n") is None


def test_past_what_is_left_nothing_is_written(tmp_path: Path) -> None:
    """To the byte: names, age and cap are looked at before."""
    leases, lease = leased(tmp_path, left=5)
    assert leases.append(b"12345\n") is None
    assert leases.append(b"1234\n") is lease.segment
    assert leases.append(b"\n") is None
    assert content(tmp_path) == b"1234\n"
    assert leases.take_back(1)


def test_a_call_inside_a_call_finds_no_lease(tmp_path: Path) -> None:
    """It must not write between the outer call's write and its look at the count."""
    inside: list[object] = []

    def write(fd: int, data: bytes) -> int:
        inside.append(leases.append(b"inner\n"))
        return os.write(fd, data)

    leases, _ = leased(tmp_path, files=files_with(write=write))
    assert leases.append(b"outer\n")
    assert inside == [None]
    assert content(tmp_path) == b"outer\n"


def _fall_short(fd: int, data: bytes) -> int:
    return os.write(fd, data[:2])


def _write_and_raise(fd: int, data: bytes) -> int:
    os.write(fd, data[:2])
    raise KeyboardInterrupt


def _write_and_time_out(fd: int, data: bytes) -> int:
    os.write(fd, data[:2])
    raise TimeoutError("too late")  # a signal handler's: an OSError, and none of the write


@pytest.mark.parametrize("write", [_fall_short, _write_and_raise, _write_and_time_out])
def test_after_a_write_that_did_not_end_well_it_is_good_for_nothing(
    tmp_path: Path, write: Callable[[int, bytes], int]
) -> None:
    """The tail may be torn: what comes next must not be glued to it."""
    leases, lease = leased(tmp_path, files=files_with(write=write))
    with contextlib.suppress(KeyboardInterrupt, TimeoutError):
        assert leases.append(b"one\n") is None
    assert lease.left == TORN
    assert leases.append(b"two\n") is None
    assert content(tmp_path) == b"on"
    assert leases.take_back(1)


def test_a_write_that_wrote_nothing_tears_nothing(tmp_path: Path) -> None:
    """The long way meets the fault again, and tells of it."""

    def write(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    leases, lease = leased(tmp_path, files=files_with(write=write))
    assert leases.append(b"one\n") is None
    assert lease.left == 100


def test_a_lease_that_is_back_stays_until_it_is_settled(tmp_path: Path) -> None:
    """An exception between taking it back and counting what it got loses neither."""
    leases, _ = leased(tmp_path)
    assert leases.take_back(1)
    assert leases.append(b"one\n") is None
    assert leases.take_back(1)
    leases.settled()
    assert not leases.take_back(2)


@pytest.fixture
def _no_alarm_left() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_no_alarm_left")
def test_a_signal_handler_that_outlasts_the_wait_for_a_lease_does_not_make_it_endless() -> None:
    """It may have interrupted the very write that the lease is out for, so that nobody would ever give it back."""
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        assert handled == 1, "still waiting"
        time.sleep(0.05)  # longer than the wait that it interrupts: what is tried here

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 5)
    assert not Leases().take_back(20)
    assert handled == 1


def test_a_lease_that_is_never_at_rest_comes_back_when_it_is_asked_for(tmp_path: Path) -> None:
    """Threads that take it in turns let the interpreter go only while one has it."""
    leases, _ = leased(tmp_path, left=1 << 30)
    ended = threading.Event()

    def append() -> None:
        while not ended.is_set():
            leases.append(b"one\n")

    threads = [threading.Thread(target=append) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            assert leases.take_back(20)
            [lease] = leases._back
            leases.settled()
            leases.give(lease)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
