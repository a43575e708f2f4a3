"""Lines of what was proven before: the quick form of `arguments` and `encode` for calls that hold nothing new.

Owns bounded caches of the parts of lines. A part gets in only after it passed the checks of `arguments` (a call that
holds a new one goes the long way, and is learned from); then its check and its quoting are not done again. What a part
cannot settle (a `_t` of its own, a value that is neither text nor a plain number, an odd kind of mapping) is never
quick. Knows nothing about where a line goes.

Invariant: a line of this module is byte for byte what `encode` makes of the command that `arguments` makes of the same
call, and no doubt that would be told of is passed over. A name or a person that is no text, and has the hash of a known
one and equals it, passes for that one: a look at its type at each call would cost as much as a property.
"""

from __future__ import annotations

from json.encoder import encode_basestring as _quoted
from typing import TYPE_CHECKING, Final, TypeVar

from .command import MAX_LINE
from .rules import LONG_VALUE, SHARED_IDENTITIES, person_fault, time_fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clock import Nanoseconds
    from .command import Command

__all__ = ["Lines"]

K = TypeVar("K")
V = TypeVar("V")

_KEPT: Final = 1_024
"""Parts of a kind that are kept; then all are forgotten and learned anew, which costs less than to know the oldest."""

_PERSONS_KEPT: Final = 8_192
_PLAIN: Final = 10**18
_TRUE: Final = '"true"'
_FALSE: Final = '"false"'
_NOT_KNOWN: Final = (KeyError, RuntimeError, TypeError, UnicodeError)
_LONGEST: Final = MAX_LINE - 4_096
"""Bytes of properties that leave room for a person and a name of 255 characters, escaped or not."""

_SECOND_NS: Final = 1_000_000_000


class _Persons(dict[str, bytes]):
    """The beginnings of lines, by person. Persons are many, so that a new one is proven here and now."""

    __slots__ = ()

    def __missing__(self, person: str) -> bytes:
        if type(person) is not str or person.lower() in SHARED_IDENTITIES or person_fault(person):
            raise KeyError(person)
        start = f'{{"_p":{_quoted(person)},"_t":'.encode()
        _keep(self, person, start, _PERSONS_KEPT)
        return start


class _Floats(dict[float, str]):
    """The texts of floats; making one costs five times a look-up."""

    __slots__ = ()

    def __missing__(self, value: float) -> str:
        text = repr(value)
        if "e" in text or "n" in text:  # an exponent, an infinity, or no number
            raise KeyError(value)
        if value:  # 0.0 and -0.0 are equal, and read differently
            _keep(self, value, text, _KEPT)
        return text


class Lines:
    """Makes lines of calls of one client; each method returns None for a call that has to go the long way.

    `key` is the client's own API key, `person` returns the current one, `clock` tells the time.
    """

    __slots__ = (
        "_clock", "_end", "_floats", "_names", "_now", "_person", "_persons", "_properties",
    )  # fmt: skip

    def __init__(
        self, key: str | None, person: Callable[[], str | None], clock: Nanoseconds
    ) -> None:
        self._person = person
        self._clock = clock
        self._persons = _Persons()
        self._names: dict[str, bytes] = {}
        self._properties: dict[str, str] = {}
        self._floats = _Floats()
        self._end = b"}\n" if key is None else f',"_k":{_quoted(key)}}}\n'.encode()
        self._now = (0, 0, b"")

    def record(self, name: object, properties: object, person: str | None) -> bytes | None:
        """Return the line of an event, as `Client.record` has it.

        None also for the first call in a new second of the wall clock: by it, what else is due once a second is done.
        """
        try:
            since, until, second = self._now
            if since <= self._clock.time_ns() < until:
                start = self._persons[self._person() if person is None else person]  # type: ignore[index]  # None is not there
                named = self._names[name]  # type: ignore[index]  # nor is what is no text
                if properties is None:
                    return start + second + named + self._end
                return start + second + named + self._spelled(properties) + self._end
        except _NOT_KNOWN:
            pass
        return None

    def set(self, properties: object, person: str | None) -> bytes | None:
        """Return the line that sets `properties`, as `Client.set` has it; None as for `record`."""
        try:
            since, until, second = self._now
            if since <= self._clock.time_ns() < until and (spelled := self._spelled(properties)):
                start = self._persons[self._person() if person is None else person]  # type: ignore[index]  # None is not there
                return start + second + spelled + self._end
        except _NOT_KNOWN:
            pass
        return None

    def learn(self, command: Command, now: float) -> None:
        """Take the parts of `command`, which went the long way at `now`, in seconds since the epoch."""
        second = int(now)
        if time_fault(second) is None:
            # As one: another thread must not find this second's text under the last one's bounds.
            self._now = (second * _SECOND_NS, (second + 1) * _SECOND_NS, b"%d" % second)
        if command.name is not None:
            _keep(self._names, command.name, f',"_n":{_quoted(command.name)}'.encode(), _KEPT)
        for name in command.properties:
            _keep(self._properties, name, f",{_quoted(name)}:", _KEPT)

    def _spelled(self, properties: object) -> bytes:
        """Return the properties as they stand in a line; raises one of `_NOT_KNOWN` for what is not plain."""
        if type(properties) is not dict:
            raise TypeError
        names, text = self._properties, ""
        for name, value in properties.items():
            # Exactly: what is derived from these may say otherwise how it is written.
            kind = type(value)
            if kind is str:
                text = f"{text}{names[name]}{_quoted(value)}"
            elif kind is float:
                text = f"{text}{names[name]}{self._floats[value]}"
            elif kind is int and -_PLAIN < value < _PLAIN:
                text = f"{text}{names[name]}{value}"
            elif kind is bool:
                text = f"{text}{names[name]}{_TRUE if value else _FALSE}"
            elif value is not None:
                raise TypeError
        spelled = text.encode()
        if len(spelled) > LONG_VALUE:
            self._look_at_lengths(properties, len(spelled))
        return spelled

    def _look_at_lengths(self, properties: dict[object, object], size: int) -> None:
        # Parts that were proven are not looked at again: their sum has to be.
        if size > _LONGEST - len(self._end):
            raise TypeError
        if any(type(value) is str and len(value) > LONG_VALUE for value in properties.values()):
            raise TypeError


def _keep(cache: dict[K, V], key: K, part: V, most: int) -> None:
    if len(cache) >= most:
        cache.clear()
    cache[key] = part
