"""What stands in `rejected/`, read and never changed: which commands are kept there, each counted once.

Owns the index over the files: which ids are still on the list, at which place each lay, what could not be read. Ids and
places are numbers in it: 262,144 commands take 40 MiB so, and took 73 as texts. Whoever only adds has no index at all.
Knows nothing about writing or locks: it reads beside those who append, so a last line without its newline is one
that is on its way, or torn; both are passed over.

Invariant: the index says what the files say, since they are append-only: what was appended is read once, and a
file that is no longer the same one is read anew. The directory is input: no link is followed, nothing but a regular
file of the right name is opened, and no content makes a reader fail.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from kmq.durable import NO_REGULAR_FILE, open_regular
from kmq.errors import spool_error

from .rejection import (
    MAX_FORM,
    Gone,
    Rejection,
    file_day,
    id_of_number,
    number_of_id,
    number_of_place,
    parse,
    parse_id,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["MAX_NUMBER", "Kept", "whole_lines"]

MAX_NUMBER: Final = 10**12
"""Larger numbers are not counted on from: nobody rejects so much in a day, so another program wrote them."""

# Removed, or something else put in its place, since it was listed.
_VANISHED: Final = NO_REGULAR_FILE | {errno.ENOENT}

# As kmq writes it: 262,144 lines are looked through in 0.3 s so, parsed in 3, and the sender waits for it.
_HEAD: Final = re.compile(rb'\{"id":"([0-9-]{10}):([1-9][0-9]{0,14})"')


@dataclass(slots=True)
class _File:
    """What is known of one file, up to `read_to`, the end of the last whole line that was read.

    `live` leads from the number of an id that is on the list to that of its command.
    """

    seen: os.stat_result
    read_to: int = 0
    unreadable: int = 0
    live: dict[int, int] = field(default_factory=dict)

    def is_as_seen(self, now: os.stat_result) -> bool:
        return _signature(self.seen) == _signature(now)

    def has_only_grown(self, now: os.stat_result) -> bool:
        return os.path.samestat(self.seen, now) and now.st_size > self.seen.st_size

    def alike(self, asked: set[int], several: set[int]) -> list[str]:
        """Return the ids that are `asked` for, or stand for one of `several` commands that have more than one."""
        same = self.live.keys() & asked
        if several:  # only then is it worth looking at all
            same |= {number for number, key in self.live.items() if key in several}
        return [id_of_number(number) for number in sorted(same)]

    @property
    def has_torn_end(self) -> bool:
        return self.read_to < self.seen.st_size


def _signature(seen: os.stat_result) -> tuple[int, int, int, int]:
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)


class Kept:
    """The commands kept in the directory `path`, as far as its files can be read.

    Every method looks first at what changed: a listing and one `lstat` a file when nothing did. Raises `SpoolError`
    where a file is there and may not be read.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._files: dict[str, _File] = {}
        self._strange = 0
        self._holders: dict[int, int] = {}  # how many lines on the list stand for this command

    def count(self) -> int:
        """Return how many commands are on the list."""
        self.refresh()
        return len(self._holders)

    @property
    def unreadable(self) -> int:
        """How many lines and files could not be read, when last looked."""
        files = self._files.values()
        return self._strange + sum(file.unreadable + file.has_torn_end for file in files)

    def each(self) -> Iterator[Rejection]:
        """Yield what is on the list, file by file in the order of their names, each command once."""
        self.refresh()
        yielded: set[int] = set()
        for name in sorted(self._files):
            for rejection in self._on_the_list(name):
                key = _key(rejection)
                if key not in yielded:
                    yielded.add(key)
                    yield rejection

    def found(self, ids: Collection[str]) -> dict[str, Rejection]:
        """Return the commands of those of `ids` that are on the list, in one passage over the files that hold any."""
        self.refresh()
        asked = {number_of_id(id_) for id_ in ids}
        holding = [name for name, file in self._files.items() if not asked.isdisjoint(file.live)]
        found: dict[str, Rejection] = {}
        for name in holding:
            for rejection in self._on_the_list(name):
                if rejection.id in ids:
                    found.setdefault(rejection.id, rejection)
                if len(found) == len(asked):
                    return found
        return found

    def holds_any(self, ids: Collection[str]) -> bool:
        """Say whether any of `ids` is on the list."""
        self.refresh()
        asked = {number_of_id(id_) for id_ in ids}
        return any(not asked.isdisjoint(file.live) for file in self._files.values())

    def alike(self, ids: Collection[str]) -> dict[str, list[str]]:
        """Return, by file, all ids on the list that stand for the same commands as `ids`, those included."""
        self.refresh()
        asked = {number_of_id(id_) for id_ in ids}
        files = self._files.items()
        keys = {file.live[number] for _, file in files for number in file.live.keys() & asked}
        several = {key for key in keys if self._holders[key] > 1}
        return {name: same for name, file in files if (same := file.alike(asked, several))}

    def finished(self, leaving: dict[str, list[str]] | None = None) -> list[str]:
        """Return the files of which all lines are gone; with `leaving`, also those where these would be the last.

        A file with a line that cannot be read is not among them: what it holds is unknown.
        """
        leaving = leaving or {}
        return [
            name
            for name, file in self._files.items()
            if len(file.live) == len(leaving.get(name, ()))
            and not file.unreadable
            and not file.has_torn_end
        ]

    def highest(self, day: str) -> int:
        """Return the highest number that the files of a day hold, gone ones included; 0 if none.

        Reads them through and keeps nothing: whoever only adds needs no index.
        """
        names = [name for name in self._names() if file_day(name) == day]
        return max((self._highest_in(name, day) for name in names), default=0)

    def _highest_in(self, name: str, day: str) -> int:
        file = self._open(name)
        if file is None:
            return 0
        with file, self._explained(name):
            return max((_number(line, day) for line, _ in whole_lines(file)), default=0)

    def refresh(self) -> None:
        """Look at what changed since the last time."""
        found = self._listing()
        for name in self._files.keys() - found.keys():
            self._forget(name)
        for name, now in found.items():
            self._look(name, now)

    def _listing(self) -> dict[str, os.stat_result]:
        self._strange = 0
        found = {}
        for name in self._names():
            try:
                now = os.lstat(os.path.join(self._path, name))
            except FileNotFoundError:
                continue
            if stat.S_ISREG(now.st_mode):
                found[name] = now
            else:
                self._strange += 1
        return found

    def _names(self) -> list[str]:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise spool_error(error, "list", self._path) from error
        try:
            return [name for name in os.listdir(fd) if file_day(name) is not None]
        finally:
            os.close(fd)

    def _look(self, name: str, now: os.stat_result) -> None:
        known = self._files.get(name)
        if known is not None and known.is_as_seen(now):
            return
        if known is None or not known.has_only_grown(now):
            self._forget(name)
            known = _File(now)
        file = self._open(name)
        if file is None:
            self._forget(name)
            return
        with file:
            self._files[name] = known
            known.seen = os.fstat(file.fileno())
            self._read_on(name, known, file)

    def _open(self, name: str) -> BinaryIO | None:
        path = os.path.join(self._path, name)
        try:
            return os.fdopen(open_regular(path, os.O_RDONLY), "rb")
        except OSError as error:
            if error.errno in _VANISHED:
                return None
            raise spool_error(error, "read", path) from error

    def _read_on(self, name: str, known: _File, file: BinaryIO) -> None:
        try:
            with self._explained(name):
                file.seek(known.read_to)
                for line, length in whole_lines(file):
                    known.read_to += length
                    self._take_in(known, line)
        except OSError:
            # Else what was not read would count as a torn end until the file changes.
            self._forget(name)
            raise

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise spool_error(error, "read", os.path.join(self._path, name)) from error

    def _take_in(self, known: _File, line: bytes | None) -> None:
        said = _parsed(line)
        if said is None:
            known.unreadable += 1
        elif isinstance(said, Gone):
            self._drop(known, number_of_id(said.id))
        elif (number := number_of_id(said.id)) not in known.live:
            known.live[number] = key = _key(said)
            self._holders[key] = self._holders.get(key, 0) + 1

    def _drop(self, known: _File, number: int) -> None:
        key = known.live.pop(number, None)
        if key is None:
            return
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]

    def _forget(self, name: str) -> None:
        known = self._files.pop(name, None)
        if known is not None:
            for number in list(known.live):
                self._drop(known, number)

    def _on_the_list(self, name: str) -> Iterator[Rejection]:
        file = self._open(name)
        if file is None:
            return
        with file:
            for line, _length in whole_lines(file):
                said = _parsed(line)
                known = self._files.get(name)
                if not isinstance(said, Rejection) or known is None:
                    continue
                if number_of_id(said.id) in known.live:
                    yield said


