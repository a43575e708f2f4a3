"""Servers as models: a sink whose answers take as long as a model of a server says, on a clock that it moves itself.

Owns virtual time: an exchange moves the clock to the next answer, so that minutes take milliseconds. Each model says
when the answer to a request of now comes, and what it is.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from kmq.command import Command, encode
from sender.dispatcher import Dispatcher, Window
from sender.flow import Line, Position

from .clock import MovableClock
from .sinks import DELIVERED, answered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sender.flow import Delivery, Outcome

    Model = Callable[[float], tuple[float, Outcome]]

__all__ = ["Capacity", "Limited", "ModelSink", "Run", "Steady"]


class Steady:
    """Answers after `latency_s`, however many ask."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s

    def __call__(self, now: float) -> tuple[float, Outcome]:
        """Return when the answer comes, and what it is."""
        return now + self.latency_s, DELIVERED


class Capacity:
    """Serves `per_s` requests a second, one after another, on a way of `latency_s`."""

    def __init__(self, per_s: float, latency_s: float) -> None:
        self.per_s, self.latency_s = per_s, latency_s
        self._free_at = 0.0

    def __call__(self, now: float) -> tuple[float, Outcome]:
        """Return when the answer comes, behind all that came before."""
        self._free_at = max(self._free_at, now) + 1 / self.per_s
        return self._free_at + self.latency_s, DELIVERED


class Limited:
    """Answers after `latency_s`, but 429 to what exceeds `per_s` requests within a second."""

    def __init__(self, per_s: int, latency_s: float) -> None:
        self.per_s, self.latency_s = per_s, latency_s
        self.refused = 0
        self._taken: deque[float] = deque()

    def __call__(self, now: float) -> tuple[float, Outcome]:
        """Return when the answer comes, and whether there was room."""
        while self._taken and self._taken[0] <= now - 1.0:
            self._taken.popleft()
        if len(self._taken) >= self.per_s:
            self.refused += 1
            return now + self.latency_s, answered(429)
        self._taken.append(now)
        return now + self.latency_s, DELIVERED


class ModelSink:
    """A sink before a server that `model` describes; `model` may be replaced under way."""

    def __init__(self, model: Model, clock: MovableClock) -> None:
        self.model = model
        self.sent = 0
        self._clock = clock
        self._coming: list[tuple[float, int, Outcome]] = []

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Send, wait until the next answer comes, and return all that are there."""
        now = self._clock.monotonic()
        self.sent += len(deliveries)
        for delivery in deliveries:
            at, outcome = self.model(now)
            heapq.heappush(self._coming, (at, delivery.ticket, outcome))
        next_at = self._coming[0][0] if self._coming else now + wait_s
        until = max(now, min(next_at, now + wait_s))
        self._clock.advance(until - now)
        came = []
        while self._coming and self._coming[0][0] <= until:
            came.append(heapq.heappop(self._coming)[1:])
        return came

    def close(self) -> None:
        """Hold nothing."""


class Run:
    """A dispatcher with an endless backlog, before a server that `model` describes."""

    def __init__(self, model: Model, max_in_flight: int) -> None:
        self.clock = MovableClock()
        self.sink = ModelSink(model, self.clock)
        self.dispatcher = Dispatcher(
            self.sink,
            lambda _: None,
            window=Window(max_in_flight),
            random=lambda: 0.5,
            clock=self.clock,
        )
        self._read = 0

    def go(self, seconds: float) -> int:
        """Send for so long; return how many were delivered meanwhile."""
        before = self.dispatcher.figures.delivered
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            if self.dispatcher.waiting < 2_000:
                self.dispatcher.offer([self._line() for _ in range(1_000)])
            due_s = self.dispatcher.next_due_s()
            self.dispatcher.turn(0.25 if due_s is None else min(0.25, due_s))
        return self.dispatcher.figures.delivered - before

    def _line(self) -> Line:
        self._read += 1
        raw = encode(Command(f"person {self._read}", 1_795_500_000, "x"))[:-1]
        return Line(
            Position("20261123T204501Z-4f2a91c3", self._read * 100, self._read * 100 + 99), raw
        )
