"""Whether this is still the process that asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kmq.forks import same_process

if TYPE_CHECKING:
    from tests.support.reaper import Reaper

PROGRAM = """
import ctypes, os, sys
from kmq.forks import same_process
here = same_process(int(sys.argv[1]))
assert here[0]
fork = os.fork if sys.argv[2] == "hooks" else ctypes.PyDLL(None).fork
child = fork()
if child == 0:
    os._exit(bool(here[0]))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert here[0]
print("told apart")
"""


@pytest.mark.parametrize("advice", [18, 12345], ids=["wiped page", "old kernel"])
@pytest.mark.parametrize("how", ["hooks", "no hooks"])
def test_a_child_knows_that_it_is_none(reaper: Reaper, advice: int, how: str) -> None:
    """However it was forked, and whether the kernel knows pages that it empties or not."""
    program = reaper.python("-c", PROGRAM, str(advice), how)
    assert program.communicate(timeout=60)[0] == b"told apart\n"


def test_each_answer_is_one_of_its_own() -> None:
    """Two do not share a page."""
    first, second = same_process(), same_process()
    assert first is not second
    assert first[0]
    assert second[0]
