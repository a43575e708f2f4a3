"""A model of a host on which anything may happen in any order, judged after each step: a bounded run of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model.machine import Host

if TYPE_CHECKING:
    from pathlib import Path

PARTS = 4
EXAMPLES = 12
STEPS = 40


# Some seconds of work; a machine that runs other tests beside it may take its time all the same.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_and_all_comes_to_rest(
    part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails, in whichever order: conservation after each step, liveness at the end of each run."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seed = random.randrange(2**32) + part  # by the seed that pytest prints
    run_state_machine_as_test(
        hypothesis.seed(seed)(Host),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            report_multiple_bugs=False,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
