"""Checkpoints of every kind of wrong: none is believed, that is said, and everything is sent, twice but not lost."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq.command import Command, encode
from sender import checkpoint
from sender.plan import End
from tests.support.drains import drained
from tests.support.memory import Peak
from tests.support.spools import Partition, make_spool

if TYPE_CHECKING:
    from kmq.spool import Spool

NAME = "20261123T204501Z-4f2a91c3"
OTHER = "20261123T204501Z-90be12aa"
LINES = [encode(Command(person, 1_795_500_000, "Signed Up")) for person in ("ann", "bob", "cia")]
SIZE = len(LINES[0])
END = 3 * SIZE


def signed(partitions: str, version: str = "1") -> bytes:
    """Return a checkpoint with a check that fits the text of its partitions."""
    return f'{{"version":{version},"partitions":{partitions},"check":{zlib.crc32(partitions.encode())}}}\n'.encode()


GOOD = checkpoint.form({NAME: END})

# What is no checkpoint.
UNREADABLE = {
    "empty": b"",
    "a newline": b"\n",
    "zeros": bytes(len(GOOD)),
    "half": GOOD[: len(GOOD) // 2],
    "zeroed from the middle": GOOD[: len(GOOD) // 2] + bytes(len(GOOD) - len(GOOD) // 2),
    "twice": GOOD + GOOD,
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-32": GOOD.decode().encode("utf-32-le"),
    "a wrong check": GOOD.replace(b'"check":', b'"check":1'),
    "a check that is text": json.dumps({**json.loads(GOOD), "check": "1"}).encode(),
    "no check": json.dumps({"version": 1, "partitions": {NAME: END}}).encode(),
    "version 2": signed(f'{{"{NAME}":{END}}}', "2"),
    "version 1.0": signed(f'{{"{NAME}":{END}}}', "1.0"),
    "version true": signed(f'{{"{NAME}":{END}}}', "true"),
    "partitions that are a list": signed(f'["{NAME}"]'),
    "an offset that is negative": signed(f'{{"{NAME}":-1}}'),
    "an offset that is a float": signed(f'{{"{NAME}":{END}.0}}'),
    "an offset that is true": signed(f'{{"{NAME}":true}}'),
    "an offset that is null": signed(f'{{"{NAME}":null}}'),
    "an offset that is text": signed(f'{{"{NAME}":"{END}"}}'),
    "an offset that is NaN": signed(f'{{"{NAME}":NaN}}'),
    "an offset of 1e400": signed(f'{{"{NAME}":1e400}}'),
    "an offset of 2**63": signed(f'{{"{NAME}":{1 << 63}}}'),
    "an offset of 5,000 digits": signed(f'{{"{NAME}":{"9" * 5_000}}}'),
    "a name twice": signed(f'{{"{NAME}":{END},"{NAME}":{END}}}'),
    "a name that is a path": signed(f'{{"../../etc/passwd":1,"{NAME}":{END}}}'),
    "a name that leads out": signed(f'{{"{NAME}/../{OTHER}":{END}}}'),
    "a name with a newline": signed(f'{{"{NAME}\\n":{END}}}'),
    "a name in other digits": signed(f'{{"\u0662{NAME[1:]}":{END}}}'),
    "100,000 lists": b"[" * 100_000 + b"]" * 100_000,
    "100,000 objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
}

# What is one, with an offset at which no line can begin.
UNFITTING = {
    "in the middle of a line": SIZE - 5,
    "before a newline": SIZE - 1,
    "behind the end": END + 1,
    "far behind the end": 1 << 40,
    "at the last offset": (1 << 62) - 1,
    "beyond all files": (1 << 63) - 1,
}


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool with three commands in two segments."""
    made = make_spool(tmp_path / "spool")
    partition = Partition(made, NAME)
    partition.append(LINES[0])
    partition.rotate()
    partition.append(LINES[1] + LINES[2])
    return made


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_is_no_checkpoint_is_said_and_everything_is_sent(spool: Spool, what: str) -> None:
    """It is replaced by one that can be believed."""
    Path(spool.checkpoint).write_bytes(UNREADABLE[what])
    found = drained(spool)
    assert (found.end, found.sent) == (End.DRAINED, LINES)
    assert "checkpoint-unreadable" in found.events()
    assert checkpoint.load(spool) == checkpoint.Loaded({NAME: END}, [], "checkpoint.json")


@pytest.mark.parametrize("what", UNREADABLE)
def test_the_one_before_counts_where_the_newest_cannot_be_read(spool: Spool, what: str) -> None:
    """Only what came after it is sent again."""
    Path(spool.checkpoint).write_bytes(UNREADABLE[what])
    Path(spool.checkpoint_old).write_bytes(checkpoint.form({NAME: 2 * SIZE}))
    found = drained(spool)
    assert (found.end, found.sent) == (End.DRAINED, LINES[2:])


@pytest.mark.parametrize("what", UNFITTING)
def test_an_offset_that_fits_no_line_is_said_and_everything_is_sent(
    spool: Spool, what: str
) -> None:
    """Its check is right, and it is not believed all the same."""
    Path(spool.checkpoint).write_bytes(checkpoint.form({NAME: UNFITTING[what]}))
    found = drained(spool)
    assert (found.end, found.sent) == (End.DRAINED, LINES)
    assert "offset-does-not-fit" in found.events()


def test_an_offset_in_a_gap_is_not_believed(spool: Spool) -> None:
    """What stood there is gone, and so is what says how far it was delivered."""
    partition = Partition(spool, OTHER)
    partition.append(LINES[0])
    partition.begin(5 * SIZE)
    partition.append(LINES[1])
    Path(spool.checkpoint).write_bytes(checkpoint.form({NAME: END, OTHER: 3 * SIZE}))
    found = drained(spool)
    assert (found.end, found.sent) == (End.DRAINED, LINES[:2])
    assert found.events() >= {"offset-does-not-fit", "gap"}


def test_a_hundred_thousand_unknown_partitions_cost_little_and_go(spool: Spool) -> None:
    """What is not there is not written again, or each checkpoint would carry it for ever."""
    unknown = {f"20261122T000000Z-{number:08x}": number for number in range(100_000)}
    Path(spool.checkpoint).write_bytes(checkpoint.form({**unknown, NAME: SIZE}))
    with Peak() as peak:
        found = drained(spool)
    assert (found.end, found.sent) == (End.DRAINED, LINES[1:])
    assert checkpoint.load(spool).offsets == {NAME: END}
    assert peak.grown < 200 << 20


def test_a_checkpoint_of_70_mb_takes_no_more_memory_than_it_may(spool: Spool) -> None:
    """Of a larger file no more is read than a checkpoint may have, and none of it is parsed."""
    Path(spool.checkpoint).write_bytes(GOOD[:-1] + b" " * (70 << 20) + b"\n")
    with Peak() as peak:
        found = drained(spool)
    assert (found.end, found.sent) == (End.DRAINED, LINES)
    assert "checkpoint-unreadable" in found.events()
    assert peak.grown < 160 << 20


def test_a_checkpoint_of_a_terabyte_without_content_is_none(spool: Spool) -> None:
    """A sparse file has a size and no bytes; reading it ends all the same."""
    with open(spool.checkpoint, "wb") as file:
        file.truncate(1 << 40)
    with Peak() as peak:
        found = drained(spool)
    assert (found.end, found.sent) == (End.DRAINED, LINES)
    assert peak.grown < 160 << 20
