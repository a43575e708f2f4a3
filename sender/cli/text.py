"""Figures and tables as people read them.

Owns units, separators and the column table of every command's output; knows nothing about what is shown. All functions
are pure. For programs there is `--json`: seconds, bytes and RFC 3339, never these.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = [
    "count",
    "duration",
    "milliseconds",
    "moment",
    "plural",
    "signal_name",
    "size",
    "table",
    "zone",
]

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024
_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400
_TENTHS_BELOW_S: Final = 10
_SECONDS_BELOW_S: Final = 120  # "90 s" says more than "1 min"


def size(n_bytes: int) -> str:
    """Return a size with one decimal, without one where it is exact.

    >>> size(64_906_854), size(4 << 30), size(614), size(0)
    ('61.9 MiB', '4 GiB', '614 B', '0 B')
    """
    if n_bytes < _STEP:
        return f"{n_bytes} B"
    # The first unit in which less than 1,024 are written: 1,023.95 and more would be rounded up to them.
    powers = range(1, len(_UNITS) + 1)
    power = next((p for p in powers if round(n_bytes / _STEP**p, 1) < _STEP), powers[-1])
    value = n_bytes / _STEP**power
    decimals = 0 if value.is_integer() else 1
    return f"{value:.{decimals}f} {_UNITS[power - 1]}"


def count(number: int, *, exact: bool = True) -> str:
    """Return a number with thousands separators, and a tilde where it is an estimate.

    >>> count(1_048_576), count(1_204_318, exact=False)
    ('1,048,576', '~1,204,318')
    """
    return f"{number:,}" if exact else f"~{number:,}"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun, whose plural ends in s.

    >>> plural(1, "warning"), plural(12_408, "command")
    ('1 warning', '12,408 commands')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """Return how long something took or is ago, in its largest units.

    >>> duration(3.21), duration(31), duration(720), duration(7_260), duration(273_600)
    ('3.2 s', '31 s', '12 min', '2 h 1 min', '3 d 4 h')
    """
    if round(seconds, 1) < _TENTHS_BELOW_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _SECONDS_BELOW_S:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def milliseconds(seconds: float) -> str:
    """Return how long an answer took.

    >>> milliseconds(0.0482)
    '48 ms'
    """
    return f"{seconds * 1000:,.0f} ms"


def moment(at: float) -> str:
    """Return a point of time, seconds since the epoch, in the local time of whoever looks: `24 Nov 08:13 CET`."""
    local = time.localtime(at)
    return f"{local.tm_mday} {time.strftime('%b %H:%M', local)} {zone(local)}"


def zone(local: time.struct_time) -> str:
    """Return how the zone of a local time is called, else how far it is from UTC."""
    return local.tm_zone or time.strftime("%z", local)


def signal_name(number: object) -> str:
    """Return a signal as one types it, without its prefix; what has no name is shown by its number.

    >>> signal_name(15), signal_name("2"), signal_name(999)
    ('TERM', 'INT', 'signal 999')
    """
    try:
        return signal.Signals(int(str(number))).name.removeprefix("SIG")
    except ValueError:
        return f"signal {number}"


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()
) -> str:
    """Return rows under a header, columns two spaces apart; those numbered in `right` end flush.

    >>> print(table(["ID", "SIZE"], [["a", "61.9 MiB"], ["bb", "0 B"]], right={1}))
    ID      SIZE
    a   61.9 MiB
    bb       0 B
    """
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(_row(row, widths, right) for row in cells)


def _row(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    padded = (
        cell.rjust(width) if column in right else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(padded).rstrip()
