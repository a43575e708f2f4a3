"""The sender's log: one event is one line on stderr, in one of three forms.

Owns the table of events (`EVENTS`: code, level, meaning), the forms and the levels, and `Outage`, which decides when
an outage is worth a line. Knows nothing about what is logged: whoever calls sees to it that no name, value or key of
a command is among the fields, at any level.

Invariants: an event is exactly one line, whatever its fields hold; a log that cannot be written never stops sending.

    text     2026-11-24T08:13:02Z WARNING api answers 503, retrying: waiting=1204 retry_in=2.1s
    journal  <4>api answers 503, retrying: waiting=1204 retry_in=2.1s
    json     {"at":"2026-11-24T08:13:02.114Z","level":"warning","event":"api-retrying","status":503,...}
"""

from __future__ import annotations

import contextlib
import enum
import json
import math
import os
import re
import sys
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["EVENTS", "FORMS", "LEVELS", "Kind", "Level", "Log", "Outage", "under_journal"]


class Level(enum.IntEnum):
    """How much an event matters; the number is syslog's, which the journal reads."""

    ERROR = 3
    WARNING = 4
    INFO = 6
    DEBUG = 7


@dataclass(frozen=True, slots=True)
class Kind:
    """What an event code stands for."""

    level: Level
    meaning: str


FORMS: Final = ("auto", "text", "json", "journal")
LEVELS: Final = ("debug", "info", "warning", "error")

EVENTS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        # The program.
        "sender-started": Kind(Level.INFO, "The sender holds the spool and begins to send."),
        "sender-stopping": Kind(
            Level.INFO, "A signal asked it to stop; what is in flight is finished."
        ),
        "sender-stopped": Kind(
            Level.INFO, "The last checkpoint is written; the figures of this run."
        ),
        "status-logged": Kind(Level.INFO, "The figures, asked for by SIGUSR1."),
        "clock-stepped": Kind(
            Level.WARNING, "The wall clock jumped; retention by age rests until it is steady."
        ),
        # The API.
        "api-retrying": Kind(
            Level.WARNING, "The API does not answer, or asks to be left alone; it is tried again."
        ),
        "api-recovered": Kind(Level.INFO, "The API takes commands again; how long it did not."),
        "api-blocked": Kind(
            Level.ERROR, "The settings are wrong, not the data: all is kept, one probe goes on."
        ),
        "command-rejected": Kind(
            Level.WARNING, "A command can never be delivered; it is kept in rejected/."
        ),
        # The spool.
        "spool-unreadable": Kind(Level.ERROR, "The spool cannot be listed."),
        "open-failed": Kind(Level.WARNING, "A segment cannot be opened; it is tried again."),
        "read-failed": Kind(Level.WARNING, "A segment cannot be read; it is tried again."),
        "lock-failed": Kind(
            Level.WARNING,
            "Whether a partition has a writer cannot be told; it counts as having one.",
        ),
        "no-segment": Kind(
            Level.WARNING, "What bears a segment's name is no regular file; it is passed by."
        ),
        "segment-replaced": Kind(
            Level.ERROR, "Another file took a segment's name; sending goes on in that one."
        ),
        "overlap": Kind(Level.ERROR, "Two segments claim the same bytes; both are sent."),
        "segment-gone": Kind(
            Level.ERROR, "A segment that was not sent whole is gone; what follows it is sent."
        ),
        "gap": Kind(
            Level.ERROR, "Bytes between two segments are missing; what follows them is sent."
        ),
        "segment-sync-failed": Kind(
            Level.ERROR,
            "A segment could not be synced; no checkpoint ends within it any more.",
        ),
        "room-again": Kind(Level.INFO, "There is room on the disk again, and stayed for a while."),
        "works-again": Kind(
            Level.INFO, "What had failed works again; which, and for how long it did not."
        ),
        "lock-lost": Kind(
            Level.ERROR,
            "The spool or its sender.lock was moved or removed; the sender ends at once.",
        ),
        "key-refused": Kind(
            Level.ERROR, "The API refuses the key of an app; its commands wait, all others go on."
        ),
        "disk-full": Kind(
            Level.ERROR,
            "The disk, a quota or the cap leaves no room; delivered segments go at once.",
        ),
        "segments-removed": Kind(Level.INFO, "Retention removed delivered segments."),
        "removed-early": Kind(
            Level.WARNING,
            "A segment that was sent whole went before its checkpoint: no room for one.",
        ),
        "removal-failed": Kind(Level.WARNING, "Something could not be removed; it is tried again."),
        "partition-removed": Kind(Level.INFO, "Retention removed a partition that nobody holds."),
        # Checkpoint and rejected commands.
        "checkpoint-unreadable": Kind(
            Level.ERROR, "A checkpoint cannot be used; the one before it, or the start, is."
        ),
        "offset-does-not-fit": Kind(
            Level.WARNING, "An offset fits no line; that partition is sent from its start."
        ),
        "checkpoint-failed": Kind(
            Level.ERROR, "A checkpoint could not be written; sending goes on, removal waits."
        ),
        "rejected-failed": Kind(
            Level.ERROR, "A rejected command could not be kept; it waits, the checkpoint with it."
        ),
        # Draining and replaying.
        "drain-waiting": Kind(
            Level.INFO, "How much of the spool at the start is still to be sent."
        ),
        "drain-done": Kind(
            Level.INFO, "All that was in the spool at the start is delivered or rejected."
        ),
        "drain-timeout": Kind(
            Level.WARNING, "The time for draining passed; what is left stays in the spool."
        ),
        "replay-progress": Kind(Level.INFO, "How far a replay is."),
        "replay-passed": Kind(
            Level.WARNING,
            "A line of a replay is no command, or the API refused it; it stays where it is.",
        ),
        "replay-form": Kind(
            Level.WARNING,
            "A file of a replay is compressed, or of another encoding; what makes lines of it.",
        ),
        "replay-unreadable": Kind(Level.ERROR, "A segment or file of a replay cannot be read."),
        "replay-done": Kind(Level.INFO, "A replay ended; what it sent."),
        # The collector.
        "requests-not-logged": Kind(
            Level.WARNING, "The collector could not append requests to its --log file."
        ),
    }
)

