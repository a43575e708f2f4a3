"""The soak: writers and the sender killed at random moments, without rest, under a collector that fails.

Owns who is killed and started when, and the end: all is let go, drained and judged. Storms, in which the API fails and
the sender is killed over and over, take turns with calms, in which it keeps up and removes what it delivered. Knows
nothing about what the processes do, how they are started (`stage`) or how the account is kept (`account`).

Every moment segments are started, adopted, delivered and removed: segments are small, retention is short, checkpoints
are frequent. Beside the sender run `rejected resend`, `verify` and `replay`, and some of them are killed too.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kmq.spool import Spool, partitions
from tests.support.oracle import lag
from tests.support.system import trouble
from tests.support.wait import wait_until

from .account import Account
from .stage import REPLAY_KEY, Broken, Running, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.oracle import Findings

__all__ = ["Plan", "Report", "Soak"]

BOOKS_EVERY_S: Final = 0.5
MANY_OWED: Final = 5_000  # beyond this no storm begins
END_S: Final = 300.0

# What a writer does, one way each.
WAYS: Final = (
    ("small",),
    ("sync", "small"),
    ("threads", "small"),
    ("signals", "small"),
    ("forks", "small"),
    ("threads", "signals", "forks"),
    ("threads", "signals", "forks", "sync", "small"),
)
# How often what is done: in a storm, and in a calm, when the sender keeps up and removes what others adopt.
STORM: Final = {
    "kill a writer": 60,
    "kill the sender": 22,
    "operate": 10,
    "trouble": 6,
    "refuse": 2,
}
CALM: Final = {
    "kill a writer": 88,
    "kill the sender": 0,
    "operate": 10,
    "trouble": 0,
    "refuse": 2,
}
COMMITS_EVERY_S: Final = ("0.05", "0.05", "0.3", "1")
RETENTIONS: Final = ("0s", "0s", "1s", "3s")

# With which an operator's command may end: something was left undone, the API was away, a lock was held.
FINE: Final = {"resend": {0, 1, 69, 75}, "verify": {0, 65}, "replay": {0, 1}}

# What lies in a spool besides partitions. A `.new-` is swept when it is an hour old.
LASTING: Final = frozenset(
    {
        "checkpoint.json",
        "checkpoint.json.old",
        "rejected",
        "reserve",
        "sender.lock",
        "status.json",
    }
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long it goes on: `kills` at least and `seconds` at least; at `pace` kills a second, if the machine can."""

    kills: int = 0
    seconds: float = 0.0
    seed: int = 0
    writers: int = 6
    pace: float = 16.0


@dataclass(frozen=True, slots=True)
class Report:
    """What it came to. `kills` by what was killed: writers, senders, others."""

    kills: Counter[str]
    seconds: float
    findings: Findings
    replayed: int
    refused: int
    partitions_removed: int
    left_over: tuple[str, ...]

    def check(self) -> None:
        """Fail where the promise was broken."""
        self.findings.check()
        if self.left_over:
            raise AssertionError(f"left in the spool for ever: {', '.join(self.left_over[:10])}")

    def __str__(self) -> str:
        found = self.findings
        each = ", ".join(
            f"{self.kills[kind]:,} {kind}" for kind in ("writers", "senders", "others")
        )
        return (
            f"{self.kills.total():,} kills ({each}) in {_duration(self.seconds)}: "
            f"{found.acknowledged:,} acknowledged, {len(found.lost):,} lost, "
            f"{len(found.changed):,} changed, {len(found.foreign):,} foreign, "
            f"{found.delivered_again - self.replayed:,} delivered again; {self.replayed:,} replayed, "
            f"{self.refused:,} refused by the API, {self.partitions_removed:,} partitions removed"
        )


