"""All cuts of a recording, all images of each, each recovered once and judged by all that was promised.

Owns the order (all cuts with all and nothing first, then one thing at a time, then mixtures) and the count.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .account import Account, Promises
from .disk import Disk
from .images import Images
from .recovery import judged, owed_in
from .registry import SCENARIOS
from .stream import (
    Linked,
    Made,
    Removed,
    Renamed,
    Synced,
    Written,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .disk import Tree
    from .stream import Change, Entry
    from .world import World

__all__ = ["Enumeration", "Found", "Recording", "Result", "Violation", "run"]

_CHANGES = (Linked, Made, Removed, Renamed, Synced, Written)


@dataclass(frozen=True, slots=True)
class Recording:
    """What a scenario did: the changes that were there before, and the stream; the spool lies `below` the root."""

    name: str
    below: str
    base: list[Change]
    stream: list[Entry]

    @classmethod
    def of(cls, name: str, world: World) -> Recording:
        """Return what `world` has recorded."""
        return cls(name, world.below, world.base, world.recorder.stream)

    @classmethod
    def played(cls, name: str, root: str) -> Recording:
        """Play the scenario `name` in the new directory `root`."""
        os.mkdir(root)
        world = SCENARIOS[name](root)
        world.close()
        return cls.of(name, world)

    def sites(self) -> set[str]:
        """Return the sites that synced."""
        return {entry.site for entry in self.stream if isinstance(entry, Synced)}

    def changed(self, stream: list[Entry]) -> Recording:
        """Return the recording as if this had happened instead."""
        return Recording(self.name, self.below, self.base, stream)


@dataclass(frozen=True, slots=True)
class Violation:
    """What was wrong after a cut before the entry `cut` of a recording."""

    recording: str
    cut: int
    wrong: tuple[str, ...]
    image: tuple[str, ...]


@dataclass(slots=True)
class Result:
    """What a run over images came to."""

    images: int = 0
    cuts: int = 0
    violations: list[Violation] = field(default_factory=list)

    def add(self, other: Result) -> None:
        """Count in what another one came to."""
        self.images += other.images
        self.cuts += other.cuts
        self.violations += other.violations


@dataclass(slots=True)
class Found:
    """An image, what a cut before the entry `cut` may leave, and what it must give back."""

    tree: Tree
    level: int
    cut: int
    below: str
    promises: Promises

    def owed(self) -> set[str]:
        """Return who must still arrive."""
        return owed_in(self.tree, self.below, self.promises)


class Enumeration:
    """The distinct images of a recording."""

    def __init__(
        self, recording: Recording, seed: int, mixtures: int, among: frozenset[int] | None = None
    ) -> None:
        self.cuts = 0
        self.account = Account(recording.below)
        self._recording = recording
        self._disk = Disk(recording.base)
        chance = random.Random(f"{seed} {recording.name}")
        self._images = Images(self._disk, chance, mixtures, among)
        self._found: dict[int, Found] = {}

    def images(self) -> list[Found]:
        """Return them, those first that most faults show in."""
        self.account.durable(self._disk.tree(durable=True))
        promises = self.account.promises()
        for cut, entry in enumerate(self._recording.stream):
            if isinstance(entry, _CHANGES):
                self._cut(cut, promises)
                self._change(entry)
                promises = self.account.promises()
            else:
                self.account.mark(entry, self._disk.tree(durable=False))
                promises.add(self.account.promises())
        self._cut(len(self._recording.stream), promises)
        return sorted(self._found.values(), key=lambda found: (found.level, found.cut))

    def _change(self, change: Change) -> None:
        self._disk.apply(change)
        if isinstance(change, Synced):
            self.account.durable(self._disk.tree(durable=True))
        elif isinstance(change, Written):
            self.account.written(change)

    def _cut(self, cut: int, promises: Promises) -> None:
        self.cuts += 1
        for level, tree in self._images.now():
            key = hash(frozenset(tree.items()))
            known = self._found.get(key)
            if known is None:
                known = self._found[key] = Found(
                    tree, level, cut, self._recording.below, Promises()
                )
            known.level = min(known.level, level)
            known.promises.add(promises)


def run(  # noqa: PLR0913 - how much of it, and where to stop
    recording: Recording,
    work: str,
    *,
    seed: int = 0,
    mixtures: int = 0,
    at_most: int | None = None,
    among: frozenset[int] | None = None,
    violations: int = 5,
) -> Result:
    """Recover the images of `recording` below the directory `work`; stop at so many violations.

    With `at_most`, so many of them drawn at random. With `among`, only what is pending in these nodes is tried alone.
    """
    enumeration = Enumeration(recording, seed, mixtures, among)
    found = enumeration.images()
    result = Result(cuts=enumeration.cuts)
    for image in _some(found, at_most, seed):
        result.images += 1
        place = os.path.join(work, f"{recording.name}-{result.images}")
        lines = enumeration.account.lines
        wrong = judged(image.tree, recording.below, image.promises, lines, place)
        if wrong:
            result.violations.append(
                Violation(recording.name, image.cut, tuple(wrong), tuple(_told(image.tree)))
            )
            if len(result.violations) >= violations:
                break
    return result


def _some(found: list[Found], at_most: int | None, seed: int) -> Iterable[Found]:
    if at_most is None or len(found) <= at_most:
        return found
    chosen = random.Random(seed).sample(range(len(found)), at_most)
    return [found[index] for index in sorted(chosen)]


def _told(tree: Tree) -> Iterator[str]:
    for path, content in sorted(tree.items()):
        yield f"{path}/" if content is None else f"{path} {len(content)} {content[:300]!r}"
