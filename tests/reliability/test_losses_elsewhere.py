"""The losses that were measured in the log mode of other KISSmetrics clients, each set up again for kmq.

Those append to a file and send it from cron: they rename it, send it line by line, look at no status, and delete it.
The figures in the docstrings are theirs.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from kmq import Client
from tests.support.app import App
from tests.support.collector import collector, shared_collector, start_collector  # noqa: F401 - fixtures
from tests.support.oracle import Findings, Oracle, lag
from tests.support.system import (
    SenderProcess,
    came_as,
    drain,
    make_spool,
    take_account,
)
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.support.collector import CollectorProcess

DRAINS = 6


def recorded(spool: str, count: int) -> list[str]:
    """Record one command each for so many persons; return them."""
    client = Client(spool)
    persons = [f"p{number}" for number in range(count)]
    for person in persons:
        client.record("Did", person=person)
    return persons


def found(persons: Iterable[str], collector: CollectorProcess) -> Findings:  # noqa: F811 - not the fixture
    """Judge: all of these were acknowledged, and must have been delivered."""
    oracle = Oracle()
    for person in persons:
        oracle.acknowledged(person)
    for came in collector.requests():
        delivered = came["answer"] == 200
        oracle.arrived(came["params"]["_p"], came_as(came), delivered=delivered)
    return oracle.judge()


def test_what_a_killed_sender_had_before_it_is_sent_by_the_next(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Killed after 1,599 of 5,000 lines, the next run sent none of the others, nor did any run after it."""
    spool = make_spool(tmp_path)
    persons = recorded(spool, 1_000)
    with SenderProcess(spool, collector.url, "--drain") as sender:
        wait_until(lambda: collector.summary()["total"] >= 300)
        sender.stop(signal.SIGKILL)
    assert lag(spool) > 0
    drain(spool, collector.url)
    found(persons, collector).check()
    assert lag(spool) == 0


def test_what_is_written_while_a_run_takes_the_spool_over_is_not_lost(
    tmp_path: Path,
    start_collector: Callable[..., CollectorProcess],  # noqa: F811 - the fixture
) -> None:
    """A writer that held the file across the rename wrote into a file about to be deleted: 7 of 72,000 lost, no error.

    Here the runs of a sender begin and end, and retention keeps nothing, while four writers go on.
    """
    spool = make_spool(tmp_path)
    sink = start_collector("--keep", "1000000")
    with contextlib.ExitStack() as stack:
        apps = [stack.enter_context(App(spool, tmp_path)) for _ in range(4)]
        for _ in range(DRAINS):
            for app in apps:
                app.wait_for_more(10)
            drain(spool, sink.url, "--retention-age", "0s")
        for app in apps:
            app.stop()
    drain(spool, sink.url)
    take_account(tmp_path / "acks", sink).check()


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_answer_that_is_no_delivery_is_not_taken_for_one(
    status: int,
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Answered 500, 11 of 11 lines went to the log of what was sent, and were deleted."""
    spool = make_spool(tmp_path)
    persons = recorded(spool, 11)
    collector.answer(status=status)
    with SenderProcess(spool, collector.url, "--drain") as sender:
        wait_until(lambda: collector.summary()["total"] >= 3)
        assert sender.stop() == 0
        assert lag(spool) == 11
    collector.answer()
    drain(spool, collector.url)
    found(persons, collector).check()


def test_an_outage_turns_nothing_round_and_ends_by_itself(
    tmp_path: Path,
    start_collector: Callable[..., CollectorProcess],  # noqa: F811 - the fixture
) -> None:
    """With nobody there each line waited its time-out, then stood behind newer ones, and in the error log besides."""
    spool = make_spool(tmp_path)
    client = Client(spool)
    for number in range(20):
        client.record("Did", {"Number": number}, person="ann")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with SenderProcess(spool, f"http://127.0.0.1:{port}", "--drain") as sender:
        sender.wait_for("api-retrying")
        sink = start_collector("--listen", f"127.0.0.1:{port}")
        assert sender.wait() == 0, sender.text()
        assert len(sender.log("api-retrying")) == 1
    numbers = [int(came["params"]["Number"]) for came in sink.requests()]
    assert numbers == list(range(20))


def test_a_failed_append_strands_nothing_that_was_there_before(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Where a line could not be put back because the disk was full, the rest of the file stayed behind for ever."""
    spool = make_spool(tmp_path)
    persons = recorded(spool, 10)
    collector.answer(status=503, count=5)
    with SenderProcess(
        spool, collector.url, "--drain", prefix=("prlimit", "--fsize=0")
    ) as sender:  # it can write to no file at all
        wait_until(lambda: collector.summary()["total"] >= 15)
        sender.stop(signal.SIGKILL)
    drain(spool, collector.url)
    found(persons, collector).check()


def test_two_senders_that_start_at_once_send_nothing_twice(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Names of one second and no random part: two runs could take each other's file."""
    spool = make_spool(tmp_path)
    persons = recorded(spool, 200)
    senders = [SenderProcess(spool, collector.url, "--drain") for _ in range(3)]
    codes = sorted(sender.wait() for sender in senders)
    assert codes[0] == 0
    assert set(codes) <= {0, 75}
    judged = found(persons, collector)
    judged.check()
    assert judged.delivered_again == 0


def test_the_key_stands_on_no_line(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """There it stood on each, in a file that anybody could read."""
    spool = make_spool(tmp_path)
    recorded(spool, 3)
    sender = drain(spool, collector.url)
    key = collector.requests()[0]["params"]["_k"]
    held = subprocess.run(
        ["grep", "-r", key, spool, sender.log_path], check=False, capture_output=True
    )
    assert held.returncode == 1
