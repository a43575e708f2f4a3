"""Programs forked from a warm process: they end as they end, and none outlives whoever asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.system import ROOT, unmeasured
from tests.support.wait import wait_until
from tests.support.zygote import Zygote

THIS = "tests.reliability.test_zygote"

# Starts a program that forks, says the numbers of both, and waits.
ASKER = f"""
from tests.support.zygote import Zygote
zygote = Zygote("{THIS}")
zygote.start("{THIS}:forks", output=__import__("sys").argv[1])
input()
"""


def forks() -> None:
    """Say this process's number and a child's, and live on in both."""
    os.fork()
    os.write(1, f"{os.getpid()}\n".encode())
    signal.pause()


def ends_with(code: str) -> int:
    return int(code)


def test_a_program_ends_with_what_it_returns_or_by_what_kills_it(tmp_path: Path) -> None:
    """Its words stand in a file; what it raises, too."""
    said = tmp_path / "said"
    with Zygote(THIS) as zygote:
        assert zygote.start(f"{THIS}:ends_with", "5").wait() == 5
        assert zygote.start(f"{THIS}:ends_with", "five", output=str(said)).wait() == 1
        assert "ValueError" in said.read_text()
        paused = zygote.start("signal:pause")
        assert paused.running()
        paused.kill()
        assert paused.wait() == paused.wait() == -signal.SIGKILL
        paused.kill()  # nothing, as it has ended


def test_nothing_outlives_the_process_that_asked(tmp_path: Path) -> None:
    """Not even what a program has forked, when the asking one is killed."""
    said = tmp_path / "said"
    with subprocess.Popen(
        [sys.executable, "-c", ASKER, str(said)],
        cwd=ROOT,
        env=unmeasured(),
        stdin=subprocess.PIPE,
    ) as asker:
        wait_until(lambda: said.exists() and len(said.read_text().split()) == 2)
        asker.kill()
    pids = said.read_text().split()
    wait_until(lambda: not any(Path("/proc", pid).exists() for pid in pids))
