"""Whether this is still the process that asked: a page that the kernel empties in the child of a fork.

Owns that one question. Knows nothing about what a child must not touch. `os.getpid` answers it too, at five times the
cost (a system call, 200 ns against 40 ns), and is asked where that does not matter, or where the kernel knows no such
pages (Linux before 4.14). Neither needs the hooks of Python, which some servers fork without.
"""

from __future__ import annotations

import mmap
import os
from typing import Final

__all__ = ["SameProcess", "same_process"]

_WIPE_ON_FORK: Final = 18  # MADV_WIPEONFORK of linux/mman.h; `mmap` has no name for it


class _Asked:
    """The same by asking for the process id each time."""

    __slots__ = ("_pid",)

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __getitem__(self, _: int) -> int:
        return os.getpid() == self._pid


SameProcess = mmap.mmap | _Asked
"""`[0]` is true in the process that made it, and in no child of it."""


def same_process(advice: int = _WIPE_ON_FORK) -> SameProcess:
    """Return what says of itself, from now on, whether it is still in this process.

    >>> bool(same_process()[0])
    True
    """
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(advice)
    except OSError:
        page.close()
        return _Asked()
    page[0] = 1
    return page
