"""The sender at work: reader, dispatcher, checkpoint and retention in one loop, and how it begins and ends.

Owns the wiring, the loop's rhythm and the signals. Knows nothing about options or how a log line
looks. One thread runs all of it; a transport may have threads of its own.

The order of an end: stop reading, finish what is in flight (10 seconds at most), checkpoint, say
what remains. A second signal ends at once, which loses nothing either: what was answered since the
last checkpoint is sent again.
"""

from __future__ import annotations

import contextlib
import enum
import os
import random
import resource
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kmq import __version__, locks
from kmq import spool as places
from kmq.clock import CLOCK, Clock
from kmq.durable import FILES, Files, bears_name
from kmq.errors import SpoolError, spool_error
from kmq.spool import measure

from . import checkpoint, status
from .announcer import Announcer
from .commit import Committer
from .dispatcher import Dispatcher, GateState, Window
from .drain import Drain
from .reader import SpoolReader
from .rejected import RejectedStore
from .retention import Limits, Retention
from .status.snapshots import Snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kmq.spool import Spool

    from .flow import Event, Sink
    from .logs import Log
    from .rejected import New

__all__ = ["AnotherSender", "Daemon", "End", "Plan", "hold"]

_COMMIT_EVERY_S: Final = 1.0
_RETAIN_EVERY_S: Final = 2.0  # lists the spool: some 15 ms for 1,000 partitions
_FINISH_S: Final = 10.0
_IDLE_S: Final = 0.25
_DRAIN_LOOK_EVERY_S: Final = 0.02
_DRAIN_SAID_EVERY_S: Final = 10.0
_NEARLY_FULL: Final = 0.9
_READ_AT_LEAST: Final = 2_000


class AnotherSender(Exception):  # noqa: N818 - it is what was found
    """Another sender holds the spool."""


