"""Which commands are meant: by person, event, kind and time.

Pure: a filter is a value, and whether it matches a command depends on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kmq.command import Unreadable, decode, salvage

if TYPE_CHECKING:
    from kmq.command import Command
    from sender.flow import Line

__all__ = ["EVERYTHING", "Filter", "command_in", "fold"]


@dataclass(frozen=True, slots=True)
class Filter:
    """What a command must be; an empty or missing part asks for nothing. `since` and `until` are in epoch seconds.

    `persons` are identities, of an alias either one; `event` is a name, case ignored. `until` itself is excluded.
    """

    persons: frozenset[str] = frozenset()
    event: str | None = None
    kind: str | None = None
    since: float | None = None
    until: float | None = None

    def matches(self, command: Command) -> bool:
        """Say whether `command` is meant.

        >>> from kmq.command import Command
        >>> Filter(event="signed up").matches(Command("bob", 1_500_000_000, "Signed Up"))
        True
        """
        return (
            self._is_person(command)
            and (self.event is None or _is_event(command, self.event))
            and (self.kind is None or command.kind == self.kind)
            and (self.since is None or command.time >= self.since)
            and (self.until is None or command.time < self.until)
        )

    def takes(self, line: Line) -> bool:
        """Say whether a line is meant. One that is no command always is: nobody can say that it is not."""
        if self == EVERYTHING:
            return True
        command = command_in(line)
        return command is None or self.matches(command)

    def _is_person(self, command: Command) -> bool:
        return not self.persons or command.person in self.persons or command.other in self.persons


def _is_event(command: Command, event: str) -> bool:
    return command.name is not None and fold(command.name) == fold(event)


def fold(name: str) -> str:
    """Return an event's name with its case folded: to KISSmetrics `Signed Up` and `signed up` are one event.

    >>> fold("Signed Up")
    'signed up'
    """
    return name.casefold()


def command_in(line: Line) -> Command | None:
    """Return the command of a line, also one behind a block of zeros; None if it is none."""
    if line.fault is not None:
        return None
    try:
        return decode(line.raw)
    except Unreadable:
        intact = salvage(line.raw)
        return None if intact is None else decode(line.raw[intact:])


EVERYTHING: Final = Filter()
