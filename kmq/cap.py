"""The spool's cap: a call is refused before it makes the spool larger than it may be.

Owns when the spool is measured; knows nothing about how a line is written. The size is measured by listing and never
kept by counting: a counter drifts, until a buffer is full for ever. Between two measurements this process's own
appends are added, so that the cap can be passed by other processes' appends only, each by 1 MiB at most, and by what
the leases of several slots of this process leave beside one another, each 1 MiB at most.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from .clock import CLOCK, Clock
from .errors import SpoolFull, spool_error
from .spool import Spool, measure

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Cap"]

_MEASURED_EVERY_BYTES: Final = 1 << 20
_WHILE_FULL_EVERY_S: Final = 1.0


class Cap:
    """Admits a line or raises `SpoolFull`; `max_bytes` is the size that the spool may have."""

    def __init__(
        self,
        spool: Spool,
        max_bytes: int,
        *,
        clock: Clock = CLOCK,
        measured: Callable[[Spool], int] = measure,
    ) -> None:
        self._spool = spool
        self._max_bytes = max_bytes
        self._clock = clock
        self._measure = measured
        self._size = 0
        self._appended = 0
        self._measured_at: float | None = None
        self._full = False

    def admit(self, line_bytes: int, *, look: bool = False) -> None:
        """Let a line of so many bytes pass, or raise `SpoolFull`.

        Measures again after each 1 MiB, whenever `look` is set (adoption, rotation), and while full once a second only.
        """
        if self._due(look=look):
            self._look()
        self._full = self._size + self._appended + line_bytes > self._max_bytes
        if self._full:
            raise self._refusal()
        self._appended += line_bytes

    def room(self) -> int:
        """Return how many bytes may be appended before it has to be asked again."""
        unmeasured = _MEASURED_EVERY_BYTES - self._appended
        return min(unmeasured, self._max_bytes - self._size - self._appended)

    def appended(self, size: int) -> None:
        """Take note of bytes that were appended within `room`."""
        self._appended += size

    def _due(self, *, look: bool) -> bool:
        if self._measured_at is None:
            return True
        if self._full:
            return self._clock.monotonic() - self._measured_at >= _WHILE_FULL_EVERY_S
        return look or self._appended >= _MEASURED_EVERY_BYTES

    def _look(self) -> None:
        self._measured_at = self._clock.monotonic()
        try:
            self._size = self._measure(self._spool)
        except FileNotFoundError:
            self._size = (
                0  # removed as a whole: what is appended next finds out, and makes it again
            )
        except OSError as error:
            raise spool_error(error, "list", self._spool.path) from error
        self._appended = 0

    def _refusal(self) -> SpoolFull:
        return SpoolFull(
            f"the spool {self._spool.path} holds {self._size + self._appended:,} of at most {self._max_bytes:,} bytes: "
            "nothing was written; see what holds the sender up (kmq-sender status), or raise KMQ_MAX_SPOOL",
            path=self._spool.path,
            code=errno.ENOSPC,
        )
