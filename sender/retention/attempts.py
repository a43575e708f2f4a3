"""Attempts that may fail without stopping what comes behind them: each failure is reported once until it is over.

Owns when a failure is news. Knows nothing about what is attempted. That a file vanished meanwhile is no failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sender.flow import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Attempts"]


class Attempts:
    """Reports what failed, under one event `code`, to `report`."""

    def __init__(self, code: str, report: Callable[[Event], None]) -> None:
        self._code = code
        self._report = report
        self._failing: set[tuple[str, str]] = set()

    def of(
        self, doing: str, path: str, partition: str | None = None, offset: int | None = None
    ) -> _Attempt:
        """Return the context of an attempt at `doing` something with `path`; an OSError ends the block only."""
        return _Attempt(self, (doing, path), (partition, offset))

    def ended(
        self,
        what: tuple[str, str],
        where: tuple[str | None, int | None],
        error: BaseException | None,
    ) -> None:
        """Take note of how an attempt ended."""
        if error is None:
            if what in self._failing:
                self._failing.remove(what)
                self._report(Event("works-again", *where, detail=self._code))
        elif not isinstance(error, FileNotFoundError) and what not in self._failing:
            self._failing.add(what)
            reason = getattr(error, "strerror", None) or error
            self._report(Event(self._code, *where, detail=f"cannot {' '.join(what)}: {reason}"))


class _Attempt:
    """A context; a class, since a type checker knows only of one that it can end a block early."""

    def __init__(
        self, attempts: Attempts, what: tuple[str, str], where: tuple[str | None, int | None]
    ) -> None:
        self._attempts = attempts
        self._what = what
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> bool:
        is_ours = error is None or isinstance(error, OSError)
        if is_ours:
            self._attempts.ended(self._what, self._where, error)
        return is_ours
