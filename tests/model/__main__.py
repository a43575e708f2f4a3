"""The long run of the model: as many runs of a simulated host as asked for, each of as many steps.

    python -m tests.model --examples N --steps M [--seed S] [--minutes T]

With --minutes it goes on, N examples at a time, each time from another seed, until the time is over. It says what it
came to. A violation ends it with the steps that lead there, and exit code 1.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
import traceback

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Host, ran


def main() -> int:
    """Run, and say what came of it."""
    asked = _asked()
    logging.getLogger("kmq").addHandler(logging.NullHandler())
    began = time.monotonic()
    seed = random.randrange(2**32) if asked.seed is None else asked.seed
    violation = False
    while not violation:
        violation = not _runs_well(seed, asked.examples, asked.steps)
        if time.monotonic() - began >= 60 * asked.minutes:
            break
        seed += 1
    figures = ", ".join(f"{count:,} {what}" for what, count in ran.items())
    sys.stdout.write(
        f"{figures}; {int(violation)} violations, in {time.monotonic() - began:,.0f} s\n"
    )
    return int(violation)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.model")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--minutes", type=float, default=0.0)
    return parser.parse_args()


def _runs_well(seed: int, examples: int, steps: int) -> bool:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(Host), settings=chosen)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what was found
        sys.stderr.write(f"seed {seed}:\n")
        traceback.print_exception(error)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
