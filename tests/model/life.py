"""What happens on the simulated host by chance: life between two steps of the machine.

Owns how likely each thing is. A step of the machine is found, and made smaller, by Hypothesis; what happens here hangs
on one seed alone, and is there so that each step meets a host at work.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from tests.model.api import MOODS
from tests.model.operation import DAMAGES, Operator
from tests.model.world import CAP

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.model.world import World

__all__ = ["FAULTS", "Life"]

FAULTS = (
    ("write", errno.ENOSPC, ""),
    ("write", errno.EIO, ""),
    ("write", errno.ENOSPC, "/rejected/"),
    ("fsync", errno.EIO, ""),
    ("fdatasync", errno.EIO, ""),
    ("fdatasync", errno.EIO, "/rejected/"),
    ("fdatasync", errno.EIO, ".jsonl"),
    ("rename", errno.EIO, ""),
    ("rename", errno.ENOSPC, "/checkpoint"),
    ("open", errno.ENOSPC, ""),
    ("open", errno.EIO, ".jsonl"),
    ("link", errno.EIO, ""),
    ("unlink", errno.EIO, ""),
    ("mkdir", errno.ENOSPC, ""),
)
"""Operation, error, and what stands in the path of what it fails for."""

_HANDS = 3


class Life:
    """Lets things happen to `world` as `chance` has it."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._operator = Operator(world)
        self._chance = chance
        self._events: tuple[tuple[float, Callable[[], None]], ...] = (
            (0.5, self._record),
            (0.2, self._change_mood),
            (0.5, self._answer),
            (0.1, self._break_disk),
            (0.04, self._fill_disk),
            (0.15, world.disk.heal),
            (0.08, self._kill_in_a_call),
            (0.08, self._kill_sender),
            (0.1, self._send_within_a_call),
            (0.04, world.stop_sender),
            (0.08, self._remove),
            (0.03, self._reboot),
            (0.1, self._resend),
            (0.1, self._drop),
            (0.03, self._damage_checkpoint),
            (0.5, self._start_sender),
            (0.3, self._record_while_it_reads),
            (0.9, self._send),
        )

    def go_on(self) -> None:
        """Let a moment pass."""
        for likely, happens in self._events:
            if self._chance.random() < likely:
                happens()

    def _record(self) -> None:
        self._world.record_some(self._below(_HANDS), 1 + self._below(5))

    def _change_mood(self) -> None:
        self._world.api.mood = self._chance.choice((*MOODS, "well", "well", "well"))

    def _answer(self) -> None:
        places = [self._below(20) for _ in range(self._below(6))]
        self._world.api.answer(places, self._chance.choice(MOODS[:-1]))

    def _break_disk(self) -> None:
        self._world.disk.fail(*self._chance.choice(FAULTS), self._chance.uniform(0.1, 3.0))

    def _fill_disk(self) -> None:
        self._world.disk.room = self._below(600)

    def _kill_in_a_call(self) -> None:
        self._world.kill_in_a_call(self._below(_HANDS), self._below(10), self._below(130))

    def _send_within_a_call(self) -> None:
        self._world.send_within_a_call(self._below(_HANDS), self._below(30))

    def _remove(self) -> None:
        if self._chance.random() < 0.5:
            self._world.send(60)
            self._world.stop_sender()  # else it reads what it has open to its end
        self._operator.remove(self._below(20), whole=self._chance.random() < 0.5)

    def _reboot(self) -> None:
        self._world.reboot(power_cut=self._chance.random() < 0.7)

    def _kill_sender(self) -> None:
        self._world.kill_in_a_turn(self._below(10), self._below(25), self._below(300))

    def _resend(self) -> None:
        world = self._world
        world.api.lenient = self._chance.random() < 0.5
        fuse = self._below(10) if self._chance.random() < 0.3 else None
        self._operator.resend([self._below(20), self._below(20)], fuse)
        world.api.lenient = False

    def _drop(self) -> None:
        for _ in range(self._below(6)):  # rejected/ counts, and would fill the spool
            self._operator.drop(self._below(20))

    def _damage_checkpoint(self) -> None:
        self._operator.damage_checkpoint(self._chance.choice(DAMAGES))

    def _start_sender(self) -> None:
        age_s, size = self._chance.choice((0.0, 600.0)), self._chance.choice((0, 2_000, CAP))
        self._world.start_sender(1 + self._below(16), age_s, size)

    def _record_while_it_reads(self) -> None:
        which, dies = self._below(_HANDS), self._chance.random() < 0.3
        turns, number, read = self._below(8), 1 + self._below(5), self._below(6)
        self._world.send(turns, read, lambda: self._world.record_some(which, number, dies=dies))

    def _send(self) -> None:
        self._world.send(self._below(25))

    def _below(self, number: int) -> int:
        return self._chance.randrange(number)
