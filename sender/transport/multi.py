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

from .route import find_route
from .sockets import Sockets
from .transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sender.flow import Delivery, Outcome

    from .settings import TransportSettings

__all__ = ["MultiSink"]

_CLOSE_S: Final = 1.0
"""How long closing is waited for."""


class MultiSink:
    """A sink that sends up to `settings.max_in_flight` commands side by side with libcurl; more wait in line.

    Belongs to the thread that calls `exchange`, and works only while it is in there. `environ` gives proxy and
    certificates, `wall` the time for a `Retry-After` that is a date. Raises `InvalidSetting` where those cannot work.
    """

    def __init__(
        self,
        settings: TransportSettings,
        *,
        environ: Mapping[str, str],
        wall: Callable[[], float] = time.time,
    ) -> None:
        route = find_route(settings, environ)
        self._wall = wall
        self._waiting: deque[Delivery] = deque()
        self._multi: Any = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, settings.max_in_flight)
        self._sockets = Sockets(self._multi)
        self._idle = [Transfer(settings, route) for _ in range(settings.max_in_flight)]
        self._busy: dict[object, Transfer] = {}

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Hand over `deliveries`; return the outcomes that are there, or the first within `wait_s` seconds."""
        self._waiting.extend(deliveries)
        self._begin()
        end = time.monotonic() + wait_s
        outcomes = self._turn(0)
        while not outcomes and self._busy and (rest := end - time.monotonic()) > 0:
            outcomes = self._turn(rest)
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

    def _turn(self, wait_s: float) -> list[tuple[int, Outcome]]:
        if not self._busy:
            return []
        self._sockets.turn(wait_s)
        return self._finished()

    def _begin(self) -> None:
        while self._waiting and self._idle:
            transfer = self._idle.pop()
            transfer.begin(self._waiting.popleft())
            self._busy[transfer.handle] = transfer
            self._multi.add_handle(transfer.handle)

    def _finished(self) -> list[tuple[int, Outcome]]:
        _, answered, failed = self._multi.info_read(len(self._busy))
        ended = [(handle, 0, "") for handle in answered] + failed
        return [self._end(handle, error, text) for handle, error, text in ended]

    def _end(self, handle: object, error: int, text: str) -> tuple[int, Outcome]:
        self._multi.remove_handle(handle)
        transfer = self._busy.pop(handle)
        self._idle.append(transfer)
        return transfer.ticket, transfer.outcome(error, text, self._wall())
