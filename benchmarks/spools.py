"""Spools that are full before a sender starts: so many lines in so many partitions, in seconds.

Owns how they are written, by the form that docs/spool-format.md tells: nobody holds these partitions any more.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from kmq.command import Command, Number, encode
from kmq.durable import create
from kmq.spool import Spool, make_directory, segment_path, writer_lock

from .calls import make_spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["NEXT", "commands", "filled"]

_SEGMENT_BYTES: Final = 16 << 20
_PEOPLE: Final = 10_000
_BEGAN: Final = 1_700_000_000
_NAMES: Final = ("Viewed Homepage", "Signed Up", "Searched", "Added To Cart", "Paid")
_PLANS: Final = ("Free", "Pro", "Team")

NEXT: Final = _PEOPLE
"""After so many lines their people come again."""


def commands(count: int) -> Iterator[Command]:
    """Yield records of many people, with two properties, one of which is always another number."""
    for number in range(count):
        yield Command(
            f"person{number % _PEOPLE}@example.com",
            _BEGAN + number,
            _NAMES[number % len(_NAMES)],
            properties={
                "Plan": _PLANS[number % len(_PLANS)],
                "Amount": Number(f"{number % 500}.{number % 90 + 10}"),
            },
        )


def filled(path: Path, lines: int, partitions: int = 1) -> str:
    """Make a spool with about `lines` lines, evenly in `partitions` partitions; return its path."""
    spool = Spool(make_spool(path))
    each = max(1, lines // partitions)
    block = [encode(command) for command in commands(min(each, _PEOPLE * 2))]
    for number in range(partitions):
        _fill(spool.partition(f"20260101T000000Z-{number:08x}"), block, each)
    return spool.path


def _fill(path: str, block: list[bytes], lines: int) -> None:
    make_directory(path)
    os.close(create(writer_lock(path), os.O_RDWR))
    # Whole blocks while they last: ten million lines one by one would take a minute.
    whole, rest = divmod(lines, len(block))
    data = b"".join(block)
    pieces = [data] * whole + [b"".join(block[:rest])]
    start = end = 0
    fd = create(segment_path(path, start), os.O_WRONLY)
    for piece in pieces:
        if end - start >= _SEGMENT_BYTES:
            os.close(fd)
            start = end
            fd = create(segment_path(path, start), os.O_WRONLY)
        end += _write_all(fd, piece)
    os.close(fd)


def _write_all(fd: int, data: bytes) -> int:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return len(data)
