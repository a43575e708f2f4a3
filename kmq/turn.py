"""A turn: threads go one at a time, and the child of a fork can give it up.

Owns a lock. Knows nothing about what is done under it.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Turn"]

P = ParamSpec("P")
T = TypeVar("T")


class Turn:
    """A lock of threads that the child of a fork can give up.

    A signal handler can fork while its thread waits here. In the child nobody would ever wake it: whoever held the
    lock was left behind with the parent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder = 0

    @property
    def taken(self) -> bool:
        """Whether somebody is inside."""
        return self._lock.locked()

    def run(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `action` alone, and return what it returns."""
        me = threading.get_ident()
        # `with` on the lock itself: no exception of a signal handler comes between the taking and the letting go.
        with self._lock:
            self._holder = me
            try:
                return action(*args, **kwargs)
            finally:
                self._holder = 0

    def abandon(self) -> None:
        """In a child: free it, unless this very thread is inside."""
        if self._lock.locked() and self._holder != threading.get_ident():
            with contextlib.suppress(RuntimeError):  # another thread of the child was faster
                self._lock.release()
