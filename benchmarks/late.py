"""A server that answers after a while, for where nginx or its echo module is not installed: uvicorn, plain and TLS.

`python -m benchmarks.late PORT TLS_PORT FOLDER`, with the certificate in FOLDER, until it is killed. Its count has the
form of nginx's `stub_status`.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any, Final

import uvicorn

_SLOW: Final = re.compile(r"/slow(\d+)/")


class Late:
    """The application."""

    def __init__(self) -> None:
        self._count = 0

    async def __call__(self, scope: Any, _: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own types
        """Answer one request, as late as its path says."""
        self._count += 1
        slow = _SLOW.match(scope["path"])
        if slow:
            await asyncio.sleep(int(slow[1]) / 1000)
        body = f" 0 0 {self._count} \n".encode() if scope["path"] == "/count" else b"GIF89a"
        headers = [(b"content-type", b"image/gif"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _serve(app: Late, plain: int, tls: int, folder: str) -> None:
    common: dict[str, Any] = {
        "log_level": "error",
        "access_log": False,
        "lifespan": "off",
        "backlog": 4096,
        "timeout_keep_alive": 600,
    }
    certified: dict[str, Any] = {
        "ssl_certfile": f"{folder}/server.pem",
        "ssl_keyfile": f"{folder}/server.key",
    }
    servers = [
        uvicorn.Server(uvicorn.Config(app, port=plain, **common)),
        uvicorn.Server(uvicorn.Config(app, port=tls, **common, **certified)),
    ]
    await asyncio.gather(*(server.serve() for server in servers))


if __name__ == "__main__":
    asyncio.run(_serve(Late(), int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
