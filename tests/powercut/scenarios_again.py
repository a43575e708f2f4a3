"""A second power cut, in the middle of the recovery from the first one."""

from __future__ import annotations

import os
import random
from functools import partial
from typing import TYPE_CHECKING

from .harness import Enumeration, Recording
from .registry import SCENARIOS
from .scenarios_sender import refuse_r
from .stream import Tried
from .world import World

if TYPE_CHECKING:
    from .disk import Tree

__all__: list[str] = []

_BOOT = "4f2a91c3-0000-4000-8000-000000000002"
_FIRST = (
    "rejected_commands",
    "full_disk_with_a_sender",
    "unsynced_heir_beside_a_sender",
    "retention",
)


def second_cut(first: str, number: int, root: str) -> World:
    """Begin with some image of the scenario `first`; what it owed is owed here, durably."""
    before, after = os.path.join(root, "before"), os.path.join(root, "after")
    os.mkdir(before)
    os.mkdir(after)
    world = SCENARIOS[first](before)
    world.close()
    enumeration = Enumeration(Recording.of(first, world), number, 4)
    found = random.Random(number).choice([it for it in enumeration.images() if it.level])
    base: Tree = {"spool": None, **found.tree}
    again = World(after, base=base)
    for person, line in enumeration.account.lines.items():
        again.note(Tried(person, line))
    for person in sorted(found.owed()):
        again.acknowledge(person, durably=True)
    _recover(again)
    return again


def _recover(world: World) -> None:
    app = world.app(150, boot=_BOOT)
    app.record("n1", sync=True)
    world.send(
        world.wait,
        lambda: app.record("n2", "rn", "n3"),
        world.wait,
        lambda: app.record("n4", sync=True),
        *[world.wait] * 3,
        answer=refuse_r,
    )


for _number, _first in enumerate(_FIRST * 2):
    SCENARIOS[f"second_cut_{_number}_{_first}"] = partial(second_cut, _first, _number)
