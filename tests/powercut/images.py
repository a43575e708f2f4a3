"""The states that a power cut may leave, at one moment: from nothing of what is pending to all of it.

Owns which of the many are taken: all and nothing; each pending thing alone there, and alone missing, in each of its
variants; and as many random mixtures as asked for. Knows nothing about what the files mean.

A file that grew may be there with none of its new bytes, with all, cut (between two blocks, between two lines, within
one), or as long as it was but with zeros in some blocks, also where a later block arrived.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .disk import Disk, File, Tree, applied, written
from .stream import ROOT_NODE, Removed

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

__all__ = ["BLOCK", "Images", "Level"]

BLOCK = 128
"""Bytes that are written whole or not at all. Less than any disk has, so that a few short lines fill many."""

_POINTS = 7

Level = int
"""0: all and nothing. 1: one thing there or missing. 2: a random mixture."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A pending entry (`index` of its directory's), or a file with pending bytes; 0 is nothing of it, -1 all."""

    node: int
    index: int
    variants: int


class Images:
    """The images of a disk that changes; `chance` mixes `mixtures` of them at each moment.

    With `among`, only what is pending in these nodes is tried alone.
    """

    def __init__(
        self, disk: Disk, chance: random.Random, mixtures: int, among: frozenset[int] | None
    ) -> None:
        self._disk = disk
        self._chance = chance
        self._mixtures = mixtures
        self._among = among
        self._variants: dict[int, tuple[int, list[bytes]]] = {}

    def now(self) -> Iterator[tuple[Level, Tree]]:
        """Yield the images of this moment; the same one may come several times."""
        items = self._items()
        whole = {(item.node, item.index): item.variants - 1 for item in items}
        yield 0, self._tree({})
        yield 0, self._tree(whole)
        yield from self._alone(items, whole)
        for _ in range(self._mixtures if len(items) > 1 else 0):
            yield 2, self._tree(self._mixture(items))

    def _alone(
        self, items: list[_Item], whole: dict[tuple[int, int], int]
    ) -> Iterator[tuple[Level, Tree]]:
        for item in items:
            if self._among is not None and item.node not in self._among:
                continue
            key = (item.node, item.index)
            for variant in range(1, item.variants):
                yield 1, self._tree({key: variant})
            for variant in range(item.variants - 1):
                yield 1, self._tree(whole | {key: variant})

    def _mixture(self, items: list[_Item]) -> dict[tuple[int, int], int]:
        # Whole or nothing is as likely as all that lies between: most faults need several things to be whole.
        return {
            (item.node, item.index): self._chance.choice(
                (0, item.variants - 1, self._chance.randrange(item.variants))
            )
            for item in items
        }

    def _items(self) -> list[_Item]:
        items = []
        for node in self._reachable():
            directory = self._disk.directories.get(node)
            if directory is not None:
                items += [_Item(node, index, 2) for index in range(len(directory.pending))]
            elif len(variants := self._variants_of(node)) > 1:
                items.append(_Item(node, -1, len(variants)))
        return items

    def _reachable(self) -> list[int]:
        """Return the nodes that some image has."""
        found: dict[int, None] = {}
        waiting = [ROOT_NODE]
        while waiting:
            node = waiting.pop()
            if node in found:
                continue
            found[node] = None
            directory = self._disk.directories.get(node)
            if directory is not None:
                waiting += directory.durable.values()
                waiting += [
                    change.node for change in directory.pending if not isinstance(change, Removed)
                ]
        return list(found)

    def _variants_of(self, node: int) -> list[bytes]:
        file = self._disk.files[node]
        version, variants = self._variants.get(node, (-1, []))
        if version != file.version:
            variants = list(_contents(file))
            self._variants[node] = (file.version, variants)
        return variants

    def _tree(self, choice: dict[tuple[int, int], int]) -> Tree:
        tree: Tree = {}
        self._grow(ROOT_NODE, "", tree, choice)
        return tree

    def _grow(self, node: int, path: str, tree: Tree, choice: dict[tuple[int, int], int]) -> None:
        directory = self._disk.directories[node]
        entries = dict(directory.durable)
        for index, change in enumerate(directory.pending):
            if choice.get((node, index)):
                applied(entries, change)
        for name, child in entries.items():
            if child in self._disk.files:
                tree[path + name] = self._variants_of(child)[choice.get((child, -1), 0)]
            else:
                tree[path + name] = None
                self._grow(child, f"{path}{name}/", tree, choice)


def _contents(file: File) -> Iterator[bytes]:
    """Yield the contents that a file may have: first what is durable, last what a process saw."""
    pieces = [
        piece
        for change in file.doubtful + file.pending
        for piece in _blocks(change.offset, change.data)
    ]
    start, end = (
        len(file.durable),
        max([len(file.durable), *(at + len(data) for at, data in pieces)]),
    )
    yield file.durable
    if not pieces:
        return
    seen = {file.durable, file.live}
    for content in _between(file, pieces, start, end):
        if content not in seen:
            seen.add(content)
            yield content
    if file.live != file.durable:
        yield file.live


def _between(file: File, pieces: list[tuple[int, bytes]], start: int, end: int) -> Iterator[bytes]:
    whole = _with(file.durable, pieces)
    for point in _points(file.live, start, end):
        yield whole[:point]
        yield file.durable.ljust(point, b"\0")
    yield file.durable.ljust(end, b"\0")
    for index in {0, 1, len(pieces) // 2, len(pieces) - 1} & set(range(len(pieces))):
        yield _with(file.durable.ljust(end, b"\0"), pieces[:index] + pieces[index + 1 :])
        yield _with(file.durable.ljust(end, b"\0"), [pieces[index]])


def _points(content: bytes, start: int, end: int) -> list[int]:
    """Return lengths between `start` and `end`: at lines, within them, at blocks."""
    if not content[start:end].strip(b"\0"):
        return []
    borders = list(range(start // BLOCK * BLOCK + BLOCK, end, BLOCK))
    lines = [at + 1 for at in range(start, end - 1) if content[at : at + 1] == b"\n"]
    within = [
        at + (following - at) // 2
        for at, following in zip([start, *lines], [*lines, end], strict=True)
    ]
    some = [*_ends(borders), *_ends(lines), *_ends(within)]
    return sorted({at for at in some if start < at < end})[:_POINTS]


def _ends(points: list[int]) -> list[int]:
    return [*points[:1], *points[len(points) // 2 : len(points) // 2 + 1], *points[-1:]]


def _blocks(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = offset
    if not data.strip(b"\0"):  # allocated: there or not
        yield offset, data
        return
    while at < offset + len(data):
        border = min((at // BLOCK + 1) * BLOCK, offset + len(data))
        yield at, data[at - offset : border - offset]
        at = border


def _with(content: bytes, pieces: list[tuple[int, bytes]]) -> bytes:
    for at, data in pieces:
        content = written(content, at, data)
    return content
