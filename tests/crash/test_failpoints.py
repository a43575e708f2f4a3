"""A process killed by SIGKILL at each step between two durable operations, recovered, and judged.

`failpoints.txt`, beside this file, names every step of every scenario, so that a new durable operation is a line there.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kmq.spool import Spool, partitions
from tests.soak.soak import LASTING
from tests.support.collector import as_line, collector, shared_collector  # noqa: F401 - fixtures
from tests.support.oracle import Oracle, lag
from tests.support.scenarios import REFUSED, SCENARIOS
from tests.support.scene import line_of
from tests.support.spools import make_spool
from tests.support.system import KEY
from tests.support.wait import wait_until
from tests.support.zygote import Zygote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.collector import CollectorProcess
    from tests.support.zygote import Child

MODULE = "tests.support.scenarios"
SENDER = "tests.support.programs:kmq_sender"
STOPPED = "a sender goes on, and is stopped"


def points_of(text: str) -> dict[str, list[str]]:
    """Return the points of each scenario: the file names it, and below it each step with its moments."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith(" "):
            step, *moments = line.split()
            if os.geteuid() == 0 or not step.startswith("chown:"):  # to the spool's group
                found[list(found)[-1]] += [f"{moment}:{step}" for moment in moments]
        elif line:
            found[line] = []
    return found


POINTS = points_of(Path(__file__).with_name("failpoints.txt").read_text("utf-8"))
EVERY = [(name, point) for name, points in POINTS.items() for point in points]


class Stage:
    """A scenario in a folder of its own: run, recovered, judged."""

    def __init__(
        self,
        name: str,
        folder: Path,
        zygote: Zygote,
        api: CollectorProcess,
        sent: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.name = name
        self.folder = folder
        self.spool = str(folder / "spool")
        self._zygote = zygote
        self._collector = api
        self._sent = sent

    def run(self, fatal: str = "") -> int:
        """Run it, up to the point `fatal` where one is named; return how it ended."""
        self._refuse(1)
        child = self._start(
            f"{MODULE}:run", self.name, self.spool, self._collector.url, str(self.folder), fatal
        )
        if self.name == STOPPED:
            wait_until(lambda: not child.running() or self._collector.summary()["total"] == 3)
            child.send(signal.SIGTERM)
        code = child.wait()
        self._collector.answer()
        return code

    def prepare(self) -> None:
        """Make what it begins with."""
        make_spool(self.folder / "spool")
        self._refuse(0)
        child = self._start(
            f"{MODULE}:prepare", self.name, self.spool, self._collector.url, str(self.folder)
        )
        assert child.wait() == 0, self.said()
        self._collector.answer()

    def recover(self) -> None:
        """Let the next writer record, and the next sender send all there is."""
        assert self._start(f"{MODULE}:record_next", self.spool, str(self.folder)).wait() == 0, (
            self.said()
        )
        where = ["--spool", self.spool, "--url", self._collector.url]
        self._send("run", *where, "--drain", "--retention-age", "0s", "--max-in-flight", "4")
        if self.name.startswith("an operator resends"):
            self._send("rejected", "resend", "--all", *where)

    def judge(self) -> None:
        """Let the oracle judge, and look for what nobody would ever remove."""
        oracle = Oracle()
        for who in ("left", "main", "child", "next"):
            for number in range(1, 10):
                oracle.tried(f"{who}-{number}", line_of(f"{who}-{number}"))
        for person in (self.folder / "acks").read_text("ascii").split():
            oracle.acknowledged(person)
        for request in [*self._sent, *self._collector.requests()]:
            oracle.arrived(
                request["params"]["_p"], as_line(request), delivered=request["answer"] == 200
            )
        oracle.judge(self.spool).check()
        assert lag(self.spool) == 0
        passing = {name for name in os.listdir(self.spool) if not name.startswith(".new-")}
        assert passing - LASTING - set(partitions(Spool(self.spool))) == set()

    def reached(self) -> list[str]:
        """Return the points that were reached."""
        path = self.folder / "reached"
        return path.read_text("ascii").split() if path.exists() else []

    def said(self) -> str:
        """Return what its programs said."""
        return (self.folder / "said").read_text("utf-8")

    def _send(self, *arguments: str) -> None:
        assert self._start(SENDER, *arguments).wait() == 0, self.said()

    def _refuse(self, when: int) -> None:
        count = REFUSED.get(self.name, (0, 0))[when]
        if count:
            self._collector.answer(status=400, count=count)

    def _start(self, program: str, *arguments: str) -> Child:
        said, key = str(self.folder / "said"), {"KMQ_API_KEY": KEY}
        return self._zygote.start(program, *arguments, output=said, environ=key)


class Stages:
    """Makes stages that are prepared, each preparation once: its folder is copied, and what it sent is remembered."""

    def __init__(self, factory: pytest.TempPathFactory, zygote: Zygote) -> None:
        self._factory = factory
        self._zygote = zygote
        self._prepared: dict[str, tuple[Path, list[dict[str, Any]]]] = {}

    def make(self, name: str, folder: Path, api: CollectorProcess) -> Stage:
        """Return the stage of a scenario in a folder that is empty."""
        if name not in self._prepared:
            first = Stage(name, self._factory.mktemp("prepared"), self._zygote, api)
            first.prepare()
            self._prepared[name] = (first.folder, api.requests())
            api.reset()
        before, sent = self._prepared[name]
        shutil.copytree(before, folder, dirs_exist_ok=True)
        return Stage(name, folder, self._zygote, api, sent)


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """Give what makes stages; all tests of this worker share it, and its warm process."""
    with Zygote(MODULE) as warm:
        yield Stages(tmp_path_factory, warm)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step_has_its_name_in_the_list(
    stages: Stages,
    tmp_path: Path,
    name: str,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """A durable operation that is new, or gone, is to be seen where this is reviewed."""
    stage = stages.make(name, tmp_path, collector)
    assert stage.run() == 0, stage.said()
    assert sorted(stage.reached()) == sorted(POINTS[name])


@pytest.mark.parametrize(("name", "point"), EVERY)
def test_a_process_killed_at_any_step_loses_nothing(
    stages: Stages,
    tmp_path: Path,
    name: str,
    point: str,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Nor changes anything, nor leaves what nobody removes; and the next ones end well."""
    stage = stages.make(name, tmp_path, collector)
    ended = stage.run(point)
    assert ended == (0 if ":child:" in point else -signal.SIGKILL), stage.said()
    stage.recover()
    stage.judge()
