"""Who holds a lock, as the kernel tells it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from kmq import locks
from sender.status.holders import holder_of

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys, kmq.locks
fd = kmq.locks.take(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_the_process_that_holds_a_lock_is_named(tmp_path: Path) -> None:
    """By pid and command, while it holds it, and nobody afterwards."""
    path = str(tmp_path / "lock")
    locks.make(path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        held = holder_of(path)
        assert held is not None
        assert (held.pid, held.command.startswith("python")) == (process.pid, True)
        process.communicate()
    assert holder_of(path) is None


def test_a_lock_that_nobody_holds_or_that_is_not_there_has_no_holder(tmp_path: Path) -> None:
    """Asking takes no lock and makes no file."""
    path = str(tmp_path / "lock")
    assert holder_of(path) is None
    assert not os.path.exists(path)
    locks.make(path)
    assert holder_of(path) is None
