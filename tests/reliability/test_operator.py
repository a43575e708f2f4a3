"""The operator's commands beside a running sender, all of them killed at random.

Nothing is lost, no id is given twice, what was resent leaves the list only if the API has it, a drop drops what was
named and nothing else, and a spool at work is never called damaged.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kmq import locks
from kmq.command import Command, encode
from tests.support.app import App
from tests.support.collector import start_collector  # noqa: F401 - a fixture
from tests.support.oracle import Oracle, kept_in, lag, offsets_in, person_of
from tests.support.simulated import operator
from tests.support.spools import Partition, make_spool
from tests.support.system import (
    KEY,
    SenderProcess,
    acknowledged,
    came_as,
    drain,
    environ,
)
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmq.spool import Spool
    from tests.support.collector import CollectorProcess

TURNS = 150
PACE_S = 0.04
AT_ONCE = 2
ENDS = {
    "list": {0},
    "show": {0, 66},
    "resend": {0, 1, 66, 69},
    "drop": {0, 66},
    "verify": {0},
}
LINE = encode(Command("bob@bob.com", 1_795_500_000, "Signed Up"))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


class Notebook:
    """All that ever stood in `rejected/`, by id, read by the test's own few lines; an id names one command for ever."""

    def __init__(self, spool: Spool) -> None:
        self.texts: dict[str, tuple[object, str]] = {}
        self.left: set[str] = set()
        self._spool = spool

    def look(self) -> None:
        """Read what is there now; fail where an id stands for two commands."""
        for path in Path(self._spool.rejected).glob("*.jsonl"):
            try:
                lines = path.read_bytes().split(b"\n")[:-1]
            except FileNotFoundError:
                continue
            for line in lines:
                self._note(json.loads(line))

    def has_some(self) -> bool:
        """Say whether anything was ever rejected."""
        self.look()
        return bool(self.texts)

    def _note(self, entry: dict[str, Any]) -> None:
        if "gone" in entry:
            self.left.add(entry["gone"])
            return
        what = ((entry["partition"], entry["offset"]), entry["text"])
        assert self.texts.setdefault(entry["id"], what) == what, f"{entry['id']} was given twice"

    def people(self, ids: list[str]) -> list[str]:
        """Return whose commands these are."""
        return [str(person_of(self.texts[id_][1].encode())) for id_ in ids]


