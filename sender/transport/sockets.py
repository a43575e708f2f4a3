"""Waiting for libcurl's sockets, and letting it work.

Owns the epoll that they are registered in. Knows nothing about transfers. Two ways, one for few and one for many in
flight: `Sweep` lets libcurl look at every transfer in each turn, which costs least while an answer is there for most
of them; `Watch` tells it which sockets are ready, which costs a sixth more for each answer and nothing for those that
wait. `CurlMulti.select` would do for neither: it is built on `fd_set`, which ends at descriptor 1024, and a sender
holds one for each segment that it reads.
"""

from __future__ import annotations

import contextlib
import select
import time
from typing import Any, Final, Protocol

import pycurl

__all__ = ["MANY", "Sockets", "Sweep", "Watch"]

MANY: Final = 256
"""Commands in flight from which `Watch` is the better one, with a server that takes its time."""

_UNSEEN_S: Final = 0.02
"""A `Sweep` waits no longer at once: a name that libcurl looks up in a thread of its own has no socket in our epoll."""

_TAKEN: Final = 0  # pycurl.SOCKOPT_OK

_EVENTS: Final = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}


class Sockets(Protocol):
    """Drives a multi handle."""

    def arm(self, handle: Any) -> None:  # noqa: ANN401 - pycurl has no types
        """Take in an easy handle that the multi handle will work."""
        ...

    def work(self) -> None:
        """Let libcurl do what can be done now."""
        ...

    def wait(self, wait_s: float) -> None:
        """Wait at most `wait_s` seconds until there may be something to do; `work` is to follow."""
        ...

    def close(self) -> None:
        """Let go of the epoll; the sockets in it are libcurl's."""
        ...


class Sweep:
    """Looks at all transfers each time (`curl_multi_perform`).

    A socket is registered once, when it is made, and leaves the epoll when it is closed. Edges are enough, since what
    they wake up reads everything: a look at each transfer until there is nothing more to read.
    """

    def __init__(self, multi: Any) -> None:  # noqa: ANN401 - pycurl has no types
        self._multi = multi
        self._epoll = select.epoll()

    def arm(self, handle: Any) -> None:  # noqa: ANN401 - pycurl has no types
        """Learn of each socket that `handle` makes."""
        handle.setopt(pycurl.SOCKOPTFUNCTION, self._on_socket)

    def work(self) -> None:
        """Let libcurl do what can be done now."""
        self._multi.perform()

    def wait(self, wait_s: float) -> None:
        """Wait at most `wait_s` seconds, and never long, until there may be something to do."""
        due_ms = self._multi.timeout()
        longest_s = min(wait_s, _UNSEEN_S)
        self._epoll.poll(longest_s if due_ms < 0 else min(longest_s, due_ms / 1000))

    def close(self) -> None:
        """Let go of the epoll."""
        self._epoll.close()

    def _on_socket(self, fd: int, _purpose: int) -> int:
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        return _TAKEN


class Watch:
    """Looks at those transfers whose sockets are ready (`curl_multi_socket_action`).

    libcurl forgets a socket after each answer and asks for it again with the next request. It stays in the epoll
    meanwhile: one call to the kernel for each answer instead of two.
    """

    def __init__(self, multi: Any) -> None:  # noqa: ANN401 - pycurl has no types
        self._multi = multi
        self._epoll = select.epoll()
        self._wanted: dict[int, int] = {}
        self._due: float | None = None
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)

    def arm(self, handle: Any) -> None:  # noqa: ANN401 - pycurl has no types
        """Do nothing: libcurl says which sockets it waits for."""

    def work(self) -> None:
        """Let libcurl do what its timer is due for."""
        if self._due is not None and self._due <= time.monotonic():
            self._due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def wait(self, wait_s: float) -> None:
        """Wait at most `wait_s` seconds for sockets, and let libcurl work on those that are ready."""
        for fd, events in self._epoll.poll(self._until_due(wait_s)):
            if (
                self._wanted[fd] == pycurl.POLL_REMOVE
            ):  # the server closes a connection that nothing waits for
                del self._wanted[fd]
                with contextlib.suppress(OSError):  # libcurl was faster, and has closed it
                    self._epoll.unregister(fd)
                continue
            read = pycurl.CSELECT_IN if events & ~select.EPOLLOUT else 0
            write = pycurl.CSELECT_OUT if events & select.EPOLLOUT else 0
            self._multi.socket_action(fd, read | write)

    def close(self) -> None:
        """Let go of the epoll."""
        self._epoll.close()

    def _until_due(self, wait_s: float) -> float:
        return wait_s if self._due is None else max(0.0, min(wait_s, self._due - time.monotonic()))

    def _on_timer(self, milliseconds: int) -> None:
        self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        if what in _EVENTS and self._wanted.get(fd) != what:
            self._register(fd, _EVENTS[what])
        self._wanted[fd] = what

    def _register(self, fd: int, events: int) -> None:
        if fd in self._wanted:
            try:
                self._epoll.modify(fd, events)
            except (
                FileNotFoundError
            ):  # that of a new socket: the kernel forgot the one before when it was closed
                self._epoll.register(fd, events)
        else:
            self._epoll.register(fd, events)