_NAMED: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_BARE: Final = re.compile(r'[^\s"=]+')
_SECONDS: Final = "_s"
_DECIMALS: Final = 3


class Log:
    """Writes events that reach `level` to `stream` (stderr), in `form`.

    `message` is for people and may name fields in braces; a field that it names is not repeated behind it. Programs
    read the code and the fields, which hold everything. A field whose name ends in `_s` is in seconds.

    >>> log = Log("journal", "info", stream=sys.stdout)
    >>> log.warning("api-retrying", "api answers {status}, retrying", status=503, waiting=1204, retry_in_s=2.1)
    <4>api answers 503, retrying: waiting=1204 retry_in=2.1s
    """

    def __init__(
        self,
        form: str = "auto",
        level: str = "info",
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        # A process may be started without stderr; Python has None for it then.
        self._stream = stream or sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for life
        self._level = Level[level.upper()]
        self._clock = clock
        if form == "auto":
            form = "journal" if under_journal(environ, self._stream) else "text"
        self._form = {"text": _text, "json": _json, "journal": _journal}[form]

    def debug(self, event: str, message: str, /, **fields: object) -> None:
        """Log what helps to find a fault, and nothing else."""
        self._write(Level.DEBUG, event, message, fields)

    def info(self, event: str, message: str, /, **fields: object) -> None:
        """Log the course of things."""
        self._write(Level.INFO, event, message, fields)

    def warning(self, event: str, message: str, /, **fields: object) -> None:
        """Log what someone should know of and the sender copes with."""
        self._write(Level.WARNING, event, message, fields)

    def error(self, event: str, message: str, /, **fields: object) -> None:
        """Log what someone has to mend."""
        self._write(Level.ERROR, event, message, fields)

    def report(self, event: str, message: str, /, **fields: object) -> None:
        """Log at the level that `EVENTS` has for the event: for codes that come from below."""
        self._write(EVENTS[event].level, event, message, fields)

    def _write(self, level: Level, event: str, message: str, fields: Mapping[str, object]) -> None:
        # An event that is not in the table is a mistake in the program, whether it would be written or not.
        _ = EVENTS[event]
        if level > self._level:
            return
        line = self._form(self._clock(), level, event, message, fields)
        # A full disk behind stderr, or nobody who reads it, must not end the sending.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()


def under_journal(environ: Mapping[str, str], stream: TextIO) -> bool:
    """Say whether `stream` goes to systemd's journal: JOURNAL_STREAM names its device and inode.

    The variable alone proves nothing: whoever starts us with another stderr passes it on all the same.
    """
    try:
        about = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream without a descriptor
        return False
    return environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


def _text(at: float, level: Level, _event: str, message: str, fields: Mapping[str, object]) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at))} {level.name} {_sentence(message, fields)}"


