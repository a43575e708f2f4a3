"""The order in which things happen on the simulated host, as Hypothesis finds it.

Owns the rules: what may happen, in which amounts. After each of them the oracle judges; at the end the faults are over,
and everything must come to rest. What each of them does is the world's.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.model.api import MOODS
from tests.model.judge import Judge
from tests.model.life import FAULTS, Life
from tests.model.operation import DAMAGES, Operator
from tests.model.world import CAP, World

__all__ = ["Host", "ran"]

ran: Counter[str] = Counter()
"""What all runs of this process came to: examples, steps, kills, power cuts, calls, deliveries."""

_WHICH = st.integers(0, 20)


class Host(RuleBasedStateMachine):
    """Writers, a sender, an operator, the API and a disk, in any order that makes sense."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="kmq-model-")
        self.world = World(Path(self.folder))
        self.operator = Operator(self.world)
        self.judge = Judge(self.world)
        self.life = Life(self.world, random.Random(0))

    @initialize(seed=st.integers(0, 2**32 - 1))
    def begin(self, seed: int) -> None:
        """Leave to chance what no rule decides."""
        self.world.seed(seed)
        self.life = Life(self.world, random.Random(seed))

    # Writers

    @rule(which=_WHICH, count=st.integers(1, 8))
    def record(self, which: int, count: int) -> None:
        """Record some commands."""
        self.world.record_some(which, count)

    @rule()
    def start_writer(self) -> None:
        """Start another writer; it adopts what nobody holds, or makes a partition."""
        self.world.start_hand()

    @rule(which=_WHICH)
    def kill_writer(self, which: int) -> None:
        """Let a writer die between two calls."""
        self.world.kill_hand(self.world.hand(which))

    @rule(which=_WHICH, fuse=st.integers(0, 12), torn=st.integers(0, 130), durably=st.booleans())
    def kill_writer_in_a_call(self, which: int, fuse: int, torn: int, durably: bool) -> None:  # noqa: FBT001 - drawn
        """Let a writer die within a call, which may have written a part of its line."""
        self.world.kill_in_a_call(which, fuse, torn, durably=durably)

    @rule(which=_WHICH, turns=st.integers(1, 40))
    def send_within_a_call(self, which: int, turns: int) -> None:
        """Let the sender run while a line is only half written."""
        self.world.start_sender()
        self.world.send_within_a_call(which, turns)

    # The sender

    @rule(
        in_flight=st.sampled_from([1, 4, 32]),
        age_s=st.sampled_from([0.0, 60.0, 1e6]),
        size=st.sampled_from([0, 2_000, CAP]),
    )
    def start_sender(self, in_flight: int, age_s: float, size: int) -> None:
        """Start a sender, with other limits than the one before."""
        self.world.start_sender(in_flight, age_s, size)

    @rule(turns=st.integers(1, 40))
    def send(self, turns: int) -> None:
        """Let the sender run on."""
        self.world.start_sender()
        self.world.send(turns)

    @rule(
        turns=st.integers(1, 12),
        which=_WHICH,
        count=st.integers(1, 6),
        read=st.integers(0, 6),
        dies=st.booleans(),
    )
    def record_while_it_reads(
        self,
        turns: int,
        which: int,
        count: int,
        read: int,
        dies: bool,  # noqa: FBT001 - drawn
    ) -> None:
        """Let a writer append, rotate, or die, before the sender's next read or just after one of those that follow."""
        world = self.world
        world.start_sender()
        world.send(turns, read, lambda: world.record_some(which, count, dies=dies))

    @rule(turns=st.integers(0, 10), fuse=st.integers(0, 25), torn=st.integers(0, 300))
    def kill_sender(self, turns: int, fuse: int, torn: int) -> None:
        """Let the sender die, at one of its file operations or between two turns."""
        self.world.kill_in_a_turn(turns, fuse, torn)

    @rule()
    def stop_sender(self) -> None:
        """Let the sender get a SIGTERM."""
        self.world.stop_sender()

    # The API

    @rule(mood=st.sampled_from(MOODS))
    def change_mood(self, mood: str) -> None:
        """Let the API answer otherwise from now on."""
        self.world.api.mood = mood

    @rule(places=st.lists(_WHICH, min_size=1, max_size=8), mood=st.sampled_from(MOODS[:-1]))
    def answer(self, places: list[int], mood: str) -> None:
        """Let the API answer some of what it had held back, in any order."""
        self.world.api.answer(places, mood)

    # The host

    @rule(broken=st.sampled_from(FAULTS), seconds=st.floats(0.1, 20.0))
    def break_disk(self, broken: tuple[str, int, str], seconds: float) -> None:
        """Let a file operation fail for a while."""
        self.world.disk.fail(*broken, seconds)

    @rule(room=st.integers(0, 600))
    def fill_disk(self, room: int) -> None:
        """Leave room for so many bytes."""
        self.world.disk.room = room

    @rule()
    def mend_disk(self) -> None:
        """End all faults of the disk."""
        self.world.disk.heal()

    @rule(seconds=st.floats(0.1, 4_000.0))
    def pass_time(self, seconds: float) -> None:
        """Let time pass in which nobody does anything."""
        self.world.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-3_600.0, 3_600.0]))
    def set_clock(self, seconds: float) -> None:
        """Set the clock."""
        self.world.clock.step(seconds)

    @rule(power_cut=st.booleans())
    def reboot(self, power_cut: bool) -> None:  # noqa: FBT001 - drawn
        """Start the host anew, in good order or after a power cut."""
        self.world.reboot(power_cut=power_cut)

    # The operator

    @rule(turns=st.integers(1, 30))
    def replay(self, turns: int) -> None:
        """Send again what lies in the spool, as the operator does."""
        self.operator.replay(turns)

    @rule(
        places=st.lists(_WHICH, min_size=1, max_size=4),
        mended=st.booleans(),
        fuse=st.none() | st.integers(0, 8),
    )
    def resend(self, places: list[int], mended: bool, fuse: int | None) -> None:  # noqa: FBT001 - drawn
        """Send rejected commands again, once the API is mended or before."""
        self.world.api.lenient = mended
        self.operator.resend(places, fuse)
        self.world.api.lenient = False

    @rule(place=_WHICH)
    def drop(self, place: int) -> None:
        """Drop a rejected command."""
        self.operator.drop(place)

    @rule(how=st.sampled_from(DAMAGES))
    def damage_checkpoint(self, how: str) -> None:
        """Damage the checkpoint, as a careless restore may."""
        self.operator.damage_checkpoint(how)

    @rule(which=_WHICH, whole=st.booleans())
    def remove(self, which: int, whole: bool) -> None:  # noqa: FBT001 - drawn
        """Remove by hand what was delivered."""
        self.operator.remove(which, whole=whole)

    # The judgement

    @invariant()
    def nothing_is_lost(self) -> None:
        """Conservation, after each step."""
        self.world.steps += 1
        self.judge.judge()
        self.life.go_on()
        self.judge.judge()

    def teardown(self) -> None:
        """Liveness, at the end; and the folder goes."""
        try:
            self.judge.settle()
        finally:
            ran.update(self.world.figures())
            self.world.close()
            shutil.rmtree(self.folder, ignore_errors=True)
