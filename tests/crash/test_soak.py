"""The promise of the whole: what was acknowledged arrives once and unchanged, whoever dies in between.

A few seconds of what `python -m tests.soak` does for hours.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.soak.soak import Plan, Soak
from tests.soak.stage import Stage
from tests.support.system import ROOT, unmeasured
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def test_writers_and_sender_are_killed_all_the_time_and_nothing_is_lost(tmp_path: Path) -> None:
    """Threads, signal handlers and forks; adoption, rotation and removal; an API that fails, operators beside it."""
    with Stage(tmp_path) as stage:
        report = Soak(Plan(kills=60, writers=4), stage, say=lambda _: None).run()
    report.check()
    assert report.kills["writers"] > 20
    assert report.kills["senders"] > 0
    assert report.partitions_removed > 0
    assert report.findings.acknowledged > 100  # else it would have shown nothing


def test_a_soak_ends_well_on_ctrl_c(tmp_path: Path) -> None:
    """It lets all go, drains, judges, and leaves nothing behind."""
    command = [sys.executable, "-m", "tests.soak", "--minutes", "60", "--writers", "2"]
    environ = {**unmeasured(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True
    ) as soak:
        wait_until(lambda: any(tmp_path.glob("*/spool/checkpoint.json")), what="it is under way")
        soak.send_signal(signal.SIGINT)
        said, _ = soak.communicate(timeout=100)
    assert soak.returncode == 0, said
    assert re.search(r"\d+ kills .* 0 lost, 0 changed, 0 foreign", said), said
    assert list(tmp_path.iterdir()) == []
