"""The first act: KISSmetrics' common methods, word for word, and the requests that they become.

Owns the lines and which request belongs to which. Knows nothing about how they are run or sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .account import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["COMMANDS", "PROGRAM", "pairs"]

_CALLS: Final = (
    ("KM.identify('bob@bob.com');", None),
    ("KM.record('Viewed Homepage');", "/e"),
    ("KM.record('Signed Up', {'Plan' : 'Pro', 'Amount' : 99.95});", "/e"),
    ("KM.record('Signed Up', {'_d' : 1, '_t' : 1234567890});", "/e"),
    ("KM.set({'gender' : 'male'});", "/s"),
    ("KM.alias('bob', 'bob@bob.com');", "/a"),
)

PROGRAM: Final = "\n".join(["from kmq import KM", *(line for line, _ in _CALLS)]) + "\n"
"""What the process is given, nothing added."""

COMMANDS: Final = sum(path is not None for _, path in _CALLS)
"""How many requests it becomes: `identify` sends none."""


def pairs(arrivals: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield each line with its request as text, "" where there is none.

    The commands of one person come in their order; the alias, which is another's, may come between them.
    """
    left = list(arrivals)
    for line, path in _CALLS:
        found = next((arrival for arrival in left if arrival["path"] == path), None)
        if found is not None:
            left.remove(found)
        yield line, "" if found is None else f"{found['method']} {text_of(found)}"
