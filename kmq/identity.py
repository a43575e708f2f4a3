"""The current person of a client: one for each thread and each async task, never one for all.

Owns a context variable. A new thread begins with nobody; a task begins with the person of the code that made it, and
changes only its own. Knows nothing about what makes a good identity.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CurrentPerson"]


class CurrentPerson:
    """Whom the calls of this context are about, until it is set again.

    >>> current = CurrentPerson()
    >>> current.set("bob@bob.com")
    >>> current.get()
    'bob@bob.com'
    """

    def __init__(self) -> None:
        self._variable: ContextVar[str | None] = ContextVar("kmq_person", default=None)
        self.get: Callable[[], str | None] = self._variable.get
        """Returns the person of this context, or None. The variable's own method: each call asks."""

    def set(self, person: str | None) -> None:
        """Make `person` the one of this context; None forgets."""
        self._variable.set(person)
