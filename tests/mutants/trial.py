"""A trial: one mutant in a copy of the tree, and what its test says.

Owns the copies and the runs of pytest in them. Knows nothing about which rules there are.

Invariant: what runs is the copy. Tests find it by PYTHONPATH, which goes before an installed kmq, also in the processes
that they start; and by no stale bytecode, since a mutant can be as long and as old as what it replaces. The part
*harness* of the table shows that it is so.
"""

from __future__ import annotations

import contextlib
import enum
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .table import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .table import Mutant

__all__ = ["Copy", "Fate", "Run"]

_LEFT_OUT: Final = shutil.ignore_patterns(
    ".*", "__pycache__", "build", "dist", "*.egg-info", "*.pyc"
)
_TEST_LIMIT_S: Final = 25
_RUN_LIMIT_S: Final = 100
_OPTIONS: Final = ("-q", "-rfE", "--tb=line", "-p", "pytest_timeout", "-p", "no:cacheprovider")
_FAILED: Final = re.compile(r"^FAILED (\S+)", re.MULTILINE)
_PASSED, _FAILURES = 0, 1


class Fate(enum.Enum):
    """What became of a mutant."""

    CAUGHT = "caught by"
    CAUGHT_BY_TIME = "caught by the time limit of"
    SURVIVED = "SURVIVED"
    BROKEN = "NOT JUDGED: no test failed, the run itself did"


@dataclass(frozen=True, slots=True)
class Run:
    """A run of tests: what became of the mutant, which test failed, and all that pytest said."""

    fate: Fate
    failed: str
    text: str


class Copy:
    """A copy of the tree in the directory `path`, in which anything may be broken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copytree(ROOT, path, ignore=_LEFT_OUT)

    def trial(self, mutant: Mutant) -> Run:
        """Run the mutant's test on the mutated copy."""
        try:
            with self._mutated(mutant):
                return self.run([mutant.test], limit_s=_RUN_LIMIT_S)
        except ValueError as error:
            return Run(Fate.BROKEN, "", str(error))

    def run(self, tests: Sequence[str], *, limit_s: float | None) -> Run:
        """Run `tests`, each for so long at most; all together for `limit_s`, until one fails."""
        # A folder of its own: other runs of pytest on this machine clear the common one away.
        options = [*_OPTIONS, "-o", f"timeout={_TEST_LIMIT_S}", f"--basetemp={self.path}-tests"]
        if limit_s is not None:
            options.append("-x")
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=self.path,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            text, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            return Run(Fate.CAUGHT_BY_TIME, tests[0], "")
        finally:
            _end(process)
        return _judged(process.returncode, text)

    @contextlib.contextmanager
    def _mutated(self, mutant: Mutant) -> Iterator[None]:
        path = self.path / mutant.file
        text = path.read_text("utf-8")
        path.write_text(mutant.applied_to(text), "utf-8")
        try:
            yield
        finally:
            path.write_text(text, "utf-8")

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("COVERAGE_", "KMQ_"))}
        # In their order, in one process, and without a second's wait for plugins that nothing here uses.
        kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        return {**kept, "PYTHONPATH": str(self.path), "PYTHONDONTWRITEBYTECODE": "1"}


def _end(process: subprocess.Popen[str]) -> None:
    # What a mutant left behind, too: a process that its test could not end.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _judged(code: int, text: str) -> Run:
    found = _FAILED.search(text)
    if code == _PASSED:
        return Run(Fate.SURVIVED, "", text)
    if code != _FAILURES or found is None:
        return Run(Fate.BROKEN, "", text)
    hung = "Failed: Timeout" in text
    return Run(Fate.CAUGHT_BY_TIME if hung else Fate.CAUGHT, found[1], text)
