"""The show: its acts in their order, from the first line to the account.

Owns what happens when. Moments are shares of the time that the writers take, so that a short show is the same show.
Knows nothing about options or terminals. All lies in a temporary folder that goes when the show ends, whichever way.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sender.demo import lines

from .account import take_account, text_of
from .children import Children
from .stage import KEY, WAIT_S, Stage, spool_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from .account import Account
    from .children import Child
    from .telling import Teller

__all__ = ["WRITERS", "Script", "perform"]

WRITERS: Final = 4
VICTIM: Final = 2

_WRITING: Final = 0.6
_AFTER_CHECKPOINT: Final = 25
_DRAIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Script:
    """How long the show lasts, in seconds and about, and how many commands each writer records."""

    seconds: float
    events: int

    @property
    def writing_s(self) -> float:
        """How long the writers write; the rest goes into starting and counting."""
        return self.seconds * _WRITING


def perform(script: Script, tell: Teller, stopped: Callable[[], bool]) -> Account:
    """Perform the show and return its account.

    Raises `ShowFailed` where something does not do what it should, `Stopped` where `stopped` says so.
    """
    with tempfile.TemporaryDirectory(prefix="kmq-demo-") as home:
        spool = spool_in(home)
        os.mkdir(spool, 0o770)
        with Children(home, {"KMQ_SPOOL": spool, "KMQ_API_KEY": KEY}) as children:
            return _Show(script, tell, Stage(home, children, tell, stopped)).run()


class _Show:
    def __init__(self, script: Script, tell: Teller, stage: Stage) -> None:
        self._script = script
        self._tell = tell
        self._stage = stage
        tell.say(
            f"Everything here happens in {os.path.dirname(stage.spool)} and on this machine.",
            "faint",
        )
        tell.say()
        self._collector, self._api = stage.start_collector()
        stage.happened("collector", f"listens on {self._api.url} in KISSmetrics' place")
        self._sender = self._start_sender()
        self._told: list[str] = []
        self._writers: dict[int, Child] = {}
        self._begin_s = 0.0

    def run(self) -> Account:
        """Perform all acts."""
        self._perform_the_lines()
        self._let_writers_begin()
        self._answer(0.10, 0.20, {"status": 503}, "answers 503 to everything")
        self._kill_the_sender()
        self._kill_a_writer()
        self._answer(0.80, 0.88, {"drop": True}, "closes every connection without an answer")
        self._let_writers_end()
        self._drain()
        return take_account(self._told + self._stage.acknowledged(), self._api.arrivals())

    # Acts

    def _perform_the_lines(self) -> None:
        app = self._stage.start_program(lines.PROGRAM)
        self._stage.ended_well(app)
        self._wait_for_requests(lines.COMMANDS)
        self._tell.say()
        arrivals = self._api.arrivals()
        for line, request in lines.pairs(arrivals):
            self._tell.say(f"    {line}")
            self._tell.say(f"        -> {request}" if request else "           no request", "faint")
        self._tell.say()
        # The process ended with 0, so that each of its calls had returned.
        self._told = [text_of(arrival) for arrival in arrivals]

    def _let_writers_begin(self) -> None:
        script = self._script
        for number in range(1, WRITERS + 1):
            self._writers[number] = self._stage.start_writer(
                number, script.events, script.writing_s
            )
        for number, writer in self._writers.items():
            self._wait_for_ack(number, writer)
        self._begin_s = self._stage.now()
        self._stage.happened(
            "writers", f"{WRITERS} processes record {script.events:,} commands each"
        )

    def _answer(self, begin: float, end: float, form: dict[str, object], how: str) -> None:
        self._wait_till(begin)
        self._api.answer(form)
        self._stage.happened("collector", how, "bad")
        self._wait_till(end)
        self._api.answer({})
        self._stage.happened("collector", f"answers 200 again; {self._so_far()}", "good")

    def _kill_the_sender(self) -> None:
        self._wait_till(0.45)
        self._wait_for_work_without_checkpoint()
        self._sender.kill()
        self._stage.happened(
            "sender", f"killed with SIGKILL, the writers go on; {self._so_far()}", "bad"
        )
        self._wait_till(0.55)
        self._sender = self._start_sender(" again")

    def _kill_a_writer(self) -> None:
        self._wait_till(0.65)
        victim = self._writers.pop(VICTIM)
        lost = self._stage.partition_of(victim)
        victim.kill()
        done = len(self._stage.acknowledged(VICTIM))
        self._stage.happened(
            f"writer {VICTIM}", f"killed with SIGKILL after {done:,} commands", "bad"
        )
        number = WRITERS + 1
        rest = max(1, self._script.events - done)
        heir = self._stage.start_writer(number, rest, self._left_s(1.0))
        self._writers[number] = heir
        self._wait_for_ack(number, heir)
        found = self._stage.partition_of(heir)
        how = f"adopts its partition {found}" if found == lost else f"takes the partition {found}"
        self._stage.happened(f"writer {number}", f"takes its place and {how}", "good")

    def _let_writers_end(self) -> None:
        wanted = WRITERS * self._script.events
        self._stage.wait_for(
            lambda: len(self._stage.acknowledged()) >= wanted,
            "the writers are done",
            *self._writers.values(),
            timeout_s=self._script.seconds + WAIT_S,
        )
        for writer in self._writers.values():
            writer.release()
            self._stage.ended_well(writer)
        self._stage.happened("writers", f"done; {self._so_far()}")

    def _drain(self) -> None:
        self._sender.terminate()
        self._stage.ended_well(self._sender)
        self._stage.happened("sender", "got SIGTERM: finished what was in flight, exit 0")
        last = self._stage.start_sender(
            self._api.url, "--drain", "--drain-timeout", f"{_DRAIN_S:.0f}"
        )
        self._stage.ended_well(last, _DRAIN_S + WAIT_S)
        self._stage.happened(
            "sender", "run --drain: all that was left is delivered, exit 0", "good"
        )

    # Parts of acts

    def _start_sender(self, again: str = "") -> Child:
        sender = self._stage.start_sender(self._api.url)
        self._stage.happened(
            "sender", f"started{again}: process {sender.pid}", "good" if again else "plain"
        )
        return sender

    def _wait_for_work_without_checkpoint(self) -> None:
        """Wait until some commands are delivered that no checkpoint covers: the kill would cost nothing else."""
        seen = self._stage.checkpoint()
        self._stage.wait_for(
            lambda: self._stage.checkpoint() != seen or self._all_is_written(),
            "a checkpoint is written",
            self._sender,
        )
        enough = self._api.total() + min(_AFTER_CHECKPOINT, max(1, self._script.events // 50))
        self._stage.wait_for(
            lambda: self._api.total() >= enough or self._all_is_written(),
            f"{enough:,} requests arrive",
            self._collector,
            self._sender,
        )

    def _all_is_written(self) -> bool:
        # On a machine so slow that the writers are done first nothing more may come: then the kill costs nothing.
        return len(self._stage.acknowledged()) >= WRITERS * self._script.events

    def _wait_for_requests(self, count: int) -> None:
        self._stage.wait_for(
            lambda: self._api.total() >= count,
            f"{count:,} requests arrive",
            self._collector,
            self._sender,
        )

    def _wait_for_ack(self, number: int, writer: Child) -> None:
        self._stage.wait_for(
            lambda: self._stage.acknowledged(number), f"writer {number} records", writer
        )

    def _so_far(self) -> str:
        acknowledged = len(self._told) + len(self._stage.acknowledged())
        return f"{acknowledged:,} commands acknowledged, {self._api.total():,} requests arrived"

    def _wait_till(self, share: float) -> None:
        self._stage.wait_till(self._begin_s + share * self._script.writing_s)

    def _left_s(self, share: float) -> float:
        return max(0.0, self._begin_s + share * self._script.writing_s - self._stage.now())
