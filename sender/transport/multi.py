"""The transport on libcurl: one thread, all commands in flight in one multi handle.

Owns which handle is in flight for which delivery. Knows nothing about options and errors (`transfer.py`) or about
waiting (`sockets.py`). The invariant: each delivery that was taken comes back once, with one outcome, unless the sink
is closed first.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import pycurl

from .headers import Usual
from .route import find_route
from .sockets import MANY, Sweep, Watch
from .transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sender.flow import Delivery, Outcome

    from .settings import TransportSettings
    from .sockets import Sockets

__all__ = ["MultiSink"]

_STREAMS: Final = 100
"""What libcurl allows of streams side by side on a connection of HTTP/2, if nothing is said."""

_CLOSE_S: Final = 1.0
"""How long closing is waited for."""


class MultiSink:
    """A sink that sends up to `settings.max_in_flight` commands side by side with libcurl; more wait in line.

    Belongs to the thread that calls `exchange`, and works only while it is in there. `environ` gives proxy and
    certificates, `wall` the time for a `Retry-After` that is a date; from `many` in flight sockets are watched one by
    one. Raises `InvalidSetting` where those cannot work.
    """

    def __init__(
        self,
        settings: TransportSettings,
        *,
        environ: Mapping[str, str],
        wall: Callable[[], float] = time.time,
        many: int = MANY,
    ) -> None:
        route = find_route(settings, environ)
        in_flight = settings.max_in_flight
        self._wall = wall
        self._waiting: deque[Delivery] = deque()
        self._multi: Any = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, in_flight)
        # libcurl holds itself to 100 unless told otherwise; past what the server allows it opens another connection.
        self._multi.setopt(pycurl.M_MAX_CONCURRENT_STREAMS, max(_STREAMS, in_flight))
        self._sockets: Sockets = (Sweep if in_flight < many else Watch)(self._multi)
        usual = Usual()
        self._idle = [Transfer(settings, route, usual) for _ in range(in_flight)]
        self._busy: dict[object, Transfer] = {}
        for transfer in self._idle:
            self._sockets.arm(transfer.handle)

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Hand over `deliveries`; return the outcomes that are there, or the first within `wait_s` seconds."""
        self._waiting.extend(deliveries)
        self._begin()
        if not self._busy:
            return []
        end = time.monotonic() + wait_s
        outcomes, rest = self._worked(), wait_s
        while not outcomes and rest >= 0:
            self._sockets.wait(rest)
            outcomes, rest = self._worked(), end - time.monotonic()
        return outcomes

    def close(self) -> None:
        """Break off what is in flight and close all connections; takes a second at most."""
        self._waiting.clear()
        for transfer in self._busy.values():
            self._multi.remove_handle(transfer.handle)
        for transfer in (*self._busy.values(), *self._idle):
            transfer.close()
        self._busy, self._idle = {}, []
        self._close_multi()

    def _close_multi(self) -> None:
        # libcurl waits here for its threads that resolve names, 10 s if the name server is silent. Its option against
        # that (CURLMOPT_QUICK_EXIT) is unknown to pycurl; a daemon thread left behind does not hold the process.
        closing = threading.Thread(target=self._multi.close, name="kmq-transport", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
        if not closing.is_alive():
            self._sockets.close()

    def _begin(self) -> None:
        while self._waiting and self._idle:
            transfer = self._idle.pop()
            transfer.begin(self._waiting.popleft())
            self._busy[transfer.handle] = transfer
            self._multi.add_handle(transfer.handle)

    def _worked(self) -> list[tuple[int, Outcome]]:
        """Let libcurl work, and return all that has ended by then."""
        self._sockets.work()
        _, answered, failed = self._multi.info_read(len(self._busy))
        outcomes = []
        for handle, error, text in [(handle, 0, "") for handle in answered] + failed:
            transfer = self._busy.pop(handle)
            self._multi.remove_handle(handle)
            self._idle.append(transfer)
            outcomes.append((transfer.ticket, transfer.outcome(error, text, self._wall)))
        return outcomes
