"""What the running sender says of itself, and the file in which it says it.

Owns the form of `status.json`: figures that only the running process knows, rewritten about once a second. Knows
nothing about how they are counted or shown, nor what the spool itself tells better (`sender.survey` reads that).

Invariants: a file that was written here is read back as the same `Snapshot`. Whatever else stands there is no
snapshot, and no content makes a reader fail: texts are printable and bounded, numbers finite. The file is never
synced: it is of no use after a power cut, and nothing depends on it.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NoReturn, get_args

from kmq.durable import FILES, NO_REGULAR_FILE, Files, open_regular, replace
from kmq.errors import spool_error
from kmq.spool import is_partition

from .behind import Behind

if TYPE_CHECKING:
    from kmq.spool import Spool

__all__ = [
    "Behind",
    "Blocked",
    "LastError",
    "Latency",
    "Rate",
    "Snapshot",
    "State",
    "Totals",
    "form",
    "load",
    "parse",
    "save",
]

State = Literal["SENDING", "IDLE", "RETRYING", "BLOCKED", "STOPPED"]

MAX_BYTES: Final = 64 << 20
"""A larger file is no snapshot: 64 MiB hold the figures of half a million partitions."""

_FORM: Final = 1
_STATES: Final[tuple[State, ...]] = get_args(State)
_MAX_TEXT: Final = 2_000
_MAX_WHOLE: Final = (1 << 63) - 1
_MAX_MOMENT: Final = 253_402_300_799  # the last second of the year 9999, the last that can be shown

# Nothing, or nothing that can be a snapshot.
_NO_FILE: Final = NO_REGULAR_FILE | {errno.ENOENT}


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why nothing can be delivered: since when (epoch seconds), by which answer, and how to mend it."""

    since: float
    status: int | None
    reason: str
    advice: str
    next_probe_s: float | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds within which half of the last answers came, and 99 of 100; None before the first."""

    p50_s: float | None = None
    p99_s: float | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Commands since `since` (epoch seconds); `retried` counts tries."""

    delivered: int
    retried: int
    rejected: int
    since: float


@dataclass(frozen=True, slots=True)
class Rate:
    """Commands a second, read and delivered, over the last `window_s` seconds."""

    into: float
    out: float
    window_s: float


@dataclass(frozen=True, slots=True)
class LastError:
    """The last answer that delivered nothing: when (epoch seconds), its stable code, its status, and a sentence."""

    at: float
    kind: str
    status: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The sender at the moment `at`. Moments are in seconds since the epoch.

    `behind` says for each partition that is behind since when it is; `rates_in` how many commands of each are read a
    second. `ended` is None while it runs, else how it ended, e.g. `signal 15`.
    """

    at: float
    pid: int
    started: float
    version: str
    url: str
    transport: str
    state: State
    in_flight: int
    totals: Totals
    rate: Rate
    latency: Latency = field(default_factory=Latency)
    blocked: Blocked | None = None
    last_error: LastError | None = None
    behind: Mapping[str, float] = field(default_factory=dict)
    rates_in: Mapping[str, float] = field(default_factory=dict)
    ended: str | None = None


def save(spool: Spool, snapshot: Snapshot, *, files: Files = FILES) -> None:
    """Replace `status.json`, whole, without a sync. Raises OSError, after which the one before is still there."""
    replace(spool.status, form(snapshot), sync=False, files=files)


def load(spool: Spool) -> Snapshot | None:
    """Return what the sender last wrote; None where no sender ever did, or what stands there is no snapshot.

    Raises `SpoolError` where the file is there and may not be read.
    """
    try:
        with os.fdopen(open_regular(spool.status, os.O_RDONLY), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise spool_error(error, "read", spool.status) from error
    try:
        return parse(data)
    except ValueError:
        return None


def form(snapshot: Snapshot) -> bytes:
    """Return the snapshot as it stands in the file; `parse` is its inverse for printable texts."""
    document = {"form": _FORM, **asdict(snapshot)}
    return f"{json.dumps(_bearable(document), separators=(',', ':'))}\n".encode()


def _bearable(value: object) -> object:
    # What a transport or a system says goes into texts; a reader refuses what would act on a terminal.
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value[:_MAX_TEXT])
    if isinstance(value, Mapping):
        return {name: _bearable(inner) for name, inner in value.items()}
    return value


def parse(data: bytes) -> Snapshot:
    """Return the snapshot of a file's bytes; raise ValueError for anything that `form` does not write.

    >>> parse(b"[]")
    Traceback (most recent call last):
        ...
    ValueError: it is no object
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    fields = _Fields(_document(data))
    if fields.whole("form") != _FORM:
        raise ValueError("its form is unknown")
    return Snapshot(
        at=fields.moment("at"),
        pid=fields.whole("pid"),
        started=fields.moment("started"),
        version=fields.text("version"),
        url=fields.text("url"),
        transport=fields.text("transport"),
        state=_state(fields.text("state")),
        in_flight=fields.whole("in_flight"),
        totals=_totals(fields.object("totals")),
        rate=_rate(fields.object("rate")),
        latency=_latency(fields.object("latency")),
        blocked=_blocked(fields.object("blocked")) if fields.has("blocked") else None,
        last_error=_last_error(fields.object("last_error")) if fields.has("last_error") else None,
        behind=fields.object("behind").by_partition(_MAX_MOMENT),
        rates_in=fields.object("rates_in").by_partition(_MAX_WHOLE),
        ended=fields.text("ended") if fields.has("ended") else None,
    )


