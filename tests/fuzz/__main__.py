"""`python -m tests.fuzz`: so many inputs, and what came of them in one line; exit code 1 if anything did.

An input is made by its seed and its number, so that `--seed S --first NUMBER --inputs 1` (with the same `--only`) tries
it once more. What was found is kept in `--keep`: the input, and beside it what happened.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from .boss import HANG_S, Order, run
from .worker import KINDS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Try hostile inputs.")
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N")
    parser.add_argument(
        "--seed", type=int, default=None, metavar="S", help="by default another one each time"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes side by side")
    parser.add_argument("--only", choices=[*KINDS, "all"], default="all")
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="of the first input")
    parser.add_argument(
        "--keep", type=Path, default=Path("build/fuzz"), metavar="DIR", help="where findings go"
    )
    parser.add_argument(
        "--hang", type=float, default=HANG_S, metavar="SECONDS", help="an input that takes longer"
    )
    return parser


def main() -> int:
    """Run, tell, and say by the exit code whether anything was found."""
    told = _parser().parse_args()
    seed = random.randrange(10**9) if told.seed is None else told.seed
    order = Order(
        told.inputs, seed, told.jobs, told.only, told.first, told.keep.absolute(), told.hang
    )
    _say(f"seed {seed}, {told.jobs} process{'es' if told.jobs > 1 else ''}, target {told.only}")
    report = run(order, _say)
    _say(
        f"{report.inputs.total() / report.seconds:,.0f} inputs a second for {report.seconds:,.0f} s"
    )
    if not report.clean:
        _say(f"first found by input {report.first_at:,}; kept in {order.folder}")
    _say(report.text())
    return 0 if report.clean else 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
