"""The real sender in this process: its daemon on a clock that jumps, and an API that is a function.

Owns what of the daemon this package touches. Knows nothing about recordings.
"""

from __future__ import annotations

import io
import os
import signal
from typing import TYPE_CHECKING

from kmq.command import encode
from sender.daemon import Daemon
from sender.dispatcher import Window
from sender.holding import hold
from sender.logs import Log
from sender.plan import Plan
from sender.retention import Limits
from tests.support.sinks import DELIVERED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kmq.durable import Files
    from kmq.spool import Spool
    from sender.aside import Step
    from sender.flow import Delivery, Outcome
    from tests.support.clock import MovableClock

__all__ = ["KEEP", "NOTHING_STAYS", "Api", "Sender"]

KEEP = Limits(age_s=1e12, max_bytes=1 << 40)
NOTHING_STAYS = Limits(age_s=1e12, max_bytes=0)

_TURNS = 3_000


class Api:
    """A sink that answers by `answer` (None: not yet) and calls `turn` first, at each look, with its number.

    Time passes only while it is waited for. `came` are the people delivered, each with its command as a line.
    """

    def __init__(
        self,
        clock: MovableClock,
        answer: Callable[[Delivery], Outcome | None],
        turn: Callable[[int], None],
    ) -> None:
        self.came: list[tuple[str, str]] = []
        self._clock = clock
        self._answer = answer
        self._turn = turn
        self._turns = 0

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Take what is handed over, give back what was answered."""
        self._turns += 1
        if self._turns > _TURNS:
            raise AssertionError("the sender goes on without end")
        self._turn(self._turns)
        self._clock.advance(max(wait_s, 0.001))
        answers = []
        for delivery in deliveries:
            outcome = self._answer(delivery)
            if outcome is not None:
                answers.append((delivery.ticket, outcome))
            if outcome is DELIVERED:
                form = encode(delivery.command).decode("utf-8", "surrogateescape")
                self.came.append((delivery.command.person, form))
        return answers

    def close(self) -> None:
        """Nothing is held."""


class Sender:
    """One sender on `spool`, which it holds from now until `close`."""

    def __init__(  # noqa: PLR0913 - what the daemon is handed
        self,
        spool: Spool,
        api: Api,
        clock: MovableClock,
        files: Files,
        *,
        drain: bool,
        limits: Limits = KEEP,
    ) -> None:
        self._lock = hold(spool, files=files)
        plan = Plan(spool, "http://127.0.0.1:1", "requests", Window(4), limits, 1 << 40, drain)
        log = Log("json", "error", stream=io.StringIO())
        try:
            self._daemon = Daemon(plan, self._lock, api, log, clock=clock, files=files)
        except BaseException:
            os.close(self._lock)
            raise
        self._committer = self._daemon._committer

    def on_commit(self, committed: Callable[[dict[str, int]], None]) -> None:
        """Have `committed` called with the durable offsets whenever a commit has returned."""
        steps = self._committer.steps

        def noted() -> Iterator[Step]:
            yield from steps()
            committed(dict(self._committer.durable))

        self._committer.steps = noted  # type: ignore[method-assign]  # to know when it returned

    def run(self) -> None:
        """Send until told to stop, or until drained."""
        # Not `run`, which would take this process's signals.
        self._daemon.begin()
        while (end := self._daemon.ended()) is None:
            self._daemon.turn()
        self._daemon.finish(end)

    def stop(self) -> None:
        """Ask it to stop, as SIGTERM does."""
        self._daemon.asked.stopped_by = signal.SIGTERM

    def close(self) -> None:
        """Let go of all that it has open, also where it was killed."""
        self._daemon._reader.close()
        self._daemon._rejected.close()
        os.close(self._lock)
