"""Which changes in the sender are worth a log line, so that an outage is three lines and not a flood.

Owns what was said already. Knows nothing about how a line is written, and sees only counts and
codes: no name, value or key of a command can get into a log from here.
"""

from __future__ import annotations

import errno
from collections import Counter
from typing import TYPE_CHECKING, Final

from .advice import advice_for
from .dispatcher import GateState
from .logs import Outage

if TYPE_CHECKING:
    from .dispatcher import Dispatcher
    from .dispatcher.gate import Gate
    from .flow import Event, Outcome
    from .logs import Log

__all__ = ["Announcer", "GateAnnouncer"]

_REJECTED_EVERY_S: Final = 60.0
_BURST_S: Final = 1.0
_KEY_EVERY_S: Final = 300.0
_STEADY_S: Final = 10.0
_LOCKED_S: Final = (
    5.0  # another program's batch is no trouble; one that holds the lock for longer is stopped
)


class GateAnnouncer:
    """Says on `log` how the API does: an outage or a block at its start, now and then, and at its end."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._outage = Outage(calm_s=_STEADY_S)
        self._said: tuple[GateState, str] | None = None

    def look(self, gate: Gate, waiting: int, now: float) -> None:
        """Compare with what was said last; `waiting` commands are held up."""
        if gate.state is GateState.OPEN or gate.cause is None:
            self._look_at_open(now)
            return
        worth_a_line = self._outage.failed(now)
        what = gate.state, gate.cause.code
        if worth_a_line or (gate.state is GateState.BLOCKED and what != self._said):
            self._said = what
            self._say_trouble(gate.cause, waiting, max(0.0, gate.next_try_at() - now))

    def _look_at_open(self, now: float) -> None:
        lasted_s = self._outage.recovered(now)
        if lasted_s is not None:
            self._said = None
            self._log.info("api-recovered", "api takes commands again", lasted_s=lasted_s)

    def _say_trouble(self, cause: Outcome, waiting: int, retry_in_s: float) -> None:
        what = (
            f"api answers {cause.status}"
            if cause.status
            else f"no answer from the api ({cause.code})"
        )
        fields = {
            "code": cause.code,
            "status": cause.status,
            "waiting": waiting,
            "retry_in_s": retry_in_s,
        }
        if self._said is not None and self._said[0] is GateState.BLOCKED:
            advice = advice_for(cause)
            message = f"{what}: {{reason}}; nothing is lost; mend: {{mend}}"
            self._log.error(
                "api-blocked", message, reason=advice.reason, mend=advice.mend, **fields
            )
        else:
            self._log.warning("api-retrying", f"{what}, retrying", **fields)


class TroubleAnnouncer:
    """Says on `log` that something fails: at its start, now and then, and when it has worked for a while."""

    def __init__(self, log: Log, event: str) -> None:
        self._log = log
        self._event = event
        self._outage = Outage(calm_s=_STEADY_S)

    def look(self, error: OSError | None, now: float) -> None:
        """Take note of how the last try went."""
        if error is not None:
            if self._outage.failed(now):
                self._log.report(self._event, "{detail}", detail=error)
        elif (lasted_s := self._outage.recovered(now)) is not None:
            message = "works again: {detail}"
            self._log.info("works-again", message, detail=self._event, lasted_s=lasted_s)


class Announcer:
    """Says on `log` what is new."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._gate = GateAnnouncer(log)
        self._keeping = TroubleAnnouncer(log, "rejected-failed")
        self._locked_since: float | None = None
        self._checkpoint = TroubleAnnouncer(log, "checkpoint-failed")
        self._rejected_said: Counter[str] = Counter()
        self._rejected_due: float | None = None
        self._rejected_said_at = float("-inf")
        self._keys_said = 0
        self._keys_said_at = float("-inf")

    def event(self, event: Event) -> None:
        """Say a fact from below as it comes: those are rare, and each told once by whoever found it."""
        what = event.code.replace("-", " ")
        message = f"{what}: {{detail}}" if event.detail else what
        self._log.report(
            event.code,
            message,
            detail=event.detail or None,
            partition=event.partition,
            offset=event.offset,
        )

    def look(self, dispatcher: Dispatcher, waiting: int, now: float) -> None:
        """Compare with what was said last, and say what changed; `waiting` commands are in the spool."""
        self._gate.look(dispatcher.gate, waiting, now)
        self._look_at_rejected(dispatcher, now)
        self._look_at_keys(dispatcher.gate.own_keys_refused, now)
        self._look_at_keeping(dispatcher.keep_error, now)

    def checkpoint(self, error: OSError | None, now: float) -> None:
        """Say that a checkpoint failed, or that it succeeds again."""
        self._checkpoint.look(error, now)

    def _look_at_rejected(self, dispatcher: Dispatcher, now: float) -> None:
        new = dispatcher.figures.rejected - self._rejected_said
        if not new:
            return
        if self._rejected_due is None:  # a little later, so that a burst is told with its count
            self._rejected_due = max(now + _BURST_S, self._rejected_said_at + _REJECTED_EVERY_S)
        if now < self._rejected_due:
            return
        self._rejected_said = Counter(dispatcher.figures.rejected)
        self._rejected_due, self._rejected_said_at = None, now
        for reason, count in sorted(new.items()):
            self._log.warning(
                "command-rejected",
                "commands rejected and kept: kmq-sender rejected list",
                reason=reason,
                count=count,
            )

    def _look_at_keeping(self, error: OSError | None, now: float) -> None:
        if error is None or error.errno != errno.EAGAIN:
            self._locked_since = None
        elif self._locked_since is None:
            self._locked_since = now
        if self._locked_since is None or now - self._locked_since >= _LOCKED_S:
            self._keeping.look(error, now)

    def _look_at_keys(self, refused: int, now: float) -> None:
        if refused == self._keys_said or now - self._keys_said_at < _KEY_EVERY_S:
            return
        self._log.error(
            "key-refused",
            "the API refuses the key of an app (Client(api_key=...)): its commands wait, all others go on",
            answers=refused - self._keys_said,
        )
        self._keys_said, self._keys_said_at = refused, now
