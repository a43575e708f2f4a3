"""What the sender and its operator do while the power may go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender import reserve
from sender.dispatcher import dispatcher
from sender.flow import Outcome, Verdict
from tests.support.sinks import DELIVERED

from .registry import changed, dies, dies_after_rename, fails, scenario
from .sending import NOTHING_STAYS

if TYPE_CHECKING:
    from sender.flow import Delivery

    from .world import App, World

__all__: list[str] = []

REFUSED = Outcome(Verdict.REJECTED, "answered-400", 400)
LATER = Outcome(Verdict.RETRY, "answered-503", 503)


def refuse_r(delivery: Delivery) -> Outcome:
    """Refuse whoever is called r-something."""
    return REFUSED if delivery.command.person.startswith("r") else DELIVERED


@scenario
def sender_beside_an_unsynced_app(world: World) -> None:
    """Commit what no app has synced, over several segments and two partitions."""
    app, other = world.app(200), world.app(1000)
    app.record("a1", "a2", "a3", "a4")
    world.send(
        world.wait,
        lambda: app.record("a5", "a6", "a7"),
        world.wait,
        lambda: other.record("b1", "b2"),
        world.wait,
        world.wait,
    )


@scenario
def sender_while_the_api_is_away(world: World) -> None:
    """Nothing is delivered and little is read; all the same the sender's syncs bound what can be lost."""
    app = world.app(150)
    app.record("a1", "a2", "a3", "a4", "a5", "a6")
    with changed(dispatcher, "_READ_AHEAD_LINES", 3):
        world.send(
            world.wait,
            lambda: app.record("a7", "a8", "a9"),
            *[world.wait] * 3,
            answer=lambda _: None,
        )


@scenario
def answers_in_any_order(world: World) -> None:
    """Deliver some and not others: the checkpoint stops before those."""
    app = world.app(200)
    app.record("a1", "x1", "a2", "x2", "a3", "a4")
    failing = {"x1", "x2"}

    def answer(delivery: Delivery) -> Outcome:
        return LATER if delivery.command.person in failing else DELIVERED

    world.send(
        world.wait, world.wait, lambda: failing.discard("x1"), *[world.wait] * 3, answer=answer
    )


@scenario
def rejected_commands(world: World) -> None:
    """Refused ones and a torn line are kept; some are dropped, then all of a file go."""
    app = world.app(300)
    app.record("a0")
    world.send(
        world.wait,
        lambda: app.record("a1", "r1", "r2", "a2"),
        world.wait,
        lambda: _tear(world, app),
        lambda: app.record("r3", "a3"),
        world.wait,
        world.wait,
        answer=refuse_r,
    )
    world.take_off("dropped", "r1")
    world.send(world.wait, lambda: app.record("r4"), world.wait, answer=refuse_r)
    world.take_off("delivered", "r2", "r3")
    world.send(world.wait, answer=refuse_r)


@scenario
def rejected_file_that_is_finished(world: World) -> None:
    """All its lines are gone, the file goes, and its numbers are never given again."""
    app = world.app(1000)
    app.record("r1", "r2", "a1")
    world.send(world.wait, world.wait, answer=refuse_r)
    world.take_off("dropped", "r1", "r2")
    app.record("r3")
    world.send(world.wait, world.wait, answer=refuse_r)
    world.take_off("dropped", "r3")


@scenario
def rejected_that_cannot_be_synced(world: World) -> None:
    """They are written again, to another file, before any checkpoint passes them."""
    app = world.app(1000)
    app.record("r1", "a1")
    world.send(world.wait, world.wait, answer=refuse_r)
    app.record("r2", "a2")
    world.send(*[world.wait] * 3, answer=refuse_r, before=fails("fdatasync", "rejected"))


@scenario
def segment_that_cannot_be_synced(world: World) -> None:
    """No checkpoint goes past it, in this sender; the next one sends again."""
    app = world.app(150)
    app.record("a1", "a2", "a3", "a4")
    world.send(
        world.wait,
        lambda: app.record("a5", "a6"),
        *[world.wait] * 3,
        before=fails("fdatasync", "0.jsonl"),
    )
    world.send(world.wait, world.wait)


@scenario
def retention(world: World) -> None:
    """Delivered segments go at once, and the whole partition when its app is dead."""
    app, other = world.app(150), world.app(150)
    app.record("a1", "r1", "a2", "a3", "a4", sync=True)
    other.record("b1")
    steps = (
        world.wait,
        lambda: app.record("a5", "a6"),
        world.wait,
        world.wait,
        app.die,
        world.wait,
        world.wait,
    )
    world.send(*steps, answer=refuse_r, limits=NOTHING_STAYS)
    other.record("b2", "b3", "b4", sync=True)
    world.send(world.wait, world.wait, limits=NOTHING_STAYS)


@scenario
def retention_of_what_others_still_hold(world: World) -> None:
    """Remove only the older segments of a partition of which the newer part is not delivered."""
    app = world.app(150)
    app.record("a1", "a2", "x1", "a3", "a4")

    def answer(delivery: Delivery) -> Outcome:
        return LATER if delivery.command.person == "x1" else DELIVERED

    world.send(*[world.wait] * 4, answer=answer, limits=NOTHING_STAYS)
    world.send(world.wait, world.wait, world.wait, limits=NOTHING_STAYS)


@scenario
def full_disk_with_a_sender(world: World) -> None:
    """First goes what was delivered, then the reserve, then sealed segments that no checkpoint covers yet."""
    app = world.app(150)
    with changed(reserve, "_MOST", reserve._LEAST):
        app.record("a1", "a2", "a3", "a4")
        world.send(world.wait, world.wait, world.wait)
        app.record("a5", "r1", "a6", "a7", "a8", "a9")
        world.recorder.leave(40)
        app.record("t1", "t2")
        world.send(*[world.wait] * 4, answer=refuse_r)
        world.recorder.leave(0)
        app.record("t3")
        world.send(*[world.wait] * 4, answer=refuse_r)
        world.recorder.capacity = None
        app.record("a10")
        world.send(world.wait, world.wait)


@scenario
def sender_killed_in_its_checkpoint(world: World) -> None:
    """At each of its steps, and started again on what that left."""
    app = world.app(200)
    app.record("a0")
    world.send(world.wait)
    moments = (
        dies("write", "checkpoint.json.tmp"),
        dies("fsync", "checkpoint.json.tmp"),
        dies("unlink", "checkpoint.json.old"),
        dies("link", "checkpoint.json"),
        dies("rename", "checkpoint.json.tmp"),
        dies("rename", "status.json.tmp"),
    )
    for number, before in enumerate(moments):
        app.record(f"a{number + 1}", f"b{number + 1}")
        world.send(world.wait, world.wait, before=before)
    world.send(world.wait, world.wait, limits=NOTHING_STAYS)


@scenario
def sender_killed_after_its_rename(world: World) -> None:
    """Let the next sender believe a checkpoint whose name nobody has synced, and remove by it."""
    app = world.app(150)
    app.record("a0", "a1", "a2")
    world.send(world.wait)
    app.record("a3", "a4", "a5")
    world.send(world.wait, world.wait, before=dies_after_rename("checkpoint.json.tmp"))
    world.send(world.wait, world.wait, world.wait, limits=NOTHING_STAYS)


def _tear(world: World, app: App) -> None:
    """Let a line fit in part."""
    world.recorder.leave(20)
    app.record("t1")
    world.recorder.capacity = None
