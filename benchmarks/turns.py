"""Processes that run in turns: one goes, the others stand still, and then it is the next one's turn.

Owns the order and the length of the turns, and what was used and done in each. So programs are compared as calls are:
in one run, each a moment after the other. Knows nothing about what they do; `count` counts it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .programs import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .programs import Program

__all__ = ["Turns", "in_turns", "window"]

_SETTLE_S: Final = 0.02


@dataclass(slots=True)
class Turns:
    """What each turn of a program came to: seconds of CPU an event, and events a second."""

    cpu: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)


def in_turns(
    programs: Mapping[str, Program],
    count: Callable[[], int],
    *,
    turns: int,
    turn_s: float,
    warm_s: float,
) -> dict[str, Turns]:
    """Let each program run `turns` times, alone; `count` says how many events there were, of all and since ever."""
    for program in programs.values():
        program.pause()
    for name, program in programs.items():
        before = count()
        program.go_on()
        first = f"the first events of {name}"
        wait_for(lambda: _runs(program, count() > before + 100), first)  # noqa: B023 - called at once
        time.sleep(warm_s)
        program.pause()
    found = {name: Turns() for name in programs}
    for _ in range(turns):
        for name, program in programs.items():
            program.go_on()
            _take(found[name], program, count, turn_s)
            program.pause()
            time.sleep(_SETTLE_S)  # what it asked last is answered, and counted as its own
    return found


def window(program: Program, count: Callable[[], int], seconds: float) -> Turns:
    """Return what the one program that runs comes to in so many seconds."""
    found = Turns()
    _take(found, program, count, seconds)
    return found


def _take(found: Turns, program: Program, count: Callable[[], int], seconds: float) -> None:
    done, used, began = count(), program.cpu_s(), time.monotonic()
    time.sleep(seconds)
    used, took, done = program.cpu_s() - used, time.monotonic() - began, count() - done - 1
    found.cpu.append(used / max(1, done))
    found.rate.append(done / took)


def _runs(program: Program, true: bool) -> bool:  # noqa: FBT001 - what was seen
    program.must_run()
    return true
