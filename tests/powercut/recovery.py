"""After the power cut: an image becomes a directory, a new boot's apps and sender work on it, and the oracle judges.

Owns what is expected of a recovery. Knows nothing about how the image came to be.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kmq.durable import Files
from kmq.partition import Place, Rotation
from kmq.spool import Spool
from kmq.writer import Writer
from sender.rejected import New, RejectedStore
from tests.support.clock import MovableClock
from tests.support.oracle import Oracle, lag

from .account import listed_in, standing_in
from .disk import laid_down
from .sending import Api, Sender
from .world import deliver, line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .account import Promises
    from .disk import Tree

__all__ = ["Recovery", "judged", "owed_in"]

_BOOT = "4f2a91c3-0000-4000-8000-00000000000f"
_DRAINS = 4
# As long as those of most scenarios: a new line then lies just where an old one did.
_NEW = {person: line_of(person) for person in ("z1", "z2", "z3")}


def _nothing(_fd: int) -> None:
    """Sync nothing: no second cut comes, and a real one costs more than all the rest."""


_FILES = Files()
_FILES.fsync = _FILES.fdatasync = _nothing  # type: ignore[assignment]  # of this instance alone


def judged(
    tree: Tree, below: str, promises: Promises, lines: Mapping[str, bytes], work: str
) -> list[str]:
    """Recover `tree` in the new directory `work`, and return what is wrong, in words; an empty list if nothing is."""
    recovery = Recovery(work, below)
    try:
        recovery.make(tree)
        recovery.run()
        return recovery.wrong(tree, promises, lines)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it died of is what was found
        return [f"recovery failed: {type(error).__name__}: {error}"]
    finally:
        recovery.close()


@dataclass(slots=True)
class Recovery:
    """One recovery in the directory `work`, of a spool that lies `below` it."""

    work: str
    below: str
    came: list[tuple[str, str]] = field(default_factory=list)
    new_id: str = ""
    _clock: MovableClock = field(default_factory=MovableClock)
    _writer: Writer | None = None

    @property
    def spool(self) -> Spool:
        """The spool that is recovered."""
        return Spool(os.path.join(self.work, self.below))

    def make(self, tree: Tree) -> None:
        """Write the image down."""
        os.makedirs(self.spool.path)
        laid_down(tree, self.work)

    def run(self) -> None:
        """Let apps and a sender work until all that lies there is done."""
        place = Place(self.spool, _BOOT, Rotation(max_bytes=100), self._clock, _FILES)
        self._writer = Writer(place, 1 << 40)
        self._record("z1")
        self._drain(self._meanwhile)
        for _ in range(_DRAINS):
            if not lag(self.spool.path):
                break
            self._drain(_let_pass)
        if os.path.isdir(self.spool.rejected):
            self._reject_one()

    def close(self) -> None:
        """End the apps and remove everything."""
        if self._writer is not None:
            self._writer._process.forget()
        shutil.rmtree(self.work)

    def _record(self, person: str) -> None:
        if self._writer is not None:
            self._writer.append(_NEW[person], durably=True)

    def _meanwhile(self, turn: int) -> None:
        if turn <= 2:
            self._record(f"z{turn + 1}")

    def _drain(self, turn: Callable[[int], None]) -> None:
        api = Api(self._clock, deliver, turn)
        sender = Sender(self.spool, api, self._clock, _FILES, drain=True)
        try:
            sender.run()
        finally:
            self.came += api.came
            sender.close()

    def _reject_one(self) -> None:
        store = RejectedStore(self.spool, "sender", clock=self._clock.wall, files=_FILES)
        (self.new_id,) = store.add([New("stuck", b'{"_p":"kept"}')])
        store.close()

    # Judging

    def wrong(self, tree: Tree, promises: Promises, lines: Mapping[str, bytes]) -> list[str]:
        """Return what was promised and not kept."""
        owed = owed_in(tree, self.below, promises)
        return [*self._conserved(owed, lines), *self._not_again(promises), *self._list(promises)]

    def _conserved(self, owed: set[str], lines: Mapping[str, bytes]) -> list[str]:
        oracle = Oracle()
        for person, line in {**lines, **_NEW, "kept": b'{"_p":"kept"}\n'}.items():
            oracle.tried(person, line)
        for person in owed | _NEW.keys():
            oracle.acknowledged(person)
        for person, form in self.came:
            oracle.arrived(person, form)
        found = oracle.judge(self.spool.path)
        left = lag(self.spool.path)
        return [
            *(f"lost: {person}" for person in sorted(found.lost)),
            *(f"changed: {person}" for person in sorted(found.changed)),
            *(f"foreign: {person}" for person in sorted(found.foreign)),
            *([f"{left} commands are never sent"] if left else []),
        ]

    def _not_again(self, promises: Promises) -> list[str]:
        again = promises.covered & {person for person, _ in self.came}
        return [f"sent again below the checkpoint: {person}" for person in sorted(again)]

    def _list(self, promises: Promises) -> list[str]:
        listed = listed_in(_read(self.spool.rejected, f"{self.below}/rejected"), self.below)
        return [
            *(f"off the list: {number}" for number in sorted(promises.listed - listed.keys())),
            *(f"on the list again: {number}" for number in sorted(promises.left & listed.keys())),
            *([f"given twice: {self.new_id}"] if self.new_id in promises.given else []),
        ]


def owed_in(tree: Tree, below: str, promises: Promises) -> set[str]:
    """Return who must still arrive after a cut that left `tree`: who was promised to, and whose line stands there."""
    lying = {person for person, _, _ in standing_in(tree, below)}
    lying |= {person for person in listed_in(tree, below).values() if person is not None}
    return promises.owed | (promises.unfinished & lying)


def _let_pass(_turn: int) -> None:
    """Do nothing more."""


def _read(directory: str, as_path: str) -> Tree:
    if not os.path.isdir(directory):
        return {}
    tree: Tree = {}
    for name in os.listdir(directory):
        with open(os.path.join(directory, name), "rb") as file:
            tree[f"{as_path}/{name}"] = file.read()
    return tree
