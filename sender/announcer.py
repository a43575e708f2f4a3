"""Which changes in the sender are worth a log line, so that an outage is three lines and not a flood.

Owns what was said already. Knows nothing about how a line is written, and sees only counts and
codes: no name, value or key of a command can get into a log from here.
"""

from __future__ import annotations

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


class GateAnnouncer:
    """Says on `log` how the API does: an outage or a block at its start, now and then, and at its end."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._outage = Outage()
        self._state = GateState.OPEN

    def look(self, gate: Gate, waiting: int, now: float) -> None:
        """Compare with what was said last; `waiting` commands are held up."""
        if gate.state is GateState.OPEN or gate.cause is None:
            self._say_recovered(now)
            return
        worth_a_line = self._outage.failed(now)
        if worth_a_line or gate.state is not self._state:
            self._state = gate.state
            self._say_trouble(gate.cause, waiting, max(0.0, gate.next_try_at() - now))

    def _say_recovered(self, now: float) -> None:
        lasted_s = self._outage.recovered(now)
        self._state = GateState.OPEN
        if lasted_s is not None:
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
        if self._state is GateState.BLOCKED:
            advice = advice_for(cause)
            message = f"{what}: {{reason}}; nothing is lost; mend: {{mend}}"
            self._log.error(
                "api-blocked", message, reason=advice.reason, mend=advice.mend, **fields
            )
        else:
            self._log.warning("api-retrying", f"{what}, retrying", **fields)


class Announcer:
    """Says on `log` what is new."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._gate = GateAnnouncer(log)
        self._keeping = Outage()
        self._checkpoint = Outage()
        self._rejected_said: Counter[str] = Counter()
        self._rejected_said_at = float("-inf")

    def event(self, event: Event) -> None:
        """Say a fact from below as it comes: those are rare, and each told once by whoever found it."""
        detail = event.detail or event.code.replace("-", " ")
        self._log.report(
            event.code, "{detail}", detail=detail, partition=event.partition, offset=event.offset
        )

    def look(self, dispatcher: Dispatcher, now: float) -> None:
        """Compare with what was said last, and say what changed."""
        self._gate.look(dispatcher.gate, dispatcher.waiting, now)
        self._look_at_rejected(dispatcher, now)
        self._trouble(self._keeping, "rejected-failed", dispatcher.keep_error, now)

    def checkpoint(self, error: OSError | None, now: float) -> None:
        """Say that a checkpoint failed, or that it succeeds again."""
        self._trouble(self._checkpoint, "checkpoint-failed", error, now)

    def _look_at_rejected(self, dispatcher: Dispatcher, now: float) -> None:
        new = dispatcher.figures.rejected - self._rejected_said
        if not new or now - self._rejected_said_at < _REJECTED_EVERY_S:
            return
        self._rejected_said = Counter(dispatcher.figures.rejected)
        self._rejected_said_at = now
        for reason, count in sorted(new.items()):
            self._log.warning(
                "command-rejected",
                "commands rejected and kept: kmq-sender rejected list",
                reason=reason,
                count=count,
            )

    def _trouble(self, outage: Outage, event: str, error: OSError | None, now: float) -> None:
        if error is None:
            outage.recovered(now)
        elif outage.failed(now):
            self._log.report(event, "{detail}", detail=error)
