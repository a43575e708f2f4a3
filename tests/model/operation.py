"""The operator of the simulated host: removes by hand, sends again, drops, and damages a checkpoint by a wrong restore.

Owns what he does to a spool beside a running sender, and tells the oracle what he took upon himself. Knows nothing
about when.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from kmq.errors import SpoolError
from sender import checkpoint
from sender.dispatcher import Window
from sender.rejected import RejectedStore
from sender.rejected.resend import Resend
from sender.replay import Replay, ReplaySource
from sender.replay.filters import EVERYTHING
from sender.replay.source import spool_pieces
from tests.model.api import Client
from tests.model.disk import Killed
from tests.model.world import end_of
from tests.support.oracle import offsets_in, person_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kmq.durable import Files
    from tests.model.world import World

__all__ = ["DAMAGES", "Operator"]

DAMAGES = ("cut", "zeros", "gone", "beyond", "within")
"""What a checkpoint can become: cut (the one before counts), none at all, offsets that fit nowhere."""


class Operator:
    """Works on `world`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def remove(self, which: int, *, whole: bool) -> None:
        """Remove, by hand, what was delivered of a partition: the oldest segments, or all of it with its directory."""
        offsets = offsets_in(self._world.spool.path)
        names = sorted(offsets.keys() & set(os.listdir(self._world.spool.path)))
        if not names or self._world.doubts_checkpoint():
            return
        name = names[which % len(names)]
        folder = Path(self._world.spool.partition(name))
        segments = sorted(folder.glob("*.jsonl"))
        done = [path for path in segments if end_of(path) <= offsets[name]]
        if whole and len(done) == len(segments):
            self._gone(name, str(folder), folder)
            shutil.rmtree(folder)
        else:
            for path in done[: 1 + which % 3]:
                self._gone(name, str(path), folder)
                path.unlink()
        self._world.disk.date(folder)
        self._world.disk.date(self._world.spool.path)

    def _gone(self, name: str, path: str, folder: Path) -> None:
        self._world.disturbed.add(name)
        for hand in self._world.hands:
            if hand.orphaned_at is None and hand.writes_to(path):
                hand.orphaned_at = self._world.clock.monotonic()
        assert folder.is_dir()

    def damage_checkpoint(self, how: str) -> None:
        """Make the checkpoint one that cannot be believed, while no sender runs."""
        self._world.kill_sender()
        paths = [Path(self._world.spool.checkpoint), Path(self._world.spool.checkpoint_old)]
        if not all(path.exists() for path in paths):
            return
        self._world.checkpoint_lost = True
        if how in {"gone", "zeros"}:
            for path in paths:
                path.write_bytes(bytes(100))
                if how == "gone":
                    path.unlink()
            return
        if how == "cut":
            os.truncate(paths[0], 40)
        else:
            offsets = offsets_in(self._world.spool.path).items()
            moved = {name: _moved(offset, how) for name, offset in offsets}
            paths[0].write_bytes(checkpoint.form(moved))
        self._world.doubtful = paths[0].stat()  # the one before may be of this kind, too

    def replay(self, turns: int) -> None:
        """Send again what lies in the spool, beside the sender, until all is settled or for so many turns."""
        left = count(turns, -1)
        source = ReplaySource(spool_pieces(self._world.spool), lambda *_: None)
        client = Client(self._world.api)
        replay = Replay(
            source,
            client,
            EVERYTHING,
            window=Window(8),
            passed=lambda _: None,
            random=random.Random(self._world.next()).random,
            clock=self._world.clock,
        )
        replay.run(lambda: next(left) <= 0, lambda: None)
        client.close()
        source.close()

    def resend(self, places: Sequence[int], fuse: int | None = None) -> None:
        """Send rejected commands again; with `fuse`, the operator's program is killed in between."""
        files = self._world.disk.process()
        files.fuse = fuse
        store, client = self._store(files), Client(self._world.api)
        chosen = store.kept()
        resend = Resend(
            client,
            store,
            monotonic=self._world.clock.monotonic,
            wait=self._world.clock.wait,
            random=random.Random(self._world.next()).random,
            stays=lambda *_: None,
        )
        try:
            resend.run(
                [chosen[place % len(chosen)] for place in sorted(set(places))] if chosen else []
            )
        except (SpoolError, Killed):
            pass
        finally:
            client.close()
            store.close()

    def drop(self, place: int) -> None:
        """Drop one rejected command for good."""
        store = self._store(self._world.disk.process())
        kept = store.kept()
        if not kept:
            return
        chosen = kept[place % len(kept)]
        self._world.dropped.add((chosen.partition, chosen.offset))
        person = person_of(chosen.raw)
        if person is not None:
            self._world.oracle.dropped(person)
        with contextlib.suppress(SpoolError):
            store.leave([chosen.id], "dropped")

    def _store(self, files: Files) -> RejectedStore:
        clock = self._world.clock
        return RejectedStore(
            self._world.spool, "operator", clock=clock.wall, wait=clock.wait, files=files
        )


def _moved(offset: int, how: str) -> int:
    if how == "beyond":
        return 10 * offset + 1_000_000
    return max(0, offset - 5)  # within a line
