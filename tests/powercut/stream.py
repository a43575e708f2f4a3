"""What a recording consists of: changes of the disk, syncs, and marks of what was promised meanwhile. Values only.

A node is a file or a directory by an identity of its own: inode numbers are given again, nodes never.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ROOT_NODE",
    "Acknowledged",
    "Change",
    "Delivered",
    "Dropped",
    "Entry",
    "Leaving",
    "Left",
    "Linked",
    "Made",
    "Mark",
    "Removed",
    "Renamed",
    "Settled",
    "Strewn",
    "Synced",
    "Tried",
    "Written",
]

ROOT_NODE = 0
"""The directory in which all of it happens; it is durable from the beginning."""


@dataclass(frozen=True, slots=True)
class Made:
    """`directory` got an entry `name` for a new node."""

    directory: int
    name: str
    node: int
    is_directory: bool


@dataclass(frozen=True, slots=True)
class Written:
    """A file got `data` at `offset`."""

    node: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Renamed:
    """An entry of `directory` got another name there, taking the place of what had it."""

    directory: int
    name: str
    to: str
    node: int


@dataclass(frozen=True, slots=True)
class Linked:
    """`directory` got one more entry for a file that exists."""

    directory: int
    name: str
    node: int


@dataclass(frozen=True, slots=True)
class Removed:
    """An entry of `directory` went, by unlink or rmdir."""

    directory: int
    name: str


@dataclass(frozen=True, slots=True)
class Synced:
    """A file or directory was synced by the call at `site`; `failed` says that the kernel refused."""

    node: int
    site: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """A call for `person` began, to write `line`."""

    person: str
    line: bytes


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The call for `person` returned; with `durably`, no power cut may take it from now on."""

    person: str
    durably: bool


@dataclass(frozen=True, slots=True)
class Delivered:
    """The API has answered 2xx for `person`."""

    person: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """The operator takes it on himself that `person`'s command is gone."""

    person: str


@dataclass(frozen=True, slots=True)
class Strewn:
    """A copy of `person`'s line was removed by hand, and its name comes back where that was not durable."""

    person: str


@dataclass(frozen=True, slots=True)
class Settled:
    """A commit of the sender returned: `offsets` are durable, and all that was `acknowledged` a commit before."""

    offsets: tuple[tuple[str, int], ...]
    acknowledged: frozenset[str]


@dataclass(frozen=True, slots=True)
class Leaving:
    """The operator begins to take these ids off the list of rejected commands."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """They are off the list, durably."""

    ids: tuple[str, ...]


Change = Made | Written | Renamed | Linked | Removed | Synced
Mark = Tried | Acknowledged | Delivered | Dropped | Strewn | Settled | Leaving | Left
Entry = Change | Mark