def _journal(
    _at: float, level: Level, _event: str, message: str, fields: Mapping[str, object]
) -> str:
    return f"<{level}>{_sentence(message, fields)}"  # the journal knows the time


def _json(at: float, level: Level, event: str, _message: str, fields: Mapping[str, object]) -> str:
    head = {"at": _moment(at), "level": level.name.lower(), "event": event}
    values = {name: _json_value(value) for name, value in fields.items() if value is not None}
    return json.dumps(head | values | head, separators=(",", ":"))


def _moment(at: float) -> str:
    milliseconds = math.floor(at * 1000)
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{seconds}.{milliseconds % 1000:03d}Z"


def _json_value(value: object) -> object:
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, _DECIMALS) if math.isfinite(value) else str(value)
    return str(value)


def _sentence(message: str, fields: Mapping[str, object]) -> str:
    shown = {name: value for name, value in fields.items() if value is not None}
    named = set(_NAMED.findall(message))
    text = _NAMED.sub(lambda match: _filled(match, shown), _printable(message))
    rest = [_pair(name, value) for name, value in shown.items() if name not in named]
    return f"{text}: {' '.join(rest)}" if rest else text


def _filled(match: re.Match[str], fields: Mapping[str, object]) -> str:
    name = match[1]
    if name not in fields:  # not one of ours: a path or a system's text with braces
        return match[0]
    return _printable(_plain(name, fields[name]))


def _pair(name: str, value: object) -> str:
    text = _plain(name, value)
    if _BARE.fullmatch(text) is None or not text.isprintable():
        text = json.dumps(text, ensure_ascii=not text.isprintable())
    return f"{name.removesuffix(_SECONDS)}={text}"


def _plain(name: str, value: object) -> str:
    if isinstance(value, float):
        value = f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")
    return f"{value}s" if name.endswith(_SECONDS) else str(value)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


@dataclass(slots=True)
class Outage:
    """Decides when an outage is worth a line: at its start, every `every_s` seconds, at its end.

    Pure: the time, in seconds on a clock that never steps, is handed in.

    >>> outage = Outage()
    >>> outage.failed(10.0), outage.failed(11.0), outage.failed(310.0), outage.recovered(400.0)
    (True, False, True, 390.0)
    """

    every_s: float = 300.0
    calm_s: float = 0.0
    since: float | None = None
    failures: int = 0
    _said: float = 0.0
    _works_since: float | None = None

    def failed(self, now: float) -> bool:
        """Count a failure; say whether it is worth a line."""
        self.failures += 1
        self._works_since = None
        if self.since is None:
            self.since = self._said = now
            return True
        if now - self._said < self.every_s:
            return False
        self._said = now
        return True

    def recovered(self, now: float) -> float | None:
        """Count a success; return how many seconds the outage lasted, or None if there was none, or it is not over yet.

        It is over when nothing has failed for `calm_s` seconds: one that flaps is one outage.
        """
        if self.since is None:
            return None
        if self._works_since is None:
            self._works_since = now
        if now - self._works_since < self.calm_s:
            return None
        lasted = self._works_since - self.since
        self.since, self.failures = None, 0
        return lasted
