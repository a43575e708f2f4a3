"""What an append asks of the kernel, as strace sees it: one write, and nothing else for the segment."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.spooled import segments_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.reaper import Reaper

pytestmark = pytest.mark.strace

STRACE = shutil.which("strace")
APPENDS = 100  # as many as the program below makes
PROGRAM = """
import os, sys
from kmq import Client
client = Client(sys.argv[1], sync=sys.argv[2] == "durable")
client.record("first", person="bob")
os.write(2, b"begin\\n")
for number in range(100):
    client.record("n", {"id": str(number)}, person="bob")
os.write(2, b"end\\n")
"""


@pytest.fixture
def traced(tmp_path: Path) -> Path:
    """Return where the trace goes; without strace the test is not skipped but fails, and says what to install."""
    if STRACE is None:
        pytest.fail(
            "strace is missing, and without it nothing shows what an append costs: apt-get install strace"
        )
    return tmp_path / "trace"


# What a call may ask besides its write: whether it was forked, what time it is (where the kernel does not tell that
# without being asked), and memory for the interpreter.
HARMLESS = {"brk", "clock_gettime", "getpid", "gettimeofday", "mmap", "munmap"}


def calls_between(trace: Path) -> list[str]:
    """Return the system calls between the program's two marks, with paths for descriptors."""
    lines = trace.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if '"begin\\n"' in line)
    end = next(i for i, line in enumerate(lines) if '"end\\n"' in line)
    return [re.sub(r"^\d+ +", "", line) for line in lines[begin + 1 : end]]


@pytest.mark.parametrize(
    ("kind", "each"), [("plain", ["write"]), ("durable", ["write", "fdatasync"])]
)
def test_an_append_is_one_write(
    shared: Path, traced: Path, reaper: Reaper, kind: str, each: list[str]
) -> None:
    """With `sync=True` and one fdatasync; no seek, no stat, no lock, no open a call."""
    trace = ("strace", "-f", "-y", "-qq", "-e", "signal=none", "-o", str(traced))
    program = reaper.python("-c", PROGRAM, str(shared), kind, prefix=trace)
    program.communicate()
    assert program.returncode == 0, (
        "strace may not trace here (ptrace is forbidden), which this test needs"
    )
    [segment] = segments_in(shared)
    concerning = [line for line in calls_between(traced) if str(shared) in line]
    looks = [line for line in concerning if line.startswith(("newfstatat(", "fstat(", "lstat("))]
    # About once a second the writer looks whether its names are still there; a slow machine may see several.
    assert len(looks) % 4 == 0
    rest = [line for line in concerning if line not in looks]
    elsewhere = {line.partition("(")[0] for line in calls_between(traced) if line not in concerning}
    assert elsewhere <= HARMLESS
    assert [line.partition("(")[0] for line in rest] == each * APPENDS
    assert all(f"<{segment}>" in line for line in rest)
    assert os.path.getsize(segment) == sum(
        len(line) + 1 for line in segment.read_bytes().splitlines()
    )
