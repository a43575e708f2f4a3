"""Writers that are killed at any moment: what was acknowledged is there, once and whole."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from kmq.command import decode
from tests.support.spooled import lines_in, partitions_in, torn_in
from tests.support.wait import wait_until
from tests.support.writers import WriterProcess, acknowledged

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.reaper import Reaper


def ids_in(spool: Path) -> list[str]:
    """Return the ids of all lines; fails where a line is no command of its own."""
    return [decode(line).properties["id"] for line in lines_in(spool)]


def test_killed_writers_lose_nothing_and_adopt_each_others_partitions(
    shared: Path, tmp_path: Path, reaper: Reaper
) -> None:
    """Four at a time, a SIGKILL at random twenty times over; no line twice, none glued to another.

    A kill can end a write at the boundary of two pages. What it leaves was not acknowledged, and nothing stands
    behind it.
    """
    chance = random.Random(5)
    writers = [WriterProcess(reaper, shared, tmp_path) for _ in range(4)]
    running = list(writers)
    for _ in range(20):
        index = chance.randrange(4)
        writer = running[index]
        enough = chance.randrange(1, 200)
        wait_until(lambda writer=writer, enough=enough: len(writer.ids()) >= enough)  # type: ignore[misc]  # bound early
        writer.kill()
        running[index] = WriterProcess(reaper, shared, tmp_path)
        writers.append(running[index])
    for writer in running:
        wait_until(lambda writer=writer: writer.ids())  # type: ignore[misc]  # bound early
        writer.kill()
    found = ids_in(shared)
    assert len(found) == len(set(found))
    assert set(acknowledged(writers)) <= set(found)
    assert len(torn_in(shared)) <= 24
    assert len(partitions_in(shared)) <= 8


def test_threads_signal_handlers_and_forks_at_once_lose_nothing(
    shared: Path, tmp_path: Path, reaper: Reaper
) -> None:
    """Eight threads, a handler that records in the middle of calls, and children, in each of two processes."""
    writers = [WriterProcess(reaper, shared, tmp_path, kind="storm", count=150) for _ in range(2)]
    for writer in writers:
        writer.finish()
    found = ids_in(shared)
    assert sorted(acknowledged(writers)) == sorted(found)
    assert len(found) == len(set(found)) >= 2 * (8 * 150 + 150 + 50)
    assert any(".handler." in written for written in found)
    assert torn_in(shared) == []


@pytest.mark.parametrize("kind", ["plain", "durable"])
def test_a_writer_that_ends_leaves_all_it_was_told(
    shared: Path, tmp_path: Path, reaper: Reaper, kind: str
) -> None:
    """No exit handler, nothing to flush."""
    writer = WriterProcess(reaper, shared, tmp_path, kind=kind, count=50)
    writer.finish()
    assert ids_in(shared) == writer.ids()
    assert len(writer.ids()) == 50
