"""The torture that the rules of writing came from: adoption, kills and removal at once, against a real sender.

Retention is nothing, so that the sender removes every partition that nobody holds as soon as it is delivered, while
writers adopt, fork, die, call from eight threads and are interrupted by their own signal handlers. Eight seconds
here, a minute with KMQ_TORTURE_S=60.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from kmq.spool import Spool, partitions
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
)
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.collector import CollectorProcess

SHORT_S = 8.0

# A start that writes twenty checkpoints a second: what is covered can be removed, and that is the torture.
EAGER = (
    "-c",
    "import sender.daemon; sender.daemon._COMMIT_EVERY_S = 0.05; from sender.cli import main; main()",
)


@pytest.mark.timeout(240 + torture_s(0))
def test_writers_lose_nothing_while_all_is_taken_away_from_them(
    tmp_path: Path,
    start_collector: Callable[..., CollectorProcess],  # noqa: F811 - the fixture
) -> None:
    """Adopted, killed, removed under, forked, re-entered, eight threads: what was acknowledged arrives, unchanged."""
    spool, rng = make_spool(tmp_path), random.Random()
    seen: set[str] = set()
    collector = start_collector("--keep", "1000000")
    with Crew(spool, tmp_path / "acks", "threads", "signals", "forks") as crew:
        crew.start(3)
        with SenderProcess(spool, collector.url, "--retention-age", "0s", program=EAGER) as sender:
            for _ in spell(torture_s(SHORT_S)):
                seen |= set(partitions(Spool(spool)))
                if rng.random() < 0.12:
                    crew.kill_one(rng)
                    crew.start()
            crew.kill_one(rng)
            crew.stop()
            # However slow this machine is: removal did take part.
            wait_until(lambda: seen - set(partitions(Spool(spool))), what=sender.log_path)
            assert sender.stop() == 0, sender.text()
    drain(spool, collector.url)

    found = take_account(tmp_path / "acks", collector)
    tell(
        found,
        f"{crew.started} writers, {len(seen - set(partitions(Spool(spool)))):,} partitions removed",
    )
    found.check()
    assert found.acknowledged > 100  # else it would have shown nothing
