"""The system for tests: real senders as processes, and the moods of the API.

    with SenderProcess(spool, collector.url) as sender:
        ...
        sender.send(signal.SIGKILL)
        assert sender.wait() == -signal.SIGKILL

A `SenderProcess` ends with its `with`, by its own number.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.support.oracle import Oracle
from tests.support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from tests.support.collector import Collector
    from tests.support.oracle import Findings

__all__ = [
    "KEY",
    "ROOT",
    "SenderProcess",
    "acknowledged",
    "came_as",
    "drain",
    "environ",
    "make_spool",
    "take_account",
    "trouble",
    "unmeasured",
]

ROOT = Path(__file__).parents[2]
KEY = "4f2a91c34f2a91c34f2a91c34f2a91c34f2a91c3"
END_S = 60.0

_numbers = itertools.count(1)

_MOODS: Sequence[Mapping[str, object]] = (
    {"status": 503, "for_s": 1.0},
    {"status": 500, "count": 20},
    {"status": 429, "retry_after": 1, "count": 3},
    {"drop": True, "for_s": 1.0},
    {"drop": True, "count": 10},
    {"delay_s": 0.3, "for_s": 0.6},
    {"status": 400, "count": 10},
    {},
)


def make_spool(tmp_path: Path, name: str = "spool") -> str:
    """Make an empty spool directory, which needs no group kmq even as root; return its path."""
    path = tmp_path / name
    path.mkdir(mode=0o770)
    return str(path)


def unmeasured() -> dict[str, str]:
    """Return the environment of a process whose coverage is not taken.

    coverage holds a lock of its own while it decides whether to trace a function; a signal handler that runs in
    that moment, or a child forked in it, waits for that lock for ever. A soak meets the moment sooner or later.
    """
    return {name: value for name, value in environ().items() if not name.startswith("COVERAGE_")}


def environ(**more: str) -> dict[str, str]:
    """Return the environment of a process: this one's, without settings of kmq, and with the repository's modules."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KMQ_")}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **more}


class SenderProcess:
    """`kmq-sender run` on a spool, its log in JSON beside the spool.

    `program` replaces `-m sender.cli`, for a start that changes something first; `prefix` is put before the
    interpreter, for a tracer; with `key=None` it has no API key.
    """

    def __init__(
        self,
        spool: str,
        url: str,
        *options: str,
        key: str | None = KEY,
        program: Sequence[str] = ("-m", "sender.cli"),
        prefix: Sequence[str] = (),
    ) -> None:
        self.log_path = f"{spool}.sender-{next(_numbers)}.log"
        arguments = ["run", "--spool", spool, "--url", url, "--log-format", "json", *options]
        with open(self.log_path, "wb") as log:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, *program, *arguments],
                env=environ(**({} if key is None else {"KMQ_API_KEY": key})),
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def text(self) -> str:
        """Return all that it has written to its log and its terminal."""
        return Path(self.log_path).read_text("utf-8")

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the lines of its log, of one event or of all."""
        lines = [line for line in self.text().splitlines(keepends=True) if line.endswith("}\n")]
        events: list[dict[str, Any]] = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in events if event is None or line["event"] == event]

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait until `event` stands in its log; return the first such line."""
        lines = wait_until(lambda: self.log(event), what=f"{event} in {self.text()}")
        return lines[0]

    def send(self, number: int) -> None:
        """Send it a signal; nothing where it has ended."""
        self._process.send_signal(number)

    def running(self) -> bool:
        """Say whether it still runs."""
        return self._process.poll() is None

    def wait(self, timeout_s: float = END_S) -> int:
        """Wait until it has ended; return its exit code, minus the signal's number where one killed it."""
        return self._process.wait(timeout_s)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        self.send(number)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # by its number, and only while it has not been waited for
        self._process.wait(END_S)


def drain(spool: str, url: str, *options: str, key: str = KEY) -> SenderProcess:
    """Run `kmq-sender run --drain` to its end, which must be a good one."""
    with SenderProcess(spool, url, "--drain", *options, key=key) as sender:
        assert sender.wait() == 0, sender.text()
    return sender


def came_as(request: Mapping[str, Any]) -> str:
    """Return a request of the collector's memory, byte for byte."""
    return f"{request['path']}?{request['raw']}"


def take_account(acks: Path, collector: Collector) -> Findings:
    """Compare the notes of all writers with all that the collector remembers; everything must have arrived."""
    oracle = Oracle()
    for person in acknowledged(acks):
        oracle.acknowledged(person)
    for came in collector.requests():
        person = came["params"]["_p"]
        if (acks / person.rpartition("-")[0]).exists():
            oracle.tried(
                person
            )  # one that a writer called for and was killed before it could note it, perhaps
        oracle.arrived(person, came_as(came), delivered=came["answer"] == 200)
    return oracle.judge()


def acknowledged(acks: Path) -> list[str]:
    """Return what all writers noted below `acks`; a note that a kill has cut is none."""
    notes = [path.read_text("ascii") for path in acks.iterdir()]
    return [line for text in notes for line in text.split("\n")[:-1]]


def trouble(collector: Collector, rng: random.Random) -> None:
    """Let the collector answer otherwise for a moment, or drop connections, or be slow, or well."""
    collector.answer(**rng.choice(_MOODS))
