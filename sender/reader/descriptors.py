"""How many segments are open at a time, and which one is closed when another must be opened.

Owns a share of the limit of open files; the rest is held back for connections, the checkpoint and what is rejected.
Without that, 200 partitions under a limit of 100 stopped the sender dead. Knows nothing about what a segment holds: it
asks the one that was not used for the longest to rest, and a segment rests only when that is safe.

Invariant: however many segments there are, each can be opened, since one of the others gives way.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from kmq.durable import open_regular
from sender.flow import Event

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OUT_OF_DESCRIPTORS", "Descriptors", "Shortage", "share_of_limit"]

OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE})

T = TypeVar("T")

_AT_LEAST: Final = 4
_SHARE: Final = 2
_OVER_AFTER_S: Final = 60.0


class Resting(Protocol):
    """What holds a descriptor and can do without it for a while."""

    def rest(self) -> bool:
        """Close the descriptor now, to open it again at the next use; return whether that was possible."""
        ...


def share_of_limit() -> int:
    """Return how many segments may be open: half of this process's limit of open files, as it is now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(_AT_LEAST, soft // _SHARE)


class Descriptors:
    """The open segments, at most `limit()` of them, the one that was not used for the longest first."""

    def __init__(self, limit: Callable[[], int] = share_of_limit) -> None:
        self._limit = limit
        self._open: dict[Resting, None] = {}

    def open(self, path: str, user: Resting) -> int:
        """Open the regular file `path` for `user`; others rest where there is no room. Raises OSError."""
        while len(self._open) >= self._limit() and self._rest_one():
            pass
        fd = self.make_room(lambda: open_regular(path, os.O_RDONLY))
        self._open[user] = None
        return fd

    def make_room(self, action: Callable[[], T]) -> T:
        """Run `action`, which needs a descriptor, and again where there was none and a segment could give way.

        That happens only where something else than segments took what was held back.
        """
        while True:
            try:
                return action()
            except OSError as error:
                if error.errno not in OUT_OF_DESCRIPTORS or not self._rest_one():
                    raise

    def used(self, user: Resting) -> None:
        """Take note that `user` was used just now."""
        self._open[user] = self._open.pop(user)

    def closed(self, user: Resting) -> None:
        """Take note that `user` has none any more."""
        self._open.pop(user, None)

    def _rest_one(self) -> bool:
        return any(user.rest() for user in list(self._open))


class Shortage:
    """That descriptors ran out, told once for the whole spool, and again only after a minute without."""

    def __init__(self, report: Callable[[Event], None], clock: Callable[[], float]) -> None:
        self._report = report
        self._clock = clock
        self._met_at = -_OVER_AFTER_S

    def met(self, code: int) -> None:
        """Take note that something could not be opened for want of a descriptor."""
        now = self._clock()
        if now - self._met_at >= _OVER_AFTER_S:
            way_out = "raise the limit of open files (ulimit -n, LimitNOFILE=)"
            self._report(Event("open-failed", detail=f"{os.strerror(code)}: {way_out}"))
        self._met_at = now
