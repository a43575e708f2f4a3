"""What a writer, a sender and an operator do, each as a program that a failpoint can end at every step.

    run(NAME, SPOOL, URL, FOLDER, FATAL)

runs the scenario NAME: a command is noted in FOLDER/acks when its call has returned, a failpoint in FOLDER/reached, and
at the one called FATAL the process is killed. Before it, `prepare` makes of an empty directory what it begins with.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import resource
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sender.cli.run
import sender.daemon
from kmq import durable
from kmq import spool as places
from kmq.spool import Spool
from sender.aside import Inline
from sender.retention import Retention, limits
from tests.support.failpoints import Failpoints
from tests.support.files import failing
from tests.support.programs import kmq_sender
from tests.support.scene import LARGE, Scene, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REFUSED", "SCENARIOS", "prepare", "record_next", "run"]

SHORT_BYTES: Final = 2_000  # room for what was left, one large line, and five others and a half
HOURS_AGO: Final = 7_200
LEFT: Final = "20261123T204501Z-4f2a91c3"


def run(name: str, spool: str, url: str, folder: str, fatal: str) -> None:
    """Run a scenario with its failpoints switched on."""
    scene = Scene(spool, url, folder)
    os.umask(0o027)  # so that modes have to be set
    # One checkpoint at the begin and one at the end, however long it takes: the steps are the same each time.
    sender.daemon._COMMIT_EVERY_S = 1_000.0  # type: ignore[misc]  # Final for all but a test
    sender.cli.run.Threaded = Inline  # type: ignore[attr-defined, assignment]  # and in the same order
    if name in FAULTS:
        FAULTS[name]()
    Failpoints(spool, f"{folder}/reached", fatal).switch_on(durable.FILES)
    SCENARIOS[name](scene)


def prepare(name: str, spool: str, url: str, folder: str) -> None:
    """Make of an empty directory what a scenario begins with."""
    if name in PREPARATIONS:
        PREPARATIONS[name](Scene(spool, url, folder))


def record_next(spool: str, folder: str) -> None:
    """Be the next writer."""
    Scene(spool, "", folder).record("next", 1, 2)


# A writer


def first_appends(scene: Scene) -> None:
    """Make the spool and a partition; append, and start the next segment."""
    os.rmdir(scene.spool)
    scene.rotate_after(2)
    scene.record("main", 1, 2, 3)
    scene.record("main", 4, 5, sync=True)


def adopts(scene: Scene) -> None:
    """Go on in a partition that another one left, whose entries nobody may have synced."""
    scene.record("main", 1, sync=True)
    scene.record("main", 2)


def lost_its_name(scene: Scene) -> None:
    """Find the partition removed by somebody, and copy what was in it; noted only then, as a death before loses it."""
    scene.call("main-1")
    scene.call("main-2", sync=True)
    shutil.rmtree(os.path.dirname(scene.segments()[0]))
    scene.client(sync=False).close()
    scene.note("main-1", "main-2")
    scene.record("main", 3)


def forks(scene: Scene) -> None:
    """Leave the partition to the parent, and take another one in the child."""
    scene.record("main", 1)
    child = os.fork()
    if child == 0:
        scene.record("child", 1)
        scene.record("child", 2, sync=True)
        os._exit(0)
    os.waitpid(child, 0)
    scene.record("main", 2)


def falls_short(scene: Scene) -> None:
    """Meet a limit on the size of files in the middle of a line, which goes to the next segment whole."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (SHORT_BYTES, resource.RLIM_INFINITY))
    scene.record("main", LARGE, 1, 2, 3, 4, 5, 6)


def cannot_sync(scene: Scene) -> None:
    """Get EIO of a sync: the line goes to a new segment, and that is synced."""
    scene.record("main", 1)
    scene.record("main", 2, sync=True)


# A sender


def first_run(scene: Scene) -> None:
    """Deliver, keep what is torn and what the API refused, write the first checkpoint."""
    scene.drain()


def later_run(scene: Scene) -> None:
    """Write a checkpoint over another one, and remove what was delivered; end by SIGTERM."""
    scene.send("--retention-age", "0s")


def sweeps(scene: Scene) -> None:
    """Remove what a crash left of a removal and of a making, as a sender does when it begins."""
    spool, nothing = Spool(scene.spool), limits(0.0, 0, 1 << 30)
    Retention(spool, nothing, report=lambda _: None).sweep()


def full_disk(scene: Scene) -> None:
    """Give up the reserve, then remove what is delivered, for the room that a checkpoint needs."""
    scene.drain()


# An operator


