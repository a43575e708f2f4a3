"""The order of durability, as the kernel saw it: what makes a delivered command stay delivered over a power cut.

Segments synced, what was rejected synced, new checkpoint written and synced, renamed, directory synced; only then is
anything removed that it covers.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from kmq import Client
from kmq.spool import Spool
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures
from tests.support.spools import Partition
from tests.support.system import SenderProcess, make_spool
from tests.support.trace import Call, Trace
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.collector import CollectorProcess

pytestmark = pytest.mark.strace

TRANSPORTS = ["requests", "curl"]


@dataclass(frozen=True)
class Checkpoint:
    """Where in the record a checkpoint was written and renamed, and what it says."""

    written: int
    renamed: int
    offsets: dict[str, int]


@dataclass(frozen=True)
class Segment:
    """A segment, and the offsets at which it begins and ends."""

    path: str
    start: int
    end: int


Segments = dict[str, list[Segment]]


def line(number: int) -> bytes:
    """Return a command as a segment has it."""
    return b'{"_p":"person-%d","_t":1795500000,"_n":"Did"}\n' % number


def checkpoints(calls: list[Call], spool: Spool) -> list[Checkpoint]:
    """Return all checkpoints of a record, in order."""
    beside, found = f"{spool.checkpoint}.tmp", []
    for at, call in enumerate(calls):
        if call.name == "rename" and call.path == spool.checkpoint:
            assert call.source == beside
            written = last(calls[:at], "write", beside)
            offsets = json.loads(calls[written].text)["partitions"]
            found.append(Checkpoint(written, at, offsets))
    return found


def last(calls: list[Call], name: str, path: str) -> int:
    """Return where the last such call is; fails if there is none."""
    return len(calls) - 1 - first(calls[::-1], 0, name, path)


def first(calls: list[Call], begin: int, name: str, path: str) -> int:
    """Return where the first such call from `begin` on is; fails if there is none."""
    for at in range(begin, len(calls)):
        if (calls[at].name, calls[at].path) == (name, path):
            return at
    raise AssertionError(f"no {name} of {path} from call {begin} on")


def run_and_trace(
    spool: Spool,
    collector: CollectorProcess,  # noqa: F811 - not the fixture
    trace: Trace,
    transport: str,
) -> tuple[list[Call], Segments, str]:
    """Let a sender meet sealed segments, a torn line, and an app that goes on writing.

    Returns the calls, the segments of each partition, and the name of the one that was removed.
    """
    old = Partition(spool)
    for number in range(6):
        old.append(line(number))
        if number % 2:
            old.rotate()
    old.append(b'{"_p":"cut')
    client, segments = Client(spool.path), {old.name: placed(old.path)}
    options = ("--transport", transport, "--retention-age", "0s")
    with SenderProcess(spool.path, collector.url, *options, prefix=trace.prefix) as sender:
        for turn in range(3):
            client.record("Did", person=f"later-{turn}")
            wait_until(lambda: covered_by_disk(spool), what=sender.log_path)
        wait_until(lambda: not os.path.exists(old.path), what="the finished partition is removed")
        own = next(iter(offsets_on_disk(spool)))
        segments[own] = placed(spool.partition(own))
        assert sender.stop(signal.SIGTERM) == 0, sender.text()
    return trace.calls(sender.pid, spool.path), segments, old.name


def offsets_on_disk(spool: Spool) -> dict[str, int]:
    """Return what the checkpoint says now."""
    try:
        with open(spool.checkpoint, "rb") as file:
            offsets: dict[str, int] = json.load(file)["partitions"]
    except FileNotFoundError:
        return {}
    return offsets


def covered_by_disk(spool: Spool) -> bool:
    """Say whether the checkpoint covers every partition that is there."""
    offsets = offsets_on_disk(spool)
    names = [name for name in os.listdir(spool.path) if name.startswith("2")]
    ends = {name: max(segment.end for segment in placed(spool.partition(name))) for name in names}
    return bool(ends) and all(offsets.get(name) == end for name, end in ends.items())


def placed(partition: str) -> list[Segment]:
    """Return the segments of a partition."""
    paths = [os.path.join(partition, name) for name in os.listdir(partition)]
    found = []
    for path in paths:
        if path.endswith(".jsonl"):
            start = int(os.path.basename(path).removesuffix(".jsonl"))
            found.append(Segment(path, start, start + os.stat(path).st_size))
    return found


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_checkpoint_counts_when_it_and_all_that_it_covers_is_durable(
    transport: str,
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Synced in order: segments, rejected, the new checkpoint, its rename; and only then is anything removed."""
    spool = Spool(make_spool(tmp_path))
    trace = Trace(tmp_path / "trace")
    calls, segments, removed = run_and_trace(spool, collector, trace, transport)
    found = checkpoints(calls, spool)
    assert len(found) >= 3
    for this in found:
        check_segments_synced_first(calls, this, segments)
        check_durable_at_once(calls, this, spool)
    check_rejected_synced_first(calls, covering(found, segments[removed]), spool)
    for segment in segments[removed]:
        check_removed_last(calls, covering(found, [segment]), segment, spool)


def check_segments_synced_first(calls: list[Call], this: Checkpoint, segments: Segments) -> None:
    """Check that all bytes which `this` covers were there when their segment was last synced before it."""
    for name, offset in this.offsets.items():
        for segment in segments[name]:
            covered = min(offset, segment.end) - segment.start
            if covered > 0:
                assert synced_bytes(calls[: this.written], segment) >= covered


def synced_bytes(calls: list[Call], segment: Segment) -> int:
    """Return how many bytes the segment was seen to have when it was last synced."""
    seen = synced = 0
    for call in calls:
        if call.path == segment.path:
            seen = max(seen, call.seen)
            synced = seen if call.name == "fdatasync" else synced
    return synced


def check_durable_at_once(calls: list[Call], this: Checkpoint, spool: Spool) -> None:
    """Check that the file is synced before its rename, and the directory is what comes next after it."""
    synced = first(calls, this.written, "fsync", f"{spool.checkpoint}.tmp")
    assert this.written < synced < this.renamed
    entry = first(calls, this.renamed, "fsync", spool.path)
    between = {call.name for call in calls[this.renamed + 1 : entry]}
    assert between & {"write", "unlink", "rename"} == set()


def check_rejected_synced_first(calls: list[Call], this: Checkpoint, spool: Spool) -> None:
    """Check that what was rejected below `this` is synced before it is written."""
    kept = f"{spool.rejected}/"
    synced = [
        at
        for at, call in enumerate(calls)
        if call.name == "fdatasync" and call.path.startswith(kept)
    ]
    assert synced
    assert synced[0] < this.written


def check_removed_last(calls: list[Call], this: Checkpoint, segment: Segment, spool: Spool) -> None:
    """Check that a segment goes, by itself or with its partition, only when `this` is durable, which covers it."""
    gone = [
        at
        for at, call in enumerate(calls)
        if (call.name == "unlink" and call.path == segment.path)
        or (call.name == "rename" and call.source == os.path.dirname(segment.path))
    ]
    assert gone
    assert first(calls, this.renamed, "fsync", spool.path) < gone[0]


def covering(found: list[Checkpoint], segments: list[Segment]) -> Checkpoint:
    """Return the first checkpoint that covers all these segments of one partition."""
    name = os.path.basename(os.path.dirname(segments[0].path))
    end = max(segment.end for segment in segments)
    return next(one for one in found if one.offsets.get(name, 0) >= end)
