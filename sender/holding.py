"""`sender.lock`: one sender a spool.

Owns how the lock is taken, and whether it still is the one that the spool has. Knows nothing about sending. Who finds
that it lost its lock writes nothing more: another sender may have begun on what bears these names by now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmq import locks
from kmq import spool as places
from kmq.durable import FILES, Files, bears_name
from kmq.errors import SpoolError, spool_error

if TYPE_CHECKING:
    from kmq.spool import Spool

__all__ = ["AnotherSender", "hold", "still_holds"]


class AnotherSender(Exception):  # noqa: N818 - it is what was found
    """Another sender holds the spool."""


def hold(spool: Spool, *, files: Files = FILES) -> int:
    """Make the spool if it is missing and take its `sender.lock`; return the descriptor that holds it.

    Raises `AnotherSender`, or `SpoolError`.
    """
    places.make(spool, files=files)
    try:
        locks.make(spool.sender_lock, files=files)
    except OSError as error:
        raise spool_error(error, "make", spool.sender_lock) from error
    lock = locks.take(spool.sender_lock)
    if lock is locks.Denied.HELD:
        raise AnotherSender
    if isinstance(lock, locks.Denied):
        raise SpoolError(
            f"{spool.sender_lock} is no file: move it away, and start the sender again",
            path=spool.sender_lock,
        )
    return lock


def still_holds(lock: int, spool: Spool) -> bool:
    """Say whether `lock` still is the lock of `spool`; that it cannot be looked at says nothing."""
    try:
        return bears_name(lock, spool.sender_lock)
    except OSError:
        return True
