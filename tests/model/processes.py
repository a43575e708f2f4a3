"""The processes of the simulated host: a writer, and a sender, each played in this one.

Owns how one begins, which descriptors it has, and that it dies: its operations have no effect any more, and what it had
open is closed, as the kernel does. Knows nothing about when that happens.
"""

from __future__ import annotations

import io
import os
import random
from typing import TYPE_CHECKING

from kmq.partition import Place, Rotation
from kmq.writer import Writer
from sender.daemon import Daemon
from sender.dispatcher import Window
from sender.holding import hold
from sender.logs import Log
from sender.plan import Plan
from sender.retention import limits
from tests.model.api import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.model.world import World

__all__ = ["CAP", "NAME_CHECK_S", "Hand", "Sender"]

CAP = 24_000
NAME_CHECK_S = 1.0
"""A writer looks about so often whether its segment still has its name."""

_ROTATION = Rotation(max_bytes=600, max_age_s=120.0)


class Hand:
    """A process that records. `at_risk` is what it appended to a segment that somebody removed, until it looks."""

    def __init__(self, world: World) -> None:
        self.files = world.disk.process()
        place = Place(
            world.spool, world.boot, _ROTATION, world.clock, self.files, random.Random(world.next())
        )
        self.writer = Writer(place, CAP)
        self.orphaned_at: float | None = None
        self.at_risk: set[str] = set()

    def writes_to(self, path: str) -> bool:
        """Say whether it appends to the partition or segment `path`."""
        slots = self.writer._process.slots.values()
        held = [slot._partition for slot in slots if slot._partition is not None]
        return any(path in {partition.path, partition.segment.path} for partition in held)

    def returned(self, person: str, now: float) -> None:
        """Take down that a call came back well: a second after a removal it has looked, and copied."""
        if self.orphaned_at is None:
            return
        self.at_risk.add(person)
        if now - self.orphaned_at >= NAME_CHECK_S:
            self.orphaned_at = None
            self.at_risk.clear()

    def die(self) -> None:
        """Close its descriptors, as the kernel does."""
        self.files.alive = False
        self.writer._process.forget()


class Sender:
    """A process that sends."""

    def __init__(self, world: World, max_in_flight: int, age_s: float, max_bytes: int) -> None:
        self.files = world.disk.process()
        self.client = Client(world.api)
        self.failed_syncs = world.disk.failed_syncs
        self.between: Callable[[], None] | None = None
        """What another process does before the next read, or just after the one with the number `at_read`."""
        self.at_read = 0
        plan = Plan(
            spool=world.spool,
            url="http://127.0.0.1:1",
            transport="requests",
            window=Window(max_in_flight),
            limits=limits(age_s, max_bytes, CAP),
            max_spool=CAP,
        )
        self.lock = hold(world.spool, files=self.files)
        try:
            self.daemon = Daemon(
                plan,
                self.lock,
                self.client,
                Log("json", "info", stream=io.StringIO()),
                random=random.Random(world.next()).random,
                clock=world.clock,
                files=self.files,
                pread=self._pread,
            )
        except BaseException:
            os.close(self.lock)
            raise

    @property
    def delivered(self) -> int:
        """What it says that it has delivered."""
        return self.daemon._dispatcher.figures.delivered

    def die(self) -> None:
        """Close its descriptors, as the kernel does."""
        self.files.alive = False
        self.client.close()
        self.daemon._reader.close()
        self.daemon._rejected.close()
        os.close(self.lock)

    def _pread(self, fd: int, size: int, offset: int) -> bytes:
        before, after = self.at_read == 0, self.at_read == 1
        self.at_read -= 1
        if before:
            self._let_others()
        data = os.pread(fd, size, offset)
        if after:
            self._let_others()
        return data

    def _let_others(self) -> None:
        between, self.between = self.between, None
        if between is not None:
            between()
