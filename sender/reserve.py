"""Room kept back for the moment when the disk is full.

Owns one file of a few blocks in the spool. A full disk leaves a torn line, which must be kept in `rejected/` before the
checkpoint may pass it; only then can the segment before it go. Without room for that one line and one checkpoint
nothing would ever be freed again. Knows nothing about what the room is needed for.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from kmq.durable import FILES, Files, create

if TYPE_CHECKING:
    from kmq.spool import Spool

__all__ = ["Reserve"]

_MOST: Final = 256 << 10
_LEAST: Final = 16 << 10
_SHARE: Final = 16
_BLOCK: Final = 4 << 10
_INODES: Final = 16


class Reserve:
    """The reserve of `spool`: set aside while there is plenty of room, given up when there is none."""

    def __init__(self, spool: Spool, *, files: Files = FILES) -> None:
        self._spool = spool
        self._files = files

    @property
    def path(self) -> str:
        """Where it lies."""
        return f"{self._spool.path}/reserve"

    def set_aside(self) -> bool:
        """Make it, if it is missing: a sixteenth of the free room, 16 to 256 KiB, or none. Return whether it is there.

        Without it a full disk is only mended by hand.
        """
        if os.path.lexists(self.path):
            return True
        with contextlib.suppress(OSError):
            about = os.statvfs(self._spool.path)
            size = min(_MOST, about.f_bavail * about.f_frsize // _SHARE // _BLOCK * _BLOCK)
            if size >= _LEAST and _inodes_are_left(about):
                self._make(size)
                return True
        return False

    def give_up(self) -> bool:
        """Free its room; return whether there was any. Whoever needs it must take it at once."""
        try:
            self._files.unlink(self.path)
        except OSError:
            return False
        return True

    def _make(self, size: int) -> None:
        fd = create(self.path, os.O_WRONLY, files=self._files)
        try:
            self._files.allocate(fd, 0, size)
        except OSError:
            self._files.unlink(self.path)
            raise
        finally:
            os.close(fd)


def _inodes_are_left(about: os.statvfs_result) -> bool:
    # Some file systems have no such number, and say 0 of 0.
    return about.f_files == 0 or about.f_favail >= _INODES