def resends_all(scene: Scene) -> None:
    """Send again all that was rejected; the file goes."""
    scene.resend("--all")


def resends_one(scene: Scene) -> None:
    """Send again one of two; it is marked as gone."""
    [first, _] = _kept(scene.spool)
    scene.resend(first)


def verifies(scene: Scene) -> None:
    """Change nothing."""
    kmq_sender("verify", "--offline", "--spool", scene.spool)


def replays(scene: Scene) -> None:
    """Change nothing either."""
    kmq_sender("replay", "--yes", "--spool", scene.spool, "--url", scene.url)


SCENARIOS: Final[dict[str, Callable[[Scene], None]]] = {
    "a writer begins": first_appends,
    "a writer adopts": adopts,
    "a writer adopts a torn segment": adopts,
    "a writer loses its partition": lost_its_name,
    "a writer forks": forks,
    "a write falls short": falls_short,
    "a sync fails": cannot_sync,
    "a sender begins": first_run,
    "a sender goes on, and is stopped": later_run,
    "a sender sweeps": sweeps,
    "a sender meets a full disk": full_disk,
    "an operator resends all": resends_all,
    "an operator resends one": resends_one,
    "an operator verifies": verifies,
    "an operator replays": replays,
}


# What they begin with


def left_by_a_writer(scene: Scene) -> None:
    """Leave a partition of two segments."""
    scene.rotate_after(2)
    scene.record("left", 1, 2, 3)


def left_torn(scene: Scene) -> None:
    """Leave it with a torn end."""
    left_by_a_writer(scene)
    with open(scene.segments()[-1], "ab") as file:
        file.write(line_of("torn-1")[:20])


def left_delivered(scene: Scene) -> None:
    """Leave a partition of which all is delivered."""
    left_by_a_writer(scene)
    _in_child(scene.drain)


def left_by_a_sender(scene: Scene) -> None:
    """Leave a checkpoint, and more behind it."""
    left_by_a_writer(scene)
    _in_child(scene.drain)
    scene.record("left", 4, 5, 6)


def left_half_removed(scene: Scene) -> None:
    """Leave a partition that was being removed, and one that was being made, hours ago."""
    left_by_a_writer(scene)
    for prefix in (places.GONE_PREFIX, places.NEW_PREFIX):
        directory = Path(scene.spool, f"{prefix}{LEFT}")
        directory.mkdir()
        for name in ("00000000000000000000.jsonl", "writer.lock"):
            directory.joinpath(name).touch()
        then = directory.stat().st_mtime - HOURS_AGO
        os.utime(directory, (then, then))


PREPARATIONS: Final[dict[str, Callable[[Scene], None]]] = {
    "a writer loses its partition": left_delivered,
    "a writer forks": left_by_a_writer,
    "a write falls short": left_by_a_writer,
    "a sync fails": left_by_a_writer,
    "a writer adopts": left_by_a_writer,
    "a writer adopts a torn segment": left_torn,
    "a sender begins": left_torn,
    "a sender goes on, and is stopped": left_by_a_sender,
    "a sender sweeps": left_half_removed,
    "a sender meets a full disk": left_by_a_sender,
    # Of which the API refuses two.
    "an operator resends all": left_delivered,
    "an operator resends one": left_delivered,
    "an operator verifies": left_torn,
    "an operator replays": left_torn,
}


# How many commands the API refuses: while it is prepared, and while it runs.
REFUSED: Final = {
    "a sender begins": (0, 1),
    "an operator resends all": (2, 0),
    "an operator resends one": (2, 0),
}


# What fails below the failpoints


def _sync_fails() -> None:
    durable.FILES.fdatasync = failing(errno.EIO, times=1, real=os.fdatasync)


def _no_room() -> None:
    left = (
        3  # after the first try, after what may go at once, after the reserve: then a segment goes
    )

    @functools.wraps(os.write)
    def write(fd: int, data: Any) -> int:  # noqa: ANN401 - whatever can be written
        nonlocal left
        if left and os.readlink(f"/proc/self/fd/{fd}").endswith("checkpoint.json.tmp"):
            left -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data)

    durable.FILES.write = write


FAULTS: Final[dict[str, Callable[[], None]]] = {
    "a sync fails": _sync_fails,
    "a sender meets a full disk": _no_room,
}


def _kept(spool: str) -> list[str]:
    lines = [
        json.loads(line)
        for path in Path(spool, "rejected").glob("*.jsonl")
        for line in path.read_text("utf-8").splitlines()
    ]
    return [line["id"] for line in lines]


def _in_child(program: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            program()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
