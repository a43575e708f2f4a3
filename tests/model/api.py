"""The API of the model: it takes commands and answers by its mood, at once, late, in any order, or never.

Owns what it has taken, what it refuses, and what it holds back. Knows nothing about spools. What it took is told to the
oracle, also where its answer never arrives.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmq.command import encode
from sender.api import Answer, outcome_of, outcome_of_failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sender.flow import Delivery, Outcome, Verdict
    from tests.support.clock import MovableClock
    from tests.support.oracle import Oracle

__all__ = ["BAD", "MOODS", "Api", "Client"]

BAD = "Refused"
"""The event that the API refuses for what it says."""

MOODS = ("well", "away", "busy", "blocked", "silent", "deaf", "slow")
"""200; 503; 429 with Retry-After; 401; no answer; taken, and the answer lost; answered only when told to."""

_TIMEOUT_S = 20.0
_STATUS = {"away": 503, "busy": 429, "blocked": 401}


@dataclass(frozen=True, slots=True)
class _Held:
    client: Client
    delivery: Delivery
    since: float


class Api:
    """Answers all its clients; `lenient` takes even what it would refuse."""

    def __init__(self, clock: MovableClock, oracle: Oracle) -> None:
        self.clock = clock
        self.mood = "well"
        self.lenient = False
        self.sent: set[str] = set()
        self.refused: set[str] = set()
        self._oracle = oracle
        self._held: list[_Held] = []

    def ask(self, client: Client, delivery: Delivery) -> None:
        """Take a request; answer it, or not."""
        command = delivery.command
        self.sent.add(command.person)
        self._oracle.arrived(command.person, encode(command).decode(), delivered=False)
        if self.mood == "slow":
            self._held.append(_Held(client, delivery, self.clock.monotonic()))
        else:
            self._answer(client, delivery, self.mood)

    def answer(self, places: Sequence[int], mood: str) -> None:
        """Answer some of what it holds, in the order of `places`, as `mood` has it."""
        for place in places:
            if self._held:
                held = self._held.pop(place % len(self._held))
                self._answer(held.client, held.delivery, mood)

    def heal(self) -> None:
        """Be well, and answer all."""
        self.mood, self.lenient = "well", True
        self.answer([0] * len(self._held), "well")

    def holds(self, client: Client) -> bool:
        """Say whether anything of `client` is not answered; what it has waited for too long is, by no answer."""
        late = self.clock.monotonic() - _TIMEOUT_S
        for held in [held for held in self._held if held.client is client and held.since <= late]:
            self._held.remove(held)
            client.told(held.delivery, outcome_of_failure("timeout"))
        return any(held.client is client for held in self._held)

    def hang_up(self, client: Client) -> None:
        """Forget what `client` asked for: it is gone."""
        self._held = [held for held in self._held if held.client is not client]

    def _answer(self, client: Client, delivery: Delivery, mood: str) -> None:
        if mood == "silent":
            client.told(delivery, outcome_of_failure("timeout"))
            return
        status = _STATUS.get(mood) or self._judged(delivery)
        if mood == "deaf":
            client.told(delivery, outcome_of_failure("closed"))
            return
        retry_after = "7" if mood == "busy" else None
        client.told(delivery, outcome_of(Answer(status, "", retry_after, b"no"), self.clock.wall()))

    def _judged(self, delivery: Delivery) -> int:
        command = delivery.command
        if command.name == BAD and not self.lenient:
            self.refused.add(command.person)
            return 400
        self._oracle.arrived(command.person, encode(command).decode())
        return 200


class Client:
    """A sink that leads to the API, with connections of its own."""

    def __init__(self, api: Api) -> None:
        self.counts: Counter[Verdict] = Counter()
        """What it was told, by what that means."""
        self._api = api
        self._outcomes: list[tuple[int, Outcome]] = []

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Send; wait where nothing comes back at once."""
        for delivery in deliveries:
            self._api.ask(self, delivery)
        if not self._outcomes and self._api.holds(self):
            self._api.clock.wait(wait_s)
            self._api.holds(self)
        outcomes, self._outcomes = self._outcomes, []
        self.counts.update(outcome.verdict for _, outcome in outcomes)
        return outcomes

    def told(self, delivery: Delivery, outcome: Outcome) -> None:
        """Take an answer."""
        self._outcomes.append((delivery.ticket, outcome))

    def close(self) -> None:
        """Hang up."""
        self._api.hang_up(self)
