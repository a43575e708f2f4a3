"""Rows as people read them: a table in a terminal, and the tables of docs/performance.md.

Owns how a figure looks. Knows nothing about how it was found. What stands between two markers of the document is made
from the result and from nothing else, so that a test can hold one against the other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .values import Result, Row

__all__ = ["bounds_table", "figure", "in_terminal", "machine_table", "markdown", "with_tables"]

_DIGITS: Final = 3
_MARKED: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def figure(value: float | None, unit: str = "") -> str:
    """Return a figure with three digits that mean something.

    >>> figure(2.0417, "x"), figure(1234567.0), figure(0.00512, "s"), figure(None, "x")
    ('2.04 x', '1,230,000', '0.00512 s', '-')
    """
    if value is None:
        return "-"
    text = f"{float(f'{value:.{_DIGITS}g}'):,.12f}".rstrip("0").rstrip(".")
    return f"{text} {unit}".rstrip()


def in_terminal(rows: Sequence[Row]) -> str:
    """Return the rows as lines of a terminal."""
    return "".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    judged = {None: "", True: "  kept", False: "  NOT KEPT"}[row.met]
    spread = f"  [{figure(row.spread[0])} .. {figure(row.spread[1])}]" if row.spread else ""
    bound = f"  ({row.bound.kind} {figure(row.bound.limit)})" if row.bound else ""
    parts = "; ".join(f"{name}: {figure(value)}" for name, value in row.parts.items())
    rest = "  ".join(text for text in (parts, row.note) if text)
    first = f"{row.what.replace('`', ''):<72} {figure(row.value, row.unit):>14}{spread}{bound}{judged}\n"
    return first + (f"    {rest}\n" if rest else "")


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a table of the document."""
    lines = ["| what | measured | of the rounds | must be | made of |", "|---|---|---|---|---|"]
    lines += [_cells(row) for row in rows]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> str:
    spread = f"{figure(row.spread[0])} to {figure(row.spread[1])}" if row.spread else ""
    bound = f"{row.bound.kind} {figure(row.bound.limit)}" if row.bound else ""
    judged = {None: "", True: ": kept", False: ": **not kept**"}[row.met]
    parts = [f"{name}: {figure(value)}" for name, value in row.parts.items()]
    last = "; ".join([*parts, *([row.note] if row.note else [])]).replace("|", "\\|")
    return f"| {row.what} | {figure(row.value, row.unit)} | {spread} | {bound}{judged} | {last} |"


def bounds_table(rows: Sequence[Row]) -> str:
    """Return those rows that have a bound, as the table that says whether each is kept."""
    lines = ["| what | measured | must be | |", "|---|---|---|---|"]
    for row in rows:
        if row.bound is not None:
            bound = f"{row.bound.kind} {figure(row.bound.limit)}"
            judged = {None: row.note, True: "kept", False: "**not kept**"}[row.met]
            lines.append(f"| {row.what} | {figure(row.value, row.unit)} | {bound} | {judged} |")
    return "\n".join(lines) + "\n"


def machine_table(machine: Mapping[str, str]) -> str:
    """Return what the machine is, as a table of the document."""
    lines = [
        "| what | which |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in machine.items()),
    ]
    return "\n".join(lines) + "\n"


def with_tables(document: str, result: Result) -> str:
    """Return the document with each of its tables made anew from the result."""
    whole = {"machine": machine_table(result.machine), "bounds": bounds_table(result.rows())}

    def made(found: re.Match[str]) -> str:
        name = found[2]
        if name not in whole and name not in result.groups:
            return found[0]
        text = whole[name] if name in whole else markdown(result.groups[name])
        return f"{found[1]}\n{text}\n{found[3]}"

    return _MARKED.sub(made, document)
