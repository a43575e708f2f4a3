"""Power cuts at every moment of every scenario, each image recovered and judged.

    python -m tests.powercut [--images N] [--seed S] [--jobs J] [--scenario NAME ...]
    python -m tests.powercut --syncs      leave out each sync of the code once, and find the fault
    python -m tests.powercut --orders     do what the code orders in the wrong order, and find the fault

N says about how many images: it decides how many random mixtures there are of each moment. They lie in TMPDIR for a
moment each; a file system in memory is the fastest. Exit code 0: no violation in the first form, a violation for each
fault in the others.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tests.powercut.faults import ORDERS, SHOWN_BY, nodes_of, without
from tests.powercut.harness import Recording, Result, Violation, run
from tests.powercut.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# With fewer images than that, each scenario gives as many, drawn at random; else all are taken.
_MANY = 10_000
_IMAGES_A_MIXTURE = 500
_LEAST_MIXTURES = 2


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; return the exit code."""
    asked = _parsed(arguments)
    logging.getLogger("kmq").addHandler(logging.NullHandler())  # what it warns of here is meant
    with tempfile.TemporaryDirectory(prefix="power-cuts-") as work:
        if asked.syncs:
            return _find_each(_faulty_syncs(), work, asked.seed)
        if asked.orders:
            return _find_each(_faulty_orders(), work, asked.seed)
        return _try_all(asked.scenario or list(SCENARIOS), asked, work)


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="power_cuts")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--scenario", nargs="*", choices=list(SCENARIOS))
    parser.add_argument("--violations", type=int, default=5, help="where a scenario stops")
    parser.add_argument("--syncs", action="store_true")
    parser.add_argument("--orders", action="store_true")
    return parser.parse_args(arguments)


# All images


def _try_all(names: Sequence[str], asked: argparse.Namespace, work: str) -> int:
    total = Result()
    play = partial(
        _play,
        work=work,
        seed=asked.seed,
        mixtures=max(_LEAST_MIXTURES, asked.images // _IMAGES_A_MIXTURE),
        at_most=max(1, asked.images // len(names)) if asked.images < _MANY else None,
        violations=asked.violations,
    )
    with ProcessPoolExecutor(asked.jobs) as pool:
        for name, result in zip(names, pool.map(play, names), strict=True):
            _say(f"{name}: {result.images:,} images of {result.cuts:,} cuts")
            for violation in result.violations:
                _tell(violation)
            total.add(result)
    _say(
        f"{total.images:,} distinct images, {total.cuts:,} cuts, {len(names)} scenarios, "
        f"{len(total.violations)} violations"
    )
    return bool(total.violations)


def _play(  # noqa: PLR0913 - all that a process of its own must know
    name: str, *, work: str, seed: int, mixtures: int, at_most: int | None, violations: int
) -> Result:
    return run(
        _played(name, work),
        work,
        seed=seed,
        mixtures=mixtures,
        at_most=at_most,
        violations=violations,
    )


def _played(name: str, work: str) -> Recording:
    return Recording.played(name, os.path.join(tempfile.mkdtemp(dir=work), name))


# Faults


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is wrong, the scenario that shows it, how its recording changes, and the sync that it is about."""

    what: str
    scenario: str
    change: Callable[[Recording], Recording]
    site: str = ""


def _faulty_syncs() -> list[_Fault]:
    return [
        _Fault(f"without {site}", scenario, partial(without, site=site), site)
        for site, scenario in SHOWN_BY.items()
    ]


def _faulty_orders() -> list[_Fault]:
    return [_Fault(what, scenario, change) for what, (scenario, change) in ORDERS.items()]


def _find_each(faults: Sequence[_Fault], work: str, seed: int) -> int:
    missed = sum(not _is_seen(fault, work, seed) for fault in faults)
    _say(f"{len(faults)} faults, {missed} not seen")
    return bool(missed)


def _is_seen(fault: _Fault, work: str, seed: int) -> bool:
    recording = _played(fault.scenario, work)
    among = nodes_of(recording, fault.site) if fault.site else None
    result = run(fault.change(recording), work, seed=seed, among=among, violations=1)
    seen = result.violations[0].wrong[0] if result.violations else "NOT SEEN"
    _say(f"{fault.what}: {fault.scenario}, image {result.images:,}: {seen}")
    return bool(result.violations)


def _tell(violation: Violation) -> None:
    _say(f"{violation.recording}, cut before entry {violation.cut}: {'; '.join(violation.wrong)}")
    for line in violation.image:
        _say(f"    {line}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a program that says what it found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
