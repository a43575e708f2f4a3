"""Which groups of measurements there are, in the order in which they are made and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from . import append, commit, imports, many, peers

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
}

TITLES: Final = {
    "append": "A call",
    "peers": "What others cost",
    "many": "Four processes",
    "commit": "Durable calls",
    "imports": "What an app loads",
}
