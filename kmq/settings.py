"""Settings as text: switches, sizes and ages, read the same way from a `KMQ_` variable and from an option.

Owns the forms and their messages; knows nothing about which settings exist.
"""

from __future__ import annotations

import re
from typing import Final

from .errors import InvalidSetting

__all__ = ["age", "size", "switch"]

_ON: Final = frozenset({"1", "true", "yes", "on"})
_OFF: Final = frozenset({"0", "false", "no", "off", ""})
_SIZE: Final = re.compile(
    r"(\d{1,15}(?:\.\d{1,15})?)\s*(?:([KMGT])i?)?B?", re.IGNORECASE | re.ASCII
)
_AGE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([smhdw]?)", re.IGNORECASE | re.ASCII)
_BINARY: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def switch(setting: str, text: str) -> bool:
    """Return what the switch `setting` says: 1/true/yes/on or 0/false/no/off/empty, in any case.

    Raises `InvalidSetting` for anything else, since a guess would be silent.

    >>> switch("KMQ_SYNC", "yes")
    True
    """
    word = text.strip().lower()
    if word in _ON:
        return True
    if word in _OFF:
        return False
    raise InvalidSetting(setting, text, "1, true, yes or on; 0, false, no, off or empty")


def size(setting: str, text: str) -> int:
    """Return a size in bytes; K, M, G and T are powers of 1,024, with or without `iB`.

    >>> size("KMQ_MAX_SPOOL", "4GiB")
    4294967296
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidSetting(setting, text, "a size such as 64MiB, 4GiB or 1000000 (bytes)")
    return int(float(match[1]) * _BINARY[(match[2] or "").upper()])


def age(setting: str, text: str) -> float:
    """Return an age in seconds; s, m, h, d and w are its units, seconds without one.

    >>> age("KMQ_RETENTION_AGE", "7d")
    604800.0
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise InvalidSetting(setting, text, "an age such as 30s, 5m, 2h or 7d")
    return float(match[1]) * _SECONDS[match[2].lower()]
