"""The status for programs: keys that are stable within a major version.

Owns the keys and their units: moments in RFC 3339 UTC, durations in seconds, sizes in bytes. Pure. Every key is always
there; what only a sender knows is null where none ever ran, and what stands in a partition that cannot be read.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from kmq import __version__
from sender.rejected.rejection import at_text

if TYPE_CHECKING:
    from sender.status import Snapshot
    from sender.status.holders import Holder
    from sender.status.survey import PartitionSurvey, SenderSurvey, Survey

__all__ = ["as_json", "state_of"]


def as_json(survey: Survey, max_bytes: int) -> str:
    """Return the status as one JSON object, indented."""
    sender = survey.sender
    document = {
        "version": __version__,
        "spool": {
            "path": survey.path,
            "id": survey.id,
            "bytes": survey.bytes,
            "max_bytes": max_bytes,
            "free_bytes": survey.free_bytes,
        },
        "sender": _sender(sender),
        "state": state_of(survey),
        "blocked": _blocked(sender, survey.at),
        "lag": asdict(survey.lag),
        **_figures(sender),
        "rejected_kept": survey.rejected_kept,
        "partitions": _partitions(survey),
        "gateway": None,
        "at": at_text(survey.at),
    }
    return json.dumps(document, indent=2)


def state_of(survey: Survey) -> str:
    """Return what the sender does, by the spool alone where it has not said so yet."""
    sender = survey.sender
    if not sender.running:
        return "STOPPED"
    if sender.snapshot is not None and sender.current:
        return sender.snapshot.state
    return "SENDING" if survey.lag.commands else "IDLE"


def _sender(sender: SenderSurvey) -> dict[str, object]:
    last = sender.snapshot
    return {
        "running": sender.running,
        "pid": _pid(sender),
        "started": at_text(last.started) if last and not _is_older(sender) else None,
        "url": last.url if last else None,
        "transport": last.transport if last else None,
        "version": last.version if last else None,
    }


def _pid(sender: SenderSurvey) -> int | None:
    if sender.holder is not None:
        return sender.holder.pid
    return sender.snapshot.pid if sender.snapshot and sender.current else None


def _is_older(sender: SenderSurvey) -> bool:
    """Say whether the snapshot is that of a sender before the one which runs."""
    return sender.running and not sender.current


def _blocked(sender: SenderSurvey, at: float) -> dict[str, object] | None:
    blocked = sender.snapshot.blocked if sender.snapshot and sender.current else None
    if sender.snapshot is None or blocked is None:
        return None
    left_s = blocked.next_probe_s
    return {
        "since": at_text(blocked.since),
        "status": blocked.status,
        "reason": blocked.reason,
        "advice": blocked.advice,
        "next_probe_s": None if left_s is None else max(0.0, left_s - (at - sender.snapshot.at)),
    }


def _figures(sender: SenderSurvey) -> dict[str, object]:
    last = sender.snapshot
    if last is None:
        return {
            "rate": {"in": None, "out": None, "window_s": None},
            "in_flight": None,
            "latency": {"p50_s": None, "p99_s": None},
            "totals": {"delivered": None, "retried": None, "rejected": None, "since": None},
            "last_error": None,
        }
    return {
        "rate": _rate(last, current=sender.current),
        "in_flight": last.in_flight if sender.current else 0,
        "latency": asdict(last.latency),
        "totals": {**asdict(last.totals), "since": at_text(last.totals.since)},
        "last_error": _last_error(last),
    }


def _rate(last: Snapshot, *, current: bool) -> dict[str, object]:
    # What apps append while nobody reads it is not known; that nothing goes out then, is.
    return {
        "in": last.rate.into if current else None,
        "out": last.rate.out if current else 0.0,
        "window_s": last.rate.window_s,
    }


def _last_error(last: Snapshot) -> dict[str, object] | None:
    error = last.last_error
    return None if error is None else {**asdict(error), "at": at_text(error.at)}


def _partitions(survey: Survey) -> list[dict[str, object]]:
    told = {one.name: _partition(one, survey.sender) for one in survey.partitions}
    untold = {name: _unreadable(name) for name in survey.unreadable}
    return [one for _, one in sorted((told | untold).items())]


def _unreadable(name: str) -> dict[str, object]:
    keys = ("writer", "segments", "bytes", "checkpoint", "end", "lag", "rate_in")
    lag = dict.fromkeys(("commands", "bytes", "seconds", "exact"))
    return {"name": name, **dict.fromkeys(keys), "lag": lag}


def _partition(one: PartitionSurvey, sender: SenderSurvey) -> dict[str, object]:
    return {
        "name": one.name,
        "writer": _writer(one.writer),
        "segments": one.segments,
        "bytes": one.bytes,
        "checkpoint": one.checkpoint,
        "end": one.end,
        "lag": asdict(one.lag),
        "rate_in": one.rate_in if sender.current else None,
    }


def _writer(writer: Holder | None) -> dict[str, object] | None:
    return None if writer is None else {"pid": writer.pid, "command": writer.command}
