"""Few open files and many partitions: a real sender under a real limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmq.command import Command, encode
from kmq.spool import Spool
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures
from tests.support.oracle import lag
from tests.support.spools import Partition
from tests.support.system import SenderProcess, make_spool
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.collector import CollectorProcess

LIMIT = 100
PARTITIONS = 200
LIMITED = (
    "import resource; from sender.cli import main; "
    f"resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT})); main()"
)


def test_a_limit_below_the_number_of_partitions_stops_nothing(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """All is sent and covered, through an outage and after it, with connections and a torn line; and it is no news."""
    spool = make_spool(tmp_path)
    made = [
        Partition(Spool(spool), f"20261123T204501Z-{number:08x}") for number in range(PARTITIONS)
    ]
    for number, partition in enumerate(made):
        partition.append(encode(Command(f"p{number}", 1_795_500_000, "One")))
        partition.rotate()
        partition.append(encode(Command(f"p{number}", 1_795_500_000, "Two")))
    made[0].append(b"torn")
    collector.answer(status=503, for_s=2.0)
    with SenderProcess(spool, collector.url, program=("-c", LIMITED)) as sender:
        wait_until(lambda: lag(spool) == 0, timeout_s=60, what="all is covered")
        for number, partition in enumerate(made[1:], 1):
            partition.append(encode(Command(f"p{number}", 1_795_500_000, "Three")))
        wait_until(lambda: lag(spool) == 0, timeout_s=60, what="what was appended then, too")
        assert sender.stop() == 0, sender.text()
    said = {line["event"] for line in sender.log()}
    assert not said & {"open-failed", "read-failed", "checkpoint-failed", "rejected-failed"}
    came = [one["params"] for one in collector.requests() if one["answer"] == 200]
    assert len(came) == 3 * PARTITIONS - 1
    for number in range(1, PARTITIONS):
        own = [one["_n"] for one in came if one["_p"] == f"p{number}"]
        assert own == ["One", "Two", "Three"]
