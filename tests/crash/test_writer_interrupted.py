"""A call interrupted at each of its bytecodes: by an exception, by another call, by a fork."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support import interrupted
from tests.support.spooled import lines_in, torn_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.reaper import Reaper


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        *itertools.product(["plain", "durable"], ["used", "making", "adopting"]),
        ("quick", "used"),
        ("alone", "used"),
    ],
)
@pytest.mark.parametrize("action", ["raise", "time_out", "record", "fork"])
def test_whatever_a_signal_handler_does_wherever_nothing_acknowledged_is_lost(
    shared: Path, reaper: Reaper, action: str, kind: str, state: str
) -> None:
    """No lock stays taken, nothing is glued together, and the next call succeeds.

    A call that a fork cuts in two may write its line in both processes, as two calls would. After an exception out of
    a sync, whose answer nobody saw, the next durable line is written to a new segment as well.
    """
    program = reaper.python(interrupted.__file__, str(shared), action, kind, state)
    told = json.loads(program.communicate(timeout=100)[0])
    assert program.returncode == 0
    spools = [path for path in shared.iterdir() if path.is_dir()]
    found = Counter(
        line.decode() for spool in spools for line in lines_in(spool) if line != b"left"
    )
    assert set(told) <= set(found)
    assert len(told) == len(set(told)) > (5 if kind == "quick" else 20)
    assert not any(torn_in(spool) for spool in spools)
    twice = {line for line, count in found.items() if count > 1}
    if action == "fork":
        assert all(".call." in line for line in twice)
    else:
        assert not twice or (action in {"raise", "time_out"} and kind in {"durable", "alone"})
