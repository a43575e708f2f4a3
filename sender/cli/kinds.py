"""Kinds of value that options take: sizes, ages, points of time, the API's URL.

Owns how each is written and read; knows nothing about which options there are. A wrong value is a wrong usage, with the
forms that are allowed. No message shows a URL, which may hold a password.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

import click

from kmq import settings
from kmq.errors import InvalidSetting

from .exits import Exit, Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    Integer = click.ParamType[int]
    Number = click.ParamType[float]
    Text = click.ParamType[str]
else:  # older releases of click, good enough otherwise, do not let their types be subscripted
    Integer = Number = Text = click.ParamType

__all__ = [
    "AGE",
    "DEFAULT_URL",
    "SIZE",
    "TIME",
    "URL",
    "Age",
    "Size",
    "Time",
    "Url",
    "read_time",
    "url_fault",
]

DEFAULT_URL: Final = "https://trk.kissmetrics.io"

_EPOCH: Final = re.compile(r"\d+(\.\d+)?")
_SCHEMES: Final = frozenset({"http", "https"})


class Size(Integer):
    """Bytes: `64MiB`, `4GiB`, `1000000`."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return bytes."""
        return value if isinstance(value, int) else self._read(str(value), param, ctx)

    def _read(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return settings.size("size", text)
        except InvalidSetting as error:
            self.fail(f"{text!r} is not {error.allowed}", param, ctx)


class Age(Number):
    """Seconds, from `30s`, `5m`, `2h`, `7d`."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        return (
            float(value) if isinstance(value, int | float) else self._read(str(value), param, ctx)
        )

    def _read(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return settings.age("age", text)
        except InvalidSetting as error:
            self.fail(f"{text!r} is not {error.allowed}", param, ctx)


class Time(Number):
    """A point of time, in seconds since the epoch: see `read_time`."""

    name = "time"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds since the epoch."""
        if isinstance(value, int | float):
            return float(value)
        try:
            return read_time(str(value), self._clock())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def read_time(text: str, now: float) -> float:
    """Return the time that `text` names, in seconds since the epoch.

    A date is its midnight UTC; a date with a time of day needs a zone; an age such as `2h` counts back from `now`; a
    number is the epoch's. Raises ValueError naming these forms.

    >>> read_time("2026-11-23T20:45Z", 0), read_time("2h", 10_000), read_time("1234567890", 0)
    (1795466700.0, 2800.0, 1234567890.0)
    """
    text = text.strip()
    if _EPOCH.fullmatch(text):
        return float(text)
    try:
        return now - settings.age("time", text)
    except InvalidSetting:
        return _iso(text)


def _iso(text: str) -> float:
    forms = "2026-11-23T20:45Z, 2026-11-23, 2h (ago) or epoch seconds"
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time such as {forms}") from None
    if read.tzinfo is not None:
        return read.timestamp()
    if not _is_date(text):
        raise ValueError(f"{text!r} names no zone; end it with Z for UTC, or e.g. +01:00")
    return read.replace(tzinfo=UTC).timestamp()


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


class Url(Text):
    """The API's URL; a wrong one is a wrong setting (78), not a wrong usage."""

    name = "url"

    def convert(
        self, value: object, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> str:
        """Return the URL without a slash at its end."""
        text = str(value).strip()
        fault = url_fault(text)
        if fault is not None:
            raise Failure(f"the API's URL {fault}; give one such as {DEFAULT_URL}", Exit.CONFIG)
        return text.rstrip("/")


def url_fault(text: str) -> str | None:
    """Return what is wrong with `text` as the API's URL, or None. Never shows the URL: it may hold a password.

    >>> url_fault("https://bob:secret@trk.example.com")
    'holds a user or a password'
    >>> url_fault("http://127.0.0.1:8035")
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "has no valid host or port"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "holds a character that no URL has"
    return _parts_fault(parts, port)


def _parts_fault(parts: SplitResult, port: int | None) -> str | None:
    if parts.scheme not in _SCHEMES:
        return "does not begin with http:// or https://"
    if "@" in parts.netloc:
        return "holds a user or a password"
    if not parts.hostname or port == 0:
        return "has no valid host or port"
    if parts.query or parts.fragment:
        return "holds a query or a fragment, which is kmq's to write"
    return None


SIZE: Final = Size()
AGE: Final = Age()
TIME: Final = Time()
URL: Final = Url()
