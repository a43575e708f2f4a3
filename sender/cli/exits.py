"""Exit codes: one table, and the one place that says which error ends with which code.

Owns the numbers, what they mean (in the help and the docs alike) and `Failure`, with which a command ends on purpose.
Knows nothing about commands. The numbers are those of sysexits.h where it has one; 1 and 2 are the usual ones.
"""

from __future__ import annotations

import enum
import errno
from typing import Final

import click

from kmq.errors import (
    InvalidCommand,
    InvalidSetting,
    KmqError,
    LocksUnsupported,
    NoPermission,
    SpoolError,
    SpoolFull,
)

__all__ = ["MEANINGS", "Exit", "Failure", "exit_for", "summary"]


class Exit(enum.IntEnum):
    """With what a command ends."""

    OK = 0
    INCOMPLETE = 1
    USAGE = 2
    DATA = 65
    NO_INPUT = 66
    UNAVAILABLE = 69
    CANNOT_CREATE = 73
    TEMPORARY = 75
    NO_PERMISSION = 77
    CONFIG = 78
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: Final = {
    Exit.OK: "done",
    Exit.INCOMPLETE: "ended with something left undone",
    Exit.USAGE: "wrong usage",
    Exit.DATA: "damaged or invalid data",
    Exit.NO_INPUT: "no such input",
    Exit.UNAVAILABLE: "the API cannot be reached",
    Exit.CANNOT_CREATE: "the spool cannot be written",
    Exit.TEMPORARY: "try again later (another sender runs, a time limit passed)",
    Exit.NO_PERMISSION: "no permission",
    Exit.CONFIG: "wrong settings (no API key, bad URL)",
    Exit.INTERRUPTED: "ended at once by INT, or by a second one",
    Exit.TERMINATED: "ended at once by a second TERM",
}

# Not of sysexits and of little use in a help: whoever presses Ctrl-C twice knows what happened.
_UNSAID: Final = frozenset({Exit.INTERRUPTED, Exit.TERMINATED})

# The first that fits; a subclass stands before its base.
_BY_ERROR: Final[tuple[tuple[type[KmqError], Exit], ...]] = (
    (NoPermission, Exit.NO_PERMISSION),
    (SpoolFull, Exit.TEMPORARY),
    (LocksUnsupported, Exit.CONFIG),
    (SpoolError, Exit.CANNOT_CREATE),
    (InvalidSetting, Exit.CONFIG),
    (InvalidCommand, Exit.DATA),
)


class Failure(click.ClickException):
    """Ends a command: `message` goes to stderr behind `Error:`, `code` to whoever waits for it.

    >>> raise Failure("another sender runs here: kmq-sender[1423]", Exit.TEMPORARY)
    Traceback (most recent call last):
    sender.cli.exits.Failure: another sender runs here: kmq-sender[1423]
    """

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click reads it from the error


def exit_for(error: KmqError) -> Exit:
    """Return the code that a command ends with when `error` ends it.

    >>> exit_for(InvalidSetting("KMQ_MAX_SPOOL", "much", "a size"))
    <Exit.CONFIG: 78>
    """
    if (
        isinstance(error, SpoolError) and error.errno == errno.EAGAIN
    ):  # another process holds a lock
        return Exit.TEMPORARY
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), Exit.INCOMPLETE)


def summary() -> str:
    """Return the table as one sentence, for the help."""
    said = [f"{code:d} {meaning}" for code, meaning in MEANINGS.items() if code not in _UNSAID]
    return "; ".join(said) + "."
