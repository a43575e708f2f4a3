"""What a target is, and the words in which it says what it found.

A target makes an input of chance and judges what the code does with it. What the code may raise is caught by the
target; whatever else comes out of `check` is a crash, an `AssertionError` included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from random import Random

__all__ = ["LineLost", "Target", "require"]


class LineLost(Exception):  # noqa: N818 - it is what was found
    """A line that was intact did not come out, or came out as another one."""


class Target(Protocol):
    """Makes inputs and judges what comes of them; the same generator gives the same input and the same trial."""

    def make(self, rng: Random) -> bytes:
        """Return an input."""
        ...

    def check(self, data: bytes, rng: Random) -> None:
        """Hand `data` to the code; raise where it does what it must not."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


def require(holds: object, what: str) -> None:
    """Raise AssertionError saying `what` where it does not hold; unlike `assert` also under -O."""
    if not holds:
        raise AssertionError(what)
