"""The table of mutants: each rule of the design once, the line that keeps it, and the test that falls without it.

Owns how a mutant is written down, applied to a text, and shown in the documents. Knows nothing about running tests. The
mutants stand in the *.toml files beside this one, in the order of `FILES`: a part for each heading, a mutant for each
rule. `old` is the text that is replaced, as short as is unique in its file, so that a change elsewhere leaves it whole.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DOCUMENT", "ROOT", "Mutant", "load", "shown", "within"]

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs" / "reliability.md"

FILES: Final = ("writing", "reading", "sending", "durability", "input", "harness")

_BEGIN: Final = "<!-- mutants: made by python -m tests.mutants --table -->"
_END: Final = "<!-- end of mutants -->"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule taken out of `file`: `old`, which stands there once, becomes `new`, and `test` must fail.

    `removed` says in a few words what is gone then; `part` is the heading of the design that the rule stands under.
    """

    id: str
    part: str
    rule: str
    file: str
    removed: str
    old: str
    new: str
    test: str

    def applied_to(self, text: str) -> str:
        """Return `text` without the rule; raise ValueError unless what is to go stands in it exactly once."""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.id}: its old text stands {found} times in {self.file}")
        return text.replace(self.old, self.new)


def load() -> list[Mutant]:
    """Return all mutants, in the order in which they are shown."""
    return [
        mutant for name in FILES for mutant in _in_file(Path(__file__).with_name(f"{name}.toml"))
    ]


def _in_file(path: Path) -> Iterator[Mutant]:
    with path.open("rb") as file:
        content: dict[str, Any] = tomllib.load(file)
    for part in content["part"]:
        for fields in part["mutant"]:
            yield Mutant(part=part["title"], **fields)


def shown(mutants: Iterable[Mutant]) -> str:
    """Return the table as the documents have it, with the two comments that it stands between."""
    lines = [_BEGIN]
    part = ""
    for mutant in mutants:
        if mutant.part != part:
            part = mutant.part
            head = ["| rule | removed | the test that fails |", "|---|---|---|"]
            lines += ["", f"**{part}**", "", *head]
        lines.append(_row(mutant))
    return "\n".join([*lines, "", _END])


def _row(mutant: Mutant) -> str:
    path, _, name = mutant.test.partition("::")
    place = f"{mutant.removed} (`{mutant.file}`)"
    test = f"`{path.removeprefix('tests/')}` `{name}`"
    cells = [cell.replace("|", "\\|") for cell in (mutant.rule, place, test)]
    return f"| {' | '.join(cells)} |"


def within(document: str, table: str) -> str:
    """Return `document` with `table` in the place of the one that it has."""
    before, rest = document.split(_BEGIN, 1)
    return before + table + rest.split(_END, 1)[1]
