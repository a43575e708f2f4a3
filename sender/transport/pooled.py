"""The transport on requests: a pool of threads, each with a connection of its own.

Owns the threads and the two queues between them and `exchange`. Knows nothing about HTTP: `connection.py` does that.
The invariant: each delivery that was taken comes back once, with one outcome, unless the sink is closed first.
The threads are daemons, so that a server that hangs does not hold the process.
"""

from __future__ import annotations

import contextlib
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from urllib3.util import create_urllib3_context

from kmq.errors import InvalidSetting

from .connection import Connection, hush_urllib3
from .guard import Guard
from .route import CA_RULE, find_route, speaks_tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    from sender.flow import Delivery, Outcome

    from .route import Route
    from .settings import TransportSettings

__all__ = ["PooledSink"]

_LOOK_S: Final = 1.0
"""How often overdue exchanges are looked for, at most."""

_Todo = SimpleQueue["Delivery | None"]
_Done = SimpleQueue["tuple[int, Outcome]"]


class PooledSink:
    """A sink that sends up to `settings.max_in_flight` commands side by side with requests; more wait in line.

    Belongs to the thread that calls `exchange`. `environ` gives proxy and certificates, `wall` the time for a
    `Retry-After` that is a date. Raises `InvalidSetting` where those cannot work.
    """

    def __init__(
        self,
        settings: TransportSettings,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        hush_urllib3()
        route = find_route(settings, environ)
        tls = _believing(route) if speaks_tls(settings.url, route.proxy) else None
        self._clock = clock
        self._look_s = min(_LOOK_S, settings.timeout_s / 4)
        self._next_look = clock() + self._look_s
        self._todo: _Todo = SimpleQueue()
        self._done: _Done = SimpleQueue()
        self._in_flight = 0
        self._workers = []
        for _ in range(settings.max_in_flight):
            guard = Guard(settings.whole_s, clock)
            connection = Connection(settings, route, tls, guard, clock=clock, wall=wall)
            self._workers.append(_Worker(connection, guard, self._todo, self._done))

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Hand over `deliveries`; return the outcomes that are there, or the first within `wait_s` seconds."""
        for delivery in deliveries:
            self._todo.put(delivery)
        self._in_flight += len(deliveries)
        end = self._clock() + wait_s
        outcomes = self._there()
        while not outcomes and self._in_flight and (rest := end - self._clock()) > 0:
            self._wait(min(rest, self._look_s), outcomes)
        self._in_flight -= len(outcomes)
        return outcomes

    def close(self) -> None:
        """End all exchanges and let the threads go; does not wait for them."""
        self._in_flight = 0
        for worker in self._workers:
            worker.stop()
        for _ in self._workers:
            self._todo.put(None)

    def _wait(self, wait_s: float, outcomes: list[tuple[int, Outcome]]) -> None:
        with contextlib.suppress(Empty):
            outcomes.append(self._done.get(timeout=wait_s))
        outcomes += self._there()

    def _there(self) -> list[tuple[int, Outcome]]:
        self._cut_overdue()
        # Only this thread takes from the queue: what it counts now can be taken without waiting.
        return [self._done.get_nowait() for _ in range(self._done.qsize())]

    def _cut_overdue(self) -> None:
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + self._look_s
            for worker in self._workers:
                worker.guard.cut_overdue()


def _believing(route: Route) -> ssl.SSLContext:
    context = create_urllib3_context()
    try:
        if route.ca_is_directory:
            context.load_verify_locations(capath=route.ca)
        else:
            context.load_verify_locations(route.ca)
    except OSError as error:  # ssl.SSLError is one
        raise InvalidSetting("certificates", route.ca, CA_RULE) from error
    return context


class _Worker(threading.Thread):
    """Takes a delivery, makes its exchange, puts the outcome; until it is stopped."""

    def __init__(self, connection: Connection, guard: Guard, todo: _Todo, done: _Done) -> None:
        super().__init__(name="kmq-transport", daemon=True)
        self.guard = guard
        self._connection = connection
        self._todo = todo
        self._done = done
        self._stopped = False
        self.start()

    def stop(self) -> None:
        self._stopped = True
        self.guard.stop()

    def run(self) -> None:
        while (delivery := self._todo.get()) is not None and not self._stopped:
            self._done.put((delivery.ticket, self._connection.exchange(delivery.command)))
        self._connection.close()
