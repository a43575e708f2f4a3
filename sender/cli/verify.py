"""`kmq-sender verify`: read the whole spool and check it; change nothing.

Owns the options, the words and the exit code. What is checked, and what counts as damage, is `sender.verify`'s.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from typing import TYPE_CHECKING, Final

import click

from kmq.access import GROUP, group_name
from sender.verify import verify

from .exits import Exit
from .options import HelpCommand, json_option, resolve_spool, spool_option
from .text import duration, plural, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sender.verify import Finding, Report
    from sender.verify.findings import CheckpointState

__all__ = ["verify_command"]

_EXAMPLE: Final = """
Example:
  kmq-sender verify && echo sound
"""


@click.command(
    "verify",
    cls=HelpCommand,
    epilog=_EXAMPLE,
    short_help="Read the whole spool and check it; change nothing.",
)
@spool_option
@json_option
@click.option(
    "--offline",
    is_flag=True,
    help="Also take every lock, to check a spool at rest completely.",
)
def verify_command(*, spool: str | None, as_json: bool, offline: bool) -> Exit:
    """Read the whole spool and check it: whole lines, strict JSON, valid commands, offsets without gaps, a checkpoint
    that lies on a line's start and within the data, modes and owners. Changes nothing. Exit 65 if something is damaged,
    77 if nothing is, as far as this user may read.
    """  # noqa: D205 - one paragraph of help, as click prints it
    began = time.monotonic()
    place = resolve_spool(spool, must_exist=True)
    report = verify(place, offline=offline)
    seconds = time.monotonic() - began
    click.echo(
        _json(place.path, report, seconds) if as_json else _text(place.path, report, seconds)
    )
    if report.damages:
        return Exit.DATA
    return Exit.NO_PERMISSION if report.unreadable else Exit.OK


def _text(path: str, report: Report, seconds: float) -> str:
    what = ", ".join(
        (
            plural(report.partitions, "partition"),
            plural(report.segments, "segment"),
            plural(report.commands, "command"),
            size(report.bytes_read),
        )
    )
    lines = [
        f"{what} read in {duration(seconds)}",
        *(_finding(finding) for finding in report.findings),
    ]
    if report.unlisted:
        lines.append(f"and {report.unlisted:,} more like these")
    lines.append(_checkpoint(report.checkpoint))
    if report.held:
        lines.append(f"in use, and so checked as it stood: {', '.join(report.held)}")
    lines.append(_verdict(report))
    lines.extend(_mending(path, {finding.code for finding in report.findings}))
    return "\n".join(lines)


def _mending(path: str, codes: set[str]) -> Iterator[str]:
    """Yield the lines of docs/operating.md that mend modes and groups."""
    if not codes & {"mode", "group"}:
        return
    place, gid = shlex.quote(path), os.stat(path).st_gid
    yield "mend modes and groups as root:"
    yield f"  chgrp -R {group_name(gid) if gid else GROUP} {place}"
    yield f"  find {place} -type d -exec chmod 2770 {{}} +"
    yield f"  find {place} -type f -exec chmod 660 {{}} +"


def _finding(finding: Finding) -> str:
    place = finding.path if finding.offset is None else f"{finding.path} at {finding.offset:,}"
    kept = f" (rejected as {finding.rejected})" if finding.rejected else ""
    return f"{place}: {finding.detail}{kept}"


def _checkpoint(state: CheckpointState) -> str:
    if state.state == "none":
        return "checkpoint.json: there is none yet"
    source = state.source or "checkpoint.json"
    if state.state == "damaged":
        return f"{source}: damaged; what does not fit is sent again from the oldest segment on"
    return f"{source}: sound, {duration(state.age_s or 0.0)} old; covers whole lines only"


def _verdict(report: Report) -> str:
    also = []
    if report.torn:
        also.append(f"{plural(report.torn, 'torn line')} that no call had acknowledged")
    if report.kept:
        also.append(f"{plural(report.kept, 'line')} kept in rejected/")
    if report.foreign:
        also.append(f"{plural(report.foreign, 'name')} that kmq did not give")
    if report.is_sound:
        return f"sound, with {' and '.join(also)}" if also else "sound"
    return ", and ".join([*_faults(report), *also])


def _faults(report: Report) -> Iterator[str]:
    if report.damages:
        yield f"damaged in {plural(report.damages, 'place')}"
    if report.unreadable:
        sure = "" if report.damages else "sound as far as it could be read; "
        yield f"{sure}{plural(report.unreadable, 'place')} unreadable for this user"


def _json(path: str, report: Report, seconds: float) -> str:
    document = {
        "version": 1,
        "spool": path,
        "sound": report.is_sound,
        "partitions": report.partitions,
        "segments": report.segments,
        "commands": report.commands,
        "bytes": report.bytes_read,
        "seconds": round(seconds, 3),
        "torn": report.torn,
        "damages": report.damages,
        "kept": report.kept,
        "unreadable": report.unreadable,
        "foreign": report.foreign,
        "findings": [_json_finding(finding) for finding in report.findings],
        "unlisted": report.unlisted,
        "checkpoint": {
            "state": report.checkpoint.state,
            "source": report.checkpoint.source,
            "age_s": report.checkpoint.age_s,
        },
        "held": report.held,
    }
    return json.dumps(document, indent=2)


def _json_finding(finding: Finding) -> dict[str, object]:
    return {
        "code": finding.code,
        "path": finding.path,
        "damage": finding.damage,
        "partition": finding.partition,
        "offset": finding.offset,
        "bytes": finding.size,
        "detail": finding.detail,
        "rejected": finding.rejected,
    }
