"""File operations that fail, wait or are written down: what tests hand in where kmq takes `Files`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kmq.durable import Files

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Journal", "descriptors_in", "failing", "files_with"]


def files_with(**operations: Callable[..., Any]) -> Files:
    """Return the real operations, with some replaced."""
    files = Files()
    for name, operation in operations.items():
        setattr(files, name, operation)
    return files


def failing(code: int, *, times: int = 1_000_000, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation that fails with `code` the first `times` times and is `real` afterwards."""
    left = times

    def operation(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the real one takes
        nonlocal left
        if left > 0:
            left -= 1
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    return operation


class Journal:
    """Real operations whose names and targets are written down in order."""

    NAMES = (
        "open",
        "write",
        "fsync",
        "fdatasync",
        "rename",
        "link",
        "unlink",
        "mkdir",
        "rmdir",
        "fchmod",
        "chown",
    )

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.files = files_with(**{name: self._noted(name) for name in self.NAMES})

    def names(self) -> list[str]:
        """Return the operations alone."""
        return [name for name, _ in self.entries]

    def _noted(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def operation(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the real one takes
            self.entries.append((name, self._target(args)))
            return real(*args, **kwargs)

        return operation

    @staticmethod
    def _target(args: tuple[Any, ...]) -> str:
        first = args[0]
        path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else first
        return os.path.basename(path)


def descriptors_in(directory: str | os.PathLike[str]) -> int:
    """Return how many descriptors this process has open below `directory`, removed files included."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}").startswith(os.fspath(directory))
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return found
