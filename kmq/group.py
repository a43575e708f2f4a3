"""Group commit: threads that wait for a sync at the same time share one.

Owns who leads. Whoever comes while nobody leads does: it has all lines that wait made durable together, and wakes their
threads; whoever comes meanwhile waits for the next round. Each waits on a lock of its own, so that a wake wakes one
thread. Knows nothing about segments: how lines become durable is handed in.

Invariant: a call returns only after a round that had its line. A leader that an exception of a signal handler cuts
short takes nobody's line with it: what it did not answer is in the next round again. (The same bytes twice count once.)
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

from .turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .forks import SameProcess

__all__ = ["Group"]

# A wake can only get lost with the thread that was to pass it on, by an exception or in the child of a fork.
_LOOK_AGAIN_S: Final = 1.0


class _Call:
    """A thread's line on its way, and what came of it."""

    __slots__ = ("answered", "error", "line", "quick", "signal")

    def __init__(self, line: bytes, *, quick: bool) -> None:
        self.line = line
        self.quick = quick
        self.answered = False
        self.error: Exception | None = None
        # Made by the first wait: who comes alone needs none.
        self.signal: threading.Lock | None = None

    def wait(self) -> None:
        """Return when `wake` was called, or after a second; at once the first time, to look again with a signal set."""
        if self.signal is None:
            signal = threading.Lock()
            signal.acquire()
            self.signal = signal
        else:
            self.signal.acquire(timeout=_LOOK_AGAIN_S)

    def wake(self) -> None:
        """Let `wait` return; twice is as good as once."""
        if self.signal is not None:
            with contextlib.suppress(RuntimeError):
                self.signal.release()

    def answer(self, error: Exception | None) -> None:
        """Say what came of it."""
        self.error = error
        self.answered = True
        self.wake()


class Group:
    """Makes lines durable by `commit`, which returns for each line what went wrong, or None.

    It is told whether the quick way will do for all of them. `commit_one` does it for a line alone, at once, or says
    that it cannot. Belongs to the process of `here`: in a child, `left_behind` makes the error of a call that was
    waiting.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[bytes], bool], Sequence[Exception | None]],
        commit_one: Callable[[bytes], bool],
        here: SameProcess,
        left_behind: Callable[[], OSError],
    ) -> None:
        self._commit = commit
        self._commit_one = commit_one
        self._here = here
        self._left_behind = left_behind
        self._leading = Turn()
        self._calls: dict[_Call, None] = {}  # in the order in which they came

    def append_alone(self, line: bytes) -> bool:
        """Say whether `line` is durable after a round of its own; False at once where others are at it."""
        if self._calls or self._leading.taken:
            return False
        try:
            return self._leading.run(self._commit_one, line)
        finally:
            if self._calls:
                self._wake_next()

    def append(self, line: bytes, *, quick: bool) -> None:
        """Return when `line` is durable; raise what went wrong with it."""
        call = _Call(line, quick=quick)
        try:
            self._calls[call] = None
            while not call.answered:
                self._lead_or_wait(call)
        except BaseException:
            # It may have been woken to lead, and the others wait for a leader.
            self._calls.pop(call, None)
            self._wake_next()
            raise
        del self._calls[call]
        if call.error is not None:
            raise call.error

    def abandon(self) -> None:
        """In a child: wake this thread where it waits to lead after one that was left behind."""
        self._leading.abandon()

    def _lead_or_wait(self, call: _Call) -> None:
        if self._leading.taken:
            call.wait()
        elif self._here[0]:
            self._leading.run(self._serve)
            if len(self._calls) > 1:
                self._wake_next()
        if not self._here[0]:
            raise self._left_behind()

    def _serve(self) -> None:
        calls = self._open_calls()
        if not calls:
            return
        errors = self._commit([call.line for call in calls], all(call.quick for call in calls))
        for call, error in zip(calls, errors, strict=True):
            call.answer(error)

    def _open_calls(self) -> list[_Call]:
        return [call for call in list(self._calls) if not call.answered]

    def _wake_next(self) -> None:
        for call in self._open_calls()[:1]:
            call.wake()
