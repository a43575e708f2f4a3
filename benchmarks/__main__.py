"""`python -m benchmarks`: measure, and say what came of it.

    python -m benchmarks                      # all, as published: about a quarter of an hour
    python -m benchmarks --scale quick        # all, in two minutes
    python -m benchmarks append commit        # some groups
    python -m benchmarks --list

Prints each group when it is done. `--json FILE` keeps the result; `--publish` writes it into the tree, with the tables
and plots of docs/performance.md. Exit 0 also where a bound was not kept: this measures, it does not judge a change.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .context import Context, folder_for
from .groups import GROUPS, TITLES
from .machine import describe
from .publish import publish, redraw
from .report import in_terminal
from .scale import SCALES
from .values import Result, to_json

if TYPE_CHECKING:
    from .values import Row


def main() -> int:
    """Run as the command line says."""
    asked = _asked()
    if asked.list:
        _say("\n".join(f"{name:<10} {TITLES[name]}" for name in GROUPS))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    if asked.redraw:
        redraw()
        return 0
    with folder_for(asked.folder) as folder:
        context = Context(SCALES[asked.scale], folder, _say)
        machine = describe(str(folder))
        _say("  ".join(f"{name}: {value}" for name, value in machine.items()))
        found = {name: _measured(name, context) for name in GROUPS if name in asked.groups}
    result = Result(machine, asked.scale, found)
    judged = [row.met for row in result.rows() if row.met is not None]
    _say(f"{len(judged)} bounds, {judged.count(True)} kept")
    if asked.json:
        Path(asked.json).write_text(to_json(result), "utf-8")
    if asked.publish:
        publish(result)
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--json", metavar="FILE", help="where the result goes")
    parser.add_argument("--publish", action="store_true", help="write results.json and docs/")
    parser.add_argument("--redraw", action="store_true", help="measure nothing; make docs/ anew")
    parser.add_argument("--folder", help="on which disk; default: where temporary files go")
    parser.add_argument("--list", action="store_true", help="name the groups")
    asked = parser.parse_args()
    unknown = set(asked.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    asked.groups = asked.groups or list(GROUPS)
    return asked


def _measured(name: str, context: Context) -> list[Row]:
    _say(f"\n{TITLES[name]} ({name})")
    began = time.monotonic()
    rows = GROUPS[name](context)
    _say(f"{in_terminal(rows)}  {time.monotonic() - began:.1f} s")
    return rows


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
