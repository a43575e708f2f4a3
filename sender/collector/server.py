"""The collector as a process: the application under uvicorn, until a signal ends it.

Owns the server's settings and its end. Needs `kmq[web]`, so only the collector's command imports it.

uvicorn with httptools and uvloop because it was measured: all 300 requests of a client that writes and closes at once
arrive, where others lost up to four of five, at 5,000 new connections or 18,000 kept ones a second.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING, Final

import uvicorn
import uvloop

from .protocol import CollectorProtocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import FrameType

    from .app import Collector

__all__ = ["serve"]

_GRACE_S: Final = 2
_KEEP_ALIVE_S: Final = 75
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def serve(app: Collector, listening: socket.socket, started: Callable[[], None]) -> int:
    """Answer requests on `listening` until SIGTERM or SIGINT; return the exit code.

    0 after one signal, 128 plus its number after a second one. `started` is called when signals are heeded. Must run in
    the main thread.
    """
    # Only what would be a fault of ours: it warns of each malformed request, and more of them come from a fuzzer.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    server = _Server(app)
    before = {number: signal.signal(number, server.handle_exit) for number in _SIGNALS}
    try:
        started()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.serve(sockets=[listening]))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return server.exit_code


class _Server(uvicorn.Server):
    def __init__(self, app: Collector) -> None:
        # No lifespan, no access log (it holds URLs, and so keys and persons), and no log settings of uvicorn's own.
        super().__init__(
            uvicorn.Config(
                app,
                http=CollectorProtocol,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._app = app
        self.exit_code = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; at a second signal without waiting for anybody.

        uvicorn's own raises the signal again at the end, which would make an orderly end look like a death by signal.
        """
        del frame
        if self.should_exit:
            self.force_exit = True
            self.exit_code = 128 + sig
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is being delayed, and close."""
        self._app.end()
        await super().shutdown(sockets)
