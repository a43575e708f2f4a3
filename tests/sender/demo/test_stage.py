"""What the demo stands on: processes that do not outlive it, waits that end, settings that do not leak in."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from sender.demo import lines
from sender.demo.children import Children
from sender.demo.stage import Stage
from sender.demo.stand_in import StandIn, port_in
from sender.demo.telling import ShowFailed, Stopped, Tone
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.collector import CollectorProcess

FOREVER = "import time\nwhile True: time.sleep(60)"


class Heard:
    """A teller that only listens."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def happened(self, at_s: float, who: str, what: str, tone: Tone = "plain") -> None:
        """Note it."""
        self.lines.append(f"{who} {what} {tone} {at_s >= 0}")

    def say(self, text: str = "", tone: Tone = "plain") -> None:
        """Note it."""
        self.lines.append(f"{text} {tone}")


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """Give processes that end with the test."""
    with Children(str(tmp_path), {"KMQ_SPOOL": str(tmp_path / "spool")}) as started:
        yield started


def stage(tmp_path: Path, children: Children, *, stopped: bool = False) -> Stage:
    """Return a stage in the test's folder."""
    return Stage(str(tmp_path), children, Heard(), lambda: stopped)


def gone(pid: int) -> bool:
    """Say whether there is no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_no_child_outlives_the_show(tmp_path: Path) -> None:
    """Not even when it fails, and whether the child has ended before or not."""
    pids: list[int] = []
    with contextlib.suppress(ShowFailed), Children(str(tmp_path), {}) as children:
        pids += [children.start("app", "-c", text).pid for text in (FOREVER, "pass", FOREVER)]
        raise ShowFailed
    assert all(gone(pid) for pid in pids)


def test_a_child_that_fails_is_quoted(tmp_path: Path, children: Children) -> None:
    """The end of what it said is what helps."""
    child = children.start("app", "-c", "raise SystemExit('no such luck')")
    with pytest.raises(ShowFailed, match="the app ended with 1: no such luck"):
        stage(tmp_path, children).ended_well(child)


def test_a_child_that_must_run_is_missed_when_it_ends(tmp_path: Path, children: Children) -> None:
    """Nothing is waited for that can no longer come."""
    child = children.start("app", "-c", "pass")
    with pytest.raises(ShowFailed, match="the app ended with 0: it said nothing"):
        stage(tmp_path, children).wait_for(lambda: False, "never", child)


def test_a_wait_ends_in_vain(tmp_path: Path, children: Children) -> None:
    """Every wait has its bound, and says what it was for."""
    with pytest.raises(ShowFailed, match=r"in vain until pigs fly"):
        stage(tmp_path, children).wait_for(lambda: False, "pigs fly", timeout_s=0.05)


def test_a_wait_ends_when_the_show_is_to_end(tmp_path: Path, children: Children) -> None:
    """Ctrl-C is noticed wherever the show waits."""
    with pytest.raises(Stopped):
        stage(tmp_path, children, stopped=True).wait_till(3_600)


def test_settings_of_whoever_runs_it_reach_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No kmq variable but the show's own, no proxy, no credential; what else there is stays."""
    for name in ("KMQ_DISABLED", "KMQ_URL", "http_proxy", "HTTPS_PROXY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("OTHER", "kept")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    with Children(str(tmp_path), {"KMQ_SPOOL": "/s"}) as children:
        child = children.start("app", "-c", "import json, os; print(json.dumps(dict(os.environ)))")
        stage(tmp_path, children).ended_well(child)
        said = child.said()
    assert "KMQ_SPOOL" in said
    assert "kept" in said
    assert "/nowhere" in said
    for name in ("KMQ_DISABLED", "KMQ_URL", "proxy", "PROXY", "CREDENTIALS_DIRECTORY"):
        assert name not in said


def test_what_is_not_there_yet_is_nothing(tmp_path: Path, children: Children) -> None:
    """No notes, no checkpoint, no partition of a process that has gone."""
    here = stage(tmp_path, children)
    assert here.acknowledged(1) == []
    assert here.checkpoint() == 0
    child = children.start("app", "-c", "pass")
    here.ended_well(child)
    assert here.partition_of(child) is None
    assert here.partition_of(children.start("app", "-c", FOREVER)) is None


def test_the_port_is_read_from_what_the_collector_says() -> None:
    """Once it has said it, and only then."""
    assert port_in("") is None
    assert port_in("collector listens on http://127.0.0.1:8035\n") == 8035


def test_a_refused_question_is_an_error(collector: CollectorProcess) -> None:  # noqa: F811 - the fixture
    """The show must not go on with a collector that does not do what it is told."""
    with pytest.raises(OSError, match="answers 400"):
        StandIn(collector.port).answer({"status": "much"})


def test_each_line_finds_its_request() -> None:
    """The alias may come in between; what is missing is shown as missing."""
    came = [
        {"method": "GET", "path": path, "raw": str(number)}
        for number, path in enumerate(["/e", "/a", "/e", "/e"])
    ]
    shown = dict(lines.pairs(came))
    assert list(shown.values()) == ["", "GET /e?0", "GET /e?2", "GET /e?3", "", "GET /a?1"]
    assert lines.COMMANDS == 5
    assert lines.PROGRAM.startswith("from kmq import KM\nKM.identify('bob@bob.com');\n")
