"""Which groups of measurements there are, in the order in which they are made and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import append, backlog, commit, crowd, idle, imports, latency, many, peers, sending, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from .context import Context
    from .values import Row

__all__ = ["GROUPS", "TITLES"]

GROUPS: Final[dict[str, Callable[[Context], list[Row]]]] = {
    "append": append.run,
    "peers": peers.run,
    "many": many.run,
    "commit": commit.run,
    "imports": imports.run,
    "share": share.run,
    "sending": sending.run,
    "latency": latency.run,
    "backlog": backlog.run,
    "idle": idle.run,
    "crowd": crowd.run,
}

TITLES: Final = {
    "append": "A call",
    "peers": "What others cost",
    "many": "Four processes",
    "commit": "Durable calls",
    "imports": "What an app loads",
    "share": "The sender's own share",
    "sending": "Sending",
    "latency": "A server that takes its time",
    "backlog": "A large backlog",
    "idle": "Nothing to do",
    "crowd": "Many partitions written to at once",
}
