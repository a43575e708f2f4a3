"""KISSmetrics' rules about persons, names and times, as pure questions with one answer.

Owns what can never be used by the API, which answers 200 even to that, so that it must be found before it is
sent. Used alike for a call's arguments, for a line of the spool and for a request of another client. Knows nothing
about calls, lines or requests: it returns a `Fault`, and whoever asks raises what fits.

Sources: the tracking API's pages (255 characters; nothing before 2009; `_` names are parameters), the vendor's
JavaScript library for the list of what is no identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "EARLIEST",
    "LATEST",
    "LONG_VALUE",
    "MAX_NAME",
    "SHARED_IDENTITIES",
    "Fault",
    "name_fault",
    "person_fault",
    "text_fault",
    "time_fault",
]

EARLIEST: Final = 1_230_768_000
"""2009-01-01T00:00:00Z in seconds: KISSmetrics stores nothing before."""

LATEST: Final = 10**11
"""From here on a time can only be milliseconds: as seconds it would be the year 5138."""

MAX_NAME: Final = 255
"""Characters of a person, an event name or a property name, counted after decoding."""

LONG_VALUE: Final = 512
"""Characters of a property's value past which KISSmetrics may cut or drop it."""

SHARED_IDENTITIES: Final = frozenset({"admin", "anonymous", "guest"})
"""Legal, and almost always a mistake: everybody who is sent under one of them becomes one person."""

_NO_IDENTITY: Final = frozenset(
    {"null", "nil", "'null'", "'nil'", '"null"', '"nil"', "''", '""', "None", "undefined"},
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a value can never be used: a stable `code`, the `rule` it breaks, and the `way_out`."""

    code: str
    rule: str
    way_out: str


def text_fault(value: str, code: str) -> Fault | None:
    r"""Return what is wrong with `value` as text that must be sent: lone surrogates are no characters.

    >>> text_fault("caf\u00e9", "no-name") is None
    True
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return Fault(
            code, "it holds lone surrogates, which no UTF-8 can carry", "decode it properly first"
        )
    return None


def person_fault(value: str) -> Fault | None:
    """Return what is wrong with `value` as an identity, on either side of an alias.

    >>> person_fault("null").code
    'no-person'
    """
    if not value.strip() or value in _NO_IDENTITY:
        return Fault(
            "no-person",
            "it identifies nobody, and whoever is sent under it becomes one person for ever",
            "give an e-mail address, an account's id, or a random id that you keep",
        )
    if len(value) > MAX_NAME:
        return Fault("person-too-long", *_too_long("an identity", value))
    return text_fault(value, "no-person")


def name_fault(value: str, *, what: str = "an event name") -> Fault | None:
    """Return what is wrong with `value` as the name of an event or of a property (say `what`).

    >>> name_fault("Signed Up") is None
    True
    """
    if not value.strip():
        return Fault("no-name", f"{what} must not be empty", "give it a name")
    if len(value) > MAX_NAME:
        return Fault("name-too-long", *_too_long(what, value))
    return text_fault(value, "no-name")


def _too_long(what: str, value: str) -> tuple[str, str]:
    return (
        f"{what} has at most {MAX_NAME} characters and this has {len(value):,}",
        "shorten it, or put the long text into a property's value",
    )


def time_fault(seconds: int) -> Fault | None:
    """Return what is wrong with `seconds` since the epoch as the time of a command.

    >>> time_fault(0).code, time_fault(1_500_000_000_000).code
    ('too-old', 'milliseconds')
    """
    if seconds < EARLIEST:
        return Fault(
            "too-old",
            f"KISSmetrics stores nothing before 2009-01-01 (_t {EARLIEST})",
            "give seconds since 1970, or set the clock",
        )
    if seconds >= LATEST:
        return Fault(
            "milliseconds", "it looks like milliseconds, and _t is in seconds", "divide it by 1,000"
        )
    return None
