"""A directory's entries, listed again only when it pays.

Owns when a directory is listed: when its time changed, and every five seconds whatever its time says, since the time of
a file system is coarse and a change can fall into the same tick as the listing before. Knows nothing about entries.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RELIST_S", "Listing"]

RELIST_S: Final = 5.0

T = TypeVar("T")


class Listing(Generic[T]):
    """The entries of the directory `path`, as `listed` gives them; `known` once it could be listed."""

    def __init__(self, path: str, listed: Callable[[], list[T]]) -> None:
        self.entries: list[T] = []
        self.known = False
        self._path = path
        self._listed = listed
        self._changed_ns: int | None = None
        self._due = -math.inf

    def look(self, now: float, *, again: bool = False) -> bool:
        """List if it is due, or `again` whether due or not; return whether it was listed.

        Raises OSError; a directory that is there and cannot be listed is tried again when listing is due.
        """
        changed_ns = os.stat(
            self._path
        ).st_mtime_ns  # before the listing: what changes meanwhile shows at the next look
        if changed_ns == self._changed_ns and now < self._due and not again:
            return False
        self._changed_ns, self._due = changed_ns, now + RELIST_S
        self.entries = self._listed()
        self.known = True
        return True

    def is_due(self, now: float) -> bool:
        """Say whether a `look` would list, or fail."""
        try:
            return now >= self._due or os.stat(self._path).st_mtime_ns != self._changed_ns
        except OSError:
            return True

    def forget(self) -> None:
        """Drop the entries and list at the next look."""
        self.entries, self.known = [], False
        self._changed_ns = None
