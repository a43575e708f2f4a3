"""An end to an exchange that has no end of its own.

A blocking read of requests is bounded by a timeout for each wait; a server that sends a byte now and then, or a header
for ever, passes it. A `Guard` holds a second descriptor of the socket that a thread reads from, so that another thread
can end the exchange. Owns that descriptor and the deadline; knows nothing about HTTP. The invariant: what is shut down
is the exchange that was overdue, never a socket that has since got the same number.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Guard"]


class Guard:
    """Watches the exchanges of one thread, one after another, each for `limit_s` seconds at most.

    The thread calls `begin`, `watch` and `end`; any other may call `cut_overdue` and `stop`. Name resolution and
    connecting have no socket yet: they end by their own timeouts, and are cut when they are through.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float]) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._deadline: float | None = None
        self._cut = False
        self._stopped = False

    def begin(self) -> None:
        """Start the clock of an exchange."""
        with self._lock:
            self._deadline = self._clock() + self._limit_s
            self._cut = self._stopped

    def watch(self, sock: socket.socket) -> None:
        """Take `sock` as the one that the exchange goes over; it replaces the one before."""
        with self._lock:
            self._let_go()
            self._handle = socket.socket(fileno=os.dup(sock.fileno()))
            if self._cut:
                self._shut()

    def end(self) -> bool:
        """End the exchange; tell whether it was cut."""
        with self._lock:
            self._let_go()
            self._deadline = None
            return self._cut

    def cut_overdue(self) -> None:
        """Cut the exchange if it has lasted too long."""
        with self._lock:
            if self._deadline is not None and self._clock() >= self._deadline:
                self._shut()

    def stop(self) -> None:
        """Cut the exchange, and each that begins from now on."""
        with self._lock:
            self._stopped = True
            self._shut()

    def _shut(self) -> None:
        self._cut = True
        if self._handle is not None:
            with contextlib.suppress(OSError):  # the other side was faster
                self._handle.shutdown(socket.SHUT_RDWR)

    def _let_go(self) -> None:
        # A descriptor left open would keep the connection alive after its owner has closed it.
        if self._handle is not None:
            self._handle.close()
            self._handle = None
