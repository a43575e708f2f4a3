"""A daemon in this process that drains a spool into a sink which answers at once, on clocks of the test's own.

Owns the wiring and gives this process its signal handlers back. What it logged, sent and kept is there to look at.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
from typing import TYPE_CHECKING

from kmq.clock import CLOCK, Clock
from kmq.command import encode
from sender.daemon import Daemon
from sender.dispatcher import Window
from sender.holding import hold
from sender.logs import Log
from sender.plan import End, Plan
from sender.rejected import RejectedStore, Rejection
from sender.retention import Limits
from tests.support.sinks import DELIVERED, HandSink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kmq.spool import Spool

__all__ = ["Drained", "drained"]

_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Drained:
    """What came of a drain."""

    def __init__(self, spool: Spool, end: End, sink: HandSink, log: str) -> None:
        self.end = end
        self.sent = [encode(delivery.command) for delivery in sink.sent]
        self.log = [json.loads(line) for line in log.splitlines()]
        self._spool = spool

    def events(self) -> set[str]:
        """Return the codes of what was logged as a warning or worse."""
        return {str(line["event"]) for line in self.log if line["level"] in {"warning", "error"}}

    def kept(self) -> list[Rejection]:
        """Return what is on the list of rejected commands."""
        return RejectedStore(self._spool, "test").kept()


def drained(
    spool: Spool,
    *,
    clock: Clock = CLOCK,
    timeout_s: float = 20.0,
    limits: Limits = Limits(age_s=1e9, max_bytes=1 << 40),  # noqa: B008 - a frozen value
) -> Drained:
    """Drain `spool`, for `timeout_s` at most."""
    sink, log = HandSink(lambda _: DELIVERED), io.StringIO()
    plan = Plan(
        spool=spool,
        url="http://127.0.0.1:1",
        transport="requests",
        window=Window(16),
        limits=limits,
        max_spool=1 << 40,
        drain=True,
        drain_timeout_s=timeout_s,
    )
    lock = hold(spool)
    try:
        with _own_signals():
            end = Daemon(plan, lock, sink, Log("json", "debug", stream=log), clock=clock).run()
    finally:
        os.close(lock)
    return Drained(spool, end, sink, log.getvalue())


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    before = [signal.getsignal(number) for number in _NUMBERS]
    try:
        yield
    finally:
        for number, handler in zip(_NUMBERS, before, strict=True):
            signal.signal(number, handler)
