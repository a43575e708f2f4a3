"""What a drain waits for: all that stood in the spool when it began, and nothing after."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kmq.errors import NoPermission
from sender.drain import Drain
from tests.support.spools import Partition, make_spool

if TYPE_CHECKING:
    from pathlib import Path

    from kmq.spool import Spool

WHOLE = b'{"_p":"bob","_t":1795500000,"_n":"x"}\n'


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


def test_what_was_there_must_be_done_and_what_comes_later_need_not(spool: Spool) -> None:
    """The bytes between the mark and the end at the start are left; later appends change nothing."""
    partition = Partition(spool)
    partition.append(WHOLE * 2)
    drain = Drain(spool)
    partition.append(WHOLE)
    assert drain.left({}) == 2 * len(WHOLE)
    assert drain.left({partition.name: len(WHOLE)}) == len(WHOLE)
    assert drain.left({partition.name: 2 * len(WHOLE)}) == 0


def test_a_line_that_a_living_writer_has_not_finished_is_not_waited_for(spool: Spool) -> None:
    """Its call has not returned; the drain ends at the last newline."""
    partition = Partition(spool)
    partition.append(WHOLE + b'{"_p":"bo')
    partition.hold()
    drain = Drain(spool)
    partition.let_go()
    assert drain.left({partition.name: len(WHOLE)}) == 0


def test_a_torn_tail_that_nobody_will_finish_is_waited_for(spool: Spool) -> None:
    """It will be rejected, and the mark then stands behind it."""
    partition = Partition(spool)
    partition.append(WHOLE + b'{"_p":"bo')
    assert Drain(spool).left({partition.name: len(WHOLE)}) == 9


def test_a_torn_line_longer_than_a_chunk_is_looked_behind(spool: Spool) -> None:
    """The last newline is found however far back it stands, also where there is none."""
    partition = Partition(spool)
    partition.append(WHOLE + b"x" * 300_000)
    other = Partition(spool, "20261123T204501Z-90be12aa")
    other.append(b"x" * 70_000)
    for one in (partition, other):
        one.hold()
    drain = Drain(spool)
    for one in (partition, other):
        one.let_go()
    assert drain.left({}) == len(WHOLE)


def test_a_partition_that_is_gone_is_not_waited_for(spool: Spool) -> None:
    """Nothing can be delivered of it any more."""
    partition = Partition(spool)
    partition.append(WHOLE)
    drain = Drain(spool)
    os.rename(partition.path, spool.partition(".gone-" + partition.name))
    assert drain.left({}) == 0


def test_an_empty_spool_is_drained(spool: Spool) -> None:
    """A partition without a segment, or with an empty one, has nothing to wait for."""
    partition = Partition(spool)
    empty = Partition(spool, "20261123T204501Z-90be12aa")
    os.unlink(empty.segment())
    assert Drain(spool).left({partition.name: 0}) == 0


def test_what_bears_a_segments_name_and_is_no_file_is_looked_past(spool: Spool) -> None:
    """Behind a directory, a link or a pipe of such a name the real newest segment is waited for."""
    partition = Partition(spool)
    partition.append(WHOLE)
    os.mkdir(partition.segment(1_000))
    os.symlink("nowhere", partition.segment(2_000))
    os.mkfifo(partition.segment(3_000))
    assert Drain(spool).left({}) == len(WHOLE)


def test_what_cannot_be_looked_into_is_an_error_and_not_drained(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ending with success would let a short-lived host go with its data."""
    partition = Partition(spool)
    partition.append(WHOLE)
    real = os.open

    def forbidden(path: str, *rest: int) -> int:
        if path.endswith(".jsonl"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *rest)

    monkeypatch.setattr(os, "open", forbidden)  # as root, no mode forbids
    with pytest.raises(NoPermission, match=r"\.jsonl"):
        Drain(spool)


def test_a_lock_that_may_not_be_opened_counts_as_held(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nobody can tell that the tail is finished: only whole lines are waited for."""
    partition = Partition(spool)
    partition.append(WHOLE + b"torn")
    real = os.open

    def forbidden(path: str, *rest: int) -> int:
        if path.endswith("writer.lock"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *rest)

    monkeypatch.setattr(os, "open", forbidden)  # as root, no mode forbids
    drain = Drain(spool)
    monkeypatch.undo()
    assert drain.left({partition.name: len(WHOLE)}) == 0
