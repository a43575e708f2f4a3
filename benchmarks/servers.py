"""The server that stands in for the API: nginx on loopback, plain, with TLS, and with HTTP/2, at once or after a while.

Owns its configuration, its ports, its certificate and its end. Knows nothing about who asks it.

`count()` is how many requests it has begun, by its own count: whoever sends, it is the same measure. Its figure grows
by one with each look at it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from .context import environment
from .programs import Ended, Program, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["DELAYS_MS", "Kind", "NoServer", "Server", "serving", "serving_late"]

Kind = Literal["plain", "tls", "h2"]

DELAYS_MS: Final = (10, 50, 200)
"""After how long it can answer, besides at once."""

_START_S: Final = 10.0
_COUNT: Final = re.compile(r"^ *\d+ +\d+ +(\d+) *$", re.MULTILINE)
_ECHO: Final = "ngx_http_echo_module.so"

_CONFIG: Final = """
{modules}
{user}
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type image/gif;
    keepalive_timeout 600s;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.key;
    server {{
        listen 127.0.0.1:{plain} backlog=4096;
        listen 127.0.0.1:{tls} ssl backlog=4096;
        listen 127.0.0.1:{h2} ssl http2 backlog=4096;
        location / {{ empty_gif; }}
        location = /count {{ stub_status; }}
        {slow}
    }}
}}
"""
_SLOW: Final = 'location /slow{ms}/ {{ echo_sleep {s}; echo -n "GIF89a"; }}'


class NoServer(Exception):  # noqa: N818 - it is what was found
    """It cannot be had here; the text says why, for the rows that need it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its ports, the file with whose certificate it is trusted, and which delays it knows."""

    ports: dict[Kind, int]
    ca_file: str
    delays_ms: tuple[int, ...]
    name: str

    def url(self, kind: Kind, delay_ms: int = 0) -> str:
        """Return where it answers after so long."""
        scheme = "http" if kind == "plain" else "https"
        path = f"/slow{delay_ms}" if delay_ms else ""
        return f"{scheme}://127.0.0.1:{self.ports[kind]}{path}"

    def count(self) -> int:
        """Return how many requests it has begun, this one included."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["plain"], timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/count")
            found = _COUNT.search(connection.getresponse().read().decode())
        if found is None:
            raise NoServer("the server does not tell how many requests it has had")
        return int(found[1])


@contextmanager
def serving_late(folder: Path) -> Iterator[Server]:
    """Run a server that can answer after a while: nginx where it has the module for that, else uvicorn."""
    try:
        with serving(folder / "nginx") as server:
            if server.delays_ms:
                yield server
                return
    except NoServer:
        pass
    with _uvicorn(folder / "uvicorn") as server:
        yield server


@contextmanager
def _uvicorn(folder: Path) -> Iterator[Server]:
    folder.mkdir()
    _certify(folder)
    plain, tls = _free_ports(2)
    server = Server({"plain": plain, "tls": tls}, str(folder / "ca.pem"), DELAYS_MS, "uvicorn")
    with Program("-m", "benchmarks.late", str(plain), str(tls), str(folder)) as program:
        try:
            wait_for(lambda: _answers(server, program), "uvicorn")
        except Ended as error:
            raise NoServer(f"neither nginx with its echo module nor uvicorn: {error}") from error
        yield server


def _answers(server: Server, program: Program) -> bool:
    program.must_run()
    with contextlib.suppress(OSError):
        return server.count() > 0
    return False


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run nginx in `folder` until the end; raise `NoServer` where it is not installed or does not start."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise NoServer("nginx is not installed")
    folder.mkdir()
    _certify(folder)
    echo = _echo_module(program)
    ports: dict[Kind, int] = dict(zip(("plain", "tls", "h2"), _free_ports(3), strict=True))
    (folder / "nginx.conf").write_text(_config(folder, ports, echo), "utf-8")
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "said").open("wb"),
        env=environment(),
    )
    server = Server(ports, str(folder / "ca.pem"), DELAYS_MS if echo else (), "nginx")
    try:
        _await(server, process, folder)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _await(server: Server, process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError):
            server.count()
            return
        time.sleep(0.02)
    said = (folder / "said").read_text("utf-8", "replace").strip().splitlines()[-1:]
    raise NoServer(f"nginx does not start: {said[0] if said else 'it says nothing'}")


def _config(folder: Path, ports: dict[Kind, int], echo: str | None) -> str:
    slow = "\n".join(_SLOW.format(ms=ms, s=ms / 1000) for ms in DELAYS_MS) if echo else ""
    return _CONFIG.format(
        modules=f"load_module {echo};" if echo else "",
        # Where it may choose its user at all, it takes ours: the folder is nobody else's.
        user="user root;" if os.geteuid() == 0 else "",
        folder=folder,
        slow=slow,
        **ports,
    )


def _echo_module(program: str) -> str | None:
    """Return where the module is that lets nginx answer late: in Debian libnginx-mod-http-echo."""
    built = subprocess.run([program, "-V"], capture_output=True, check=False).stderr.decode()
    found = re.search(r"--modules-path=(\S+)", built)
    path = os.path.join(found[1], _ECHO) if found else ""
    return path if os.path.exists(path) else None


def _certify(folder: Path) -> None:
    try:
        import trustme  # noqa: PLC0415 - of the benchmarks' own environment
    except ImportError as error:
        raise NoServer("trustme is not installed, which makes the server's certificate") from error
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    chain = b"".join(one.bytes() for one in certificate.cert_chain_pems)
    (folder / "server.pem").write_bytes(chain)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [int(one.getsockname()[1]) for one in sockets]
