"""What the show says and to whom; how that looks is the command line's matter.

Owns the shape of a remark, and the two ways in which a show ends early. Knows nothing about terminals or processes.
"""

from __future__ import annotations

from typing import Literal, Protocol

__all__ = ["ShowFailed", "Stopped", "Teller", "Tone"]

Tone = Literal["plain", "bad", "good", "faint"]


class Teller(Protocol):
    """Gets each remark as it is made."""

    def happened(self, at_s: float, who: str, what: str, tone: Tone = "plain") -> None:
        """Tell that `who` did or met `what`, so many seconds after the show began."""
        ...

    def say(self, text: str = "", tone: Tone = "plain") -> None:
        """Tell a line that belongs to no moment."""
        ...


class ShowFailed(Exception):  # noqa: N818 - it is what became of it
    """The show cannot go on; the text says what failed, with the end of that process's own words."""


class Stopped(Exception):  # noqa: N818 - it is what was asked for
    """Somebody wants the show to end now."""
