"""Starts workers, watches that each goes on, and counts what they found.

Owns the processes and what a hang is: an input that takes longer than `HANG_S`. Such a worker is ended with SIGABRT,
upon which it says where it was; the input is kept, and another worker goes on behind it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.reaper import ROOT
from tests.support.system import unmeasured

from .worker import TARGETS, Progress, keep, made

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Order", "Report", "run"]

HANG_S: Final = 30.0
_LOOK_S: Final = 0.2
_TELL_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be tried: `inputs` numbers from `first` on, of a seed and kind, by so many processes of `program`."""

    inputs: int
    seed: int
    jobs: int = 1
    kind: str = "all"
    first: int = 0
    folder: Path = Path("build/fuzz")
    hang_s: float = HANG_S
    program: tuple[str, ...] = ("-m", "tests.fuzz.worker")


@dataclass(slots=True)
class Report:
    """What came of it. `first_at` is the number of the first input that found something."""

    inputs: Counter[str] = field(default_factory=Counter)
    crashes: int = 0
    hangs: int = 0
    lost: int = 0
    first_at: int | None = None
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.crashes or self.hangs or self.lost)

    def text(self) -> str:
        """Return the last line of a run."""
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(self.inputs.items()))
        return (
            f"{self.inputs.total():,} inputs ({counts}): {self.crashes:,} crashes, {self.hangs:,} hangs, "
            f"{self.lost:,} intact lines lost"
        )

    def add(self, order: Order, first: int, end: int, progress: Progress) -> None:
        """Take in what a worker came to, whose share began at `first` and was tried below `end`."""
        for number in range(first, end, order.jobs):
            self.inputs[made(order.seed, number, order.kind)[0]] += 1
        self.crashes += progress.crashes
        self.lost += progress.lost
        self.met(progress.first_at)

    def met(self, number: int) -> None:
        """Take note of an input that found something; -1 is none."""
        if number >= 0:
            self.first_at = number if self.first_at is None else min(self.first_at, number)


def run(order: Order, tell: Callable[[str], None]) -> Report:
    """Try everything; `tell` is told how far it is now and then."""
    report, began = Report(), time.monotonic()
    next_told = began + _TELL_S
    with tempfile.TemporaryDirectory(prefix="kmq-fuzz-") as folder:
        teams = [_Watched(order, share, Path(folder)) for share in range(order.jobs)]
        try:
            while any(not team.over for team in teams):
                time.sleep(_LOOK_S)  # a look at each now and then is all that there is to do
                for team in teams:
                    team.look(report)
                if time.monotonic() >= next_told:
                    next_told += _TELL_S
                    tell(_course(teams, time.monotonic() - began))
        finally:
            for team in teams:
                team.end()
    report.seconds = time.monotonic() - began
    return report


def _course(teams: list[_Watched], seconds: float) -> str:
    done = sum(team.done for team in teams)
    return f"{done:,} inputs in {seconds:,.0f} s, {done / seconds:,.0f} a second"


class _Watched:
    """One share of the inputs, and the worker that is at it."""

    def __init__(self, order: Order, share: int, folder: Path) -> None:
        self.over = False
        self.done = 0
        self._order = order
        self._next = order.first + share
        self._end = order.first + order.inputs
        self._file = folder / f"{share}.progress"
        self._words = folder / f"{share}.words"
        self._seen, self._since = -1, 0.0
        self._process = self._started()

    def look(self, report: Report) -> None:
        """See whether it goes on, or has ended."""
        if self.over:
            return
        number = self._at().number
        self.done = max(0, number - self._order.first) // self._order.jobs
        if self._process.poll() is not None:
            self._has_ended(report)
        elif number != self._seen:
            self._seen, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > self._order.hang_s:
            self._process.send_signal(signal.SIGABRT)
            self._process.wait()
            report.hangs += 1
            self._go_on_behind("hang", report)

    def end(self) -> None:
        """End the worker, by its own number."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _at(self) -> Progress:
        return Progress.of(self._file.read_bytes())

    def _started(self) -> subprocess.Popen[bytes]:
        order = self._order
        self._file.write_bytes(Progress(self._next - order.jobs).form())
        self._seen, self._since = -1, time.monotonic()
        numbers = map(str, (order.seed, self._next, order.jobs, self._end))
        with open(self._words, "wb") as words:
            return subprocess.Popen(
                [sys.executable, *order.program, *numbers, order.kind, self._file, order.folder],
                stderr=words,
                cwd=ROOT,
                env=unmeasured(),
            )

    def _has_ended(self, report: Report) -> None:
        if self._process.returncode:  # it died of an input
            report.crashes += 1
            self._go_on_behind("death", report)
        else:
            report.add(self._order, self._next, self._end, self._at())
            self.over = True

    def _go_on_behind(self, what: str, report: Report) -> None:
        order, progress = self._order, self._at()
        report.add(order, self._next, progress.number + 1, progress)
        report.met(progress.number)
        name, rng = made(order.seed, progress.number, order.kind)
        target = TARGETS[name]()
        data = target.make(rng)
        target.close()
        words = self._words.read_text("utf-8", "replace")
        keep(order.folder, f"{what}-{name}-{order.seed}-{progress.number}", data, words)
        self._next = progress.number + order.jobs
        self._process = self._started()
