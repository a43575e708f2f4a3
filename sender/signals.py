"""What signals ask for, as flags that a loop looks at.

Owns the handlers of TERM, INT and USR1. Knows nothing about what is done then. A second signal to stop ends the process
at once, which loses nothing: what was answered since the last checkpoint is sent again.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Signals"]


class Signals:
    """`stopped_by` is the signal that asked to stop, None before; `figures_asked` whether one asked for the figures."""

    def __init__(self) -> None:
        self.stopped_by: int | None = None
        self.figures_asked = False

    @contextlib.contextmanager
    def caught(self, *, figures: bool = False) -> Iterator[None]:
        """Take what comes while the block runs, also USR1 with `figures`; afterwards the handlers before are back."""
        handlers: dict[int, Callable[[int, object], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
        }
        if figures:
            handlers[signal.SIGUSR1] = self._ask_for_figures
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def take_figures_asked(self) -> bool:
        """Say whether the figures were asked for since the last time."""
        asked, self.figures_asked = self.figures_asked, False
        return asked

    def _stop(self, number: int, _frame: object) -> None:
        if self.stopped_by is not None:
            os._exit(128 + number)
        self.stopped_by = number

    def _ask_for_figures(self, _number: int, _frame: object) -> None:
        self.figures_asked = True
