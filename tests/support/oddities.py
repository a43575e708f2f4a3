"""Things that bear a name in a spool and are not what the name says."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KINDS", "PRECIOUS", "put"]

PRECIOUS: Final = "what a link must not lead to\n"


def _directory(path: Path, _target: Path) -> None:
    path.mkdir()
    (path / "somebody's").write_text("own", "ascii")


def _socket(path: Path, _target: Path) -> None:
    # The path of a socket has at most 108 characters; one below a test's folder can be longer.
    here = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{here}/{path.name}")
    os.close(here)


KINDS: Final[dict[str, Callable[[Path, Path], None]]] = {
    "directory": _directory,
    "link": lambda path, target: path.symlink_to(target),
    "link to /dev/zero": lambda path, _: path.symlink_to("/dev/zero"),
    "link to itself": lambda path, _: path.symlink_to(path),
    "pipe": lambda path, _: os.mkfifo(path),
    "socket": _socket,
}
"""By what it is, how it is made: of a path, and of a file that a link leads to."""


def put(kind: str, path: str | os.PathLike[str], target: Path) -> None:
    """Let `path` be such a thing."""
    target.write_text(PRECIOUS, "ascii")
    KINDS[kind](Path(path), target)
