"""The sender's own share of an event, step by step, without any network: us of CPU.

Owns which steps are told apart. Reading, decoding and making the request are called by themselves; `all` is the whole
daemon with a sink that answers at once, so that what is left of an event's cost is the transport's.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kmq.command import decode
from kmq.spool import Spool
from sender.api import request_for
from sender.daemon import Daemon
from sender.dispatcher import Window
from sender.flow import Outcome, Verdict
from sender.holding import hold
from sender.logs import Log
from sender.plan import End, Plan
from sender.reader import SpoolReader
from sender.retention import Limits

from .harness import interleave, percentile
from .spools import filled
from .values import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sender.flow import Delivery, Line

    from .context import Context

__all__ = ["run"]

_KEY: Final = "0123456789abcdef"
_DELIVERED: Final = Outcome(Verdict.DELIVERED, "answered-200", 200)
_SAID: Final = {
    "read": "read a line of a chunk",
    "decode": "decode and check it",
    "request": "make its request",
    "all": "all of the sender but the transport",
}
_LINES: Final = 40_000


def run(context: Context) -> list[Row]:
    """Measure each step over the same lines."""
    lines = min(_LINES, context.scale.lines)
    with context.room("share") as folder:
        spool = Spool(filled(folder / "spool", lines))
        read = [line for some in _all_of(spool) for line in some]
        decoded = [decode(line.raw) for line in read]
        steps: dict[str, Callable[[], object]] = {
            "read": lambda: sum(map(len, _all_of(spool))),
            "decode": lambda: [decode(line.raw) for line in read],
            "request": lambda: [request_for(command, _KEY) for command in decoded],
            "all": lambda: _drain(spool),
        }
        samples = interleave(
            {name: _repeated(step) for name, step in steps.items()},
            rounds=max(2, context.scale.rounds // 20),
            round_s=0,
        )
    each = {name: [s / lines * 1e6 for s in sample.cpu] for name, sample in samples.items()}
    return [
        Row(
            f"share-{name}",
            _SAID[name],
            min(found),
            "us of CPU an event",
            (percentile(found, 0.1), percentile(found, 0.9)),
        )
        for name, found in each.items()
    ]


def _repeated(step: Callable[[], object]) -> Callable[[int], None]:
    def repeat(number: int) -> None:
        for _ in range(number):
            step()

    return repeat


def _all_of(spool: Spool) -> Iterator[list[Line]]:
    reader = SpoolReader(spool, {}, report=lambda _: None)
    with contextlib.closing(reader):
        while lines := reader.read(2_000, 1 << 20):
            yield lines


class _AtOnce:
    """A sink that has delivered whatever it is handed."""

    def exchange(self, deliveries: Sequence[Delivery], _: float) -> list[tuple[int, Outcome]]:
        """Answer all of it."""
        return [(delivery.ticket, _DELIVERED) for delivery in deliveries]

    def close(self) -> None:
        """Let go of nothing."""


def _drain(spool: Spool) -> None:
    for path in (spool.checkpoint, f"{spool.checkpoint}.old"):
        Path(path).unlink(missing_ok=True)
    plan = Plan(
        spool=spool,
        url="http://127.0.0.1",
        transport="none",
        window=Window(),
        limits=Limits(age_s=1e9, max_bytes=1 << 40),
        max_spool=1 << 40,
        drain=True,
        drain_timeout_s=60.0,
    )
    lock = hold(spool)
    try:
        end = Daemon(plan, lock, _AtOnce(), Log("text", "error")).run()
    finally:
        os.close(lock)
    if end is not End.DRAINED:
        raise RuntimeError(f"the sender ended otherwise: {end.value}")
