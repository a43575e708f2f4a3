"""The operator's commands beside a running sender, all of them killed at random; and what `verify` finds.

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
from kmq.spool import Spool, writer_lock
from sender import checkpoint
from sender.rejected import New, RejectedStore
from tests.support.app import App
from tests.support.collector import start_collector  # noqa: F401 - a fixture
from tests.support.oracle import Oracle, kept_in, lag, offsets_in, person_of
from tests.support.simulated import operator
from tests.support.spools import Partition
from tests.support.spools import make_spool as make_whole_spool
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
SIZE = len(LINE)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_whole_spool(tmp_path / "spool")


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
    spool, rng = make_whole_spool(tmp_path / "spool"), random.Random()
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


# What verify finds


def plant(spool: Spool) -> set[tuple[str, str, int | None]]:
    """Damage a spool in every way; return what must be found: code, path, offset."""
    first, second = "20261123T204501Z-4f2a91c3", "20261123T204502Z-90be12aa"
    partition = Partition(spool, first)
    partition.append(LINE * 2 + LINE[:20] + b"\n" + LINE)
    torn_at = 2 * SIZE
    zeros_at = partition.append(b"\0" * 100 + b"\n" + LINE)
    intact_at = partition.append(b"\0" * 50 + LINE)
    gap_at, start = partition.end(), partition.end() + 7
    partition.begin(start)
    partition.append(LINE * 2)
    partition.begin(start + SIZE)
    partition.append(LINE)
    link_at = partition.end()
    os.symlink(partition.segment(0), f"{partition.path}/{link_at:020d}.jsonl")
    other = Partition(spool, second)
    other.append(LINE)
    os.chmod(other.segment(), 0o644)
    Path(other.path, "notes.txt").write_text("foreign", "ascii")
    os.unlink(writer_lock(other.path))
    os.mkdir(writer_lock(other.path), 0o770)
    checkpoint.save(spool, {first: 3})
    os.symlink(other.path, spool.partition("20261123T204503Z-00000000"))
    Path(spool.path, "core").write_bytes(b"")
    at = plant_in_rejected(spool)
    segment = f"{first}/{0:020d}.jsonl"
    return {
        ("not-json", segment, torn_at),
        ("not-json", segment, zeros_at),
        ("zeros", segment, intact_at),
        ("gap", f"{first}/{start:020d}.jsonl", gap_at),
        ("overlap", f"{first}/{start + SIZE:020d}.jsonl", start + SIZE),
        ("unreadable", f"{first}/{link_at:020d}.jsonl", link_at),
        ("checkpoint-offset-does-not-fit", "checkpoint.json", 3),
        ("mode", f"{second}/{0:020d}.jsonl", None),
        ("foreign", f"{second}/notes.txt", None),
        ("strange", f"{second}/writer.lock", None),
        ("mode", f"{second}/writer.lock", None),
        ("strange", "20261123T204503Z-00000000", None),
        ("foreign", "core", None),
        *((code, "rejected/2026-11-23-sender.jsonl", offset) for code, offset in at.items()),
    }


def plant_in_rejected(spool: Spool) -> dict[str, int]:
    """Damage a file of `rejected/`; return what must be found where."""
    store = RejectedStore(spool, "sender", clock=lambda: 1_795_467_067.0)
    news = [New("no-person", b"x" * 100) for _ in range(3)]
    store.add(news)
    store.sync()
    path = Path(spool.rejected, "2026-11-23-sender.jsonl")
    line = path.read_bytes().splitlines(keepends=True)[0]
    zeroed = bytearray(path.read_bytes())
    zeroed[len(line) + 30 : len(line) + 60] = bytes(30)
    path.write_bytes(bytes(zeroed) + line[:40] + b"\n" + line + line[:50])
    return {
        "rejected-unreadable": len(line),
        "rejected-cut": 3 * len(line),
        "unfinished": 4 * len(line) + 41,
    }


def test_every_damage_is_found_and_named_by_its_place(spool: Spool) -> None:
    """All of it at once: no damage hides another, and each is printed where it is."""
    os.umask(0o007)
    planted = plant(spool)
    result = operator(spool, "http://127.0.0.1:1", "verify", "--json")
    assert result.exit_code == 65
    document = json.loads(result.stdout)
    found = {(one["code"], one["path"], one["offset"]) for one in document["findings"]}
    assert found == planted
    harmless = {one["code"] for one in document["findings"] if not one["damage"]}
    assert harmless == {"foreign", "rejected-cut", "unfinished"}
    text = operator(spool, "http://127.0.0.1:1", "verify").stdout
    for _code, path, offset in planted:
        assert (path if offset is None else f"{path} at {offset:,}") in text
    assert "bob@bob.com" not in text


def test_names_that_kmq_did_not_give_are_told_and_are_no_damage(spool: Spool) -> None:
    """A note of the administrator's, or what a file system makes by itself."""
    Path(spool.path, "README").write_bytes(b"")
    result = operator(spool, "http://127.0.0.1:1", "verify")
    assert result.exit_code == 0
    assert result.stdout.endswith("\nsound, with 1 name that kmq did not give\n")
    assert "README: none of kmq's names" in result.stdout


@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
def test_what_stands_in_the_place_of_rejected_is_damage_and_is_not_followed(
    spool: Spool, tmp_path: Path, kind: str
) -> None:
    """The rest is checked all the same; nothing outside the spool is looked at."""
    partition = Partition(spool)
    os.chmod(partition.segment(), 0o660)
    partition.append(b"no command\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2026-11-23-sender.jsonl").write_bytes(b"private\n")
    if kind == "file":
        os.close(os.open(spool.rejected, os.O_CREAT))
    elif kind == "link":
        os.symlink(tmp_path / "elsewhere", spool.rejected)
    else:
        os.mkfifo(spool.rejected)
    result = operator(spool, "http://127.0.0.1:1", "verify", "--json")
    assert result.exit_code == 65
    found = {
        (one["code"], one["path"])
        for one in json.loads(result.stdout)["findings"]
        if one["code"] != "mode"
    }
    assert found == {("strange", "rejected"), ("not-json", f"{partition.name}/{0:020d}.jsonl")}


def test_another_group_is_found(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As only root can give one, the answer of the system is changed here."""
    partition = Partition(spool)
    partition.append(LINE)
    os.chmod(partition.segment(), 0o660)
    real = os.lstat

    def lstat(path: str) -> os.stat_result:
        values = list(real(path))
        values[5] += path == partition.segment()
        return os.stat_result(values)

    monkeypatch.setattr(os, "lstat", lstat)
    result = operator(spool, "http://127.0.0.1:1", "verify", "--json")
    assert [one["code"] for one in json.loads(result.stdout)["findings"]] == ["group"]
