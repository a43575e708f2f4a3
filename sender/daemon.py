"""The sender at work: reader, dispatcher, checkpoint and retention in one loop, and how it begins and ends.

Owns the wiring and the loop's rhythm. Knows nothing about options or how a log line looks. One thread
runs all of it but the steps of a commit, which wait for the disk aside while sending goes on; a transport may have
threads of its own.

The order of an end: stop reading, finish what is in flight (10 seconds at most), let a commit that
has begun come to its end, checkpoint, say what remains.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random as chance
import resource
from typing import TYPE_CHECKING, Final

from kmq import __version__
from kmq.clock import CLOCK, Clock
from kmq.durable import FILES, Files
from kmq.errors import SpoolError, spool_error
from kmq.spool import measure

from . import checkpoint, status
from .announcer import Announcer
from .aside import Inline, Run
from .commit import Committer
from .dispatcher import Dispatcher, GateState, turns
from .drain import Drained, DrainWatch
from .holding import still_holds
from .plan import End, Plan
from .reader import SpoolReader
from .rejected import RejectedStore
from .retention import Retention
from .rhythm import Every
from .signals import Signals
from .status.snapshots import Snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .aside import Aside
    from .flow import Event, Sink
    from .logs import Log
    from .rejected import New

__all__ = ["Daemon"]

_COMMIT_EVERY_S: Final = 1.0
_STEP_S: Final = 0.01  # so soon the next step of a commit follows when one is over
_DISK_HANGS_S: Final = 10.0
_RETAIN_EVERY_S: Final = 2.0
# To list a partition costs 45 us, so that this is half a hundredth of a core.
_RETAIN_EACH_S: Final = 0.008
_CROWDED_S: Final = 0.025
_NEARLY_FULL: Final = 0.9
_READ_AT_LEAST: Final = 2_000
# More at a time would keep answers, and at the start the first request, waiting.
_READ_AT_MOST: Final = 2_000
# To look for hungry partitions at each answer cost a fifth of a core with 1,000.
_FEED_EVERY_S: Final = 0.02
_DRAIN_ENDS: Final = {Drained.DONE: End.DRAINED, Drained.TIMEOUT: End.DRAIN_TIMEOUT}


class Daemon:
    """Sends a spool through `sink` until it is told to stop; `lock` is what `hold` returned for it.

    `run` is all of it; a simulation takes the same steps by itself: `begin`, then `turn` while `ended` says None, then
    `finish`. `asked` is what signals asked for.
    """

    def __init__(  # noqa: PLR0913 - what it runs on, and what is handed in to be testable
        self,
        plan: Plan,
        lock: int,
        sink: Sink,
        log: Log,
        *,
        random: Callable[[], float] = chance.random,
        clock: Clock = CLOCK,
        files: Files = FILES,
        pread: Callable[[int, int, int], bytes] = os.pread,
        aside: Aside | None = None,
    ) -> None:
        self.asked = Signals()
        self._plan = plan
        self._sink = sink
        self._log = log
        self._clock = clock
        self._files = files
        self._announcer = Announcer(log)
        self._rejected = RejectedStore(
            plan.spool, "sender", clock=clock.wall, wait=None, files=files
        )
        self._dispatcher = Dispatcher(
            sink, self._keep, window=plan.window, random=random, clock=clock
        )
        offsets = self._load()
        self._reader = SpoolReader(
            plan.spool,
            offsets,
            report=self._report,
            clock=clock.monotonic,
            files=files,
            pread=pread,
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
        self._committing = Run(Inline() if aside is None else aside, self._still_holds)
        self._crowded: set[str] = set()
        self._waiting = 0
        self._lock = lock
        self._holds = True
        self._feed = Every(_FEED_EVERY_S)
        self._commit = Every(_COMMIT_EVERY_S)
        # With a short age, as in a test or on a small disk, there is no sense in looking seldom.
        self._retain = Every(min(_RETAIN_EVERY_S, max(0.2, plan.limits.age_s / 10)))
        self._drain = self._watch_drain() if plan.drain else None

    def run(self) -> End:
        """Send until a signal, or until the drain is done."""
        with self.asked.caught(figures=True):
            self.begin()
            while (end := self.ended()) is None:
                self.turn()
            self.finish(end)
        return end

    def begin(self) -> None:
        """Make room for what is read, clear what a crash left, and say what is sent where."""
        _raise_file_limit()
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

    # The loop

    def turn(self) -> None:
        """Read, send, settle what was answered, and do what is due; waits a quarter of a second at most."""
        lines, size = self._dispatcher.room()
        # Reading a line for each answer would read each chunk again and again.
        few = lines < _READ_AT_LEAST
        self._mind_the_crowded()
        read = self._reader.read(
            0 if few else min(lines, _READ_AT_MOST),
            0 if few else size,
            self._dispatcher.hungry if self._feed.due(self._clock.monotonic()) else None,
        )
        self._dispatcher.offer(read)
        self._snapshots.read(read)
        turns.turn(self._dispatcher, self._wait_s(full=few), self._clock)
        self._do_what_is_due(self._clock.monotonic())

    def ended(self) -> End | None:
        """Return how the run has ended, None if it goes on."""
        if not self._holds:
            return End.LOCK_LOST
        if self.asked.stopped_by is not None:
            return End.STOPPED
        if self._drain is None:
            return None
        blocked = self._dispatcher.gate.state is GateState.BLOCKED
        now = self._clock.monotonic()
        return _DRAIN_ENDS.get(self._drain.look(self._committer.done, now, blocked=blocked))

    def _do_what_is_due(self, now: float) -> None:
        # The figure is a second old; at the start there is none, and what was read waits already.
        waiting = max(self._waiting, self._dispatcher.waiting)
        self._announcer.look(self._dispatcher, waiting, now)
        self._go_on_committing(now)
        if self._commit.due(now):
            self._begin_to_commit(now)
            self._save_status()
        if self._retain.due(now):
            self._remove()
            self._retain.put_off(now + _RETAIN_EACH_S * len(self._reader))
        if self.asked.take_figures_asked():
            self._log_status("status-logged", "status")

    def _wait_s(self, *, full: bool) -> float:
        now = self._clock.monotonic()
        waits = [turns.PATIENCE_S, self._commit.left_s(now)]
        waits.append(_CROWDED_S if full else self._reader.next_look_s())
        due_s = self._dispatcher.next_due_s()
        if due_s is not None:
            waits.append(due_s)
        if self._committing.since is not None:
            waits.append(_STEP_S)
        return max(0.0, min(waits))

    def _mind_the_crowded(self) -> None:
        crowded = self._dispatcher.crowded()
        for name in crowded ^ self._crowded:
            self._reader.pause(name, name in crowded)
        self._crowded = crowded

    def _watch_drain(self) -> DrainWatch:
        plan, now = self._plan, self._clock.monotonic()
        return DrainWatch(plan.spool, plan.drain_timeout_s, self._log, now)

    # Durability

    def _still_holds(self) -> bool:
        # Without the lock another sender may write here by now, also between a signal and the end.
        self._holds = self._holds and still_holds(self._lock, self._plan.spool)
        return self._holds

    def _begin_to_commit(self, now: float) -> None:
        since = self._committing.since
        if since is None:
            self._committing.begin(self._committer.steps(), now)
            self._go_on_committing(now)
        elif now - since >= _DISK_HANGS_S:
            self._announcer.checkpoint(self._hanging(now - since), now)

    def _go_on_committing(self, now: float, *, wait: bool = False) -> bool:
        try:
            over = self._committing.go_on(wait=wait)
        except OSError as error:
            self._announcer.checkpoint(self._explained(error), now)
            return False
        if over:
            self._announcer.checkpoint(None, now)
        return over

    def _committed(self, now: float) -> bool:
        self._go_on_committing(now, wait=True)
        self._committing.begin(self._committer.steps(), now)
        return self._go_on_committing(now, wait=True)

    def _hanging(self, seconds: float) -> SpoolError:
        path = self._plan.spool.checkpoint
        message = (
            f"cannot write the checkpoint {path}: the disk has not answered for {seconds:.0f} s"
        )
        return SpoolError(message, path=path, code=errno.EAGAIN)

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
        if not self._snapshots.is_news(snapshot):
            return
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

    def finish(self, end: End) -> None:
        """End as `end` says: with a checkpoint of all that was answered, unless the lock is lost."""
        if end is End.LOCK_LOST:
            self._give_way()
        else:
            self._end_well(end)
        self._reader.close()
        self._rejected.close()

    def _give_way(self) -> None:
        """End without a checkpoint: another sender may hold this spool by now."""
        self._log.error(
            "lock-lost",
            "{spool} or its sender.lock was moved or removed: ending, so that a new sender can begin",
            spool=self._plan.spool.path,
        )
        self._sink.close()

    def _end_well(self, end: End) -> None:
        self._log.info(
            "sender-stopping", f"stopping: {end.value}", in_flight=self._dispatcher.in_flight
        )
        turns.finish(self._dispatcher, self._clock)
        self._sink.close()
        saved = self._committed(self._clock.monotonic())
        if saved:
            self._remove()  # a sender that only ever drains has no other moment for it
        self._save_status(ended=self._how(end))
        # Without a checkpoint it is more: all since the last one, which the log has said.
        sent_again = self._dispatcher.beyond() + self._dispatcher.in_flight if saved else "more"
        self._log_status("sender-stopped", "stopped", sent_again_at_next_start=sent_again)

    def _how(self, end: End) -> str:
        if end is End.STOPPED:
            return f"signal {self.asked.stopped_by}"
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

    # What is seen from outside

    def _report(self, event: Event) -> None:
        self._dispatcher.figures.events[event.code] += 1
        self._announcer.event(event)


def _raise_file_limit() -> None:
    # One descriptor for each segment that is read: the soft limit of 1,024 is for programs that use select().
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
