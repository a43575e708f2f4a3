"""Programs that are measured from outside: how they are started, what they use, and that none outlives its measurement.

Owns a process and the kernel's figures of it. Knows nothing about what it does.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from .context import environment

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Ended", "Program", "sender", "wait_for"]

_CPU_OF_A_PROCESS: Final = 2
_END_S: Final = 20.0


class Ended(Exception):  # noqa: N818 - it is what was found
    """A program that should run has ended; the text is what it said last."""


class Program:
    """A running program; a context manager that kills it."""

    def __init__(self, *words: str, environ: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *words],
            env=environment(**(environ or {})),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.pid = self._process.pid
        # The number of a clock that counts the CPU time of one process, all threads, as clock_getcpuclockid makes it.
        self._clock = (~self.pid << 3) | _CPU_OF_A_PROCESS

    def cpu_s(self) -> float:
        """Return the seconds of CPU that it has used since its start."""
        self.must_run()
        return time.clock_gettime(self._clock)

    def peak_bytes(self) -> int:
        """Return how much memory it has taken at most."""
        text = Path(f"/proc/{self.pid}/status").read_text("ascii", "replace")
        found = re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
        return int(found[1]) << 10 if found else 0

    def pause(self) -> None:
        """Let it stand still until `go_on`."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def must_run(self) -> None:
        """Raise `Ended` where it has ended."""
        if self._process.poll() is not None:
            said = self._process.stderr.read() if self._process.stderr else b""
            raise Ended(_last(said) or f"ended with {self._process.returncode}")

    def stop(self, timeout_s: float = _END_S) -> None:
        """Close its standard input, which is how those that read it are told to end, and wait for that."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait(timeout_s)

    def terminate(self, timeout_s: float = _END_S) -> None:
        """Ask it to end, and wait for that."""
        self._process.terminate()
        self._process.wait(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(_END_S)
        for stream in (self._process.stdin, self._process.stderr):
            if stream:
                stream.close()


def _last(said: bytes) -> str:
    last = (said.decode(errors="replace").strip().splitlines() or [""])[-1]
    return "not installed" if last.startswith("ModuleNotFoundError") else last


def sender(  # noqa: PLR0913 - the options of a command, by their names
    spool: str,
    url: str,
    *,
    transport: str = "curl",
    in_flight: int = 32,
    ca_file: str | None = None,
    options: tuple[str, ...] = (),
) -> Program:
    """Start a sender, as a user would."""
    words = ["--spool", spool, "--url", url, "--transport", transport]
    words += ["--max-in-flight", str(in_flight), "--log-level", "error", *options]
    if ca_file is not None:
        words += ["--ca-file", ca_file]
    return Program("-m", "sender.cli", "run", *words, environ={"KMQ_API_KEY": "0123456789abcdef"})


def wait_for(true: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait until `true()`; raise `Ended` where that takes too long."""
    until = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > until:
            raise Ended(f"{what} did not come within {timeout_s:.0f} s")
        time.sleep(0.01)