def _key(rejection: Rejection) -> int:
    if rejection.place is None:
        return -number_of_id(rejection.id)
    return number_of_place(*rejection.place)


def _number(line: bytes | None, day: str) -> int:
    """Return the number of the line's id, 0 where it has none of that day. A torn line has used its number up, too."""
    head = _HEAD.match(line or b"")
    day_of_id, number = (head[1].decode(), int(head[2])) if head else _parsed_number(line)
    return number if day_of_id == day and number <= MAX_NUMBER else 0


def _parsed_number(line: bytes | None) -> tuple[str, int]:
    said = _parsed(line)
    return parse_id(said.id) if isinstance(said, Rejection) else ("", 0)


def _parsed(line: bytes | None) -> Rejection | Gone | None:
    try:
        return None if line is None else parse(line)
    except ValueError:
        return None


def whole_lines(file: BinaryIO) -> Iterator[tuple[bytes | None, int]]:
    """Yield each whole line with its length, None instead of one that is too long to be ours."""
    while line := file.readline(MAX_FORM + 1):
        if line.endswith(b"\n"):
            yield line, len(line)
            continue
        rest = _length_of_rest(file) if len(line) > MAX_FORM else None
        if rest is None:
            return
        yield None, len(line) + rest


def _length_of_rest(file: BinaryIO) -> int | None:
    length = 0
    while piece := file.readline(MAX_FORM):
        length += len(piece)
        if piece.endswith(b"\n"):
            return length
    return None
