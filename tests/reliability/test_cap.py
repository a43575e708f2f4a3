"""The spool's cap, with real writers and a real sender: who is refused, for how long, and what makes room.

Apps meet `SpoolFull` while what is not delivered fills the spool, or what was rejected; never because of what was
delivered, and no restart is needed when room was made.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq import Client
from kmq.spool import Spool, measure
from tests.support.misbehaving import MisbehavingServer, answer
from tests.support.oracle import kept_in, lag, left_in, person_of
from tests.support.simulated import Api, operator
from tests.support.system import SenderProcess, drain, environ, make_spool
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAP = 256 << 10
CAPPED = ("--max-spool", str(CAP))

# Commands of 8 KiB, each told on standard output once its call has returned; `full` is told instead where it raises,
# and the same command is tried again. Then it lives on until its input ends.
PATIENT = """
import sys, time
from kmq import Client, SpoolFull

path, count, *people = sys.argv[1:]
client = Client(path)
for number in range(int(count)):
    for name in people:
        while True:
            try:
                client.record("Did", {f"p{n}": "x" * 200 for n in range(40)}, person=f"{name}-{number}")
            except SpoolFull:
                print("full", flush=True)
                time.sleep(0.02)  # an app's pace between two tries; the test waits for what it prints
            else:
                print(f"{name}-{number}", flush=True)
                break
print("done", flush=True)
sys.stdin.read()
"""


class Writer:
    """A process that writes `count` commands for each of `people`, and tries again whenever it is refused."""

    def __init__(self, spool: str, count: int, *people: str) -> None:
        self._said = Path(f"{spool}.{people[0]}.said")
        with open(self._said, "wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PATIENT, spool, str(count), *people],
                env=environ(KMQ_MAX_SPOOL=str(CAP)),
                stdin=subprocess.PIPE,
                stdout=said,
            )

    def said(self) -> list[str]:
        """Return what it has told."""
        return self._said.read_text("ascii").split("\n")[:-1]

    def people(self) -> list[str]:
        """Return whose calls have returned."""
        return [word for word in self.said() if word not in {"full", "done"}]

    def wait_for(self, word: str) -> None:
        """Wait until it has told this."""
        wait_until(lambda: word in self.said(), timeout_s=60.0, what=f"{word} of {self._said}")

    def end(self) -> None:
        """Let it end."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., Writer]]:
    """Return a function that starts writers, none of which outlives the test."""
    started: list[Writer] = []

    def begin(spool: str, count: int, *people: str) -> Writer:
        started.append(Writer(spool, count, *people))
        return started[-1]

    yield begin
    for writer in started:
        writer.end()


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def server(api: Api) -> Iterator[MisbehavingServer]:
    with MisbehavingServer(api) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> str:
    return make_spool(tmp_path)


def account(api: Api, *writers: Writer) -> None:
    """Tell the oracle what the writers were told."""
    for writer in writers:
        for person in writer.people():
            api.oracle.tried(person)
            api.oracle.acknowledged(person)


def test_a_full_spool_refuses_until_it_is_delivered_and_nobody_starts_anew(
    path: str, start: Callable[..., Writer], api: Api, server: MisbehavingServer
) -> None:
    """Without a sender nothing goes; with one the same writer goes on, through one full spool after another."""
    writer = start(path, 70, "app")
    writer.wait_for("full")
    assert len(list(left_in(path))) == len(writer.people())
    assert measure(Spool(path)) <= CAP
    with SenderProcess(path, server.url, *CAPPED) as sender:
        writer.wait_for("done")
        wait_until(lambda: lag(path) == 0, what="all is delivered")
        assert sender.stop() == 0, sender.text()
    account(api, writer)
    assert len(writer.people()) == 70
    assert api.oracle.owed() == set()
    api.oracle.judge(path).check()


def test_what_idle_writers_hold_delivered_leaves_room_for_others(
    path: str, start: Callable[..., Writer], api: Api, server: MisbehavingServer
) -> None:
    """Their newest segments cannot go while they live; so these are small where the cap is."""
    idle = [start(path, count, f"idle{count}") for count in (9, 10, 12)]
    for writer in idle:
        writer.wait_for("done")
    assert measure(Spool(path)) > CAP - len(next(left_in(path)))  # not one more would fit
    with SenderProcess(path, server.url, *CAPPED):
        wait_until(lambda: lag(path) == 0, what="all is delivered")
        fresh = start(path, 20, "fresh")
        fresh.wait_for("done")
        wait_until(lambda: lag(path) == 0, what="all is delivered")
    account(api, *idle, fresh)
    assert api.oracle.owed() == set()


def test_with_log_what_the_full_spool_refuses_is_counted(
    path: str, monkeypatch: pytest.MonkeyPatch, api: Api, server: MisbehavingServer
) -> None:
    """The app runs on, and knows how many are missing; what was taken is there and arrives."""
    monkeypatch.setenv("KMQ_MAX_SPOOL", str(CAP))
    client = Client(path, on_error="log")
    for number in range(50):
        client.record("Did", {f"p{n}": "x" * 200 for n in range(40)}, person=f"app-{number}")
    taken = [str(person_of(line)) for line in left_in(path)]
    assert 20 < len(taken) < 50
    assert client.refused == 50 - len(taken)
    drain(path, server.url, *CAPPED)
    assert set(api.asked) == set(taken)


def test_rejected_commands_count_and_when_they_fill_the_spool_the_operator_frees_it(
    path: str, start: Callable[..., Writer], api: Api, server: MisbehavingServer
) -> None:
    """Apps are told; nothing is lost, what was delivered has gone first, and ids go on after a drop and a resend."""
    spool = Spool(path)
    for number in range(100):
        api.say(f"bad-{number}", answer(400, body=b"no"))
    writer = start(path, 40, "bad", "good")
    with SenderProcess(path, server.url, *CAPPED) as sender:
        wait_until(
            lambda: _is_full_of_rejected(path, writer), timeout_s=60.0, what="rejected/ fills it"
        )
        account(api, writer)
        api.oracle.judge(path).check()
        before = ids(spool, server)
        for person in (str(person_of(text)) for text in kept_in(path)):
            api.oracle.dropped(person)
        dropped = operator(spool, server.url, "rejected", "drop", "--older-than", "0s", "-y")
        assert dropped.exit_code == 0, dropped.output
        writer.wait_for("done")
        wait_until(lambda: lag(path) == 0, what="all is delivered or rejected")
        sender.stop()
    account(api, writer)
    api.oracle.judge(path).check()
    after = ids(spool, server)
    assert before
    assert after
    assert min(map(number_of, after)) > max(map(number_of, before))
    api.heal()
    assert operator(spool, server.url, "rejected", "resend", "--all").exit_code == 0
    assert list(kept_in(path)) == []
    assert measure(spool) < CAP // 4
    assert api.oracle.owed() == set()


def _is_full_of_rejected(path: str, writer: Writer) -> bool:
    rejected = sum(len(text) for text in kept_in(path))
    return writer.said()[-50:] == ["full"] * 50 and lag(path) == 0 and rejected > CAP // 2


def ids(spool: Spool, server: MisbehavingServer) -> list[str]:
    """Return the ids on the list, as the command lists them."""
    listed = operator(spool, server.url, "rejected", "list", "--json", "--limit", "1000")
    return [one["id"] for one in json.loads(listed.stdout)["rejected"]]


def number_of(rejection_id: str) -> tuple[str, int]:
    """Return what an id is ordered by."""
    day, _, number = rejection_id.partition(":")
    return day, int(number)
