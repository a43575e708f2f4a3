"""A model of a host on which anything may happen in any order, judged after each step: a bounded run of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.reliability.machine import Host

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

EXAMPLES = 80
STEPS = 40


def test_nothing_is_lost_and_all_comes_to_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails, in whichever order: conservation after each step, liveness at the end of each run."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run_state_machine_as_test(
        Host,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            report_multiple_bugs=False,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
