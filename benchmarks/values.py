"""What a measurement is called, what came of it, and which bound it must keep: values.

Owns their form, also as JSON. Knows nothing about how anything is measured or shown.

Invariant: a row is never left out. What could not be measured is a row whose value is None and whose note says why.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Bound", "Result", "Row", "at_least", "at_most", "from_json", "missing", "to_json"]

_FORM: Final = 1
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class Bound:
    """What a value must keep: at most, or at least, so much."""

    kind: str
    limit: float

    def holds(self, value: float) -> bool:
        """Say whether `value` keeps it.

        >>> at_most(2.1).holds(2.0), at_least(0.7).holds(0.69)
        (True, False)
        """
        return value <= self.limit if self.kind == "at most" else value >= self.limit


def at_most(limit: float) -> Bound:
    """Return the bound of a value that must not be larger."""
    return Bound("at most", limit)


def at_least(limit: float) -> Bound:
    """Return the bound of a value that must not be smaller."""
    return Bound("at least", limit)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: `value` in `unit`, the tenth and ninetieth percentile of its rounds, and what it was made of.

    `parts` are the figures behind a ratio, by what they are (with their unit); `at` says where on the axes of a plot
    it stands. `note` is for people: why there is no value, or what else to know.
    """

    id: str
    what: str
    value: float | None
    unit: str
    spread: tuple[float, float] | None = None
    parts: Mapping[str, float] = field(default_factory=dict)
    at: Mapping[str, float | str] = field(default_factory=dict)
    bound: Bound | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bound was kept; None where there is no bound, or no value."""
        if self.bound is None or self.value is None:
            return None
        return self.bound.holds(self.value)


def missing(id: str, what: str, unit: str, why: str, bound: Bound | None = None) -> Row:  # noqa: A002 - it is a row's own name for it
    """Return the row of what could not be measured."""
    return Row(id, what, None, unit, bound=bound, note=why)


@dataclass(frozen=True, slots=True)
class Result:
    """All that a run found: the machine, how thoroughly it was asked, and the rows of each group, in order."""

    machine: Mapping[str, str]
    scale: str
    groups: Mapping[str, Sequence[Row]]

    def rows(self) -> list[Row]:
        """Return the rows of all groups."""
        return [row for rows in self.groups.values() for row in rows]


def to_json(result: Result) -> str:
    """Return the result as JSON; `from_json` gives the same again, but for digits that nobody measured."""
    document = {"form": _FORM, **asdict(result)}
    for rows in document["groups"].values():
        for row in rows:
            met = Row(**{**row, "bound": row["bound"] and Bound(**row["bound"])}).met
            row["met"] = met
    return json.dumps(_rounded(document), indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Result:
    """Return the result that was written as `text`."""
    document = json.loads(text)
    groups = {name: [_row(row) for row in rows] for name, rows in document["groups"].items()}
    return Result(document["machine"], document["scale"], groups)


def _row(told: dict[str, Any]) -> Row:
    fields = {name: value for name, value in told.items() if name != "met"}
    bound, spread = fields.pop("bound"), fields.pop("spread")
    return Row(
        **fields,
        bound=None if bound is None else Bound(**bound),
        spread=None if spread is None else (spread[0], spread[1]),
    )


def _rounded(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value
