"""Fair turns, with the real daemon on real files in virtual time: whoever floods, the others' commands go."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from kmq.command import Command, encode
from sender.daemon import Daemon
from sender.dispatcher import Window
from sender.holding import hold
from sender.logs import Log
from sender.plan import Plan
from sender.retention import Limits
from tests.support.clock import MovableClock
from tests.support.modelled import ModelSink, Steady
from tests.support.spools import Partition, make_spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from kmq.spool import Spool
    from sender.flow import Delivery, Outcome

NAMES = [f"20261123T204501Z-0000000{n}" for n in range(4)]
IN_FLIGHT = 8
READ_AHEAD = 3_000  # at least: up to 5,000, in steps of 2,000


class NotingSink(ModelSink):
    """A server that answers after 50 ms, and whose commands it was sent, in order."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__(Steady(0.05), clock)
        self.people: list[str] = []

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Note whose they are."""
        self.people += [delivery.command.person for delivery in deliveries]
        return super().exchange(deliveries, wait_s)


class Course:
    """A daemon on `spool`, turn by turn."""

    def __init__(self, spool: Spool) -> None:
        clock = MovableClock()
        self.sink = NotingSink(clock)
        self._lock = hold(spool)
        self._daemon = Daemon(
            Plan(
                spool=spool,
                url="http://127.0.0.1:1",
                transport="requests",
                window=Window(IN_FLIGHT),
                limits=Limits(age_s=1e9, max_bytes=1 << 40),
                max_spool=1 << 40,
                drain=False,
            ),
            self._lock,
            self.sink,
            Log("json", "debug", stream=io.StringIO()),
            clock=clock,
        )

    def until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """Take turns until it holds of those whose commands were sent; return them."""
        while not holds(self.sink.people):
            self._daemon.turn()
        return self.sink.people

    def close(self) -> None:
        """Let the spool go."""
        self._daemon._reader.close()
        os.close(self._lock)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


@pytest.fixture
def course(spool: Spool) -> Iterator[Course]:
    course = Course(spool)
    yield course
    course.close()


def append(partition: Partition, *people: str) -> None:
    partition.append(b"".join(encode(Command(who, 1_795_500_000, "x")) for who in people))


def test_one_persons_flood_delays_nobody_in_other_partitions(spool: Spool, course: Course) -> None:
    """While 60 commands of others go, eight at a time, a flood of 30,000 gets its one place at a time."""
    append(Partition(spool, NAMES[0]), *["flood"] * 30_000)
    for name in NAMES[1:]:
        append(Partition(spool, name), *(f"{name} {n}" for n in range(20)))
    people = course.until(lambda people: len(set(people)) == 61)
    assert people.count("flood") <= 60 / (IN_FLIGHT - 1) + 2


def test_a_partitions_backlog_delays_nobody_in_another(spool: Spool, course: Course) -> None:
    """What arrives in another partition while thousands wait goes as soon as it is seen, every second one its."""
    append(Partition(spool, NAMES[0]), *(f"person {n}" for n in range(20_000)))
    quiet = Partition(spool, NAMES[1])
    course.until(lambda people: len(people) >= 1_000)
    sent = len(course.sink.people)
    append(quiet, *(f"late {n}" for n in range(20)))
    people = course.until(lambda people: "late 19" in people)
    assert people.index("late 0") - sent <= 0.3 * IN_FLIGHT / 0.05
    assert people.index("late 19") - people.index("late 0") <= 2 * 20


def test_one_persons_flood_delays_nobody_behind_it_within_the_read_ahead(
    spool: Spool, course: Course
) -> None:
    """Also in its own partition: the flood waits for itself alone."""
    append(Partition(spool, NAMES[0]), *["flood"] * (READ_AHEAD - 100), "ann", "bob")
    people = course.until(lambda people: "bob" in people)
    assert people.count("flood") <= 5


def test_behind_a_longer_flood_others_wait_for_what_is_more_than_the_read_ahead(
    spool: Spool, course: Course
) -> None:
    """That is the bound: not the flood, but what of it cannot be read ahead."""
    append(Partition(spool, NAMES[0]), *["flood"] * (READ_AHEAD + 2_000), "ann")
    people = course.until(lambda people: "ann" in people)
    assert people.count("flood") <= 2_000 + IN_FLIGHT
