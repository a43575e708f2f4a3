"""The scenarios by name, and what they share: moments at which a process dies or meets a fault."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Any

from .recorder import Died
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["SCENARIOS", "changed", "dies", "dies_after_rename", "fails", "scenario"]

SCENARIOS: dict[str, Callable[[str], World]] = {}


def scenario(play: Callable[[World], None]) -> Callable[[World], None]:
    """Register a scenario that begins with an empty spool, under the name of its function."""

    def played(root: str) -> World:
        world = World(root, base={"spool": None})
        play(world)
        return world

    SCENARIOS[play.__name__] = played
    return play


def dies(operation: str, path_ends: str = "") -> Callable[[str, str], None]:
    """Return what kills a process before its first such operation on a path that ends so."""

    def before(name: str, path: str) -> None:
        if name == operation and path.endswith(path_ends):
            raise Died

    return before


def dies_after_rename(of: str) -> Callable[[str, str], None]:
    """Return what kills a process before the first sync that follows the rename of a path that holds `of`."""
    renamed = False

    def before(name: str, path: str) -> None:
        nonlocal renamed
        if renamed and name == "fsync":
            raise Died
        renamed = renamed or (name == "rename" and of in path)

    return before


def fails(
    operation: str, path_has: str = "", *, times: int = 1, code: int = errno.EIO
) -> Callable[[str, str], None]:
    """Return what lets the first so many of these operations fail."""
    left = times

    def before(name: str, path: str) -> None:
        nonlocal left
        if left and name == operation and path_has in path:
            left -= 1
            raise OSError(code, os.strerror(code))

    return before


@contextlib.contextmanager
def changed(owner: Any, name: str, value: object) -> Iterator[None]:  # noqa: ANN401 - a module or class
    """Give a constant another value, so that something large is small."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
