"""An app for tests of disks: a process of its own that records, goes on when it is refused, and notes both.

    python -m tests.support.app SPOOL ACKNOWLEDGED REFUSED NAME [sync] [fast]

Owns one writer. Each call that returned is a line with its person in ACKNOWLEDGED; each refusal a line of JSON
(kind, text, errno) in REFUSED. It pauses for a moment after each call. SIGTERM ends it after the call that it is in.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from kmq import Client, KmqError
from tests.support.system import unmeasured
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["App", "Refusal"]

PAUSE_S = 0.025
FAST_S = 0.003
PROPERTIES = {f"Filler {number}": "x" * 400 for number in range(4)}
END_S = 60.0

Refusal = tuple[str, str, int]


class App:
    """The process, as a test holds it; a context manager. `program` runs `main()` of this module, after a change."""

    _count = 0

    def __init__(
        self,
        spool: str,
        folder: Path,
        *ways: str,
        program: Sequence[str] = ("-m", "tests.support.app"),
        prefix: Sequence[str] = (),
    ) -> None:
        App._count += 1
        self.name = f"app{os.getpid()}x{App._count}"
        self.acks = folder / "acks"
        self._refused = folder / f"{self.name}.refused"
        self.acks.mkdir(exist_ok=True)
        notes = [str(self.acks / self.name), str(self._refused)]
        for path in notes:
            Path(path).touch()
            Path(path).chmod(0o666)  # the app may run as another user
        self._process = subprocess.Popen(
            [*prefix, sys.executable, *program, spool, *notes, self.name, *ways], env=unmeasured()
        )

    def acknowledged(self) -> int:
        """Return how many calls have returned."""
        return (self.acks / self.name).read_text("ascii").count("\n")

    def refusals(self) -> list[Refusal]:
        """Return all refusals: kind, text, errno."""
        lines = self._refused.read_text("utf-8").split("\n")[:-1]
        return [(kind, text, code) for kind, text, code in map(json.loads, lines)]

    def wait_for_more(self, count: int = 5) -> None:
        """Wait until so many more calls have returned."""
        target = self.acknowledged() + count
        wait_until(lambda: self.acknowledged() >= target, what=f"calls return: {self.refusals()}")

    def wait_for_refusal(self, kind: str) -> Refusal:
        """Wait until a further call was refused with that kind; return the refusal."""
        seen = len(self.refusals())

        def found() -> list[Refusal]:
            return [refusal for refusal in self.refusals()[seen:] if refusal[0] == kind]

        return wait_until(found, what=f"a refusal as {kind}, not {self.refusals()[seen:]}")[0]

    def stop(self) -> None:
        """End it after the call that it is in."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(END_S) == 0, self.refusals()

    def pause(self) -> None:
        """Let it do nothing until `resume`, wherever it is."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, with SIGKILL."""
        self._process.kill()
        self._process.wait(END_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def main() -> None:
    """Record until told to stop."""
    spool, acks, refused, name, *ways = sys.argv[1:]
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    client = Client(spool, sync="sync" in ways)
    pause_s = FAST_S if "fast" in ways else PAUSE_S
    with open(acks, "a", buffering=1) as acknowledged, open(refused, "a", buffering=1) as refusals:
        number = 0
        while not stopping:
            number += 1
            try:
                client.record("Did", PROPERTIES, person=f"{name}-{number}")
                acknowledged.write(f"{name}-{number}\n")
            except KmqError as error:
                code = error.errno if isinstance(error, OSError) else 0
                refusals.write(f"{json.dumps([type(error).__name__, str(error), code])}\n")
            time.sleep(pause_s)  # the app's pace, no wait for something
    with contextlib.suppress(KmqError):
        client.close()


if __name__ == "__main__":
    main()
