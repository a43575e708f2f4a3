"""What apps do while the power may go: each small, so that every moment of it is tried."""

from __future__ import annotations

import glob
import os
import threading

from kmq import spool as places

from .registry import SCENARIOS, changed, dies, dies_after_rename, fails, scenario
from .world import World

__all__: list[str] = []


def first_append(root: str) -> World:
    """Make the spool, the partition and the first lines, all durable at the first return."""
    world = World(root)
    with changed(places, "_group", lambda _: os.getgid()):  # as root it would ask for group kmq
        world.app().record("a1", "a2", sync=True)
    world.app().record("a3", sync=True)
    return world


def first_append_in_the_users_own_spool(root: str) -> World:
    """Make the parents as well."""
    world = World(root, "state/kmq/spool")
    with (
        changed(places, "_group", lambda _: os.getgid()),
        changed(places, "_is_own", lambda path: path == world.spool.path),
    ):
        world.app().record("a1", sync=True)
    return world


SCENARIOS["first_append"] = first_append
SCENARIOS["first_append_in_the_users_own_spool"] = first_append_in_the_users_own_spool


@scenario
def synced_with_rotation(world: World) -> None:
    """Each line durable when its call returns, over several segments."""
    app = world.app(150)
    app.record("a1", "a2", sync=True)
    app.record("a3")
    app.record("a4", "a5", "a6", sync=True, size=60)
    world.send(world.wait, lambda: app.record("a7", "a8", sync=True), world.wait)


@scenario
def two_apps_and_heirs(world: World) -> None:
    """One syncs, one does not; what they leave is taken over by others."""
    one, other = world.app(200), world.app(200)
    one.record("a1", sync=True)
    other.record("b1", "b2")
    one.record("a2", sync=True)
    other.record("b3")
    one.die()
    heir = world.app(200)
    heir.record("c1", sync=True)
    other.die()
    second = world.app(200)
    second.record("d1", "d2", sync=True)
    heir.record("c2", "c3", sync=True, size=50)
    world.send(world.wait, world.wait)


@scenario
def heir_of_one_that_died_before_its_syncs(world: World) -> None:
    """Append behind a partition and a segment that have their names while no entry of them is durable."""
    moments = (dies_after_rename(".new-"), dies("fsync", "/spool"))
    for nth, moment in enumerate(moments):
        maker = world.app(150)
        maker.process.before = moment
        maker.record(f"m{nth}")
        heir = world.app(150)
        heir.record(f"h{nth}", sync=True)
        heir.record(f"i{nth}", size=80)
        heir.process.before = dies("fsync")
        heir.record(f"j{nth}", f"k{nth}")
        last = world.app(150)
        last.record(f"l{nth}", sync=True)


@scenario
def unsynced_heir_beside_a_sender(world: World) -> None:
    """Do the same without `sync`: the sender's commit is what an app may rely on."""
    moments = (dies_after_rename(".new-"), dies("fsync", "/spool"))
    for nth, moment in enumerate(moments):
        maker = world.app(150)
        maker.process.before = moment
        maker.record(f"m{nth}")
        heir = world.app(150)
        heir.record(f"h{nth}", f"i{nth}", size=40)
        heir.process.before = dies("fsync")
        heir.record(f"j{nth}", f"k{nth}")
        last = world.app(1000)
        last.record(f"l{nth}", f"n{nth}")
        world.send(*[world.wait] * 3, answer=lambda _: None)


@scenario
def sync_that_fails(world: World) -> None:
    """Write again what stood before a failed sync; a second failure is the call's error."""
    app = world.app(400)
    app.record("a1", sync=True)
    app.process.before = fails("fdatasync")
    app.record("a2", "a3", sync=True)
    app.process.before = fails("fdatasync", times=2)
    app.record("a4", "a5", sync=True)
    app.process.before = fails("fsync")
    app.record("a6", "a7", sync=True, size=300)
    app.record("a8", sync=True)
    world.send(world.wait, world.wait)


@scenario
def threads_that_share_a_sync(world: World) -> None:
    """Two wait while a third one syncs; one sync serves both."""
    app = world.app()
    app.record("a1", sync=True)
    waiting: list[threading.Thread] = []

    def join_in(name: str, _path: str) -> None:
        if name != "fdatasync" or waiting:
            return
        leading = app.waiting()
        for number, person in enumerate(("b1", "b2"), 1):
            thread = threading.Thread(target=app.record, args=(person,), kwargs={"sync": True})
            waiting.append(thread)
            thread.start()
            while app.waiting() < leading + number:
                thread.join(0.001)

    app.process.before = join_in
    app.record("a2", sync=True)
    for thread in waiting:
        thread.join()
    app.record("a3", sync=True)


@scenario
def call_inside_a_call(world: World) -> None:
    """Record from a signal handler while its thread writes: through a partition of its own."""
    app = world.app(200)
    inside = ["h1", "h2"]

    def interrupt(name: str, path: str) -> None:
        if name == "write" and path.endswith(".jsonl") and inside:
            app.record(inside.pop(), sync=True)

    app.process.before = interrupt
    app.record("a1", "a2", "a3", sync=True)


@scenario
def segment_that_lost_its_name(world: World) -> None:
    """Somebody removes it; what the app appended since its last look is copied, and is durable there."""
    app = world.app(1000)
    app.record("a1", "a2")
    app.look()
    app.record("a3", sync=True)
    app.record("a4")
    segment = glob.glob(f"{world.spool.path}/2*/*.jsonl")[0]
    world.remove(segment, "a1", "a2", "a3", "a4")
    world.wait()
    app.record("a5", sync=True)
    world.acknowledge("a3", durably=True)
    world.acknowledge("a4", durably=True)
    app.record("a6", sync=True)
    world.send(world.wait, world.wait)


@scenario
def full_disk(world: World) -> None:
    """Meet room for a part of a line, for nothing, and for all again."""
    app = world.app()
    app.record("a1", "a2", sync=True)
    world.recorder.leave(30)
    app.record("a3", sync=True)
    world.recorder.leave(100)
    app.record("a4", sync=True, size=80)
    world.recorder.capacity = None
    app.record("a5", sync=True)
    app.record("a6")
    world.send(world.wait, world.wait, world.wait)


def _contents(world: World) -> list[bytes]:
    found = []
    for path in glob.glob(f"{world.spool.path}/2*/*.jsonl"):
        with open(path, "rb") as file:
            found.append(file.read())
    return found
