"""Removes each rule of the design once, and sees whether the test falls that is said to.

    python -m tests.mutants                    all of them; ends with 1 if one survived
    python -m tests.mutants --only ID ...      these
    python -m tests.mutants --table            no run: writes the table into docs/reliability.md

First the tests run on what is not mutated: what fails then says nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from .table import DOCUMENT, Mutant, load, shown, within
from .trial import Copy, Fate, Run

if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> int:
    """Return the code to exit with."""
    given = _arguments()
    mutants = load()
    if given.table:
        text = DOCUMENT.read_text("utf-8")
        DOCUMENT.write_text(within(text, shown(mutants)), "utf-8")
        return 0
    known = {mutant.id: mutant for mutant in mutants}
    unknown = set(given.only) - known.keys()
    if unknown:
        sys.exit(f"no such mutant: {', '.join(sorted(unknown))}")
    return _try_all([known[name] for name in given.only] or mutants, given.jobs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="try these alone")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="at the same time (2)")
    parser.add_argument("--table", action="store_true", help="write the table into the documents")
    return parser.parse_args()


def _try_all(mutants: Sequence[Mutant], jobs: int) -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kmq-mutants-") as top:
        copies = [Copy(Path(top, f"copy-{number}")) for number in range(jobs)]
        with ThreadPoolExecutor(jobs) as pool:
            if not _pass_unbroken(sorted({mutant.test for mutant in mutants}), copies, pool):
                return 2
            fates = _tried(mutants, copies, pool)
    survived = [mutant.id for mutant, fate in zip(mutants, fates, strict=True) if not _good(fate)]
    noticed = len(mutants) - len(survived)
    _say(f"{len(mutants)} rules removed: {noticed} noticed, {len(survived)} not", survived)
    _say(f"in {time.monotonic() - began:.0f} s")
    return 1 if survived else 0


def _pass_unbroken(tests: Sequence[str], copies: Sequence[Copy], pool: ThreadPoolExecutor) -> bool:
    shares = [tests[number :: len(copies)] for number in range(len(copies))]
    runs = pool.map(
        lambda copy, share: copy.run(share, limit_s=None) if share else None, copies, shares
    )
    failed = [run for run in runs if run is not None and run.fate is not Fate.SURVIVED]
    for run in failed:
        _say(f"with no rule removed: {run.text}")
    return not failed


def _tried(
    mutants: Sequence[Mutant], copies: Sequence[Copy], pool: ThreadPoolExecutor
) -> list[Fate]:
    free: SimpleQueue[Copy] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def trial(mutant: Mutant) -> Run:
        copy = free.get()
        try:
            return copy.trial(mutant)
        finally:
            free.put(copy)

    fates = []
    for mutant, run in zip(mutants, pool.map(trial, mutants), strict=True):
        fates.append(run.fate)
        _say(f"{mutant.id:<40} {run.fate.value} {run.failed}".rstrip())
        if run.fate is Fate.BROKEN:
            _say(run.text)
    return fates


def _say(text: str, names: Sequence[str] = ()) -> None:
    sys.stdout.write(": ".join([text, *([", ".join(names)] if names else [])]) + "\n")
    sys.stdout.flush()


def _good(fate: Fate) -> bool:
    return fate in {Fate.CAUGHT, Fate.CAUGHT_BY_TIME}


if __name__ == "__main__":
    sys.exit(main())
