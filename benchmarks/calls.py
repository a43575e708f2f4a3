"""The calls that are measured, the same for kmq and for what it is compared with: three sizes of one event.

Owns the event, a client on a spool of its own, and the bare write of the line which that client makes of it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from kmq import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["NAME", "PERSON", "PROPERTIES", "bare_write", "line_of", "make_spool", "recording"]

PERSON: Final = "bob@bob.com"
NAME: Final = "Signed Up"
PROPERTIES: Final[Mapping[int, Mapping[str, str | float]]] = {
    0: {},
    2: {"Plan": "Pro", "Amount": 99.95},
    6: {
        "Plan": "Pro",
        "Amount": 99.95,
        "Items": 3,
        "Source": "Newsletter",
        "Campaign": "Autumn 2026",
        "Country": "Österreich",
    },
}

_MODE: Final = 0o2770


def make_spool(path: Path) -> str:
    """Make a spool, as whoever installs kmq does, and return its path."""
    path.mkdir()
    path.chmod(_MODE)
    return str(path)


def recording(spool: str, properties: Mapping[str, str | float]) -> Callable[[int], None]:
    """Return what records the event so many times, for a person who is identified."""
    client = Client(spool)
    client.identify(PERSON)
    record = client.record
    given = properties or None

    def run(number: int) -> None:
        for _ in range(number):
            record(NAME, given)

    run(1)
    return run


def line_of(spool: Path) -> bytes:
    """Return a line as it stands in the spool."""
    (segment,) = spool.glob("*/*.jsonl")
    with segment.open("rb") as file:
        return file.readline()


def bare_write(path: Path, line: bytes) -> Callable[[int], None]:
    """Return what writes `line` so many times to a file opened to be appended to: the least that any append costs."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    write = os.write

    def run(number: int) -> None:
        for _ in range(number):
            write(fd, line)

    return run
