"""What an append costs with what one would take instead of kmq: each as its own documentation shows it.

Owns how each is set up and called. Each is measured in a process of its own, beside the bare write and beside kmq, so
that its threads and handlers disturb no other; `python -m benchmarks.peers NAME FOLDER ROUNDS SECONDS` is that process.
What is not installed, or fails, is a row that says so.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .calls import NAME, PERSON, PROPERTIES, bare_write, line_of, make_spool, recording
from .context import environment
from .harness import interleave, ratio
from .values import Row, at_least, missing

if TYPE_CHECKING:
    from .context import Context

__all__ = ["run"]

_TIMEOUT_S: Final = 120.0
_GIVEN: Final = PROPERTIES[2]
_NOBODY: Final = "http://127.0.0.1:9"  # nothing is sent: only the call is measured

Repeat = Callable[[int], None]


def run(context: Context) -> list[Row]:
    """Measure every peer, and say how the cheapest of them stands to kmq."""
    rows = [_row(context, name) for name in PEERS]
    known = {row.what: row.parts["times record"] for row in rows if row.value is not None}
    if not known:
        return [*rows, missing("peers-cheapest", "the cheapest peer", "x", "no peer was measured")]
    cheapest = min(known, key=lambda name: known[name])
    return [
        *rows,
        Row(
            "peers-cheapest",
            f"the cheapest peer ({cheapest}) against `record`, 2 properties",
            known[cheapest],
            "x",
            bound=at_least(1.0),
        ),
    ]


def _row(context: Context, name: str) -> Row:
    context.say(f"  {name}")
    what = PEERS[name][0]
    with context.room(f"peer-{name}") as folder:
        words = [name, str(folder), str(context.scale.rounds), str(context.scale.round_s)]
        try:
            told = subprocess.run(
                [sys.executable, "-m", "benchmarks.peers", *words],
                env=environment(),
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return missing(f"peer-{name}", what, "x", f"was not done after {_TIMEOUT_S:.0f} s")
    if told.returncode != 0:
        return missing(f"peer-{name}", what, "x", _why(told.stderr.decode(errors="replace")))
    cpu, wall = json.loads(told.stdout)
    found = ratio(cpu["peer"], cpu["bare"])
    return Row(
        f"peer-{name}",
        what,
        found.value,
        "x",
        found.spread,
        {
            "us of CPU": min(cpu["peer"]) * 1e6,
            "us by the wall": min(wall["peer"]) * 1e6,
            "bare write, us of CPU": min(cpu["bare"]) * 1e6,
            "times record": min(cpu["peer"]) / min(cpu["record"]),
        },
    )


def _why(said: str) -> str:
    last = (said.strip().splitlines() or ["it failed, and said nothing"])[-1]
    return "not installed" if last.startswith("ModuleNotFoundError") else last


# Peers


def _event() -> dict[str, Any]:
    return {"_p": PERSON, "_t": int(time.time()), "_n": NAME, **_GIVEN}


def _each(call: Callable[[], object], after: Callable[[], object] = lambda: None) -> Repeat:
    def repeat(number: int) -> None:
        for _ in range(number):
            call()
        after()

    return repeat


def _naive(folder: Path) -> Repeat:
    fd = os.open(folder / "naive", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return _each(lambda: os.write(fd, json.dumps(_event()).encode() + b"\n"))


def _filelock(folder: Path) -> Repeat:
    lock = importlib.import_module("filelock").FileLock(folder / "events.lock")
    fd = os.open(folder / "events", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def append() -> None:
        with lock:
            os.write(fd, json.dumps(_event()).encode() + b"\n")

    return _each(append)


def _structlog(folder: Path) -> Repeat:
    structlog = importlib.import_module("structlog")
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=(folder / "log").open("at")),
        cache_logger_on_first_use=True,
    )
    log = structlog.get_logger()
    return _each(lambda: log.info(NAME, person=PERSON, **_GIVEN))


def _logging(folder: Path) -> Repeat:
    log = logging.getLogger("events")
    log.propagate = False
    log.setLevel(logging.INFO)
    handler = logging.FileHandler(folder / "log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    return _each(lambda: log.info("%s", json.dumps(_event())))


def _sqlite(folder: Path) -> Repeat:
    connection = sqlite3.connect(folder / "events.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, event TEXT)")
    insert = "INSERT INTO events (event) VALUES (?)"
    return _each(lambda: connection.execute(insert, (json.dumps(_event()),)))


def _litequeue(folder: Path) -> Repeat:
    queue = importlib.import_module("litequeue").LiteQueue(str(folder / "queue.db"))
    return _each(lambda: queue.put(json.dumps(_event())))


def _diskcache(folder: Path) -> Repeat:
    queue = importlib.import_module("diskcache").Deque(directory=str(folder / "deque"))
    return _each(lambda: queue.append(_event()))


def _persist_file(folder: Path) -> Repeat:
    queue = importlib.import_module("persistqueue").Queue(str(folder / "queue"))
    return _each(lambda: queue.put(_event()))


def _persist_sqlite(folder: Path) -> Repeat:
    made = importlib.import_module("persistqueue").SQLiteQueue
    queue = made(str(folder / "queue.db"), auto_commit=True)
    return _each(lambda: queue.put(_event()))


def _huey(folder: Path) -> Repeat:
    huey = importlib.import_module("huey").SqliteHuey(filename=str(folder / "huey.db"))

    def send(event: dict[str, Any]) -> None:
        """Stand for the task that would send it; no consumer runs here."""

    task = huey.task()(send)
    return _each(lambda: task(_event()))


def _segment(_: Path) -> Repeat:
    analytics = importlib.import_module("segment.analytics.client")
    client = analytics.Client("key", host=_NOBODY, max_queue_size=0, thread=0)
    # What nobody takes out of the queue would only fill the memory.
    return _each(lambda: client.track(PERSON, NAME, dict(_GIVEN)), client.queue.queue.clear)


def _posthog(_: Path) -> Repeat:
    made = importlib.import_module("posthog").Posthog
    client = made("key", host=_NOBODY, max_queue_size=0, thread=0)
    lanes = [one for one in vars(client).values() if hasattr(one, "queue")]

    def clear() -> None:
        for lane in lanes:
            lane.queue.queue.clear()

    return _each(lambda: client.capture(NAME, distinct_id=PERSON, properties=dict(_GIVEN)), clear)


PEERS: Final[dict[str, tuple[str, Callable[[Path], Repeat]]]] = {
    "naive": ("`json.dumps` and `os.write`", _naive),
    "structlog": ("structlog to a file", _structlog),
    "logging": ("`logging.FileHandler`", _logging),
    "sqlite": ("sqlite, WAL, one insert", _sqlite),
    "segment": ("segment analytics, into memory", _segment),
    "litequeue": ("litequeue", _litequeue),
    "posthog": ("posthog, into memory", _posthog),
    "diskcache": ("diskcache `Deque`", _diskcache),
    "persist-file": ("persist-queue, files", _persist_file),
    "persist-sqlite": ("persist-queue, sqlite", _persist_sqlite),
    "huey": ("huey on sqlite", _huey),
    "filelock": ("`filelock` around each write", _filelock),
}


def main() -> None:
    """Measure one peer, beside the bare write and kmq, and print the times of all rounds."""
    name, where, rounds, round_s = sys.argv[1:]
    folder = Path(where)
    logging.disable(logging.DEBUG)
    record = recording(make_spool(folder / "spool"), _GIVEN)
    bare = bare_write(folder / "bare", line_of(folder / "spool"))
    own = folder / "peer"
    own.mkdir()
    subjects = {"bare": bare, "record": record, "peer": PEERS[name][1](own)}
    samples = interleave(subjects, rounds=int(rounds), round_s=float(round_s))
    cpu = {one: sample.cpu for one, sample in samples.items()}
    wall = {one: sample.wall for one, sample in samples.items()}
    sys.stdout.write(json.dumps([cpu, wall]))
    sys.stdout.flush()
    # No goodbye: some peers would now try to send what they hold.
    os._exit(0)


if __name__ == "__main__":
    main()
