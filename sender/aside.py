"""Work that waits for a disk, done beside the loop: one step at a time, on a thread of its own.

Owns the thread. Knows nothing about what a step does. A step is handed over whole and taken back whole: what it is
about is chosen before on the loop's thread, and what came of it is taken note of afterwards, on that thread too.
`Inline` does each step at once, for simulated hosts and for the end of a run.

Invariant: one step runs at a time, and each is over before its outcome is looked at.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Aside", "Inline", "Run", "Step", "Threaded"]


class Step:
    """One piece of work; what it raises is its outcome."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.error: Exception | None = None
        self._work = work
        self._over = threading.Event()

    @property
    def over(self) -> bool:
        """Whether it has run."""
        return self._over.is_set()

    def run(self) -> None:
        """Do it."""
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - raised by `check`, on the thread that asked for it
            self.error = error
        finally:
            self._over.set()

    def wait(self) -> None:
        """Return when it has run."""
        self._over.wait()

    def check(self) -> None:
        """Raise what it failed with."""
        if self.error is not None:
            raise self.error


class Aside(Protocol):
    """Where steps run."""

    def begin(self, step: Step) -> None:
        """Let `step` run; the one before must be over."""
        ...


class Inline:
    """Runs each step at once, where it is begun."""

    def begin(self, step: Step) -> None:
        """Run it."""
        step.run()


class Run:
    """Steps one after another, each asked for when the one before is over, and only if `may_go_on` says so then.

    `since` is when they began, None while there are none.
    """

    def __init__(self, aside: Aside, may_go_on: Callable[[], bool]) -> None:
        self.since: float | None = None
        self._aside = aside
        self._may_go_on = may_go_on
        self._steps: Iterator[Step] = iter(())
        self._step: Step | None = None

    def begin(self, steps: Iterator[Step], now: float) -> None:
        """Take up `steps`; those before must have come to an end."""
        self._steps, self._step, self.since = steps, None, now

    def go_on(self, *, wait: bool = False) -> bool:
        """Go as far as steps are over, or, with `wait`, all the way; return whether they came to their end now.

        Raises what the steps raise. That is an end too, and so is that they may not go on.
        """
        while self.since is not None:
            if self._step is not None and wait:
                self._step.wait()
            if self._step is not None and not self._step.over:
                return False
            if not self._may_go_on():
                self.since = None
                return False
            if not self._takes_one():
                return True
        return False

    def _takes_one(self) -> bool:
        since, self.since = self.since, None  # also where it raises
        self._step = next(self._steps, None)
        if self._step is None:
            return False
        self.since = since
        self._aside.begin(self._step)
        return True


class Threaded:
    """Runs steps on one thread, which is there from the first one on and does not hold the process at its end."""

    def __init__(self) -> None:
        self._steps: SimpleQueue[Step] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, step: Step) -> None:
        """Hand it over."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="kmq-disk", daemon=True)
            self._thread.start()
        self._steps.put(step)

    def _work(self) -> None:
        while True:
            self._steps.get().run()
