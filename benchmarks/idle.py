"""What a sender costs that has nothing to do, while processes hold so many partitions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from .calls import make_spool
from .crowd import crowd
from .programs import Ended, sender
from .servers import NoServer, serving
from .values import Row, at_most, missing

if TYPE_CHECKING:
    from .context import Context
    from .servers import Server

__all__ = ["run"]

_BOUNDS: Final = {10: at_most(0.4)}
_SETTLE_S: Final = 2.0  # quiet partitions are looked at less often after a second


def run(context: Context) -> list[Row]:
    """Measure ten partitions, and many."""
    counts = sorted({min(10, context.scale.partitions), context.scale.partitions})
    with context.room("idle") as folder:
        try:
            with serving(folder / "nginx") as server:
                return [_row(context, server, count) for count in counts]
        except NoServer as error:
            return [
                missing(*_names(count), "%", str(error), _BOUNDS.get(count)) for count in counts
            ]


def _names(count: int) -> tuple[str, str]:
    return f"idle-{count}", f"idle sender, {count:,} partitions: share of a core"


def _row(context: Context, server: Server, count: int) -> Row:
    name, what = _names(count)
    bound = _BOUNDS.get(count)
    try:
        with context.room(name) as folder:
            spool = make_spool(folder / "spool")
            with (
                crowd(spool, count, 0, folder) as holders,
                sender(spool, server.url("plain")) as program,
            ):
                time.sleep(min(_SETTLE_S, 10 * context.scale.window_s) + count / 1_000)
                used, began = program.cpu_s(), time.monotonic()
                time.sleep(context.scale.idle_s)
                used, took = program.cpu_s() - used, time.monotonic() - began
                holders.stop(60)
    except Ended as error:
        return missing(name, what, "%", str(error), bound)
    return Row(name, what, 100 * used / took, "%", at={"partitions": count}, bound=bound)
