"""The judge is judged: each way in which the promise can be broken is seen, and none where it was kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq.command import Command, encode
from sender import checkpoint
from sender.rejected import New, RejectedStore
from tests.support.oracle import Oracle, entries_in, lag, person_of
from tests.support.spools import Partition, make_spool

if TYPE_CHECKING:
    from kmq.spool import Spool

ANN = encode(Command("ann", 1_795_500_000, "Signed Up"))
BOB = encode(Command("bob", 1_795_500_000, "Signed Up"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


def oracle_of(*lines: bytes) -> Oracle:
    """Return an oracle that was told of these, each called for and acknowledged."""
    oracle = Oracle()
    for line in lines:
        oracle.tried(str(person_of(line)), line)
        oracle.acknowledged(str(person_of(line)))
    return oracle


def test_what_is_nowhere_is_lost(spool: Spool) -> None:
    """Neither delivered, nor kept, nor in the spool."""
    Partition(spool).append(BOB)
    found = oracle_of(ANN, BOB).judge(spool.path)
    assert found.lost == {"ann"}
    with pytest.raises(AssertionError, match="1 of 2 lost"):
        found.check()


def test_what_lies_below_the_checkpoint_undelivered_is_lost(spool: Spool) -> None:
    """The next sender does not read it, however whole it lies there."""
    partition = Partition(spool)
    partition.append(ANN)
    partition.append(BOB)
    checkpoint.save(spool, {partition.name: len(ANN)})
    assert oracle_of(ANN, BOB).judge(spool.path).lost == {"ann"}
    assert lag(spool.path) == 1


def test_a_damaged_checkpoint_gives_way_to_the_one_before(spool: Spool) -> None:
    """As the sender has it, and read by other code."""
    partition = Partition(spool)
    partition.append(ANN)
    partition.append(BOB)
    checkpoint.save(spool, {partition.name: len(ANN)})
    checkpoint.save(spool, {partition.name: len(ANN + BOB)})
    assert lag(spool.path) == 0
    os.truncate(spool.checkpoint, 50)
    assert lag(spool.path) == 1
    os.truncate(spool.checkpoint_old, 50)
    assert lag(spool.path) == 2


def test_what_was_delivered_or_kept_is_not_lost(spool: Spool) -> None:
    """The two other places where a command may be."""
    store = RejectedStore(spool, "sender")
    store.add([New("stuck", BOB.rstrip(b"\n"))])
    store.sync()
    oracle = oracle_of(ANN, BOB)
    oracle.arrived("ann", ANN.decode())
    found = oracle.judge(spool.path)
    found.check()
    assert (found.acknowledged, found.delivered, found.delivered_again) == (2, 1, 0)


def test_what_the_operator_dropped_is_not_lost(spool: Spool) -> None:
    """He was asked first."""
    oracle = oracle_of(ANN)
    oracle.dropped("ann")
    oracle.judge(spool.path).check()


def test_a_changed_byte_is_seen(spool: Spool) -> None:
    """On the way as well as in the spool."""
    other = ANN.replace(b"1795500000", b"1795500001")
    oracle = oracle_of(ANN)
    oracle.arrived("ann", other.decode())
    assert "ann" in oracle.judge(spool.path).changed

    Partition(spool).append(other)
    assert "ann" in oracle_of(ANN).judge(spool.path).changed


def test_what_nobody_wrote_is_foreign(spool: Spool) -> None:
    """Half of a line, or two in one, is a command that no call ever made."""
    oracle = oracle_of(ANN)
    oracle.arrived("ann", ANN.decode())
    oracle.arrived("bob", BOB.decode())
    assert oracle.judge(spool.path).foreign == {"bob"}


def test_what_comes_again_is_counted_and_allowed(spool: Spool) -> None:
    """At least once is the promise, and the same time makes it count once."""
    oracle = oracle_of(ANN)
    oracle.arrived("ann", ANN.decode(), delivered=False)
    oracle.arrived("ann", ANN.decode())
    oracle.arrived("ann", ANN.decode())
    found = oracle.judge(spool.path)
    found.check()
    assert found.delivered_again == 1


def test_a_call_that_never_returned_may_have_been_made_or_not(spool: Spool) -> None:
    """Its command counts neither as owed nor as foreign."""
    oracle = Oracle()
    oracle.tried("ann", ANN)
    oracle.judge(spool.path).check()
    oracle.arrived("ann", ANN.decode())
    oracle.judge(spool.path).check()


def test_a_gone_line_speaks_of_its_own_file_only(spool: Spool) -> None:
    """What a failed sync may have lost is written again elsewhere, under the id that it has."""
    store = RejectedStore(spool, "sender")
    (number,) = store.add([New("stuck", BOB.rstrip(b"\n"))])
    store.sync()
    (path,) = Path(spool.rejected).glob("*.jsonl")
    again = path.with_name(path.name.replace("sender", "sender.1"))
    again.write_bytes(path.read_bytes())
    with path.open("ab") as file:
        file.write(b'{"gone":"%s","how":"dropped"}\n' % number.encode())
    assert [entry["id"] for entry in entries_in(spool.path)] == [number]
    oracle_of(BOB).judge(spool.path).check()


def test_what_the_promise_leaves_out_is_not_lost(spool: Spool) -> None:
    """What nobody had synced when the power was cut."""
    oracle = oracle_of(ANN)
    oracle.excused("ann")
    oracle.judge(spool.path).check()
