"""The promise of the whole: what was acknowledged arrives, whoever dies in between.

Eight seconds here, a minute with KMQ_TORTURE_S=60.
"""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.collector import start_collector  # noqa: F401 - a fixture
from tests.support.system import (
    Crew,
    SenderProcess,
    drain,
    make_spool,
    spell,
    take_account,
    tell,
    torture_s,
    trouble,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.collector import CollectorProcess

SHORT_S = 8.0


@pytest.mark.timeout(240 + torture_s(0))
def test_all_that_was_acknowledged_arrives_with_one_unchanged_time(
    tmp_path: Path,
    start_collector: Callable[..., CollectorProcess],  # noqa: F811 - the fixture
) -> None:
    """Four writers and the sender killed at random while the collector fails: nothing lost, nothing changed."""
    spool, rng = make_spool(tmp_path), random.Random()
    collector = start_collector("--keep", "1000000")
    with Crew(spool, tmp_path / "acks") as crew:
        crew.start(4)
        sender, senders = SenderProcess(spool, collector.url), 1
        for _ in spell(torture_s(SHORT_S)):
            chance = rng.random()
            if chance < 0.06:
                crew.kill_one(rng)
                crew.start()
            elif chance < 0.10:
                assert sender.running(), sender.text()
                sender.stop(signal.SIGKILL)
                sender, senders = SenderProcess(spool, collector.url), senders + 1
            elif chance < 0.20:
                trouble(collector, rng)
        # Whatever chance has done before.
        crew.kill_one(rng)
        sender.stop(signal.SIGKILL)
        crew.stop()
    collector.answer()
    drain(spool, collector.url)

    found = take_account(tmp_path / "acks", collector)
    tell(found, f"{crew.started} writers and {senders} senders, killed at random")
    found.check()
    assert found.acknowledged > 100  # else it would have shown nothing
