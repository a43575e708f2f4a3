"""`python -m tests.soak`: kill writers and the sender for as long as asked, and judge.

    python -m tests.soak --kills 10000 [--seed S]
    python -m tests.soak --minutes 60 [--writers N] [--pace KILLS_A_SECOND]

Exit 0 if the promise held, 1 if not: then the spool is kept, and it says where. Ctrl-C ends it well, with a judgement.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from .soak import Plan, Soak
from .stage import Broken, Stage


def main() -> int:
    """Run as the command line says."""
    plan = _plan()
    folder = Path(tempfile.mkdtemp(prefix="kmq-soak-"))
    _say(f"seed {plan.seed}, in {folder}")
    try:
        with Stage(folder) as stage:
            soak = Soak(plan, stage, say=_say)
            signal.signal(signal.SIGINT, lambda *_: setattr(soak, "stopping", True))
            signal.signal(signal.SIGTERM, lambda *_: setattr(soak, "stopping", True))
            report = soak.run()
            _say(str(report))
            report.check()
    except (AssertionError, Broken) as error:
        _say(f"BROKEN: {error}\nthe spool is kept in {folder}; the seed was {plan.seed}")
        return 1
    shutil.rmtree(folder)
    return 0


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="at least so many")
    parser.add_argument("--minutes", type=float, default=0.0, help="at least so long")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--writers", type=int, default=Plan().writers)
    parser.add_argument("--pace", type=float, default=Plan().pace, help="kills a second, at most")
    asked = parser.parse_args()
    if not asked.kills and not asked.minutes:
        parser.error("name --kills or --minutes")
    return Plan(asked.kills, asked.minutes * 60, asked.seed, asked.writers, asked.pace)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
