"""A spool full of what no writer writes, and a real sender: each intact command arrives, memory stays bounded."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq import Client
from kmq.clock import Clock
from kmq.command import Command, encode
from kmq.errors import InvalidCommand
from kmq.spool import Spool, partitions
from sender import checkpoint
from sender.plan import End
from sender.rejected import RejectedStore
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures, by name
from tests.support.drains import drained
from tests.support.held import Writers
from tests.support.memory import peak
from tests.support.oracle import Oracle
from tests.support.reaper import Reaper
from tests.support.spools import Partition, make_spool
from tests.support.system import SenderProcess, drain
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.collector import CollectorProcess

NAME = "20261123T204501Z-4f2a91c3"
OTHER = "20261123T204501Z-90be12aa"
AT = 1_795_500_000
MOST_RSS = 160 << 20

HOSTILE = {
    "deep lists": (b'{"_p":"x","_t":1795500000,"_n":"x","v":' + b"[" * 25_000, {"not-json"}),
    "deep objects": (b'{"_p":"x","_t":1795500000,"_n":"x","v":' + b'{"a":' * 12_000, {"not-json"}),
    "a list": (b'{"_p":"x","_t":1795500000,"_n":"x","v":[1]}', {"nested"}),
    "no object": (b'["_p","x"]', {"not-json"}),
    "two objects": (b'{"_p":"x","_t":1795500000,"_n":"x"}' * 2, {"not-json"}),
    "a name twice": (b'{"_p":"x","_p":"y","_t":1795500000,"_n":"x"}', {"name-twice"}),
    "a person that is a number": (b'{"_p":1,"_t":1795500000,"_n":"x"}', {"no-person"}),
    "a time that is text": (b'{"_p":"x","_t":"1795500000","_n":"x"}', {"no-time"}),
    "a time with a fraction": (b'{"_p":"x","_t":1795500000.5,"_n":"x"}', {"no-time"}),
    "a time of 5,000 digits": (b'{"_p":"x","_t":' + b"9" * 5_000 + b',"_n":"x"}', {"not-a-number"}),
    "milliseconds": (b'{"_p":"x","_t":1795500000000,"_n":"x"}', {"milliseconds"}),
    "1970": (b'{"_p":"x","_t":0,"_n":"x"}', {"too-old"}),
    "1e400": (b'{"_p":"x","_t":1795500000,"_n":"x","v":1e400}', {"not-a-number"}),
    "1e999999999999999999999": (
        b'{"_p":"x","_t":1795500000,"_n":"x","v":1e999999999999999999999}',
        {"not-a-number"},
    ),
    "NaN": (b'{"_p":"x","_t":1795500000,"_n":"x","v":NaN}', {"not-a-number"}),
    "-Infinity": (b'{"_p":"x","_t":1795500000,"_n":"x","v":-Infinity}', {"not-a-number"}),
    "a lone surrogate": (b'{"_p":"x","_t":1795500000,"_n":"x\\ud800"}', {"no-name"}),
    "a surrogate in UTF-8": (b'{"_p":"x","_t":1795500000,"_n":"\xed\xa0\x80"}', {"not-utf8"}),
    "a byte order mark": (b'\xef\xbb\xbf{"_p":"x","_t":1795500000,"_n":"x"}', {"not-json"}),
    "a raw control character": (b'{"_p":"x","_t":1795500000,"_n":"a\x1b[2Jb"}', {"not-json"}),
    "carriage returns alone": (b'{"_p":"x"}\r{"_p":"y"}', {"not-json"}),
    "Latin-1": (b'{"_p":"x","_t":1795500000,"_n":"caf\xe9"}', {"not-utf8"}),
    "zeros": (bytes(511), {"not-json"}),
    "a block of zeros": (bytes(4096), {"not-json"}),
    "noise": (bytes(range(128, 256)) * 8, {"not-utf8"}),
    "10 MB of text": (
        b'{"_p":"x","_t":1795500000,"_n":"x","v":"' + b"y" * 10_000_000 + b'"}',
        {"too-long"},
    ),
    "10 MB of brackets": (b"[" * 10_000_000, {"too-long"}),
    "one byte too much": (b"z" * 65_536, {"too-long"}),
}

# What looks odd and is a command all the same.
ODD = {
    "odd-crlf": b'{"_p":"odd-crlf","_t":1795500000,"_n":"x"}\r',
    "odd-2028": '{"_p":"odd-2028","_t":1795500000,"_n":"a\u2028b\u0085c"}'.encode(),
    "odd-order": b'{"_n":"x", "_t":1795500000, "_p":"odd-order"}',
    "odd-null": b'{"_p":"odd-null","_t":1795500000,"_n":"x","v":null,"_d":1}',
    "odd-escaped": b'{"_p":"\\u006fdd-escaped","_t":1795500000,"_n":"\\u0000"}',
}


def line(person: str) -> bytes:
    """Return an intact line."""
    return encode(Command(person, AT, "Signed Up"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return an empty spool."""
    return make_spool(tmp_path / "spool")