class Operators:
    """Operators' commands as processes, some at a time, of which any may be killed."""

    def __init__(self, spool: Spool, url: str, rng: random.Random) -> None:
        self.ended: Counter[str] = Counter()
        self.killed = 0
        self._spool = spool
        self._url = url
        self._rng = rng
        self._running: list[tuple[str, subprocess.Popen[str]]] = []

    def start(self, name: str, *arguments: str) -> None:
        """Start one."""
        group = [] if name == "verify" else ["rejected"]
        process = subprocess.Popen(
            [sys.executable, "-m", "sender.cli", *group, name, *arguments],
            env=environ(KMQ_SPOOL=self._spool.path, KMQ_URL=self._url, KMQ_API_KEY=KEY),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._running.append((name, process))

    def look(self) -> None:
        """Take down which have ended, and fail where one ended as it must not."""
        for name, process in list(self._running):
            if process.poll() is not None:
                self._running.remove((name, process))
                self._judge(name, process)

    def room(self) -> bool:
        """Say whether one more may be started."""
        return len(self._running) < AT_ONCE

    def kill_one(self) -> None:
        """Kill one of those that run, whatever it is just doing."""
        if self._running:
            name, process = self._running.pop(self._rng.randrange(len(self._running)))
            process.kill()
            self._judge(name, process)

    def wait(self) -> None:
        """Wait for all of them."""
        while self._running:
            name, process = self._running.pop()
            self._judge(name, process)

    def _judge(self, name: str, process: subprocess.Popen[str]) -> None:
        said, _ = process.communicate(timeout=60.0)
        if process.returncode == -signal.SIGKILL:
            self.killed += 1
            return
        assert process.returncode in ENDS[name], f"{name} ended with {process.returncode}: {said}"
        self.ended[name] += 1


@pytest.mark.timeout(240)
def test_whatever_is_killed_nothing_is_lost_and_nothing_healthy_is_called_damaged(
    tmp_path: Path,
    start_collector: Callable[..., CollectorProcess],  # noqa: F811 - the fixture
) -> None:
    """Writers, a sender whose commands are refused now and then, and five commands of the operator's, in a heap."""
    os.umask(
        0o007
    )  # as kmq's units have it; with another, a kill can leave a file that waits for its mode
    spool, rng = make_spool(tmp_path / "spool"), random.Random()
    collector = start_collector("--keep", "1000000")
    notebook, operators = Notebook(spool), Operators(spool, collector.url, rng)
    dropped: set[str] = set()
    with contextlib.ExitStack() as stack:
        apps = [stack.enter_context(App(spool.path, tmp_path)) for _ in range(2)]
        collector.answer(status=400, count=12)
        sender, senders = SenderProcess(spool.path, collector.url), 1
        wait_until(notebook.has_some, what="some commands are rejected")
        for turn in range(TURNS):
            time.sleep(PACE_S)  # the pace of the heap, not a wait for something
            notebook.look()
            operators.look()
            if turn % 8 == 0:
                collector.answer(status=rng.choice((400, 400, 422)), count=rng.randrange(1, 12))
            if operators.room():
                dropped.update(begin_something(operators, notebook, rng))
            if rng.random() < 0.04:
                operators.kill_one()
            if rng.random() < 0.03:
                assert sender.running(), sender.text()
                sender.stop(signal.SIGKILL)
                sender, senders = SenderProcess(spool.path, collector.url), senders + 1
        operators.start("verify", "--json")  # whatever chance has done before
        operators.wait()
        sender.stop(signal.SIGKILL)
        for app in apps:
            app.stop()
    collector.answer()
    drain(spool.path, collector.url)
    notebook.look()

    oracle = take_down(tmp_path / "acks", collector, notebook.people(sorted(dropped)))
    oracle.judge(spool.path).check()
    assert operator(spool, collector.url, "verify").exit_code == 0
    assert operator(spool, collector.url, "rejected", "resend", "--all").exit_code == 0
    notebook.look()
    oracle = take_down(tmp_path / "acks", collector, notebook.people(sorted(dropped)))
    oracle.judge(spool.path).check()
    assert oracle.owed() == set()
    assert list(kept_in(spool.path)) == []
    assert lag(spool.path) == 0
    sys.stdout.write(
        f"{len(acknowledged(tmp_path / 'acks')):,} acknowledged, {len(notebook.texts):,} rejected, "
        f"{len(dropped):,} dropped; {senders} senders and {operators.killed} commands killed, "
        f"{sum(operators.ended.values())} ended: {dict(operators.ended)}\n"
    )


def begin_something(operators: Operators, notebook: Notebook, rng: random.Random) -> list[str]:
    """Start one command; return the ids that it was told to drop."""
    known = list(notebook.texts)
    some = rng.sample(known, min(3, len(known)))
    name = rng.choice(["verify", "verify", "list", "resend", "resend", "show", "drop"])
    if name == "verify":
        operators.start("verify", "--json")
    elif name == "list" or not some:
        operators.start("list", "--json", "--limit", "100000")
    elif name == "show":
        operators.start("show", some[0])
    elif name == "resend":
        operators.start("resend", *rng.choice((["--all"], [*some, some[0]])))
    else:
        operators.start("drop", "-y", some[0], some[0])
        return some[:1]
    return []


def take_down(acks: Path, collector: CollectorProcess, dropped: list[str]) -> Oracle:
    """Return an oracle that knows what writers, the collector and the operator know."""
    oracle = Oracle()
    for person in acknowledged(acks):
        oracle.acknowledged(person)
    for person in dropped:
        oracle.dropped(person)
    for came in collector.requests():
        person = came["params"]["_p"]
        if (acks / person.rpartition("-")[0]).exists():
            oracle.tried(person)  # also one whose writer was killed before it could note it
        oracle.arrived(person, came_as(came), delivered=came["answer"] == 200)
    return oracle


def test_whoever_is_stopped_while_it_holds_the_lock_holds_up_nothing_but_what_is_rejected(
    spool: Spool,
    start_collector: Callable[..., CollectorProcess],  # noqa: F811 - the fixture
) -> None:
    """Sending goes on, the checkpoint stops before the rejected command, and all is well when the lock is let go."""
    collector = start_collector()
    os.mkdir(spool.rejected, 0o770)
    locks.make(spool.rejected_lock)
    held = locks.take(spool.rejected_lock)
    assert isinstance(held, int)
    partition = Partition(spool)
    partition.append(LINE)
    bad_at = partition.append(b"no command\n")
    with SenderProcess(spool.path, collector.url) as sender:
        for number in range(5):
            partition.append(encode(Command(f"person {number}", 1_795_500_000, "Signed Up")))
        wait_until(
            lambda: len({one["params"]["_p"] for one in collector.requests()}) == 6,
            what="all others are delivered",
        )
        wait_until(lambda: offsets_in(spool.path).get(partition.name) == bad_at, what="the mark")
        assert list(kept_in(spool.path)) == []
        os.close(held)
        wait_until(lambda: lag(spool.path) == 0, what="all is done")
        assert list(kept_in(spool.path)) == [b"no command"]
        assert sender.stop() == 0
