"""Real writer processes that put down, one by one, which of their commands were acknowledged.

Each command is a record of the event `n` with a property `id` that no other has. After the call returned its id is
appended to the process's own file with one write, so that whatever dies whenever, a line there means: the call
returned.

    python tests/support/writers.py SPOOL ACKNOWLEDGED NAME KIND COUNT      (COUNT 0: until it is killed)

Kinds: `plain` (one thread), `durable` (with sync), `storm` (eight threads, a signal handler that records in the middle
of calls, and children that are forked and record).
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from kmq import Client

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.reaper import Reaper

__all__ = ["WriterProcess", "acknowledged"]


class WriterProcess:
    """A process that records until it is done, or killed."""

    _numbers = itertools.count()

    def __init__(
        self, reaper: Reaper, spool: Path, folder: Path, *, kind: str = "plain", count: int = 0
    ) -> None:
        name = f"{os.getpid()}-{next(self._numbers)}"
        self.acknowledged = folder / f"{name}.acknowledged"
        self.process: subprocess.Popen[bytes] = reaper.python(
            __file__, str(spool), str(self.acknowledged), name, kind, str(count)
        )

    def ids(self) -> list[str]:
        """Return what it has been told is in the spool, so far.

        SIGKILL can end a write at the boundary of two pages, here as in the spool: what has no newline says nothing.
        """
        return self.acknowledged.read_text().split("\n")[:-1] if self.acknowledged.exists() else []

    def kill(self) -> None:
        """Send SIGKILL, and wait until it is dead."""
        self.process.kill()
        self.process.wait()

    def finish(self) -> None:
        """Wait for its end; fails where it failed."""
        self.process.communicate()
        if self.process.returncode:
            raise AssertionError(f"writer ended with {self.process.returncode}")


def acknowledged(writers: Iterable[WriterProcess]) -> list[str]:
    """Return the ids that any of these was told are in the spool."""
    return [written for writer in writers for written in writer.ids()]


class _Recorder:
    """Records under names of its own, and acknowledges."""

    def __init__(self, client: Client, path: str, name: str) -> None:
        self._client = client
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._name = name
        self._numbers = itertools.count()

    def record(self, who: str) -> None:
        """Record once; acknowledge when the call has returned."""
        written = f"{self._name}.{os.getpid()}.{who}.{next(self._numbers)}"
        self._client.record("n", {"id": written}, person=who)
        os.write(self._file, f"{written}\n".encode())

    def times(self, who: str, count: int) -> None:
        """Record so many times; 0 is without end."""
        for _ in range(count) if count else itertools.count():
            self.record(who)


def _storm(recorder: _Recorder, count: int) -> None:
    inside: list[None] = []

    def handler(*_: Any) -> None:  # noqa: ANN401 - as signal hands it over
        # At most three deep: a timer that is faster than the handler would nest without end.
        if len(inside) < 3:
            inside.append(None)
            recorder.record("handler")
            inside.pop()

    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    threads = [threading.Thread(target=recorder.times, args=(f"t{n}", count)) for n in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        _fork(recorder)
        recorder.times("main", count // 10)
    for thread in threads:
        thread.join()
    signal.setitimer(signal.ITIMER_REAL, 0)


def _fork(recorder: _Recorder) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            recorder.times("child", 5)
            code = 0
        finally:
            os._exit(code)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise SystemExit("a child failed")


def _main(spool: str, path: str, name: str, kind: str, count: int) -> None:
    recorder = _Recorder(Client(spool, sync=kind == "durable"), path, name)
    if kind == "storm":
        _storm(recorder, count)
    else:
        recorder.times("main", count)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
