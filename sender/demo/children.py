"""Processes of the show's own: started, watched, killed by their numbers, and none left behind.

Owns how they are started and that they end with the `with`. Knows nothing about what they do. They run in the show's
folder and in sessions of their own, so that Ctrl-C reaches the show alone, which ends them in their order. No
setting of whoever runs the show reaches them: no `KMQ_` variable, and no proxy on the way to this machine itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final, Self

import kmq

from .telling import ShowFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Child", "Children"]

_WORDS: Final = 600


class Child:
    """A process; what it says, on both streams, goes into a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: str) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def ended(self) -> int | None:
        """Return its exit code, minus the signal that killed it; None while it runs."""
        return self._process.poll()

    def said(self) -> str:
        """Return all that it has said up to now."""
        with open(self._log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self) -> None:
        """End it with SIGKILL, which it cannot notice, and wait until it is gone."""
        self._process.kill()
        self._process.wait()
        self.release()

    def terminate(self) -> None:
        """Ask it to end with SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def release(self) -> None:
        """Close its standard input: a writer that is done then ends."""
        if self._process.stdin is not None:  # pragma: no branch - it was started with a pipe
            self._process.stdin.close()

    def must_run(self) -> None:
        """Raise `ShowFailed` unless it runs."""
        if self.ended() is not None:
            raise self.failed(f"ended with {self.ended()}")

    def failed(self, how: str) -> ShowFailed:
        """Return the error that says how it failed, and what it said at last."""
        return ShowFailed(
            f"the {self.name} {how}: {self.said().strip()[-_WORDS:] or 'it said nothing'}"
        )


class Children:
    """All processes of a show; a context manager."""

    def __init__(self, home: str, settings: Mapping[str, str]) -> None:
        self._home = home
        self._environ = _environ(settings)
        self._all: list[Child] = []

    def start(self, name: str, *arguments: str) -> Child:
        """Start Python with `arguments`, under a `name` for people."""
        log = os.path.join(self._home, f"{len(self._all)}.log")
        with open(log, "wb") as file:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter, with our own arguments
                [sys.executable, *arguments],
                cwd=self._home,
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._all.append(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Without asking: whoever still runs here belongs to a show that failed, and its files go with it.
        for child in self._all:
            child.kill()


def _environ(settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _is_foreign(name)}
    # They run the same kmq as the show itself does, wherever that lies.
    own = os.path.dirname(os.path.dirname(os.path.abspath(kmq.__file__)))
    paths = [own, *filter(None, [kept.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), **settings}


def _is_foreign(name: str) -> bool:
    return (
        name.startswith("KMQ_")
        or name.upper().endswith("_PROXY")
        or name == "CREDENTIALS_DIRECTORY"
    )
