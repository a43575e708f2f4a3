"""What `run --drain` waits for: all that was in the spool at its start.

Owns the targets, when they are looked at, and what is said meanwhile. Knows nothing about sending.
"""

from __future__ import annotations

import enum
import errno
import math
import os
from typing import TYPE_CHECKING, Final

from kmq import locks
from kmq.durable import NO_REGULAR_FILE, open_regular
from kmq.errors import SpoolError, spool_error
from kmq.spool import partitions, segment_path, segment_starts, writer_lock

from .rhythm import Every

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kmq.spool import Spool

    from .logs import Log

__all__ = ["Drain", "DrainWatch", "Drained"]

_LOOK_EVERY_S: Final = 0.02
_SAID_EVERY_S: Final = 10.0
_CHUNK: Final = 1 << 16
_NO_SEGMENT: Final = NO_REGULAR_FILE | {errno.ENOENT}


class Drain:
    """Knows up to which offset each partition must be delivered or rejected, as the spool stands when it is made.

    Raises `SpoolError` if one cannot be looked into: nobody could tell whether it is drained.

    That is the last newline; or the end, in a partition that nobody holds, since its torn tail will
    be rejected.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        found = {name: _target(spool.partition(name)) for name in partitions(spool)}
        self._targets = {name: target for name, target in found.items() if target}

    def left(self, marks: Mapping[str, int]) -> int:
        """Return how many bytes are still to be done, given the low-water marks.

        A partition that is gone counts nothing.
        """
        self._targets = {
            name: target
            for name, target in self._targets.items()
            if marks.get(name, 0) < target and os.path.isdir(self._spool.partition(name))
        }
        return sum(target - marks.get(name, 0) for name, target in self._targets.items())


class Drained(enum.Enum):
    """How far a drain is."""

    NOT_YET = "something is left"
    DONE = "nothing is left"
    TIMEOUT = "something is left, and the time is over"


class DrainWatch:
    """Watches a drain of `spool` that began at `now`, on the monotonic clock; says on `log` what is left."""

    def __init__(self, spool: Spool, timeout_s: float | None, log: Log, now: float) -> None:
        self._drain = Drain(spool)
        self._until = math.inf if timeout_s is None else now + timeout_s
        self._log = log
        self._look = Every(_LOOK_EVERY_S)
        self._said = Every(_SAID_EVERY_S)

    def look(self, marks: Callable[[], Mapping[str, int]], now: float, *, blocked: bool) -> Drained:
        """Return how far it is by the low-water marks, which are asked for only when it is time to look."""
        if not self._look.due(now):
            return Drained.NOT_YET
        left = self._drain.left(marks())
        if not left:
            return Drained.DONE
        if now >= self._until:
            return Drained.TIMEOUT
        if self._said.due(now):
            why = " (blocked: see the line before)" if blocked else ""
            message = f"waiting for what was there at the start{why}"
            self._log.info("drain-waiting", message, left_bytes=left)
        return Drained.NOT_YET


def _target(path: str) -> int | None:
    try:
        newest = _newest(path)
    except (FileNotFoundError, NotADirectoryError):  # removed meanwhile: nothing to wait for
        return None
    except OSError as error:
        raise spool_error(error, "drain", error.filename or path) from error
    if newest is None:
        return None
    start, fd = newest
    try:
        size = os.fstat(fd).st_size
        return start + (size if _is_finished(path) else _last_newline(fd, size))
    finally:
        os.close(fd)


def _newest(path: str) -> tuple[int, int] | None:
    """Return the start and a descriptor of the newest segment; what bears such a name and is no file is passed by."""
    for start in reversed(segment_starts(path)):
        try:
            return start, open_regular(segment_path(path, start), os.O_RDONLY)
        except OSError as error:
            if error.errno not in _NO_SEGMENT:
                raise
    return None


def _is_finished(path: str) -> bool:
    try:
        lock = locks.take(writer_lock(path))
    except SpoolError:
        return False
    if isinstance(lock, int):
        os.close(lock)
    return lock is not locks.Denied.HELD


def _last_newline(fd: int, size: int) -> int:
    end = size
    while end > 0:
        begin = max(0, end - _CHUNK)
        at = os.pread(fd, end - begin, begin).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
        end = begin
    return 0
