"""A bounded run of the fuzz target, and whether it sees what it is for; `make fuzz` takes as many inputs as wanted."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fuzz.boss import Order, Report, run
from tests.support.reaper import ROOT
from tests.support.system import unmeasured

if TYPE_CHECKING:
    from pathlib import Path

INPUTS = 10_000
SEED = 20261124

# A worker with a fault planted at its fourth input.
PLANTED = """
import os, sys, time
from tests.fuzz import worker
from tests.fuzz.target import LineLost
from tests.fuzz.lines import Lines

def hang():
    while True:
        pass

def greedy():
    return bytearray(worker.MOST_RSS)[-1:]

def fail(error):
    raise error

faults = {
    "crash": lambda: fail(KeyError("unforeseen")),
    "lost": lambda: fail(LineLost("gone")),
    "hang": hang,
    "death": lambda: os.kill(os.getpid(), 9),
    "greed": greedy,
}

class Planted(Lines):
    tried = 0

    def check(self, data, rng):
        Planted.tried += 1
        if Planted.tried == 4 and sys.argv[2] == "0":
            faults[FAULT]()

worker.TARGETS.update(line=Planted, segment=Planted)
worker.main(sys.argv[1:])
"""


def told(_text: str) -> None:
    """Say nothing of the course of a run."""


def test_hostile_inputs_crash_nothing_hang_nothing_and_lose_nothing(tmp_path: Path) -> None:
    """Lines, segments, checkpoints, answers, rejections and requests; what was found is in the folder."""
    report = run(Order(INPUTS, SEED, folder=tmp_path / "found", hang_s=90.0), told)
    found = {path.name: path.read_text("utf-8")[-500:] for path in tmp_path.glob("found/*.txt")}
    assert report.clean, (report.text(), found)
    assert report.inputs.total() == INPUTS
    assert len(report.inputs) == 7


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("crash", (1, 0, 0)),
        ("lost", (0, 0, 1)),
        ("hang", (0, 1, 0)),
        ("death", (1, 0, 0)),
    ],
)
def test_what_is_found_is_counted_kept_and_passed(
    tmp_path: Path, fault: str, expected: tuple[int, int, int]
) -> None:
    """Also by a worker that hangs or dies of it; the inputs behind it are tried all the same."""
    program = ("-c", f"FAULT = {fault!r}\n{PLANTED}")
    report = run(Order(30, 1, kind="line", folder=tmp_path, hang_s=2.0, program=program), told)
    assert (report.crashes, report.hangs, report.lost) == expected
    assert report.inputs.total() == 30
    assert report.first_at == 3
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert [name.partition("-")[0] for name in kept] == [fault, fault]
    assert all("-1-3." in name for name in kept)


def test_an_input_that_takes_too_much_memory_is_found(tmp_path: Path) -> None:
    """The bound holds for the process as a whole, so that all inputs behind it are found as well."""
    program = ("-c", f"FAULT = 'greed'\n{PLANTED}")
    report = run(Order(5, 1, kind="line", folder=tmp_path, hang_s=60.0, program=program), told)
    assert (report.crashes, report.first_at) == (2, 3)


def test_the_exit_code_says_whether_anything_was_found(tmp_path: Path) -> None:
    """And the last line says it in numbers."""
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz", "--inputs", "200", "--seed", "3"),
            *("--jobs", "2", "--only", "checkpoint", "--keep", str(tmp_path)),
        ],
        check=False,
        cwd=ROOT,
        env=unmeasured(),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0
    assert ended.stdout.splitlines()[-1] == (
        "200 inputs (checkpoint 200): 0 crashes, 0 hangs, 0 intact lines lost"
    )


def test_a_clean_report_is_one_without_findings() -> None:
    """Each kind of finding counts."""
    assert Report().clean
    assert not any(found.clean for found in (Report(crashes=1), Report(hangs=1), Report(lost=1)))
