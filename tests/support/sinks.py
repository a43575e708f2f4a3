"""A sink that a test answers by hand: what was handed over is there to look at, outcomes are given in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender.flow import Delivery, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["DELIVERED", "HandSink", "answered"]

DELIVERED = Outcome(Verdict.DELIVERED, "answered-200", 200)


def answered(
    status: int, verdict: Verdict = Verdict.RETRY, retry_after_s: float | None = None
) -> Outcome:
    """Return the outcome of an answer with `status`."""
    return Outcome(verdict, f"answered-{status}", status, retry_after_s)


class HandSink:
    """Keeps deliveries in `taken` until `answer` is called for them; with `auto`, answers each at once."""

    def __init__(self, auto: Callable[[Delivery], Outcome | None] | None = None) -> None:
        self.taken: list[Delivery] = []
        self.sent: list[Delivery] = []
        self.waits: list[float] = []
        self.closed = False
        self._auto = auto
        self._outcomes: list[tuple[int, Outcome]] = []

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Take what is handed over, give back what was answered."""
        self.waits.append(wait_s)
        self.sent.extend(deliveries)
        for delivery in deliveries:
            outcome = self._auto(delivery) if self._auto else None
            if outcome is None:
                self.taken.append(delivery)
            else:
                self._outcomes.append((delivery.ticket, outcome))
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def answer(self, delivery: Delivery, outcome: Outcome = DELIVERED) -> None:
        """Let the answer to `delivery` arrive at the next exchange."""
        self.taken.remove(delivery)
        self._outcomes.append((delivery.ticket, outcome))

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True