def _document(data: bytes) -> object:
    # json.loads would guess UTF-16 and UTF-32 from bytes. Of a deep nesting it raises RecursionError.
    try:
        value: object = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _state(text: str) -> State:
    for state in _STATES:
        if state == text:
            return state
    raise ValueError("its state is unknown")


def _totals(fields: _Fields) -> Totals:
    return Totals(
        fields.whole("delivered"),
        fields.whole("retried"),
        fields.whole("rejected"),
        fields.moment("since"),
    )


def _rate(fields: _Fields) -> Rate:
    return Rate(fields.number("into"), fields.number("out"), fields.number("window_s"))


def _latency(fields: _Fields) -> Latency:
    return Latency(fields.optional_number("p50_s"), fields.optional_number("p99_s"))


def _blocked(fields: _Fields) -> Blocked:
    return Blocked(
        since=fields.moment("since"),
        status=fields.optional_whole("status"),
        reason=fields.text("reason"),
        advice=fields.text("advice"),
        next_probe_s=fields.optional_number("next_probe_s"),
    )


def _last_error(fields: _Fields) -> LastError:
    return LastError(
        at=fields.moment("at"),
        kind=fields.text("kind"),
        status=fields.optional_whole("status"),
        message=fields.text("message"),
    )


class _Fields:
    """A JSON object's members, each asked for by its kind; raises ValueError for one that is missing or of another."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise ValueError("it is no object")  # noqa: TRY004 - the file is wrong, not a call
        self._values: dict[str, object] = value

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def object(self, name: str) -> _Fields:
        return _Fields(self._values.get(name))

    def text(self, name: str) -> str:
        value = self._values.get(name)
        if not isinstance(value, str) or not value.isprintable() or len(value) > _MAX_TEXT:
            raise ValueError(f"{name} is no printable text")
        return value

    def whole(self, name: str) -> int:
        value = self._values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_WHOLE:
            raise ValueError(f"{name} is no whole number")
        return value

    def number(self, name: str, limit: float = _MAX_WHOLE) -> float:
        return _number(name, self._values.get(name), limit)

    def moment(self, name: str) -> float:
        return self.number(name, _MAX_MOMENT)

    def optional_whole(self, name: str) -> int | None:
        return self.whole(name) if self.has(name) else None

    def optional_number(self, name: str) -> float | None:
        return self.number(name) if self.has(name) else None

    def by_partition(self, limit: float) -> dict[str, float]:
        if not all(map(is_partition, self._values)):
            raise ValueError("a name is no partition's")
        return {name: _number(name, value, limit) for name, value in self._values.items()}


def _number(name: str, value: object, limit: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{name} is no number")  # noqa: TRY004 - the file is wrong, not a call
    if not 0 <= value <= limit:  # neither is inf, which 1e400 is read as without a word
        raise ValueError(f"{name} is beyond what it can be")
    return float(value)