class Soak:
    """A soak on `stage`, until the plan is done or `stopping`; `say` is told a line each `every_s` seconds."""

    def __init__(
        self, plan: Plan, stage: Stage, *, say: Callable[[str], None], every_s: float = 30.0
    ) -> None:
        self.stopping = False
        self._plan = plan
        self._stage = stage
        self._say, self._every_s = say, every_s
        self._rng = random.Random(plan.seed)
        self._account = Account(stage.acks, replayed_with=REPLAY_KEY)
        self._kills = Counter[str]()
        self._do: dict[str, Callable[[], None]] = {
            "kill a writer": self._kill_writer,
            "kill the sender": self._kill_sender,
            "operate": self._operate,
            "trouble": lambda: trouble(stage, self._rng),
            "refuse": lambda: stage.answer(status=400, count=10),
        }
        self._storm = False
        self._changes = 0.0
        self._writers: list[Running] = []
        self._operation: Running | None = None
        self._seen: set[str] = set()
        self._since = self._refused = 0

    def run(self) -> Report:
        """Kill until the plan is done; then let all go, drain, and judge."""
        began = self._said = self._booked = time.monotonic()
        self._writers = [self._new_writer() for _ in range(self._plan.writers)]
        self._sender = self._new_sender()
        while not self._over(began):
            due = time.monotonic() + self._rng.expovariate(self._plan.pace)
            self._turn()
            self._look(began)
            time.sleep(max(0.0, due - time.monotonic()))  # the pace, no wait for something
        return self._judged(time.monotonic() - began)

    def _over(self, began: float) -> bool:
        done = self._kills.total() >= self._plan.kills
        return self.stopping or (done and time.monotonic() - began >= self._plan.seconds)

    # Killing

    def _turn(self) -> None:
        if time.monotonic() >= self._changes:
            self._change()
        chances = STORM if self._storm else CALM
        (doing,) = self._rng.choices(tuple(chances), tuple(chances.values()))
        self._do[doing]()

    def _change(self) -> None:
        """Let a storm follow on a calm; a calm once the sender is not far behind, so that much is removed in it."""
        self._storm = not self._storm and self._account.behind < MANY_OWED
        self._changes = time.monotonic() + self._rng.uniform(2.0, 6.0)
        self._stage.answer()
        self._kill_sender()

    def _kill_writer(self) -> None:
        self._kill(self._writers.pop(self._rng.randrange(len(self._writers))), "writers")
        self._writers.append(self._new_writer())

    def _kill_sender(self) -> None:
        self._kill(self._sender, "senders")
        self._sender = self._new_sender()

    def _operate(self) -> None:
        """Let an operator's command begin, or end: by a kill if it still runs."""
        running, self._operation = self._operation, None
        if running is None:
            begin = self._rng.choice((self._stage.resend, self._stage.verify, self._stage.replay))
            self._operation = begin()
        else:
            # It may be at its end already.
            running.child.kill()
            if running.child.wait() == -signal.SIGKILL:
                self._kill(running, "others")
            else:
                _must_be_fine(running)

    def _kill(self, running: Running, kind: str) -> None:
        running.kill()
        self._kills[kind] += 1

    def _new_writer(self) -> Running:
        return self._stage.writer(*self._rng.choice(WAYS))

    def _new_sender(self) -> Running:
        if not self._storm:
            return self._stage.sender(COMMITS_EVERY_S[0], RETENTIONS[0])
        return self._stage.sender(self._rng.choice(COMMITS_EVERY_S), self._rng.choice(RETENTIONS))

    # Books

    def _look(self, began: float) -> None:
        now = time.monotonic()
        if now - self._booked >= BOOKS_EVERY_S:
            self._booked = now
            self._keep_books()
        if now - self._said >= self._every_s:
            self._said = now
            self._say(
                f"{_duration(now - began)}: {self._kills.total():,} kills, "
                f"{self._account.acknowledged:,} acknowledged, {self._account.behind:,} behind"
            )

    def _keep_books(self) -> bool:
        """Take over notes, then requests; return whether every writer has ended."""
        self._seen |= set(partitions(Spool(self._stage.spool)))
        # First what came, then the notes, and then what to make of what came: no name is unknown by then.
        page = self._stage.page(since=self._since)
        ended = self._account.take_notes()
        if page["dropped"]:
            raise Broken(f"the collector forgot {page['dropped']:,} requests too early")
        self._since = page["next"]
        self._refused += sum(1 for one in page["requests"] if one["answer"] == 400)
        self._account.take_requests(page["requests"])
        self._account.fold()
        return ended

    # The end

    def _judged(self, seconds: float) -> Report:
        stage = self._stage
        self._end_all()
        stage.answer()
        stage.drain().end(timeout_s=END_S)
        stage.resend().end({0, 1})  # what is torn cannot be sent
        stage.verify("--offline").end()
        self._keep_books()
        return Report(
            kills=self._kills,
            seconds=seconds,
            findings=self._account.judge(stage.spool),
            replayed=self._account.replayed,
            refused=self._refused,
            partitions_removed=len(self._seen - set(partitions(Spool(stage.spool)))),
            left_over=tuple(_left_over(stage.spool)),
        )

    def _end_all(self) -> None:
        for writer in self._writers:
            writer.child.send(signal.SIGTERM)
        for writer in self._writers:
            writer.end({0, -signal.SIGTERM})
        for running in (self._operation, self._sender):
            if running is not None:
                running.child.kill()
                running.child.wait()
        wait_until(self._keep_books, timeout_s=END_S, what="all children of the writers have ended")


def _must_be_fine(ended: Running) -> None:
    said = ended.end(FINE[ended.name])
    if ended.name != "verify":
        return
    found = [one for one in json.loads(said)["findings"] if one["damage"]]
    # A file that is just being made has not its mode yet.
    if any(one["code"] != "mode" for one in found):
        raise Broken(f"verify found damage: {said}")


def _left_over(spool: str) -> list[str]:
    passing = {name for name in os.listdir(spool) if not name.startswith(".new-")}
    odd = sorted(passing - LASTING - set(partitions(Spool(spool))))
    behind = lag(spool)
    return [*odd, f"{behind:,} commands above the checkpoint"] if behind else odd


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
