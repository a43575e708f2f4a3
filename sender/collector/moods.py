"""Answering otherwise: for a number of requests, for a time, or until told to stop.

Owns the form in which someone asks for it and how long it holds. Knows nothing about HTTP servers or requests: whoever
answers takes what is to be answered now. The clock is handed in.

    {"status": 503, "count": 3}             three requests get 503
    {"drop": true, "for_s": 10}             for ten seconds connections are closed without an answer
    {"delay_s": 0.2}                        every answer comes 0.2 s late, until `{}`
    {"status": 302, "location": "/login"}   as a proxy or a captive portal would
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Mood", "Moods", "WrongForm", "mood_of"]

_FIRST_STATUS: Final = 200
_LAST_STATUS: Final = 599
_LONGEST_S: Final = 86_400
_MOST: Final = 10**9
_LONGEST_BODY: Final = 65_536
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]{1,1000}")


@dataclass(frozen=True, slots=True)
class Mood:
    """How requests are answered: with `status`, or by closing the connection (`drop`), after `delay_s` seconds.

    It ends after `count` requests, or `for_s` seconds after it was set, whichever comes first; without both it
    stays. `retry_after` is in seconds. None means that nothing was said about it.
    """

    status: int = 200
    drop: bool = False
    delay_s: float | None = None
    count: int | None = None
    for_s: float | None = None
    retry_after: int | None = None
    location: str | None = None
    body: str | None = None
    content_type: str | None = None

    @property
    def speaks(self) -> bool:
        """Whether it says more about the answer than when it comes."""
        return self.status != _FIRST_STATUS or any(
            said is not None
            for said in (self.retry_after, self.location, self.body, self.content_type)
        )


class WrongForm(ValueError):  # noqa: N818 - it is what was given
    """What was asked for has no such field, or the field no such value; the text says what is allowed."""


class Moods:
    """The mood that holds now, if any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mood: Mood | None = None
        self._left: float = 0
        self._ends_at: float = 0

    def set(self, mood: Mood) -> None:
        """Let `mood` hold from now on, instead of the one before."""
        self._mood = mood
        self._left = float("inf") if mood.count is None else mood.count
        self._ends_at = float("inf") if mood.for_s is None else self._clock() + mood.for_s

    def clear(self) -> None:
        """Go back to answering as the API does."""
        self._mood = None

    def take(self) -> Mood | None:
        """Return how the request that came now is answered, and count it; None means as the API does."""
        if self._mood is None:
            return None
        if self._left < 1 or self._clock() >= self._ends_at:
            self._mood = None
        self._left -= 1
        return self._mood


def mood_of(form: object) -> Mood | None:
    """Return the mood that `form`, a decoded JSON value, asks for; None for `{}`: as the API does.

    >>> mood_of({"status": 503, "count": 3}).count
    3
    """
    if not isinstance(form, dict):
        raise WrongForm(f"the form must be an object with some of: {', '.join(_FIELDS)}")
    for name, value in form.items():
        _check(name, value)
    if not form:
        return None
    _check_together(form)
    return Mood(**form)


def _check(name: str, value: object) -> None:
    if name not in _FIELDS:
        raise WrongForm(f"{name!r} is no field: there are {', '.join(_FIELDS)}")
    fits, allowed = _FIELDS[name]
    if not fits(value):
        raise WrongForm(f"{name} is {_shown(value)}: it must be {allowed}")


def _check_together(form: Mapping[str, object]) -> None:
    beside = form.keys() & {"status", "retry_after", "location", "body", "content_type"}
    if form.get("drop") and beside:
        raise WrongForm(
            f"drop is true: there is no answer, so leave out {', '.join(sorted(beside))}"
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."  # noqa: PLR2004 - what a line of an error can bear


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_seconds(value: object) -> bool:
    # Not a number (NaN), which json.loads reads, fails the comparison too.
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST_S
    )


def _is_header(value: object) -> bool:
    return isinstance(value, str) and _HEADER_VALUE.fullmatch(value) is not None


_FIELDS: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "status": (
        lambda value: _is_whole(value, _FIRST_STATUS, _LAST_STATUS),
        f"a whole number from {_FIRST_STATUS} to {_LAST_STATUS}",
    ),
    "drop": (lambda value: isinstance(value, bool), "true or false"),
    "delay_s": (_is_seconds, f"seconds from 0 to {_LONGEST_S:,}"),
    "count": (lambda value: _is_whole(value, 1, _MOST), "a whole number of requests, at least 1"),
    "for_s": (_is_seconds, f"seconds from 0 to {_LONGEST_S:,}"),
    "retry_after": (lambda value: _is_whole(value, 0, _MOST), "whole seconds, at least 0"),
    "location": (_is_header, "a URL in printable ASCII"),
    "body": (
        lambda value: isinstance(value, str) and len(value) <= _LONGEST_BODY,
        f"a text of at most {_LONGEST_BODY:,} characters",
    ),
    "content_type": (_is_header, "a media type in printable ASCII, e.g. text/html"),
}
