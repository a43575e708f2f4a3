"""The benchmarks themselves run, from the command line, with sizes of a test: no figure is judged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import backlog, crowd, idle, latency, sending, servers
from benchmarks.context import Context, folder_for
from benchmarks.machine import describe
from benchmarks.scale import SCALES
from benchmarks.values import from_json
from tests.support.reaper import ROOT

if TYPE_CHECKING:
    from pathlib import Path

HERE = ["append", "peers", "many", "commit", "imports", "share"]
SERVED = [sending.run, latency.run, backlog.run, idle.run, crowd.run]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", "--scale", "tiny", "--folder", str(folder), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_needs_no_server_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    """Each group gives rows with a figure, or with the reason why there is none, as text and as JSON."""
    work = tmp_path / "work"
    work.mkdir()
    ran = run(work, *HERE, "--json", str(tmp_path / "result.json"))
    assert ran.returncode == 0, ran.stderr
    result = from_json((tmp_path / "result.json").read_text("utf-8"))
    assert list(result.groups) == HERE
    for row in result.rows():
        assert row.value is not None or row.note, row
        assert row.what.replace("`", "") in ran.stdout
    assert list(work.iterdir()) == []


def test_a_call_is_compared_with_the_line_that_it_made(tmp_path: Path) -> None:
    """The bare write appends what kmq would."""
    ran = run(tmp_path, "append", "--json", str(tmp_path / "result.json"))
    assert ran.returncode == 0, ran.stderr
    rows = from_json((tmp_path / "result.json").read_text("utf-8")).groups["append"]
    sizes = [row.at["line_bytes"] for row in rows]
    assert sizes == sorted(sizes)
    for row in rows:
        assert row.value == pytest.approx(
            row.parts["record, us of CPU"] / row.parts["bare write, us of CPU"], rel=0.01
        )


def test_a_crowd_and_an_idle_sender_are_measured_or_say_what_is_missing(tmp_path: Path) -> None:
    """With nginx there are figures; without, each row says so. No process is left."""
    ran = run(tmp_path, "idle", "crowd", "--json", str(tmp_path / "result.json"))
    assert ran.returncode == 0, ran.stderr
    for row in from_json((tmp_path / "result.json").read_text("utf-8")).rows():
        assert row.value is not None or row.note == "nginx is not installed"


@pytest.mark.parametrize("group", SERVED, ids=lambda run: run.__module__.rpartition(".")[2])
def test_without_a_server_each_row_says_why_it_has_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: object
) -> None:
    """Nothing crashes, and no row is missing."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(servers, "_certify", raises_no_server)
    assert callable(group)
    rows = group(Context(SCALES["tiny"], tmp_path, lambda _: None))
    assert rows
    unknown = [row for row in rows if row.value is None]
    assert unknown
    assert {row.note for row in unknown} <= {"nginx is not installed", "no certificate"}


def raises_no_server(_: object) -> None:
    """Stand for a machine on which uvicorn cannot stand in either."""
    raise servers.NoServer("no certificate")


def test_an_unknown_group_is_refused(tmp_path: Path) -> None:
    """With the names of those that exist."""
    ran = run(tmp_path, "nonesuch")
    assert ran.returncode == 2
    assert "no such group: nonesuch" in ran.stderr


def test_the_machine_is_described_without_naming_it(tmp_path: Path) -> None:
    """Cores, kernel, Python, disk: enough to judge a figure by."""
    told = describe(str(tmp_path))
    assert {"cores", "kernel", "python", "file system"} <= set(told)
    assert str(tmp_path) not in json.dumps(told)


def test_the_folder_of_a_run_is_its_own_and_goes_with_it(tmp_path: Path) -> None:
    """Also where the run fails."""

    def fail() -> None:
        with folder_for(str(tmp_path)) as folder:
            (folder / "something").write_text("x", "ascii")
            assert folder.parent == tmp_path
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
