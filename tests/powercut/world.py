"""What a scenario is made of: apps, a sender, an operator, all on one recorded directory and one clock that jumps.

Owns how they are run in this process, and the marks of what they were promised. Knows nothing about power cuts.

An app is a `Writer` with files of its own; it dies by closing its descriptors, as the kernel would. The sender is given
steps, one at each look for answers, and stops after the last.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from kmq.command import Command, encode
from kmq.errors import SpoolError
from kmq.lease import Leases
from kmq.partition import Place, Rotation
from kmq.spool import Spool
from kmq.writer import Writer
from sender.rejected import RejectedStore
from tests.support.clock import MovableClock
from tests.support.sinks import DELIVERED

from .recorder import Died, Process, Recorder
from .sending import KEEP, Api, Sender
from .stream import Acknowledged, Delivered, Dropped, Leaving, Left, Settled, Strewn, Tried

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender.flow import Delivery, Outcome
    from sender.rejected.rejection import How
    from sender.retention import Limits

    from .disk import Tree
    from .stream import Entry

__all__ = ["BOOT", "App", "World", "deliver", "line_of"]

BOOT = "4f2a91c3-0000-4000-8000-000000000001"

_TIME = 1_795_500_000


def line_of(person: str, size: int = 0) -> bytes:
    """Return the line of a command of `person`, with so many bytes more than the shortest."""
    properties = {"Note": "x" * size} if size else {}
    return encode(Command(person, _TIME, "Did", properties=properties))


def deliver(_: Delivery) -> Outcome | None:
    """Answer that it was taken."""
    return DELIVERED


class App:
    """A process that records, in the boot `boot`."""

    def __init__(self, world: World, rotation: Rotation, boot: str) -> None:
        self.process = Process(world.recorder)
        place = Place(world.spool, boot, rotation, world.clock, self.process.files)
        self._writer = Writer(place, 1 << 40)
        self._leases = Leases()
        self._second = -1
        self._world = world

    def record(self, *people: str, sync: bool = False, size: int = 0) -> None:
        """Record one command for each; what is refused is not acknowledged."""
        for person in people:
            line = line_of(person, size)
            self._world.note(Tried(person, line))
            try:
                self._append(line, sync=sync)
            except SpoolError:
                continue
            except Died:
                self.die()
                return
            self._world.acknowledge(person, durably=sync)

    def waiting(self) -> int:
        """Return how many calls lead a sync or wait for one."""
        return len(self._writer._process.slots[0]._group._calls)

    def _append(self, line: bytes, *, sync: bool) -> None:
        # As the client does: the quick way, but once a second, and where that is not possible.
        second, self._second = self._second, int(self._world.clock.wall())
        if second == self._second and self._at_once(line, sync=sync):
            return
        self._leases = self._writer.append(line, durably=sync)

    def _at_once(self, line: bytes, *, sync: bool) -> bool:
        if sync:
            return self._writer.append_alone(line)
        return self._leases.append(line) is not None

    def look(self) -> None:
        """Look whether what is written to still has its name."""
        self._writer.check_names()

    def die(self) -> None:
        """Be killed."""
        self.process.dead = True
        self._writer._process.forget()


class World:
    """One recorded directory `root` that holds `base` at first; the spool lies `below` it."""

    def __init__(self, root: str, below: str = "spool", base: Tree | None = None) -> None:
        self.recorder = Recorder(root)
        self.base = self.recorder.seed(base or {})
        self.below = below
        self.spool = Spool(os.path.join(root, below))
        self.clock = MovableClock()
        self._acknowledged: set[str] = set()
        self._before: frozenset[str] = frozenset()
        self._apps: list[App] = []

    def note(self, entry: Entry) -> None:
        """Add a mark."""
        self.recorder.note(entry)

    def acknowledge(self, person: str, *, durably: bool) -> None:
        """Note that a call returned."""
        self._acknowledged.add(person)
        self.note(Acknowledged(person, durably))

    def app(self, rotate_at: int = 1 << 20, *, boot: str = BOOT) -> App:
        """Start an app that rotates at so many bytes."""
        app = App(self, Rotation(max_bytes=rotate_at), boot)
        self._apps.append(app)
        return app

    def close(self) -> None:
        """End every app."""
        for app in self._apps:
            app.die()

    # The sender

    def send(
        self,
        *steps: Callable[[], None],
        answer: Callable[[Delivery], Outcome | None] = deliver,
        limits: Limits = KEEP,
        before: Callable[[str, str], None] | None = None,
    ) -> None:
        """Run a sender until it has had all `steps` and one more turn; `before` may kill it, or let operations fail."""
        process = Process(self.recorder)
        process.before = before

        def turn(number: int) -> None:
            if number <= len(steps):
                steps[number - 1]()
            else:
                sender.stop()

        api = Api(self.clock, self._noted(answer), turn)
        with contextlib.suppress(Died), contextlib.ExitStack() as death:
            sender = Sender(self.spool, api, self.clock, process.files, drain=False, limits=limits)
            death.callback(sender.close)
            sender.on_commit(self._settle)
            sender.run()

    def wait(self) -> None:
        """Let more than a second pass: a step after which the sender commits."""
        self.clock.advance(1.1)

    def _settle(self, durable: dict[str, int]) -> None:
        self.note(Settled(tuple(sorted(durable.items())), self._before))
        self._before = frozenset(self._acknowledged)

    def _noted(
        self, answer: Callable[[Delivery], Outcome | None]
    ) -> Callable[[Delivery], Outcome | None]:
        def noted(delivery: Delivery) -> Outcome | None:
            outcome = answer(delivery)
            if outcome is DELIVERED:
                self.note(Delivered(delivery.command.person))
            return outcome

        return noted

    # The operator

    def take_off(self, how: How, *people: str) -> None:
        """Take the rejected commands of these people off the list."""
        files = Process(self.recorder).files
        store = RejectedStore(self.spool, "cli", clock=self.clock.wall, files=files)
        people_text = [f'"{person}"'.encode() for person in people]
        ids = tuple(
            kept.id for kept in store.kept() if any(text in kept.raw for text in people_text)
        )
        for person in people:
            self.note(Dropped(person))
        self.note(Leaving(ids))
        store.leave(ids, how)
        self.note(Left(ids))
        store.close()

    def remove(self, path: str, *lost: str) -> None:
        """Remove a file as a careless hand does, who answers for the commands of `lost`."""
        for person in lost:
            self.note(Dropped(person))
            self.note(Strewn(person))
        os.unlink(path)
        self.recorder.removed(path)
