"""What a replay says to people: the count before, the question, the result.

Owns the words. Pure. Names of events come from other programs: they are cut, and may move no cursor.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from kmq.spool import made_at

from .text import count, duration, moment, plural, signal_name, zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sender.replay.source import Piece
    from sender.replay.tally import Tally

__all__ = ["counted", "question", "result", "shortfall", "uncounted"]

_KINDS: Final = ("record", "set", "alias")
_EVENTS_SHOWN: Final = 2
_HOURS_SHOWN: Final = 48
_NAME_SHOWN: Final = 60


def counted(counts: Tally, pieces: Sequence[Piece], *, of_spool: bool) -> str:
    """Return what `--dry-run` prints."""
    return "\n".join(_counted(counts, pieces, of_spool))


def _counted(counts: Tally, pieces: Sequence[Piece], of_spool: bool) -> Iterator[str]:  # noqa: FBT001 - private
    yield f"{plural(counts.commands, 'command')}{_places(counts, pieces, of_spool)}"
    if counts.commands:
        yield from _by_kind(counts)
        yield "by hour"
        yield from _by_hour(counts)
    if counts.unreadable:
        yield f"{plural(counts.unreadable, 'line')} besides that {_are(counts.unreadable)} no command"
    yield "nothing was sent"


def _places(counts: Tally, pieces: Sequence[Piece], of_spool: bool) -> str:  # noqa: FBT001 - private
    if not of_spool:
        return f" in {plural(len(counts.pieces), 'file')}" if counts.commands else ""
    places = (
        f" in {plural(len(counts.partitions), 'partition')} and {plural(len(counts.pieces), 'segment')}"
        if counts.commands
        else ""
    )
    oldest = min(map(_begun, pieces), default=None)
    return places if oldest is None else f"{places} (retention reaches back to {moment(oldest)})"


def _begun(piece: Piece) -> float:
    """Return since when there are commands in a segment, as far as is known.

    A partition is made for its first command, and its name says when. Where that one is gone, it is before the last.
    """
    made = made_at(piece.name) if piece.start == 0 else None
    return piece.modified if made is None else made


def _by_kind(counts: Tally) -> Iterator[str]:
    width = max(len(count(counts.kinds[kind])) for kind in _KINDS)
    for kind in _KINDS:
        if counts.kinds[kind]:
            events = f"   {_events(counts)}" if kind == "record" else ""
            yield f"  {kind:6}  {count(counts.kinds[kind]):>{width}}{events}"


def _events(counts: Tally) -> str:
    shown = counts.events.most_common(_EVENTS_SHOWN)
    parts = [f"{_printable(counts.spelled[folded])} {count(number)}" for folded, number in shown]
    more = len(counts.events) - len(shown)
    if more:
        parts.append(f"{count(more)} more")
    if counts.others:
        parts.append(f"{count(counts.others)} of yet others")
    return ", ".join(parts)


def _by_hour(counts: Tally) -> Iterator[str]:
    hours = sorted(counts.hours.items())
    before = counts.commands - sum(number for _, number in hours[-_HOURS_SHOWN:])
    width = max(len(count(number)) for number in (before, *counts.hours.values()))
    rows = [(_hour(hour), number) for hour, number in hours[-_HOURS_SHOWN:]]
    if before:
        rows.insert(0, ("before", before))
    label = max(len(words) for words, _ in rows)
    for words, number in rows:
        yield f"  {words:{label}}  {count(number):>{width}}"


def _hour(at: int) -> str:
    # With the year: a replay may hold what was back-dated, and a backup is old.
    local = time.localtime(at)
    return f"{time.strftime('%Y-%m-%d %H:%M', local)} {zone(local)}"


def _printable(name: str) -> str:
    cut = name if len(name) <= _NAME_SHOWN else f"{name[:_NAME_SHOWN]}..."
    return "".join(c if c.isprintable() else "?" for c in cut)


def question(total: int, url: str) -> str:
    """Return what is asked on a terminal before much is sent."""
    return f"Send {plural(total, 'command')} again to {url}? What it already has counts once."


def result(delivered: int, rejected: int, seconds: float) -> str:
    """Return the last line.

    >>> result(12_408, 0, 31)
    '12,408 delivered, 0 rejected in 31 s'
    """
    return f"{count(delivered)} delivered, {count(rejected)} rejected in {duration(seconds)}"


def shortfall(rejected: int, failures: int, stopped_by: int | None, *, done: bool) -> str | None:
    """Return why not all was delivered, or None if all was.

    >>> shortfall(2, 0, None, done=True)
    'not all was delivered: 2 lines were refused or are no command'
    """
    reasons = []
    if not done:
        reasons.append(
            f"stopped by {signal_name(stopped_by)} before the end (run it again: it begins anew, and what was sent "
            "counts once)"
        )
    if rejected:
        verb = "was refused or is" if rejected == 1 else "were refused or are"
        reasons.append(f"{plural(rejected, 'line')} {verb} no command")
    if failures:
        reasons.append(_unread(failures))
    return f"not all was delivered: {'; '.join(reasons)}" if reasons else None


def uncounted(failures: int) -> str | None:
    """Return why not all was counted, or None if all was.

    >>> uncounted(1)
    'not all was counted: 1 file could not be read'
    """
    return f"not all was counted: {_unread(failures)}" if failures else None


def _unread(failures: int) -> str:
    return f"{plural(failures, 'file')} could not be read"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
