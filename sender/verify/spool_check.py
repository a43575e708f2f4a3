"""Reads the whole spool and checks it, beside whoever writes and sends. Changes nothing.

Owns the order of the checks, the checkpoint's, and the report. Knows nothing about how a report is shown.

A spool that is used changes while it is read: what vanishes was removed by retention, and a checkpoint that does not
fit is loaded again before it is called damaged.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from kmq import locks
from kmq.errors import NoPermission, SpoolError
from kmq.spool import partitions, segment_path, segment_starts, writer_lock
from sender import checkpoint
from sender.reader.placing import Extent, place
from sender.reader.segment_reader import SegmentReader
from sender.rejected import RejectedStore

from .findings import MAX_FINDINGS, CheckpointState, Finding, Findings, Report
from .modes import check_modes
from .names import check_names
from .partition_check import Counts, check_partition
from .rejected_check import check_rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kmq.spool import Spool

__all__ = ["verify"]

_CHECKPOINT_TRIES: Final = 3

_MISFITS: Final = {
    "gap": "does not lie within the data: what it should stand before is missing",
    "overlap": "lies where two segments overlap",
    "offset-does-not-fit": "begins no line",
}


def verify(
    spool: Spool, *, offline: bool = False, clock: Callable[[], float] = time.time
) -> Report:
    """Check all of `spool` and return what was found; with `offline` take every lock meanwhile, and say which are held.

    Memory stays bounded whatever the spool holds. `clock` gives seconds since the epoch, for the checkpoint's age.
    Raises OSError where the spool may not be read at all.
    """
    findings, counts, held = Findings(), Counts(), _Held(spool) if offline else None
    with contextlib.ExitStack() as stack:
        if held is not None:
            stack.enter_context(held.taken(spool.sender_lock))
            stack.enter_context(held.taken(spool.rejected_lock))
        for name in partitions(spool):
            _check_partition(spool, name, counts, findings, held)
        state = _check_checkpoint(spool, findings, clock)
        for finding in chain(check_rejected(spool), check_names(spool), check_modes(spool)):
            findings.add(finding)
    return _report(counts, findings, _with_ids(spool, findings.kept), state, held)


def _report(
    counts: Counts,
    findings: Findings,
    found: Sequence[Finding],
    state: CheckpointState,
    held: _Held | None,
) -> Report:
    listed = found[:MAX_FINDINGS]
    if len(found) > len(listed):  # what is damaged goes first, where not all can be shown
        listed = sorted(found, key=lambda one: not one.damage)[:MAX_FINDINGS]
    return Report(
        partitions=counts.partitions,
        segments=counts.segments,
        commands=counts.commands,
        bytes_read=counts.bytes_read,
        torn=findings.torn,
        damages=findings.damages + sum(one.damage for one in found),
        findings=listed,
        unlisted=findings.beyond + len(found) - len(listed),
        checkpoint=state,
        held=None if held is None else held.names,
        kept=sum(one.rejected is not None and one.code != "torn" for one in found),
        unreadable=findings.unreadable,
        foreign=findings.foreign,
    )


class _Held:
    """The locks that somebody else holds."""

    def __init__(self, spool: Spool) -> None:
        self.names: list[str] = []
        self._spool = spool

    @contextlib.contextmanager
    def taken(self, path: str) -> Iterator[bool]:
        """Hold the lock `path` if it is free; give whether somebody else holds it."""
        try:
            lock: int | locks.Denied = locks.take(path)
        except NoPermission:  # whoever may not open it cannot be told who holds it
            lock = locks.Denied.HELD
        if lock is locks.Denied.HELD:
            self.names.append(os.path.relpath(path, self._spool.path))
        try:
            yield lock is locks.Denied.HELD
        finally:
            if isinstance(lock, int):
                os.close(lock)


def _check_partition(
    spool: Spool, name: str, counts: Counts, findings: Findings, held: _Held | None
) -> None:
    if held is None:
        check_partition(spool, name, counts, findings, writer_lives=None)
        return
    with held.taken(writer_lock(spool.partition(name))) as writer_lives:
        check_partition(spool, name, counts, findings, writer_lives=writer_lives)


def _check_checkpoint(
    spool: Spool, findings: Findings, clock: Callable[[], float]
) -> CheckpointState:
    loaded, found = _looked_at(spool)
    for _ in range(_CHECKPOINT_TRIES - 1):
        if not found:
            break
        loaded, found = _looked_at(spool)  # retention, or a new checkpoint, may have come between
    for finding in found:
        findings.add(finding)
    if loaded.source is None and not loaded.problems:
        return CheckpointState("none", None, None)
    # One that cannot be read is told by its finding; the state is that of the one used in its place.
    misfits = [finding for finding in found if finding.code != "checkpoint-unreadable"]
    damaged = loaded.source is None or any(finding.damage for finding in misfits)
    age_s = _age_s(spool, loaded.source, clock)
    return CheckpointState("damaged" if damaged else "sound", loaded.source, age_s)


def _looked_at(spool: Spool) -> tuple[checkpoint.Loaded, list[Finding]]:
    loaded = checkpoint.load(spool)
    found = [_problem(problem) for problem in loaded.problems]
    for name, offset in loaded.offsets.items():
        misfit = _misfit(spool, name, offset)
        if misfit is not None:
            code, detail, damage = misfit
            path = loaded.source or "checkpoint.json"
            found.append(Finding(code, path, f"{name} {detail}", damage, name, offset))
    return loaded, found


def _problem(problem: str) -> Finding:
    file, _, what = problem.partition(" ")
    return Finding("checkpoint-unreadable", file, what)


def _misfit(spool: Spool, name: str, offset: int) -> tuple[str, str, bool] | None:
    path = spool.partition(name)
    try:
        extents = _extents(path)  # what may not be read is told where it is read
        if not extents:
            return "checkpoint-of-nothing", "is not there any more", False
        problem = place(extents, offset, _Newlines(name, path)).problem
    except FileNotFoundError:
        return "checkpoint-of-nothing", "is not there any more", False
    except PermissionError:
        return None
    return None if problem is None else (f"checkpoint-{problem}", _MISFITS[problem], True)


def _extents(path: str) -> list[Extent]:
    found = [(start, os.lstat(segment_path(path, start))) for start in segment_starts(path)]
    return [Extent(start, start + at.st_size) for start, at in found if stat.S_ISREG(at.st_mode)]


class _Newlines:
    """Says whether the byte before an offset is a newline."""

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._path = path

    def __call__(self, start: int, offset: int) -> bool:
        with contextlib.closing(SegmentReader.open(self._name, self._path, start)) as segment:
            return segment.ends_a_line(offset)


def _age_s(spool: Spool, source: str | None, clock: Callable[[], float]) -> float | None:
    if source is None:
        return None
    return max(0.0, clock() - os.stat(f"{spool.path}/{source}").st_mtime)


def _with_ids(spool: Spool, findings: Sequence[Finding]) -> list[Finding]:
    wanted = {(finding.partition, finding.offset) for finding in findings if finding.size}
    ids = {}
    with contextlib.suppress(
        SpoolError
    ):  # what may not or cannot be read there has its own finding
        for rejection in RejectedStore(spool, "verify").each() if wanted else ():
            if rejection.place in wanted:
                ids[rejection.place] = rejection.id
    return [
        _with_id(finding, ids.get((finding.partition or "", finding.offset or 0)))
        for finding in findings
    ]


def _with_id(finding: Finding, id_: str | None) -> Finding:
    return finding if id_ is None else replace(finding, rejected=id_, damage=False)
