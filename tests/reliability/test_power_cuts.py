"""Power cuts at every moment: nothing that was promised is lost, and every sync that is left out is missed.

The runs are programs, so that they run as fast here as by themselves.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.powercut.faults import SHOWN_BY
from tests.powercut.scenarios import SCENARIOS
from tests.powercut.sites import all_sites
from tests.support.reaper import ROOT, Reaper

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

SOME = ("--images", "400", "--scenario", "sender_beside_an_unsynced_app")

SYNC_OF_A_SEGMENT = (
    "        try:\n            self._files.fdatasync(fd)\n        except OSError:\n",
    "        try:\n            pass\n        except OSError:\n",
)
BOOT_OF_A_PARTITION = (
    "        if os.pread(lock, len(boot) + 1, 0) != boot.encode():\n            return None\n",
    "",
)


def power_cuts(work: Path, *arguments: str, code: Path = ROOT) -> tuple[int, str]:
    """Run the program on `code`; return its exit code and what it said."""
    env = {"PYTHONPATH": f"{code}:{ROOT}", "TMPDIR": str(work)}
    with Reaper() as reaper:
        process = reaper.python("-P", "-m", "tests.powercut", *arguments, env=env)
        said = process.communicate()[0].decode()
        return process.returncode, said


def copy_without(work: Path, *changes: tuple[str, tuple[str, str]]) -> Path:
    """Return a copy of the code in which each text of a package was found once, and replaced."""
    copy = work / "copy"
    for package in ("kmq", "sender"):
        shutil.copytree(
            ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for package, (text, instead) in changes:
        found = [path for path in (copy / package).rglob("*.py") if text in path.read_text("utf-8")]
        (path,) = found
        source = path.read_text("utf-8")
        assert source.count(text) == 1
        path.write_text(source.replace(text, instead), "utf-8")
    return copy


def test_no_power_cut_takes_what_was_promised(tmp_path: Path) -> None:
    """Some images of each scenario, another choice of them each time; `--images 100000` takes them all."""
    seed = int.from_bytes(os.urandom(3))
    code, said = power_cuts(tmp_path, "--images", "1200", "--seed", str(seed))
    assert code == 0, said
    assert f"{len(SCENARIOS)} scenarios, 0 violations" in said


@pytest.mark.parametrize("faults", ["--syncs", "--orders"])
def test_each_sync_left_out_and_each_wrong_order_is_seen(tmp_path: Path, faults: str) -> None:
    """Whoever takes one out of the code will find that something is lost, or sent again that need not be."""
    code, said = power_cuts(tmp_path, faults)
    assert code == 0, said
    assert ", 0 not seen" in said


def test_each_sync_in_the_code_has_a_scenario_that_misses_it() -> None:
    """A new one needs one, or has no reason to be there."""
    assert sorted(SHOWN_BY) == all_sites()


def test_a_copy_of_the_code_without_the_sync_of_segments_is_found_out(tmp_path: Path) -> None:
    """What lies below a durable checkpoint is sent again, and what the sender's commits had passed is lost."""
    copy = copy_without(tmp_path, ("sender/reader", SYNC_OF_A_SEGMENT))
    code, said = power_cuts(tmp_path, *SOME, "answers_in_any_order", code=copy)
    assert code == 1
    assert "sent again below the checkpoint: a1" in said
    assert "lost: x2" in said


def test_a_copy_that_also_writes_on_after_a_power_cut_loses_what_is_new(tmp_path: Path) -> None:
    """Two rules keep new commands from offsets that a checkpoint covers; without both these are never sent."""
    copy = copy_without(
        tmp_path, ("sender/reader", SYNC_OF_A_SEGMENT), ("kmq", BOOT_OF_A_PARTITION)
    )
    code, said = power_cuts(tmp_path, *SOME, "--violations", "300", code=copy)
    assert code == 1
    assert "lost: z1" in said
