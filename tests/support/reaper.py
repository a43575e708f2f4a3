"""Processes that a test starts, none of which outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["ROOT", "Reaper"]

ROOT = Path(__file__).parents[2]


def _unmeasured() -> dict[str, str]:
    # coverage holds a lock of its own while it decides whether to trace a function: a signal handler that runs in that
    # moment, or a child forked in it, waits for ever. These programs are made of such moments.
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


class Reaper:
    r"""Starts Python programs that import this tree's kmq; kills and awaits them at its end.

    >>> with Reaper() as reaper:
    ...     reaper.python("-c", "print(5)").communicate()[0]
    b'5\\n'
    """

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def python(
        self, *args: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()
    ) -> subprocess.Popen[bytes]:
        """Start `python *args`, behind the words of `prefix`, with pipes for input and output."""
        process = subprocess.Popen(
            [*prefix, sys.executable, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_unmeasured(), "PYTHONPATH": str(ROOT), **(env or {})},
            cwd=ROOT,
        )
        self._started.append(process)
        return process
