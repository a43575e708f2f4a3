"""The account of a soak: what writers noted, what the collector saw, and the oracle's judgement, in bounded memory.

Owns how notes and requests are taken over while the run goes on, and what is remembered of a command that is settled:
eight bytes. Knows nothing about processes. What is not settled the oracle holds, and it judges.

A name stands for one process that recorded; a person is that name and a number.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
import zlib
from array import array
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.support.collector import as_line
from tests.support.hand import began_at, given_time, line_of
from tests.support.oracle import Findings, Oracle, kept_in, left_in, person_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Account"]


class Account:
    """Takes down notes from the directory `acks` and requests of a collector; `replayed_with` is a replay's API key."""

    def __init__(self, acks: Path, *, replayed_with: str) -> None:
        self.delivered = 0
        self.replayed = 0
        self.acknowledged = 0
        self._acks = acks
        self._replayed_with = replayed_with
        self._oracle = Oracle()
        self._names: set[str] = set()
        self._read: dict[str, int] = {}
        self._settled = _Sums()
        self._folded = 0
        self._again = 0

    def take_notes(self) -> bool:
        """Take over what writers have noted since; return whether all of them have ended.

        Notes of a process that has ended are read to their end and removed. One that a kill has cut is none.
        """
        for name in [name for name in os.listdir(self._acks) if not name.startswith(".")]:
            self._names.add(name)
            self._take_note(name)
        return not self._read

    def take_requests(self, requests: Sequence[Mapping[str, Any]]) -> None:
        """Take over what the collector saw since; notes are taken first, so that no name is unknown."""
        for request in requests:
            self._take_request(request)

    def fold(self) -> None:
        """Keep no more than a check sum of what is settled."""
        for person, form, deliveries in self._oracle.release():
            self._settled[person] = _sum(form)
            self._folded += 1
            self._again += deliveries - 1

    @property
    def behind(self) -> int:
        """How many are acknowledged and not delivered yet, as far as is known."""
        return len(self._oracle.owed())

    def judge(self, spool: str) -> Findings:
        """Judge all that was taken over against what lies in `spool`."""
        for line in [*left_in(spool), *kept_in(spool)]:
            self._lies_there(person_of(line), line)
        found = self._oracle.judge(spool)
        return dataclasses.replace(
            found,
            acknowledged=found.acknowledged + self._folded,
            delivered=found.delivered + self._folded,
            delivered_again=found.delivered_again + self._again,
        )

    def _take_note(self, name: str) -> None:
        fd = os.open(self._acks / name, os.O_RDONLY)
        try:
            ended = _lets_lock(
                fd
            )  # before the last look: what ended after it is read the next time
            data = os.pread(fd, os.fstat(fd).st_size, self._read.setdefault(name, 0))
        finally:
            os.close(fd)
        whole = data[: data.rfind(b"\n") + 1]
        self._read[name] += len(whole)
        for person in whole.decode("ascii").split():
            self.acknowledged += 1
            self._oracle.acknowledged(person)
        if ended:
            del self._read[name]
            os.unlink(self._acks / name)

    def _take_request(self, request: Mapping[str, Any]) -> None:
        params = request["params"]
        person, delivered = params["_p"], request["answer"] == 200
        self.delivered += delivered
        self.replayed += delivered and params["_k"] == self._replayed_with
        self._arrived(person, as_line(request), delivered=delivered)

    def _arrived(self, person: str, form: str, *, delivered: bool) -> None:
        if self._settled[person] == _sum(form):
            self._again += delivered
            return
        if person.rpartition("-")[0] in self._names:
            self._oracle.tried(person, _expected(person, form).encode())
        if self._settled[person]:  # it came once more, and changed: the oracle is to see both
            self._oracle.arrived(person, f"a form of the check sum {self._settled[person]}")
        self._oracle.arrived(person, form, delivered=delivered)

    def _lies_there(self, person: str | None, line: bytes) -> None:
        """Let the oracle know of a name what it needs to judge what lies in the spool."""
        if person is None or person.rpartition("-")[0] not in self._names:
            return
        form = line.decode("utf-8", "surrogateescape")
        if self._settled[person] and self._settled[person] != _sum(form):
            self._oracle.arrived(person, f"a form of the check sum {self._settled[person]}")
        self._oracle.tried(person, _expected(person, form).encode())


class _Sums:
    """A number for each person, 0 where there is none: eight bytes each, in an array for each name."""

    def __init__(self) -> None:
        self._of_name: defaultdict[str, array[int]] = defaultdict(lambda: array("Q"))

    def __getitem__(self, person: str) -> int:
        name, _, number = person.rpartition("-")
        sums = self._of_name.get(name)
        return sums[int(number)] if sums and number.isdigit() and int(number) < len(sums) else 0

    def __setitem__(self, person: str, value: int) -> None:
        name, _, number = person.rpartition("-")
        sums = self._of_name[name]
        sums.extend(0 for _ in range(len(sums), int(number) + 1))
        sums[int(number)] = value


def _sum(form: str) -> int:
    return zlib.crc32(form.encode()) + 1


def _expected(person: str, form: str) -> str:
    """Return the line that a call for `person` must have made; where it gave no time, `form` says which it was."""
    at = given_time(person)
    if at is None:
        at = json.loads(form)["_t"]
        if not began_at(person) <= at <= time.time() + 1:
            at = began_at(person)
    return line_of(person, at)


def _lets_lock(fd: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
