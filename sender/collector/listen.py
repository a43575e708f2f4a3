"""Where the collector listens: a port of the loopback interface, or a socket file.

Owns the form of `--listen`, the refusal of anything beyond this machine (the collector asks nobody who they are),
and the making of the listening socket. Knows nothing about HTTP.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import socket
import stat
from dataclasses import dataclass
from typing import Final

from kmq.errors import InvalidSetting

__all__ = ["Listen", "listen_of", "open_socket", "url_of"]

_FORM: Final = re.compile(r"(\[[^\]]+\]|[^:\[\]]+):(\d{1,5})")
_ALLOWED: Final = "host:port on the loopback interface, e.g. 127.0.0.1:8035, or unix:PATH"
_BACKLOG: Final = 2_048
_LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Listen:
    """A `host` and a `port` (0: a free one), or the absolute `path` of a socket file."""

    host: str = "localhost"
    port: int = 0
    path: str | None = None


def listen_of(setting: str, text: str) -> Listen:
    """Return where `text` says to listen; raise `InvalidSetting` that names `setting` if it says nothing such.

    >>> listen_of("--listen", "127.0.0.1:8035")
    Listen(host='127.0.0.1', port=8035, path=None)
    """
    if text.startswith("unix:") and text != "unix:":
        return Listen(path=os.path.abspath(text.removeprefix("unix:")))
    match = _FORM.fullmatch(text)
    if match is None or int(match[2]) > _LAST_PORT:
        raise InvalidSetting(setting, text, _ALLOWED)
    return Listen(match[1].strip("[]"), int(match[2]))


def open_socket(setting: str, text: str) -> socket.socket:
    """Return a listening socket for `text`.

    Raises `InvalidSetting` for what is beyond the loopback interface, and OSError where the system refuses.
    """
    listen = listen_of(setting, text)
    if listen.path is not None:
        return _open_file(listen.path)
    family, address = _loopback(setting, text, listen)
    return _listening(socket.socket(family, socket.SOCK_STREAM), address)


def url_of(listening: socket.socket) -> str:
    """Return the address that `listening` really has, as a URL, or `unix:PATH`."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if listening.family == socket.AF_INET6 else name[0]
    return f"http://{host}:{name[1]}"


def _loopback(setting: str, text: str, listen: Listen) -> tuple[int, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        raise InvalidSetting(setting, text, f"{_ALLOWED}; this host is not known") from None
    if not all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found):
        raise InvalidSetting(
            setting,
            text,
            f"{_ALLOWED}; the collector shows to anyone what it gets, so it does not listen beyond this machine",
        )
    family, *_, address = found[0]
    return family, (str(address[0]), listen.port)


def _open_file(path: str) -> socket.socket:
    _remove_stale(path)
    return _listening(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), path)


def _remove_stale(path: str) -> None:
    # A collector that was killed leaves its socket file; nobody answers on it. Anything else stays, and bind fails.
    with (
        contextlib.suppress(FileNotFoundError),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe,
    ):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


def _listening(listening: socket.socket, address: str | tuple[str, int]) -> socket.socket:
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        if isinstance(address, str):
            os.chmod(address, 0o600)  # before listen(), so that nobody else can have connected
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening
