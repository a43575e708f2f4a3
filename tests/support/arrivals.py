"""Who has arrived at a collector, asked again and again while a test waits: only what is new is fetched each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.collector import CollectorProcess

__all__ = ["Arrivals"]


class Arrivals:
    """The persons whose commands were answered 200, since the collector was reset."""

    def __init__(self, collector: CollectorProcess) -> None:
        self._collector = collector
        self._persons: set[str] = set()
        self._next = 0

    def persons(self) -> set[str]:
        """Return all so far."""
        page = self._collector.page(since=self._next)
        assert page["dropped"] == 0
        self._next = page["next"]
        good = (one for one in page["requests"] if one["answer"] == 200)
        self._persons.update(one["params"]["_p"] for one in good)
        return self._persons

    def count(self) -> int:
        """Return how many so far."""
        return len(self.persons())
