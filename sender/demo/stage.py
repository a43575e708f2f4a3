"""The stage: the show's folder, its processes, and how everything waits for something to come true.

Owns where things lie, how each part is started, and the one place where the show waits, which is also where it notices
that somebody wants it to end. Knows nothing about the order of acts.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, TypeVar

from .stand_in import StandIn, port_in
from .telling import ShowFailed, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from .children import Child, Children
    from .telling import Teller, Tone

__all__ = ["KEY", "WAIT_S", "Stage"]

KEY: Final = "demo-key"
WAIT_S: Final = 20.0
"""How long the show waits for anything that should take a moment."""

_LOOK_S: Final = 0.02
_LOCK: Final = "/writer.lock"

T = TypeVar("T")


class Stage:
    """What the acts share. `stopped` says whether the show is to end; `tell` gets what happens."""

    def __init__(
        self, home: str, children: Children, tell: Teller, stopped: Callable[[], bool]
    ) -> None:
        self.spool = spool_in(home)
        self._home = home
        self._children = children
        self._tell = tell
        self._stopped = stopped
        self._began = time.monotonic()
        self._acks: list[str] = []

    def now(self) -> float:
        """Return the seconds since the show began."""
        return time.monotonic() - self._began

    def happened(self, who: str, what: str, tone: Tone = "plain") -> None:
        """Tell what has just happened."""
        self._tell.happened(self.now(), who, what, tone)

    def wait_for(
        self, condition: Callable[[], T | None], what: str, *alive: Child, timeout_s: float = WAIT_S
    ) -> T:
        """Return the first true value of `condition`.

        Raises `ShowFailed` after `timeout_s`, or when one of `alive` ends; `Stopped` when the show is to end.
        """
        until = time.monotonic() + timeout_s
        while not (value := condition()):
            for child in alive:
                child.must_run()
            if time.monotonic() > until:
                raise ShowFailed(f"waited {timeout_s:.0f} s in vain until {what}")
            self._pause(_LOOK_S)
        return value

    def wait_till(self, moment_s: float) -> None:
        """Wait until so many seconds have passed since the show began."""
        while (rest := moment_s - self.now()) > 0:
            self._pause(min(rest, _LOOK_S))

    def ended_well(self, child: Child, timeout_s: float = WAIT_S) -> None:
        """Wait until `child` ends, and raise `ShowFailed` unless it does so with 0."""
        self.wait_for(
            lambda: child.ended() is not None, f"the {child.name} ends", timeout_s=timeout_s
        )
        if child.ended():
            raise child.failed(f"ended with {child.ended()}")

    # The parts

    def start_collector(self) -> tuple[Child, StandIn]:
        """Start a collector on a free port, and wait until it listens."""
        # It keeps everything: the account at the end is taken from what it remembers.
        child = self._children.start(
            "collector",
            "-m",
            "sender.cli",
            "collector",
            "--listen",
            "127.0.0.1:0",
            "--keep",
            "10000000",
        )
        port = self.wait_for(lambda: port_in(child.said()), "the collector listens", child)
        return child, StandIn(port)

    def start_sender(self, url: str, *options: str) -> Child:
        """Start a sender on the spool."""
        return self._children.start(
            "sender", "-m", "sender.cli", "run", "--spool", self.spool, "--url", url, *options
        )

    def start_program(self, program: str) -> Child:
        """Start a process that runs `program`, as an app's would."""
        return self._children.start("app", "-c", program)

    def start_writer(self, number: int, count: int, seconds: float) -> Child:
        """Start writer `number`, which records `count` commands over so many seconds."""
        acks = os.path.join(self._home, f"{number}.acks")
        self._acks.append(acks)
        return self._children.start(
            f"writer {number}",
            "-m",
            "sender.demo.writer",
            acks,
            str(number),
            str(count),
            f"{seconds:.3f}",
        )

    # What can be seen from outside

    def acknowledged(self, number: int | None = None) -> list[str]:
        """Return the commands whose calls have returned, of one writer or of all."""
        paths = self._acks if number is None else [os.path.join(self._home, f"{number}.acks")]
        return [command for path in paths for command in _lines(path)]

    def checkpoint(self) -> int:
        """Return when the newest checkpoint was written, in nanoseconds; 0 before the first."""
        try:
            return os.stat(os.path.join(self.spool, "checkpoint.json")).st_mtime_ns
        except FileNotFoundError:
            return 0

    def partition_of(self, writer: Child) -> str | None:
        """Return the name of the partition that `writer` holds: its lock is among its open files."""
        try:
            for fd in os.listdir(f"/proc/{writer.pid}/fd"):
                path = os.readlink(f"/proc/{writer.pid}/fd/{fd}")
                if path.startswith(self.spool) and path.endswith(_LOCK):
                    return os.path.basename(os.path.dirname(path))
        except FileNotFoundError:  # closed, or the process ended, while we looked
            pass
        return None

    def _pause(self, seconds: float) -> None:
        if self._stopped():
            raise Stopped
        time.sleep(seconds)


def spool_in(home: str) -> str:
    """Return where the show's spool lies in its folder."""
    return os.path.join(home, "spool")


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().splitlines()
    except FileNotFoundError:  # a writer that has only just been started
        return []
