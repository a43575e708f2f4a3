"""The sender's own figures: what was delivered, retried and rejected, how fast, and what went wrong last.

Owns counters and short windows in memory. Knows nothing about files or how figures are shown.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

__all__ = ["Figures", "LastError", "Rate"]

_WINDOW_S: Final = 10
_LATENCIES: Final = 1_000


@dataclass(frozen=True, slots=True)
class LastError:
    """The last answer that was no delivery: when (epoch seconds), its stable code, and its status if it had one."""

    at: float
    code: str
    status: int | None


class Rate:
    """Events a second over the last ten whole seconds."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque()

    def add(self, count: int, now: float) -> None:
        """Count so many at `now`, on the monotonic clock."""
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + count)
        else:
            self._seconds.append((second, count))
        while self._seconds[0][0] < second - _WINDOW_S:
            self._seconds.popleft()

    def idle(self, now: float) -> bool:
        """Say whether nothing was counted within the window."""
        return not self._seconds or self._seconds[-1][0] < int(now) - _WINDOW_S

    def per_second(self, now: float) -> float:
        """Return the mean over the window that ends with the last whole second."""
        last = int(now)
        return (
            sum(count for second, count in self._seconds if last - _WINDOW_S <= second < last)
            / _WINDOW_S
        )


class Figures:
    """Counts since the sender started."""

    window_s: Final = _WINDOW_S

    def __init__(self) -> None:
        self.delivered = 0
        self.retried = 0
        self.rejected: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.last_error: LastError | None = None
        self.out = Rate()
        self.latencies: deque[float] = deque(maxlen=_LATENCIES)
        """How long the last answers took, in seconds."""

    def latency(self, share: float) -> float | None:
        """Return the time in seconds within which `share` of the last 1,000 answers came; None before the first.

        >>> figures = Figures()
        >>> for seconds in (0.1, 0.2, 0.3): figures.latencies.append(seconds)
        >>> figures.latency(0.5)
        0.2
        """
        if not self.latencies:
            return None
        ordered = sorted(self.latencies)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