def fill(partition: Partition) -> tuple[list[str], dict[int, str]]:
    """Write each hostile line between two intact ones; return the persons of those, and where which hostile one is."""
    persons, places = ["first"], {}
    partition.append(line("first"))
    for number, (what, (text, _)) in enumerate(HOSTILE.items()):
        places[partition.append(text + b"\n")] = what
        persons.append(f"p{number}")
        partition.append(line(f"p{number}"))
    for person, text in ODD.items():
        persons.append(person)
        partition.append(text + b"\n")
    return persons, places


def test_between_hostile_lines_every_intact_one_arrives(
    spool: Spool,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """What is no command is kept, each under its own reason; a sender of 160 MB is enough for all of it."""
    persons, places = fill(Partition(spool, NAME))
    sparse = Partition(spool, OTHER)
    sparse.append(b'{"_p":"cut')
    os.truncate(sparse.segment(), 1 << 30)
    sparse.append(line("behind a gigabyte") + b'{"_p":"torn')
    persons.append("behind a gigabyte")
    with SenderProcess(spool.path, collector.url) as sender:
        wait_until(
            lambda: {each["params"]["_p"] for each in collector.requests()} >= set(persons),
            timeout_s=60,
            what="all that is intact has arrived",
        )
        wait_until(lambda: RejectedStore(spool, "test").count() == len(HOSTILE) + 2)
        assert peak(sender.pid) < MOST_RSS
        assert sender.stop() == 0, sender.text()
    assert sorted(each["params"]["_p"] for each in collector.requests()) == sorted(persons)
    kept = {(one.partition, one.offset): one.reason for one in RejectedStore(spool, "test").kept()}
    reasons = {what: kept[NAME, at] for at, what in places.items()}
    assert {what for what, reason in reasons.items() if reason not in HOSTILE[what][1]} == set()
    assert sorted(reason for (name, _), reason in kept.items() if name == OTHER) == [
        "too-long",
        "torn",
    ]
    drain(spool.path, collector.url)
    assert len(collector.requests()) == len(persons)


WRITER = """
import sys, time
from kmq import Client

client = Client(sys.argv[1])
for number in range(int(sys.argv[2])):
    client.record("Did", person=f"w{number}")
    print(number, flush=True)
    time.sleep(0.02)  # an app's pace, so that it is still writing when the file is copied in
sys.stdin.read()  # it stays alive, and holds its partition
"""


@pytest.mark.parametrize("start", [10, 1 << 40], ids=["inside", "far behind"])
def test_a_foreign_segment_takes_no_command_of_a_living_writer(
    spool: Spool,
    collector: CollectorProcess,  # noqa: F811 - the fixture
    start: int,
) -> None:
    """A file is copied into the partition that is written to: the writer moves on, and all that it wrote arrives."""
    oracle, count = Oracle(), 150
    with Reaper() as reaper, SenderProcess(spool.path, collector.url) as sender:
        writer = reaper.python("-c", WRITER, spool.path, str(count))
        assert writer.stdout is not None
        for number in range(count):
            assert int(writer.stdout.readline()) == number
            oracle.acknowledged(f"w{number}")
            if number == 20:
                (name,) = partitions(spool)
                Path(spool.partition(name), f"{start:020}.jsonl").write_bytes(line("foreign"))
                oracle.acknowledged("foreign")
        wait_until(
            lambda: {each["params"]["_p"] for each in collector.requests()} >= oracle.owed(),
            what="all of it has arrived",
        )
        assert sender.stop() == 0, sender.text()
    for came in collector.requests():
        oracle.arrived(came["params"]["_p"], came["raw"])
    oracle.judge(spool.path).check()
    assert len(partitions(spool)) == 2


class OffClock(Clock):
    """A clock that was set wrong before anything began, and runs well."""

    def __init__(self, wall: float) -> None:
        self._ahead = wall - time.monotonic()

    def wall(self) -> float:
        """Seconds since the epoch, as this host believes."""
        return time.monotonic() + self._ahead


CLOCKS = {
    "an hour slow": AT - 3_600.0,
    "an hour fast": AT + 3_600.0,
    "1970": 1.0,
    "2100": 4_102_444_800.0,
    "9998": 253_370_764_800.0,
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_a_sender_whose_clock_is_wrong_sends_and_keeps(spool: Spool, clock: str) -> None:
    """The time of a command is its own; what is rejected is listed, under whatever day it may be."""
    partition = Partition(spool, NAME)
    partition.append(line("ann") + b"nonsense\n" + line("bob") + b'{"_p":"torn')
    end = partition.end()
    found = drained(spool, clock=OffClock(CLOCKS[clock]))
    assert (found.end, found.sent) == (End.DRAINED, [line("ann"), line("bob")])
    assert sorted(one.reason for one in found.kept()) == ["not-json", "torn"]
    # By a clock that is generations ahead it is past all retention as soon as it is delivered.
    assert checkpoint.load(spool).offsets in ({NAME: end}, {})


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    """Return writers whose clock the test sets."""
    (tmp_path / "written").mkdir()
    made = Writers(tmp_path / "written")
    yield made
    made.close()


@pytest.mark.parametrize("wall", [0.0, AT - 3_600.0, AT + 3_600.0, 4_102_444_800.0])
def test_a_partition_that_was_made_at_any_time_is_read(writers: Writers, wall: float) -> None:
    """Its name is a time that nobody goes by."""
    writers.clock.step(wall - writers.clock.wall())
    writers.writer().append(line("ann"))
    found = drained(Spool(str(writers.path)))
    assert (found.end, found.sent) == (End.DRAINED, [line("ann")])


def test_a_call_whose_clock_is_in_1970_says_so(tmp_path: Path) -> None:
    """KISSmetrics would drop it without a word; the caller hears of it."""
    (tmp_path / "spool").mkdir()
    client = Client(tmp_path / "spool", clock=OffClock(5.0))
    with pytest.raises(InvalidCommand, match="set the clock"):
        client.record("Signed Up", person="bob")


@pytest.mark.parametrize("start", [0, 2, 5, 8])
def test_of_segments_that_overlap_each_rejected_line_is_listed(spool: Spool, start: int) -> None:
    """Several of them can lie at one offset, and a place is listed once."""
    partition = Partition(spool, NAME)
    partition.append(b"one\ntwo\nthree\n")
    partition.begin(start or 14)
    partition.append(b"four\nfive\nsix\nseven\neight\n")
    found = drained(spool)
    expected = [b"one", b"two", b"three", b"four", b"five", b"six", b"seven", b"eight"]
    assert [one.raw for one in found.kept()] == expected
    assert ("overlap" in found.events()) == bool(start)
