"""The judge of the simulated host: conservation after each step, liveness at the end.

Owns what must hold, beside what the oracle says: what a call refused is never sent, the checkpoint never goes back,
`rejected/` holds what was refused or torn and nothing else, the figures are right, no descriptor stays open. Knows
nothing about how the host came to be as it is.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from sender import status
from sender.flow import Verdict
from sender.rejected import RejectedStore
from tests.model.processes import NAME_CHECK_S
from tests.support.files import descriptors_in
from tests.support.oracle import entries_in, lag, offsets_in, person_of

if TYPE_CHECKING:
    from tests.model.world import World

__all__ = ["Judge"]

SETTLED_WITHIN_S = 180.0
SETTLED_WITHIN_TURNS = 30_000
_TURNS_AT_ONCE = 10


class Judge:
    """Judges `world`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._offsets: dict[str, int] = {}

    def judge(self) -> None:
        """Fail where the promise is broken now."""
        world = self._world
        found = world.oracle.judge(world.spool.path)
        missing = found.lost - {person for hand in world.hands for person in hand.at_risk}
        assert not missing or world.doubts_checkpoint(), f"lost: {sorted(missing)}"
        assert not found.changed, f"changed: {found.changed}"
        assert not found.foreign, f"foreign: {found.foreign}"
        self._judge_refused()
        self._judge_offsets()

    def _judge_refused(self) -> None:
        """Judge what a call refused, or died in with half a line: nothing of it is ever sent."""
        assert not self._world.refused & self._world.api.sent, (
            f"refused and sent: {self._world.refused & self._world.api.sent}"
        )

    def _judge_offsets(self) -> None:
        """Judge the checkpoint: it never goes back, unless it was lost, or what it counts was."""
        world = self._world
        offsets = offsets_in(world.spool.path)
        doubtful = world.doubts_checkpoint()
        before = {} if world.checkpoint_lost or doubtful else self._offsets
        for name in offsets.keys() & before.keys() - world.disturbed:
            assert offsets[name] >= before[name], f"{name}: {before[name]} to {offsets[name]}"
        self._offsets = {} if doubtful else offsets
        world.checkpoint_lost = False

    def settle(self) -> None:
        """End all faults; then all must be delivered or kept within bounds, and the figures must say so."""
        self._world.disk.heal()
        self._world.api.heal()
        self._look_and_end()
        if (
            self._world.sender is not None
            and self._world.disk.failed_syncs > self._world.sender.failed_syncs
        ):
            self._world.kill_sender()  # what a sync has lost stays lost in this process
        self._world.start_sender()
        self._send_all()
        self._world.send(12)
        self.judge()
        self._judge_end()
        self._judge_kept()
        self._world.stop_sender()
        self._judge_nothing_again()
        gc.collect()  # of an exception that a call raised, its frames may still hold a segment
        assert not descriptors_in(self._world.spool.path), (
            f"{descriptors_in(self._world.spool.path)} open"
        )

    def _look_and_end(self) -> None:
        self._world.clock.advance(2 * NAME_CHECK_S)
        for hand in list(self._world.hands):
            hand.writer.check_names()
            hand.at_risk.clear()
            self._world.kill_hand(hand)

    def _send_all(self) -> None:
        until = self._world.clock.monotonic() + SETTLED_WITHIN_S
        for _ in range(0, SETTLED_WITHIN_TURNS, _TURNS_AT_ONCE):
            self._world.send(_TURNS_AT_ONCE)
            if self._is_settled():
                return
            assert self._world.clock.monotonic() < until, (
                f"lag {lag(self._world.spool.path)} after so long"
            )
        raise AssertionError(f"lag {lag(self._world.spool.path)} after so many turns")

    def _is_settled(self) -> bool:
        offsets, world = offsets_in(self._world.spool.path), self._world
        return all(offsets.get(one.name, 0) >= world.end(one) for one in world.partitions())

    def _judge_end(self) -> None:
        kept = {
            person_of(entry["text"].encode("utf-8", "surrogateescape"))
            for entry in entries_in(self._world.spool.path)
        }
        assert not self._world.oracle.owed() - kept, "neither delivered nor kept"
        assert lag(self._world.spool.path) == 0
        assert self._world.sender is not None
        said = status.load(self._world.spool)
        assert said is not None
        assert said.totals.delivered == self._world.sender.client.counts[Verdict.DELIVERED]
        assert said.state in {"IDLE", "SENDING"}
        assert (said.in_flight, dict(said.behind)) == (0, {})

    def _judge_kept(self) -> None:
        """Judge `rejected/`: each refused command and each torn piece once, and nothing else."""
        entries = entries_in(self._world.spool.path)
        places = [(entry["partition"], entry["offset"]) for entry in entries]
        assert len(set(places)) == RejectedStore(self._world.spool, "operator").count()
        ids = {(entry["id"], *place) for entry, place in zip(entries, places, strict=True)}
        assert len(ids) == len({number for number, *_ in ids}), "a number was given twice"
        torn = {(torn.partition, torn.offset) for torn in self._world.disk.torn}
        for entry in entries:
            place = entry["partition"], entry["offset"]
            if entry["partition"] in self._world.disturbed:
                continue
            if entry["reason"] == "torn":
                assert place in torn, f"kept as torn, and is not: {entry}"
            else:
                assert str(person_of(entry["text"].encode())) in self._world.api.refused, (
                    f"never refused: {entry}"
                )
        there = {(name, offset) for name, offset in torn if name not in self._world.disturbed}
        gone = there - set(places) - self._world.dropped
        assert not gone, f"torn and not kept: {gone}"

    def _judge_nothing_again(self) -> None:
        self._world.start_sender()
        sender = self._world.sender
        assert sender is not None
        self._world.send(15)
        assert not sender.client.counts, "sent again after a well ended run"
        self._world.stop_sender()
