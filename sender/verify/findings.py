"""What `verify` finds: facts, each with its place, and the report that they make.

Owns the shapes and the bound: however damaged a spool is, only so many findings are kept, and the rest is counted.
Knows nothing about how anything is checked.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from kmq.durable import NO_REGULAR_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MAX_FINDINGS",
    "MAX_KEPT",
    "CheckpointState",
    "Finding",
    "Findings",
    "Report",
    "unreadable",
]

MAX_FINDINGS: Final = 1000
"""So many are listed."""

MAX_KEPT: Final = 100_000
"""So many are looked up in `rejected/` before they count as damage; of more, the rest is damage."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about `path` (within the spool), at `offset` of its partition where it has one.

    `damage` is False for what is no loss and no fault, such as a torn line (no call was told that it was written), or a
    line that was rejected: found, kept and counted. `rejected` is the id under which it is kept in `rejected/`, `size`
    its bytes.
    """

    code: str
    path: str
    detail: str
    damage: bool = True
    partition: str | None = None
    offset: int | None = None
    size: int | None = None
    rejected: str | None = None


def unreadable(
    path: str, error: OSError, partition: str | None = None, offset: int | None = None
) -> Finding:
    """Return the finding that `path` cannot be read; that this user may not read it is no fault of the spool."""
    if isinstance(error, PermissionError):
        detail = "unreadable: this user may not read it"
        return Finding("unreadable", path, detail, damage=False, partition=partition, offset=offset)
    no_file = error.errno in NO_REGULAR_FILE
    reason = "no regular file" if no_file else os.strerror(error.errno or errno.EIO)
    detail = f"cannot be read: {reason}"
    return Finding("unreadable", path, detail, partition=partition, offset=offset)


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """What was made of the checkpoint. `age_s` is that of the file believed, None where there is none."""

    state: Literal["none", "sound", "damaged"]
    source: str | None
    age_s: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` read and found. `held` names the locks that somebody else holds; None where none was tried.

    `kept` counts lines that are no command and are on the list of rejected ones, `unreadable` places that this user may
    not read, `foreign` names that are none of kmq's.
    """

    partitions: int
    segments: int
    commands: int
    bytes_read: int
    torn: int
    damages: int
    findings: Sequence[Finding]
    unlisted: int
    checkpoint: CheckpointState
    held: Sequence[str] | None
    kept: int = 0
    unreadable: int = 0
    foreign: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether all was read, and nothing is damaged."""
        return self.damages == 0 and self.unreadable == 0


@dataclass(slots=True)
class Findings:
    """Collects, and counts what it does not keep: `beyond` in all, `damages` those of them that are some."""

    kept: list[Finding] = field(default_factory=list)
    damages: int = 0
    torn: int = 0
    unreadable: int = 0
    foreign: int = 0
    beyond: int = 0

    def add(self, finding: Finding) -> None:
        """Take in a finding."""
        self.torn += finding.code == "torn"
        self.foreign += finding.code == "foreign"
        self.unreadable += finding.code == "unreadable" and not finding.damage
        if len(self.kept) < MAX_KEPT:
            self.kept.append(finding)
        else:
            self.beyond += 1
            self.damages += finding.damage
