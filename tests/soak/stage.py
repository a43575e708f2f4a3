"""Where a soak takes place: a folder, a collector, and programs that start in milliseconds and never outlive it.

Owns how each program is started and how it may end. Knows nothing about when. All of them, the collector too, are
children of one zygote, which ends them when it loses whoever asked for it.
"""

from __future__ import annotations

import itertools
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.support.collector import Collector, port_in
from tests.support.hand import MAX_SPOOL
from tests.support.spools import make_spool
from tests.support.system import KEY
from tests.support.wait import wait_until
from tests.support.zygote import Child, Zygote

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["REPLAY_KEY", "Broken", "Running", "Stage"]

REPLAY_KEY: Final = "0" * 40
KEPT: Final = (
    200_000  # requests that the collector remembers; those of a moment are taken over each time
)
KMQ_SENDER: Final = "tests.support.programs:kmq_sender"
HURRIED: Final = "tests.support.programs:hurried_sender"
WRITER: Final = "tests.support.hand:main"


class Broken(Exception):  # noqa: N818 - it is what was found
    """A process did what it never may: it ended by itself, badly, or would not end."""


@dataclass(frozen=True, slots=True)
class Running:
    """A program that runs: what it is called, and where its words go."""

    name: str
    child: Child
    log: str

    def kill(self) -> None:
        """Kill it with SIGKILL; it must have run until then."""
        self.child.kill()
        self._must_end_with({-signal.SIGKILL})

    def end(self, fine: Collection[int] = (0,), timeout_s: float = 60.0) -> str:
        """Wait for its end, which must be one of the `fine` ones; return what it said."""
        self.child.wait(timeout_s)
        said = self.said()
        self._must_end_with(fine)
        return said

    def said(self) -> str:
        """Return what it has said."""
        return Path(self.log).read_text("utf-8", "replace") if os.path.exists(self.log) else ""

    def _must_end_with(self, fine: Collection[int]) -> None:
        code = self.child.wait()
        if code not in fine:
            raise Broken(f"{self.name} ended with {code}: {self.said()[-2_000:]}")
        Path(self.log).unlink(missing_ok=True)  # it may have died before it had one


class Stage(Collector):
    """The folder of a soak, and what runs there; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spool = make_spool(folder / "spool").path
        self.acks = folder / "acks"
        self.acks.mkdir()
        self._logs = itertools.count(1)

    def writer(self, *ways: str) -> Running:
        """Start a writer that records in these ways."""
        cap = {"KMQ_MAX_SPOOL": str(MAX_SPOOL)}
        return self._start("writer", WRITER, self.spool, str(self.acks), *ways, environ=cap)

    def sender(self, commit_every_s: str, retention: str) -> Running:
        """Start a sender that writes a checkpoint, and keeps what was delivered, so long."""
        return self._start("sender", HURRIED, commit_every_s, "run", *self._to_run(retention))

    def drain(self) -> Running:
        """Start a sender that ends when all that is there is delivered or rejected, and keeps nothing."""
        return self._start("drain", KMQ_SENDER, "run", *self._to_run("0s"), "--drain")

    def resend(self) -> Running:
        """Start an operator who sends again what was rejected."""
        return self._start("resend", KMQ_SENDER, "rejected", "resend", "--all", *self._where())

    def verify(self, *options: str) -> Running:
        """Start an operator who checks the spool."""
        return self._start(
            "verify", KMQ_SENDER, "verify", "--json", "--spool", self.spool, *options
        )

    def replay(self) -> Running:
        """Start an operator who sends all again, under a key by which it is known."""
        key = {"KMQ_API_KEY": REPLAY_KEY}
        return self._start("replay", KMQ_SENDER, "replay", "--yes", *self._where(), environ=key)

    def __enter__(self) -> Self:
        self._zygote = Zygote("tests.support.hand", "tests.support.programs").__enter__()
        try:
            self.port = self._listening()
        except BaseException:
            self._zygote.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._zygote.__exit__()

    def _listening(self) -> int:
        options = ("--listen", "127.0.0.1:0", "--keep", str(KEPT))
        collector = self._start("collector", KMQ_SENDER, "collector", *options)
        wait_until(lambda: "\n" in collector.said(), what="a collector")
        port = port_in(collector.said())
        if port is None:
            raise Broken(f"the collector did not start: {collector.said()}")
        return port

    def _to_run(self, retention: str) -> list[str]:
        size = ["--max-spool", str(MAX_SPOOL)]
        return [*self._where(), "--retention-age", retention, *size]

    def _where(self) -> list[str]:
        return ["--spool", self.spool, "--url", self.url]

    def _start(
        self, name: str, program: str, *arguments: str, environ: dict[str, str] | None = None
    ) -> Running:
        log = str(self.folder / f"{name}-{next(self._logs)}.log")
        own = environ or {"KMQ_API_KEY": KEY}
        return Running(name, self._zygote.start(program, *arguments, output=log, environ=own), log)
