"""Kinds of value that options take: numbers, sizes, ages, points of time.

Owns how each is written and read; knows nothing about which options there are. A wrong value is a wrong usage, with the
forms that are allowed.
"""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import click

from kmq import environment, settings
from kmq.errors import InvalidSetting
from kmq.rules import time_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    Integer = click.ParamType[int]
    Number = click.ParamType[float]
    Text = click.ParamType[str]
else:  # older releases of click, good enough otherwise, do not let their types be subscripted
    Integer = Number = Text = click.ParamType

__all__ = [
    "AGE",
    "CAP",
    "RATE",
    "SIZE",
    "TIME",
    "Age",
    "Amount",
    "Cap",
    "Integer",
    "Size",
    "Text",
    "Time",
    "Whole",
    "read_time",
]

_EPOCH: Final = re.compile(r"\d+(\.\d+)?", re.ASCII)
_WHOLE: Final = re.compile(r"\d{1,18}", re.ASCII)
_FORMS: Final = "2026-11-23T20:45Z, 2026-11-23, 2h (ago) or epoch seconds such as 1795466700"


class Amount(Number):
    """A number from `least` (or `above` it) to `most`; never infinite, and never what is no number."""

    name = "number"

    def __init__(
        self, *, least: float = 0.0, above: bool = False, most: float | None = None
    ) -> None:
        self._least = least
        self._above = above
        self._most = most

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number = _number(value)
        if number is None or not self._allows(number):
            self.fail(f"{str(value)!r} is not {self._allowed()}", param, ctx)
        return number

    def _allows(self, number: float) -> bool:
        enough = number > self._least if self._above else number >= self._least
        return enough and (self._most is None or number <= self._most)

    def _allowed(self) -> str:
        least = (
            f"a number above {self._least:g}" if self._above else f"a number from {self._least:g}"
        )
        if self._most is None:
            return least if self._above else f"{least} up"
        return (
            f"{least} to {self._most:g}" if not self._above else f"{least}, at most {self._most:g}"
        )


class Whole(Integer):
    """A whole number from `least` to `most`."""

    name = "number"

    def __init__(self, *, least: int = 1, most: int | None = None) -> None:
        self._least = least
        self._most = most

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number."""
        text = str(value).strip()
        if not _WHOLE.fullmatch(text) or not self._allows(int(text)):
            end = "up" if self._most is None else f"to {self._most}"
            self.fail(f"{text!r} is not a whole number from {self._least} {end}", param, ctx)
        return int(text)

    def _allows(self, number: int) -> bool:
        return self._least <= number and (self._most is None or number <= self._most)


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


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


class Cap(Integer):
    """The spool's cap in bytes: a size, by the same rule as the apps have it."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return bytes."""
        try:
            return environment.cap("the cap", str(value))
        except InvalidSetting as error:
            self.fail(f"{str(value)!r}: it must be {error.allowed}", param, ctx)


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
    number is the epoch's, from 2009 on: before there is nothing to choose, and a year is no second. Raises ValueError
    naming these forms.

    >>> read_time("2026-11-23T20:45Z", 0), read_time("2h", 10_000), read_time("1234567890", 0)
    (1795466700.0, 2800.0, 1234567890.0)
    """
    text = text.strip()
    if _EPOCH.fullmatch(text):
        return _epoch(text)
    try:
        return now - settings.age("time", text)
    except InvalidSetting:
        return _iso(text)


def _epoch(text: str) -> float:
    fault = time_fault(int(float(text)))
    if fault is not None:
        why = "before 2009" if fault.code == "too-old" else "too large, as milliseconds are"
        raise ValueError(f"{text!r} as epoch seconds is {why}; give {_FORMS}")
    return float(text)


def _iso(text: str) -> float:
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time such as {_FORMS}") from None
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


SIZE: Final = Size()
AGE: Final = Age()
CAP: Final = Cap()
TIME: Final = Time()
RATE: Final = Amount(above=True)
