"""What can never be delivered, on its way into `rejected/`.

Owns what is written there of an entry, and the waiting where it cannot be. Knows nothing about how it is kept, nor why
the API refuses a command.

Invariant: a part of an entry ends only when it is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sender.rejected import New

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sender.flow import Outcome

    from .entry import Entry

__all__ = ["FAULTS", "Refusals"]

_AGAIN_S: Final = 1.0

FAULTS: Final = {
    "torn": "the line has no newline: its write never ended, and no call was told that it did",
    "too-long": "a line has at most 65,536 bytes",
}
"""What a line breaks that can be no command, whatever it says, by the reader's word for it."""

_ZEROS: Final = "a block of zeros, as a power cut leaves it, and what stood before it"


class Refusals:
    """Hands refusals to `keep`; where that raises OSError they wait, and are handed to it again a second later."""

    def __init__(self, keep: Callable[[Sequence[New]], object]) -> None:
        self.error: OSError | None = None
        """Why they could not be kept, for as long as they cannot."""
        self._keep = keep
        self._waiting: list[tuple[Entry, New]] = []
        self._again_at = 0.0

    def __bool__(self) -> bool:
        """Whether any waits."""
        return bool(self._waiting)

    @property
    def due(self) -> float:
        """When they can be kept, on the clock of the caller."""
        return self._again_at

    def add(self, entry: Entry, reason: str, rule: str, outcome: Outcome | None = None) -> None:
        """Take in `entry`, which is refused for `reason`: by the API with `outcome`, else unsent."""
        place = _place(entry, entry.start + entry.cut_off, entry.end)
        answer = (outcome.status, outcome.said) if outcome else (None, "")
        size = entry.end - entry.start if reason == "too-long" else None
        self._waiting.append((entry, New(reason, entry.raw, rule, *place, *answer, size)))

    def add_head(self, entry: Entry, head: bytes) -> None:
        """Take in what stood before the intact command of `entry`; nothing was cut off yet."""
        place = _place(entry, entry.start, entry.start + len(head))
        self._waiting.append((entry, New("zeros", head, _ZEROS, *place)))

    def kept(self, now: float) -> list[tuple[Entry, New]]:
        """Hand over what waits, if it is time; return what is kept now."""
        if now < self._again_at:
            return []
        try:
            self._keep([new for _, new in self._waiting])
        except OSError as error:
            self.error = error
            self._again_at = now + _AGAIN_S
            return []
        self.error = None
        kept, self._waiting = self._waiting, []
        return kept


def _place(entry: Entry, offset: int, end: int) -> tuple[str | None, int | None, int | None]:
    # A place is listed once. Lines of segments that overlap can lie at one offset, with too few bytes between its start
    # and end, and the second would be taken for the first: such a line has no place of its own.
    if entry.end - entry.start < entry.cut_off + len(entry.raw):
        return (None, None, None)
    return (entry.track.partition, offset, end)
