"""The oracle: one judge of every run in which something was made to fail.

Conservation. Each acknowledged command is delivered, or rejected and kept, or still in the spool where the next sender
reads it. Its bytes never change, `_t` included. What was never acknowledged may appear at most as itself.

Liveness. With the faults over, `lag` goes to nothing in bounded time; whoever drives a run lets it go on until then.

It reads a spool by its own few lines and not by kmq's: a fault that the reader shares with its judge is seen by
neither. It knows nothing about how a run was made. A command is known by its person: each has one of its own.

    oracle = Oracle()
    oracle.tried("p1", line); ...; oracle.acknowledged("p1")       # as the call returned
    oracle.arrived("p1", form)                                      # as the API, or a sink, saw it
    oracle.judge(spool).check()
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Findings",
    "Oracle",
    "entries_in",
    "kept_in",
    "lag",
    "left_in",
    "offsets_in",
    "person_of",
]

_PARTITION = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
_SEGMENT = re.compile(r"([0-9]{20})\.jsonl")


@dataclass(frozen=True, slots=True)
class Findings:
    """What became of all commands of a run.

    `lost` were acknowledged and are nowhere; `changed` came or lie in another form than they were written in, or in
    several; `foreign` came or lie there although no call ever tried to write them. `delivered_again` counts what was
    delivered beyond the first time, which the promise allows.
    """

    acknowledged: int
    delivered: int
    delivered_again: int
    lost: frozenset[str]
    changed: dict[str, list[str]]
    foreign: frozenset[str]

    def check(self) -> None:
        """Fail, naming what was found, where the promise was broken."""
        broken = {
            "lost": sorted(self.lost)[:10],
            "changed": dict(list(self.changed.items())[:3]),
            "foreign": sorted(self.foreign)[:10],
        }
        if any(broken.values()):
            raise AssertionError(f"{len(self.lost)} of {self.acknowledged} lost; {broken}")


class Oracle:
    """Takes down what callers were told and what arrived, and judges."""

    def __init__(self) -> None:
        self._tried: dict[str, str | None] = {}
        self._acknowledged: set[str] = set()
        self._dropped: set[str] = set()
        self._forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._delivered: Counter[str] = Counter()

    def tried(self, person: str, line: bytes | None = None) -> None:
        """Take down that a call begins, with its line where that is known."""
        self._tried[person] = None if line is None else _text(line)

    def acknowledged(self, person: str) -> None:
        """Take down that the call has returned."""
        self._tried.setdefault(person, None)
        self._acknowledged.add(person)

    def arrived(self, person: str, form: str, *, delivered: bool = True) -> None:
        """Take down that it was sent, in which form, and whether that was answered as delivered."""
        self._forms[person][form.rstrip("\n")] += 1
        self._delivered[person] += delivered

    def dropped(self, person: str) -> None:
        """Take down that the operator dropped it: from now on nobody owes it to anybody."""
        self._dropped.add(person)

    def release(self) -> list[tuple[str, str, int]]:
        """Forget what was acknowledged and delivered in one form; return each person, form and number of deliveries.

        For runs of hours: whoever calls this takes over to know it again, should it come once more.
        """
        settled = [
            (person, next(iter(forms)), self._delivered[person])
            for person, forms in self._forms.items()
            if self._delivered[person]
            and person in self._acknowledged
            and len(forms) == 1
            and self._tried[person] in {None, next(iter(forms))}
        ]
        for person, _, _ in settled:
            del self._forms[person], self._delivered[person], self._tried[person]
            self._acknowledged.discard(person)
        return settled

    def excused(self, person: str) -> None:
        """Take down that it was lost in a way that the promise leaves out, as what nobody synced is by a power cut."""
        self._dropped.add(person)

    def owed(self) -> frozenset[str]:
        """Return what was acknowledged and not delivered yet."""
        return frozenset(p for p in self._acknowledged - self._dropped if not self._delivered[p])

    def judge(self, spool: str | None = None) -> Findings:
        """Judge; without `spool` everything must have been delivered by now.

        What lies below a checkpoint counts as gone. Where that checkpoint is of the kind that a sender does not
        believe, let one settle first.
        """
        lying = [] if spool is None else [*left_in(spool), *kept_in(spool)]
        there = {person: _text(line) for line in lying if (person := person_of(line)) is not None}
        came = self._forms.keys() | there.keys()
        return Findings(
            acknowledged=len(self._acknowledged),
            delivered=sum(1 for count in self._delivered.values() if count),
            delivered_again=sum(count - 1 for count in self._delivered.values() if count),
            lost=self.owed() - there.keys(),
            changed=self._changed(there),
            foreign=frozenset(came - self._tried.keys()),
        )

    def _changed(self, there: dict[str, str]) -> dict[str, list[str]]:
        changed = {}
        for person, line in self._tried.items():
            forms = set(self._forms.get(person, ()))
            if line is not None:  # then requests are taken down as lines, too
                forms |= {line, there.get(person, line)}
            if len(forms) > 1:
                changed[person] = sorted(forms)
        return changed


def left_in(spool: str) -> Iterator[bytes]:
    """Yield the whole lines that lie at or above the checkpoint, without their newlines."""
    offsets = offsets_in(spool)
    for name in sorted(os.listdir(spool)):
        if _PARTITION.fullmatch(name):
            yield from _beyond(Path(spool, name), offsets.get(name, 0))


def lag(spool: str) -> int:
    """Return how many whole lines lie at or above the checkpoint."""
    return sum(1 for _ in left_in(spool))


def offsets_in(spool: str) -> dict[str, int]:
    """Return the checkpoint's offsets, of the one before where it is damaged, none where that is too."""
    for name in ("checkpoint.json", "checkpoint.json.old"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            document = json.loads(Path(spool, name).read_bytes())
            offsets: dict[str, int] = document["partitions"]
            if document["check"] == zlib.crc32(_compact(dict(sorted(offsets.items())))):
                return offsets
    return {}


def kept_in(spool: str) -> Iterator[bytes]:
    """Yield the texts that are on the list of rejected commands."""
    for entry in entries_in(spool):
        yield entry["text"].encode("utf-8", "surrogateescape")


def entries_in(spool: str) -> list[dict[str, Any]]:
    """Return what is on the list of rejected commands, each entry with all that its line says."""
    return [
        entry
        for path in sorted(Path(spool, "rejected").glob("*.jsonl"))
        for entry in _on_the_list(path)
    ]


def _on_the_list(path: Path) -> Iterator[dict[str, Any]]:
    # File by file: what a failed sync may have lost is written again elsewhere, under the id that it has.
    entries: dict[str, dict[str, Any]] = {}
    for line in path.read_bytes().split(b"\n")[:-1]:
        with contextlib.suppress(ValueError, KeyError):  # torn: no program counts it
            entry = json.loads(line.rpartition(b"\0")[2])
            if "gone" in entry:
                entries.pop(entry["gone"], None)
            else:
                entries[entry["id"]] = entry
    yield from entries.values()


def person_of(line: bytes) -> str | None:
    """Return the person of a line, or of the intact one behind a block of zeros; None where it holds none."""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        person = json.loads(line.rsplit(b"\0", 1)[-1])["_p"]
        return person if isinstance(person, str) else None
    return None


def _beyond(partition: Path, offset: int) -> Iterator[bytes]:
    for path in sorted(partition.glob("*.jsonl")):
        named = _SEGMENT.fullmatch(path.name)
        if named is None or not path.is_file() or path.is_symlink():
            continue
        at = int(named[1])
        for line in path.read_bytes().split(b"\n")[:-1]:
            if at >= offset:
                yield line
            at += len(line) + 1


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _text(line: bytes) -> str:
    return line.rsplit(b"\0", 1)[-1].rstrip(b"\n").decode("utf-8", "surrogateescape")
