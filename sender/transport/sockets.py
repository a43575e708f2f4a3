"""Waiting for libcurl's sockets.

Owns the selector that they are registered in and libcurl's one timer. Knows nothing about transfers.
`CurlMulti.select` would do, were it not built on `fd_set`: that ends at descriptor 1024, and a sender holds one for
each segment that it reads.
"""

from __future__ import annotations

import selectors
import time
from typing import Any, Final

import pycurl

__all__ = ["Sockets"]

_EVENTS: Final = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}


class Sockets:
    """Drives `multi`: lets it work whenever one of its sockets is ready or its timer is due."""

    def __init__(self, multi: Any) -> None:  # noqa: ANN401 - pycurl has no types
        self._multi = multi
        self._selector = selectors.DefaultSelector()
        self._due: float | None = None
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)

    def turn(self, wait_s: float) -> None:
        """Wait at most `wait_s` seconds until there is something to do, and do it."""
        for key, events in self._selector.select(self._until_due(wait_s)):
            read = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
            write = pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0
            self._multi.socket_action(key.fd, read | write)
        if self._due is not None and self._due <= time.monotonic():
            self._due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def close(self) -> None:
        """Let go of the selector; the sockets in it are libcurl's."""
        self._selector.close()

    def _until_due(self, wait_s: float) -> float:
        return wait_s if self._due is None else max(0.0, min(wait_s, self._due - time.monotonic()))

    def _on_timer(self, milliseconds: int) -> None:
        self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        if fd in self._selector.get_map():
            self._selector.unregister(fd)
        if what in _EVENTS:
            self._selector.register(fd, _EVENTS[what])