class End(enum.Enum):
    """How a run ended."""

    STOPPED = "a signal asked for it"
    DRAINED = "all that was there at the start is done"
    DRAIN_TIMEOUT = "the time for draining is over"
    LOCK_LOST = "the spool or its sender.lock was moved or removed"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is to do. Sizes in bytes, times in seconds."""

    spool: Spool
    url: str
    transport: str
    window: Window
    limits: Limits
    max_spool: int
    drain: bool = False
    drain_timeout_s: float | None = None


def hold(spool: Spool, *, files: Files = FILES) -> int:
    """Make the spool if it is missing and take its `sender.lock`; return the descriptor that holds it.

    Raises `AnotherSender`, or `SpoolError`.
    """
    places.make(spool, files=files)
    try:
        locks.make(spool.sender_lock, files=files)
    except OSError as error:
        raise spool_error(error, "make", spool.sender_lock) from error
    lock = locks.take(spool.sender_lock)
    if lock is locks.Denied.HELD:
        raise AnotherSender
    if isinstance(lock, locks.Denied):
        raise SpoolError(
            f"{spool.sender_lock} is no file: move it away, and start the sender again",
            path=spool.sender_lock,
        )
    return lock


class Daemon:
    """Sends a spool through `sink` until it is told to stop; `lock` is what `hold` returned for it."""

    def __init__(  # noqa: PLR0913 - what it runs on, and what is handed in to be testable
        self,
        plan: Plan,
        lock: int,
        sink: Sink,
        log: Log,
        *,
        clock: Clock = CLOCK,
        files: Files = FILES,
    ) -> None:
        self._plan = plan
        self._sink = sink
        self._log = log
        self._clock = clock
        self._files = files
        self._announcer = Announcer(log)
        self._rejected = RejectedStore(plan.spool, "sender", clock=clock.wall, files=files)
        self._dispatcher = Dispatcher(
            sink, self._keep, window=plan.window, random=random.random, clock=clock
        )
        offsets = self._load()
        self._reader = SpoolReader(
            plan.spool, offsets, report=self._report, clock=clock.monotonic, files=files
        )
        self._retention = Retention(
            plan.spool,
            plan.limits,
            clock=clock.wall,
            monotonic=clock.monotonic,
            report=self._report,
            files=files,
        )
        self._committer = Committer(
            plan.spool,
            offsets,
            reader=self._reader,
            dispatcher=self._dispatcher,
            rejected=self._rejected,
            retention=self._retention,
            report=self._report,
            files=files,
        )
        self._snapshots = Snapshots(plan.spool, plan.url, plan.transport, clock=clock)
        self._signal: int | None = None
        self._status_asked = False
        self._crowded: set[str] = set()
        self._waiting = 0
        self._lock = lock
        self._holds = True
        self._commit = _Every(_COMMIT_EVERY_S)
        # With a short age, as in a test or on a small disk, there is no sense in looking seldom.
        self._retain = _Every(min(_RETAIN_EVERY_S, max(0.2, plan.limits.age_s / 10)))
        self._drain = Drain(plan.spool) if plan.drain else None
        self._drain_look = _Every(_DRAIN_LOOK_EVERY_S)
        self._drain_said = _Every(_DRAIN_SAID_EVERY_S)

    def run(self) -> End:
        """Send until a signal, or until the drain is done."""
        self._install_signals()
        self._raise_file_limit()
        self._retention.sweep()
        self._log.info(
            "sender-started",
            "sending {spool} to {url}",
            spool=self._plan.spool.path,
            url=self._plan.url,
            transport=self._plan.transport,
            pid=os.getpid(),
            version=__version__,
        )
        began = self._clock.monotonic()
        while (end := self._ended(began)) is None:
            self._turn()
        if end is End.LOCK_LOST:
            self._give_way()
        else:
            self._finish(end)
        return end

    # The loop

    def _turn(self) -> None:
        lines, size = self._dispatcher.room()
        # Reading a line for each answer would read each chunk again and again.
        few = lines < _READ_AT_LEAST
        self._mind_the_crowded()
        read = self._reader.read(0 if few else lines, 0 if few else size, self._dispatcher.hungry)
        self._dispatcher.offer(read)
        self._snapshots.read(read)
        self._exchange(self._wait_s(full=few))
        now = self._clock.monotonic()
        self._announcer.look(self._dispatcher, self._waiting, now)
        if self._commit.due(now):
            self._write(now)
        if self._retain.due(now):
            self._remove()
        if self._status_asked:
            self._status_asked = False
            self._log_status("status-logged", "status")

    def _exchange(self, wait_s: float) -> None:
        waited_from = self._clock.monotonic()
        answers = self._dispatcher.turn(wait_s)
        if not answers and not self._dispatcher.in_flight:
            # A sink with nothing in flight returns at once; the time is waited here.
            rest_s = wait_s - (self._clock.monotonic() - waited_from)
            if rest_s > 0:
                time.sleep(rest_s)

    def _wait_s(self, *, full: bool) -> float:
        now = self._clock.monotonic()
        waits = [_IDLE_S, self._commit.left_s(now)]
        waits.append(_IDLE_S / 10 if full else self._reader.next_look_s())
        due_s = self._dispatcher.next_due_s()
        if due_s is not None:
            waits.append(due_s)
        return max(0.0, min(waits))

    def _mind_the_crowded(self) -> None:
        crowded = self._dispatcher.crowded()
        for name in crowded ^ self._crowded:
            self._reader.pause(name, name in crowded)
        self._crowded = crowded

    def _ended(self, began: float) -> End | None:
        if not self._holds:
            return End.LOCK_LOST
        if self._signal is not None:
            return End.STOPPED
        now = self._clock.monotonic()
        if self._drain is None or not self._drain_look.due(now):
            return None
        left = self._drain.left(self._committer.done())
        if not left:
            return End.DRAINED
        if self._plan.drain_timeout_s is not None and now - began >= self._plan.drain_timeout_s:
            return End.DRAIN_TIMEOUT
        if self._drain_said.due(now):
            blocked = self._dispatcher.gate.state is GateState.BLOCKED
            self._log.info(
                "drain-waiting",
                "waiting for what was there at the start"
                + (" (blocked: see the line before)" if blocked else ""),
                left_bytes=left,
            )
        return None

    # Durability

    def _write(self, now: float) -> None:
        self._committed(now)
        self._save_status()

    def _committed(self, now: float) -> bool:
        # Without the lock another sender may write here by now, also between a signal and the end.
        self._holds = self._holds and self._still_holds()
        if not self._holds:
            return False
        try:
            self._committer.commit()
        except OSError as error:
            self._announcer.checkpoint(self._explained(error), now)
            return False
        self._announcer.checkpoint(None, now)
        return True

    def _still_holds(self) -> bool:
        try:
            return bears_name(self._lock, self._plan.spool.sender_lock)
        except OSError:
            return True  # that it cannot be looked at says nothing

    def _explained(self, error: OSError) -> SpoolError:
        return spool_error(error, "write the checkpoint", self._plan.spool.checkpoint)

    def _keep(self, batch: Sequence[New]) -> None:
        self._committer.keep(batch)

    def _remove(self) -> None:
        with contextlib.suppress(OSError):  # the reader reports a spool that cannot be listed
            nearly_full = measure(self._plan.spool) > _NEARLY_FULL * self._plan.max_spool
            self._committer.retain(urgent=nearly_full)

    def _save_status(self, ended: str | None = None) -> None:
        if not self._holds:
            return
        ends, positions = self._reader.ends(), self._reader.positions()
        unread = sum(max(0, end - positions.get(name, 0)) for name, end in ends.items())
        self._waiting = self._dispatcher.waiting + round(self._snapshots.commands_in(unread))
        snapshot = self._snapshots.take(self._dispatcher, self._committer.marks(), ends, ended)
        # On a full disk the last figures stay, and the log says so.
        with contextlib.suppress(OSError):
            status.save(self._plan.spool, snapshot, files=self._files)

    def _load(self) -> dict[str, int]:
        loaded = checkpoint.load(self._plan.spool)
        for problem in loaded.problems:
            self._log.error(
                "checkpoint-unreadable",
                "{problem}",
                problem=problem,
                used=loaded.source or "none: from the oldest segment",
            )
        return dict(loaded.offsets)

    # The end

    def _give_way(self) -> None:
        """End without a checkpoint: another sender may hold this spool by now."""
        self._log.error(
            "lock-lost",
            "{spool} or its sender.lock was moved or removed: ending, so that a new sender can begin",
            spool=self._plan.spool.path,
        )
        self._sink.close()
        self._reader.close()
        self._rejected.close()

    def _finish(self, end: End) -> None:
        self._log.info(
            "sender-stopping", f"stopping: {end.value}", in_flight=self._dispatcher.in_flight
        )
        self._dispatcher.stop()
        until = self._clock.monotonic() + _FINISH_S
        while not self._dispatcher.settled() and self._clock.monotonic() < until:
            self._exchange(min(_IDLE_S, self._dispatcher.next_due_s() or _IDLE_S))
        self._sink.close()
        saved = self._committed(self._clock.monotonic())
        if saved:
            self._remove()  # a sender that only ever drains has no other moment for it
        self._save_status(ended=self._how(end))
        # Without a checkpoint it is more: all since the last one, which the log has said.
        sent_again = self._dispatcher.beyond() + self._dispatcher.in_flight if saved else "more"
        self._log_status("sender-stopped", "stopped", sent_again_at_next_start=sent_again)
        self._reader.close()
        self._rejected.close()

    def _how(self, end: End) -> str:
        if end is End.STOPPED:
            return f"signal {self._signal}"
        return "drained" if end is End.DRAINED else "drain timed out"

    def _log_status(self, event: str, message: str, **fields: object) -> None:
        figures = self._dispatcher.figures
        self._log.info(
            event,
            message,
            delivered=figures.delivered,
            retried=figures.retried,
            rejected=figures.rejected.total(),
            in_flight=self._dispatcher.in_flight,
            waiting=self._waiting,
            state=self._dispatcher.gate.state.value,
            **fields,
        )

    # Signals

    def _install_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGUSR1, self._on_status)

    def _on_stop(self, number: int, _frame: object) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number

    def _on_status(self, _number: int, _frame: object) -> None:
        self._status_asked = True

    # What is seen from outside

    def _report(self, event: Event) -> None:
        self._dispatcher.figures.events[event.code] += 1
        self._announcer.event(event)

    def _raise_file_limit(self) -> None:
        # One descriptor for each segment that is read: the soft limit of 1,024 is for programs that use select().
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Every:
    """Due once in so many seconds of the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def due(self, now: float) -> bool:
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True

    def left_s(self, now: float) -> float:
        return max(0.0, self._next - now)
