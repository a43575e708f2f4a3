"""Names in a directory of the spool, as `verify` lists them.

Owns one rule: a link that stands in a directory's place is not followed, whatever it leads to.
"""

from __future__ import annotations

import os

__all__ = ["names_in"]


def names_in(path: str) -> list[str]:
    """Return what lies in the directory `path`, sorted. Raises OSError, also where a link bears the name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)
