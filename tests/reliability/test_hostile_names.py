"""Whatever bears a name in the spool: no link is followed, nothing waits, and no command is lost for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kmq.command import Command, encode
from kmq.errors import SpoolError
from kmq.spool import Spool, segment_path, writer_lock
from sender import checkpoint
from sender.plan import End
from sender.status.snapshot import load
from tests.support.drains import drained
from tests.support.oddities import KINDS, PRECIOUS, put
from tests.support.spools import Partition, make_spool

NAME = "20261123T204501Z-4f2a91c3"
TORN = b'{"_p":"torn'


def line(person: str) -> bytes:
    """Return an intact line."""
    return encode(Command(person, 1_795_500_000, "Signed Up"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool with a partition that holds a command and a torn tail."""
    made = make_spool(tmp_path / "spool")
    partition = Partition(made, NAME)
    partition.append(line("ann") + TORN)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return where links lead to."""
    return tmp_path / "precious"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        *("checkpoint.json", "checkpoint.json.old", "checkpoint.json.tmp"),
        *("status.json", "status.json.tmp", "reserve"),
        "rejected/2026-11-24-sender.jsonl",
        *(
            "20261123T204501Z-00000000",
            ".new-20261123T204501Z-00000000",
            ".gone-20261123T204501Z-00000000",
        ),
        *(
            f"{NAME}/00000000000000000099.jsonl",
            f"{NAME}/00000000000000000001.jsonl",
            f"{NAME}/x.jsonl",
        ),
    ],
)
def test_what_bears_a_name_keeps_nothing_from_being_delivered(
    spool: Spool, target: Path, name: str, kind: str
) -> None:
    """The command goes out, the torn tail is kept, a checkpoint is written, and what a link leads to stays as it is."""
    os.makedirs(os.path.dirname(f"{spool.path}/{name}"), exist_ok=True)
    put(kind, f"{spool.path}/{name}", target)
    found = drained(spool)
    assert found.end is End.DRAINED
    assert found.sent == [line("ann")]
    assert [one.raw for one in found.kept()] == [TORN]
    assert checkpoint.load(spool).offsets[NAME] == len(line("ann") + TORN)
    assert target.read_text("ascii") == PRECIOUS
    load(spool)


@pytest.mark.parametrize("kind", KINDS)
def test_a_writers_lock_that_is_none_is_held_by_nobody(
    spool: Spool, target: Path, kind: str
) -> None:
    """Its partition is finished: all of it is read, and its torn tail is judged."""
    os.unlink(writer_lock(spool.partition(NAME)))
    put(kind, writer_lock(spool.partition(NAME)), target)
    found = drained(spool)
    assert (found.end, found.sent) == (End.DRAINED, [line("ann")])
    assert [one.reason for one in found.kept()] == ["torn"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "directory"])
@pytest.mark.parametrize("name", ["rejected", "rejected/lock"])
def test_where_nothing_can_be_kept_the_rest_is_sent_and_that_is_said(
    spool: Spool, target: Path, name: str, kind: str
) -> None:
    """The torn tail waits, the checkpoint stops before it, and once it can be kept it is."""
    os.makedirs(os.path.dirname(f"{spool.path}/{name}"), exist_ok=True)
    put(kind, f"{spool.path}/{name}", target)
    found = drained(spool, timeout_s=0.4)
    assert (found.end, found.sent) == (End.DRAIN_TIMEOUT, [line("ann")])
    assert found.events() >= {"rejected-failed"}
    assert checkpoint.load(spool).offsets == {NAME: len(line("ann"))}
    assert target.read_text("ascii") == PRECIOUS
    os.unlink(f"{spool.path}/{name}")
    again = drained(spool)
    assert (again.end, again.sent) == (End.DRAINED, [])
    assert [one.raw for one in again.kept()] == [TORN]


@pytest.mark.parametrize("kind", KINDS)
def test_a_senders_lock_that_is_none_is_an_error_with_a_way_out(
    spool: Spool, target: Path, kind: str
) -> None:
    """Two senders on one spool would be worse than none."""
    put(kind, spool.sender_lock, target)
    with pytest.raises(SpoolError, match="is no file: move it away, and start the sender again"):
        drained(spool)


def test_a_segment_that_is_a_device_is_passed_by(spool: Spool, tmp_path: Path) -> None:
    """Where the tests may make one; a link to it is tried in any case."""
    path = Path(segment_path(spool.partition(NAME), 99))
    try:
        os.mknod(path, 0o020_660, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        put("link to /dev/zero", path, tmp_path / "precious")
    found = drained(spool)
    assert (found.end, found.sent) == (End.DRAINED, [line("ann")])
    assert "no-segment" in found.events()
