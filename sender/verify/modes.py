"""Modes and groups of what is in the spool: whether apps and sender can work in it, and nobody else reads it.

Owns what they must be. Only looks; knows nothing about content. Names that are none of kmq's are none of its business.
"""

from __future__ import annotations

import os
import stat
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from kmq.access import group_name
from kmq.spool import MODE_SPOOL, partitions, segment_path, segment_starts, writer_lock
from sender.rejected.rejection import file_day

from .findings import Finding
from .listing import names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kmq.spool import Spool

__all__ = ["check_modes"]

_DIRECTORY: Final = MODE_SPOOL  # 0770, and the setgid bit that it inherits
_FILE: Final = 0o660

# A file is made first and gets its mode a moment later, where a umask took bits from it; on a busy host, later.
_MOMENTS_S: Final = (0.05, 0.2, 0.75)
_LOOKED_AT_AGAIN: Final = 1000

Place = tuple[str, int]


def check_modes(spool: Spool, *, wait: Callable[[float], None] = time.sleep) -> Iterator[Finding]:
    """Yield what has another mode than it must, or another group than the spool. Raises OSError.

    What seems wrong is looked at again, since it may just have been made; what vanishes meanwhile is passed over.
    """
    wrong = _wrong(spool, _places(spool))
    first = list(islice(wrong, _LOOKED_AT_AGAIN))
    for moment_s in _MOMENTS_S:
        if first:
            wait(moment_s)
            first = list(_wrong(spool, first))
    yield from _findings(spool, first)
    yield from _findings(spool, wrong)


def _wrong(spool: Spool, places: Iterable[Place]) -> Iterator[Place]:
    return (place for place in places if any(_findings(spool, [place])))


def _findings(spool: Spool, places: Iterable[Place]) -> Iterator[Finding]:
    group = os.stat(spool.path).st_gid
    for path, expected in places:
        try:
            found = os.lstat(path)
        except (FileNotFoundError, PermissionError):
            continue
        if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            yield from _compared(os.path.relpath(path, spool.path), found, expected, group)


def _compared(path: str, found: os.stat_result, expected: int, group: int) -> Iterator[Finding]:
    mode = stat.S_IMODE(found.st_mode)
    if mode != expected:
        yield Finding("mode", path, f"mode {mode:04o}, must be {expected:04o}")
    if found.st_gid != group:
        yield Finding(
            "group", path, f"group {group_name(found.st_gid)}, the spool has {group_name(group)}"
        )


def _places(spool: Spool) -> Iterator[Place]:
    yield spool.path, _DIRECTORY
    for path in (spool.checkpoint, spool.checkpoint_old, spool.sender_lock, spool.status):
        yield path, _FILE
    yield spool.rejected, _DIRECTORY
    for name in _rejected(spool):
        yield f"{spool.rejected}/{name}", _FILE
    for name in partitions(spool):
        yield from _places_in(spool.partition(name))


def _places_in(path: str) -> Iterator[Place]:
    yield path, _DIRECTORY
    yield writer_lock(path), _FILE
    try:
        starts = segment_starts(path)
    except (FileNotFoundError, PermissionError):  # told where it was to be read
        return
    for start in starts:
        yield segment_path(path, start), _FILE


def _rejected(spool: Spool) -> list[str]:
    try:
        names = names_in(spool.rejected)
    except OSError:  # there is none, or told where it was to be read
        return []
    return [name for name in names if name == "lock" or file_day(name)]
