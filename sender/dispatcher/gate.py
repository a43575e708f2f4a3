"""The gate: whether the sender may send at all, judged from the answers of all commands together.

Owns the difference between one command that fails and an API that fails. Pure but for its own
memory: time comes in with each call, chance through a function. Knows nothing about queues,
partitions or connections.

Open, everything goes. It closes when everything fails (several commands in a row with no delivery
between, or all that was in flight), and at once when an answer says that the settings are wrong and
not the data (*blocked*). Closed, one command goes at a time, as a probe, with a delay that doubles;
a window that failed together counts once. A delivery opens it.

What an app's own key meets says nothing of the others either: a refusal of that key holds up only what bears it.

Two guards keep one fault from becoming a loss for all. Refusals (4xx, alike or not) for 20 answers in
a row, for several people, are a fault of the API or of the settings: nothing more is rejected. And
what one single command meets says nothing of the others: while only one has failed, one that was
never tried may go at once.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, Protocol

from sender.api import delay_s
from sender.flow import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Gate", "GateState", "Sent"]

_FAILING_CLOSES: Final = 5
_REFUSALS_BLOCK: Final = 20
_TOO_MANY: Final = 429
_KEY_REFUSED: Final = frozenset({401, 403})


class GateState(enum.Enum):
    """How sending goes."""

    OPEN = "open"
    RETRYING = "retrying"
    BLOCKED = "blocked"


class Sent(Protocol):
    """What the gate needs to know of a command when its answer comes: who it is, and in which window it went."""

    @property
    def ticket(self) -> int:
        """What tells it apart."""
        ...

    @property
    def person(self) -> bytes:
        """Whose it is."""
        ...

    @property
    def window(self) -> int:
        """The gate's window in which it was sent."""
        ...

    @property
    def own_key(self) -> bool:
        """Whether it bears a key of its own."""
        ...


class Gate:
    """Judges outcomes, and says when the next command may go."""

    def __init__(self, random: Callable[[], float]) -> None:
        self.state = GateState.OPEN
        self.cause: Outcome | None = None
        """The outcome that keeps it closed; None while it is open."""
        self.since = 0.0
        """When it left the state before, on the clock of the caller."""
        self.window = 0
        """Changes whenever an answer has told something about all; a command is sent in the one that stands then."""
        self._random = random
        self._failures = 0
        self._not_before = 0.0
        self._pause_until = 0.0
        self.calm = True
        """Whether nothing but deliveries has come since the last one: then one more changes nothing."""
        self.own_keys_refused = 0
        """How many answers refused a key that came with its command."""
        self._failing: set[int] = set()
        self._refused: list[bytes] = []

    def judge(self, sent: Sent, outcome: Outcome, now: float, in_flight: int) -> Verdict:
        """Return what `outcome` means in the light of all others; `in_flight` are those still under way.

        It is the outcome's own verdict, except that a refusal blocks instead where everything is refused.
        """
        if outcome.verdict is Verdict.DELIVERED:
            self._open(now)
            return outcome.verdict
        self.calm = False
        if outcome.verdict is Verdict.REJECTED:
            return self._judge_refusal(sent, outcome, now, in_flight)
        if sent.own_key and outcome.status in _KEY_REFUSED:
            self.own_keys_refused += 1
            return Verdict.RETRY
        self._fail(sent, outcome, now, in_flight)
        return outcome.verdict

    def may_send(self, ticket: int, now: float, in_flight: int) -> bool:
        """Say whether the command `ticket` may go now."""
        if self.state is GateState.OPEN:
            return True
        if in_flight or now < self._pause_until:
            return False
        return now >= self._not_before or self._says_nothing_of(ticket)

    def next_try_at(self) -> float:
        """When the next probe is due, on the clock of the caller; 0 while everything may go."""
        return 0.0 if self.state is GateState.OPEN else max(self._not_before, self._pause_until)

    def met_by_all(self) -> bool:
        """Say whether more than one command has failed since the last delivery."""
        return len(self._failing) > 1

    def _says_nothing_of(self, ticket: int) -> bool:
        return len(self._failing) == 1 and ticket not in self._failing

    def _judge_refusal(self, sent: Sent, outcome: Outcome, now: float, in_flight: int) -> Verdict:
        self._refused = [*self._refused[1 - _REFUSALS_BLOCK :], sent.person]
        if len(self._refused) < _REFUSALS_BLOCK or len(set(self._refused)) == 1:
            return Verdict.REJECTED
        self._fail(sent, Outcome(Verdict.BLOCKED, outcome.code, outcome.status), now, in_flight)
        return Verdict.BLOCKED

    def _open(self, now: float) -> None:
        if now < self._pause_until:
            return  # it was under way when the API asked for a pause
        if self.state is not GateState.OPEN:
            self._enter(GateState.OPEN, now)
            self.window += 1
        self.cause = None
        self._not_before = 0.0
        self._failures = 0
        self._failing.clear()
        self._refused.clear()
        self.calm = True

    def _fail(self, sent: Sent, outcome: Outcome, now: float, in_flight: int) -> None:
        self._failing.add(sent.ticket)
        if self.state is GateState.OPEN and not self._closes(outcome, in_flight):
            return
        self._enter(
            GateState.BLOCKED if outcome.verdict is Verdict.BLOCKED else GateState.RETRYING, now
        )
        self.cause = outcome
        asked_for = now + (outcome.retry_after_s or 0.0)
        if outcome.status == _TOO_MANY:
            self._pause_until = max(self._pause_until, asked_for)
        self._not_before = max(self._not_before, asked_for)
        if sent.window == self.window:
            # The first of its window: the others that failed with it tell nothing new.
            self._failures += 1
            self.window += 1
            delayed_until = now + delay_s(self._failures, self._random())
            self._not_before = max(self._not_before, delayed_until)

    def _closes(self, outcome: Outcome, in_flight: int) -> bool:
        return (
            outcome.verdict is Verdict.BLOCKED
            or (outcome.status == _TOO_MANY and outcome.retry_after_s is not None)
            or in_flight == 0
            or len(self._failing) >= _FAILING_CLOSES
        )

    def _enter(self, state: GateState, now: float) -> None:
        if state is not self.state:
            self.state = state
            self.since = now
