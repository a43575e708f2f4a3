"""What was promised, at each moment of a run: who must still arrive, and what must not come back.

Owns the promises, drawn from the marks and from what is durable. Knows nothing about how a cut is recovered.

- *owed*: an acknowledged command arrives or is kept: with `sync=True` from its return on, else from the moment at which
  its line and all that leads to it were durable, or a commit of the sender had passed it.
- *unfinished*: the same, for as long as its line stands whole in the image.
- *covered*: what lay below a checkpoint when the commit returned is not sent again.
- *listed*: an id in `rejected/` at a commit's return stays on the list, and is not *given* again.
- *left*: an id that left the list durably does not come back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.oracle import person_of

from .stream import (
    Acknowledged,
    Delivered,
    Dropped,
    Leaving,
    Left,
    Mark,
    Settled,
    Strewn,
    Tried,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .disk import Tree

__all__ = ["Account", "Promises", "listed_in", "standing_in"]


@dataclass(slots=True)
class Promises:
    """What an image must give back; of an image that several moments may leave, all that any of them promised."""

    owed: set[str] = field(default_factory=set)
    unfinished: set[str] = field(default_factory=set)
    covered: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)

    def add(self, other: Promises) -> None:
        """Take in those of another moment."""
        for name in self.__slots__:
            getattr(self, name).update(getattr(other, name))


class Account:
    """Follows a recording; `spool` is the spool's path below the root."""

    def __init__(self, spool: str) -> None:
        self.lines: dict[str, bytes] = {}
        self._spool = spool
        self._acknowledged: set[str] = set()
        self._promised: set[str] = set()
        self._finished: set[str] = set()
        self._covered: set[str] = set()
        self._strewn: set[str] = set()
        self._listed: set[str] = set()
        self._left: set[str] = set()
        self._given: set[str] = set()

    def promises(self) -> Promises:
        """Return what holds at this moment."""
        unfinished = self._acknowledged - self._finished
        return Promises(
            owed=unfinished & self._promised,
            unfinished=unfinished,
            covered=set(self._covered),
            listed=set(self._listed),
            left=set(self._left),
            given=set(self._given),
        )

    def durable(self, tree: Tree) -> None:
        """Take note of what is durable now."""
        self._promised |= {person for person, _, _ in standing_in(tree, self._spool)}

    def written(self, change: Written) -> None:
        """Take note that a line was written, perhaps once more: no checkpoint covers this copy."""
        self._covered -= set(_people(change.data.split(b"\n")))

    def mark(self, mark: Mark, tree: Tree) -> None:
        """Take note of a mark, while `tree` is what processes see."""
        if isinstance(mark, Tried):
            self.lines[mark.person] = mark.line
        elif isinstance(mark, Acknowledged):
            self._acknowledged.add(mark.person)
            self._finished.discard(mark.person)  # where the operator had lost it, and it was saved
            self._promised |= {mark.person} if mark.durably else set()
        elif isinstance(mark, Delivered | Dropped):
            self._finished.add(mark.person)
        elif isinstance(mark, Strewn):
            self._strewn.add(mark.person)
        elif isinstance(mark, Settled):
            self._settle(mark, tree)
        elif isinstance(mark, Leaving):
            self._listed -= set(mark.ids)
        elif isinstance(mark, Left):
            self._left |= set(mark.ids)

    def _settle(self, mark: Settled, tree: Tree) -> None:
        self._promised |= mark.acknowledged
        offsets = dict(mark.offsets)
        places = list(standing_in(tree, self._spool))
        below = {person for person, name, end in places if end <= offsets.get(name, 0)}
        beyond = {person for person, name, end in places if end > offsets.get(name, 0)}
        self._covered |= (below - beyond - self._strewn) & self._finished
        self._listed |= set(listed_in(tree, self._spool))
        self._given |= self._listed


def standing_in(tree: Tree, spool: str) -> Iterator[tuple[str, str, int]]:
    """Yield the person of each whole line of each segment, its partition and the offset of its end."""
    for path, content in tree.items():
        if content is None or not path.startswith(f"{spool}/20"):
            continue
        name, _, file = path[len(spool) + 1 :].partition("/")
        if file.endswith(".jsonl"):
            at = int(file.removesuffix(".jsonl"))
            for line in content.split(b"\n")[:-1]:
                at += len(line) + 1
                person = person_of(line)
                if person is not None:
                    yield person, name, at


def listed_in(tree: Tree, spool: str) -> dict[str, str | None]:
    """Return the ids on the list of rejected commands with their people."""
    listed: dict[str, str | None] = {}
    gone: set[str] = set()
    for path, content in sorted(tree.items()):
        if (
            content is not None
            and path.startswith(f"{spool}/rejected/")
            and path.endswith(".jsonl")
        ):
            for entry in _entries(content):
                if "gone" in entry:
                    gone.add(str(entry["gone"]))
                else:
                    listed[str(entry["id"])] = person_of(str(entry["text"]).encode())
    return {number: person for number, person in listed.items() if number not in gone}


def _entries(content: bytes) -> Iterator[dict[str, object]]:
    for line in content.split(b"\n")[:-1]:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            yield entry


def _people(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        person = person_of(line)
        if person is not None:
            yield person
