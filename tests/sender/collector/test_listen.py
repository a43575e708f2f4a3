"""Where the collector listens."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from kmq.errors import InvalidSetting
from sender.collector.listen import Listen, listen_of, open_socket, url_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8035", Listen("127.0.0.1", 8035)),
        ("localhost:0", Listen("localhost", 0)),
        ("[::1]:65535", Listen("::1", 65535)),
        ("unix:/run/kmq.sock", Listen(path="/run/kmq.sock")),
    ],
)
def test_an_address_is_a_host_and_a_port_or_a_path(text: str, expected: Listen) -> None:
    """These forms and no others."""
    assert listen_of("--listen", text) == expected


def test_a_relative_path_is_made_absolute() -> None:
    """It must stay the same file for who removes it at the end."""
    assert listen_of("--listen", "unix:kmq.sock") == Listen(path=os.path.abspath("kmq.sock"))


@pytest.mark.parametrize(
    "text", ["", "8035", ":8035", "127.0.0.1", "127.0.0.1:", "a:b", "::1:80", "h:65536", "unix:"]
)
def test_anything_else_is_refused_naming_the_setting(text: str) -> None:
    """With an example of what is allowed."""
    with pytest.raises(InvalidSetting, match=r"--listen is .*127\.0\.0\.1:8035"):
        listen_of("--listen", text)


@pytest.mark.parametrize("text", ["0.0.0.0:0", "192.0.2.1:0", "[::]:0", "[2001:db8::1]:0"])
def test_beyond_this_machine_is_refused(text: str) -> None:
    """The collector has no way to ask who reads."""
    with pytest.raises(InvalidSetting, match="does not listen beyond this machine"):
        open_socket("--listen", text)


def test_an_unknown_host_is_refused() -> None:
    """Names are resolved once, here."""
    with pytest.raises(InvalidSetting, match="host is not known"):
        open_socket("--listen", "no_such_host.invalid:0")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9"])
def test_a_free_port_of_the_loopback_interface_is_taken_and_named(host: str) -> None:
    """Port 0 asks for one; the URL tells which it became."""
    with open_socket("--listen", f"{host}:0") as listening:
        url = url_of(listening)
        address, _, port = url.removeprefix("http://").rpartition(":")
        assert int(port) > 0
        with socket.create_connection((address.strip("[]"), int(port)), timeout=10):
            pass


def test_a_url_shows_an_ipv6_address_in_brackets() -> None:
    """As URLs need it."""

    class Listening:
        family = socket.AF_INET6

        def getsockname(self) -> tuple[str, int, int, int]:
            return ("::1", 8035, 0, 0)

    assert url_of(Listening()) == "http://[::1]:8035"  # type: ignore[arg-type]  # the host may have no IPv6


def test_a_port_that_is_taken_is_an_error_of_the_system() -> None:
    """And no descriptor is left behind."""
    with open_socket("--listen", "127.0.0.1:0") as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            open_socket("--listen", f"127.0.0.1:{port}")


def test_a_socket_file_is_its_owners_alone(tmp_path: Path) -> None:
    """What comes through it are people's addresses."""
    path = tmp_path / "kmq.sock"
    with open_socket("--listen", f"unix:{path}") as listening:
        assert url_of(listening) == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(path))


def test_the_socket_file_of_a_collector_that_was_killed_is_replaced(tmp_path: Path) -> None:
    """Nobody answers on it any more."""
    path = tmp_path / "kmq.sock"
    open_socket("--listen", f"unix:{path}").close()
    assert path.exists()
    with (
        open_socket("--listen", f"unix:{path}"),
        contextlib.closing(socket.socket(socket.AF_UNIX)) as client,
    ):
        client.connect(str(path))


def test_a_socket_file_that_is_in_use_stays(tmp_path: Path) -> None:
    """The second collector fails, the first goes on."""
    path = tmp_path / "kmq.sock"
    with open_socket("--listen", f"unix:{path}"):
        with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
            open_socket("--listen", f"unix:{path}")
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(path))


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    """A mistyped path must not cost anybody a file."""
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        open_socket("--listen", f"unix:{path}")
    assert path.read_text() == "data"
