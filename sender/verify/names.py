"""Which names lie in the spool: none of kmq's, or one of kmq's on something else.

Owns the names that belong there, and of which kind each must be. Only looks; what is none of kmq's is no damage: nobody
reads it, and nobody removes it either, nor the partition that it lies in.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final

from kmq.spool import GONE_PREFIX, NEW_PREFIX, is_partition, partitions, segment_start
from sender.rejected.rejection import file_day

from .findings import Finding
from .listing import names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kmq.spool import Spool

__all__ = ["check_names"]

_FILES: Final = frozenset(
    {
        "checkpoint.json",
        "checkpoint.json.old",
        "checkpoint.json.tmp",
        "reserve",
        "sender.lock",
        "status.json",
        "status.json.tmp",
    }
)
_ON_ITS_WAY: Final = re.compile(f"({re.escape(NEW_PREFIX)}|{re.escape(GONE_PREFIX)})")
_LOCK: Final = "writer.lock"


def check_names(spool: Spool) -> Iterator[Finding]:
    """Yield names that are none of kmq's, and kmq's names on what is no file or no directory. Raises OSError."""
    yield from _in(spool, ".", _must_be_in_spool)
    yield from _in(spool, "rejected", _must_be_in_rejected)
    for name in partitions(spool):
        yield from _in(spool, name, _must_be_in_partition)


def _in(
    spool: Spool, directory: str, must_be: Callable[[str], Callable[[int], bool] | None]
) -> Iterator[Finding]:
    path = os.path.join(spool.path, directory)
    try:
        names = names_in(path) if directory != "." else sorted(os.listdir(path))
    except OSError:  # gone, or told where it was to be read
        return
    for name in names:
        is_right = must_be(name)
        shown = os.path.normpath(os.path.join(directory, name))
        partition = directory if is_partition(directory) else None
        if is_right is None:
            detail = "none of kmq's names; it is left as it is"
            yield Finding("foreign", shown, detail, damage=False, partition=partition)
        elif not _is(os.path.join(path, name), is_right):
            kind = "directory" if is_right is stat.S_ISDIR else "regular file"
            yield Finding(
                "strange", shown, f"no {kind}; nothing is read there", partition=partition
            )


def _is(path: str, is_right: Callable[[int], bool]) -> bool:
    try:
        return is_right(os.lstat(path).st_mode)
    except OSError:  # gone meanwhile, or told where it was to be read
        return True


def _must_be_in_spool(name: str) -> Callable[[int], bool] | None:
    if name == "rejected" or is_partition(_ON_ITS_WAY.sub("", name, count=1)):
        return stat.S_ISDIR
    return stat.S_ISREG if name in _FILES else None


def _must_be_in_rejected(name: str) -> Callable[[int], bool] | None:
    return stat.S_ISREG if name == "lock" or file_day(name) else None


def _must_be_in_partition(name: str) -> Callable[[int], bool] | None:
    if segment_start(name) is not None:
        return lambda _mode: True  # told where it was to be read
    return stat.S_ISREG if name == _LOCK else None
