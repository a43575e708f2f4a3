"""The published result: benchmarks/results.json, and what is made of it in docs/.

Owns where these stand. What is measured anew replaces its group; the other groups of the file stay as they were.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from .context import ROOT
from .groups import GROUPS
from .pictures import drawn
from .report import with_tables
from .values import Result, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DOCUMENT", "RESULTS", "files_of", "publish", "redraw"]

RESULTS: Final = Path(ROOT, "benchmarks", "results.json")
DOCUMENT: Final = Path(ROOT, "docs", "performance.md")


def publish(result: Result) -> None:
    """Write the result, the tables and the plots."""
    joined = _joined(result)
    RESULTS.write_text(to_json(joined), "utf-8")  # first: it took a quarter of an hour
    redraw()


def redraw() -> None:
    """Write the tables and plots of what was published last."""
    result = from_json(RESULTS.read_text("utf-8"))
    for path, text in files_of(result, DOCUMENT.read_text("utf-8")).items():
        path.write_text(text, "utf-8")


def files_of(result: Result, document: str) -> Mapping[Path, str]:
    """Return each file that is made of a result, and what stands in it; of `document`, its tables."""
    # Read back first: the tables hold what the file holds, not the digits that it leaves out.
    text = to_json(result)
    kept = from_json(text)
    pictures = {DOCUMENT.parent / name: picture for name, picture in drawn(kept).items()}
    return {RESULTS: text, DOCUMENT: with_tables(document, kept), **pictures}


def _joined(result: Result) -> Result:
    if not RESULTS.exists():
        return result
    groups = {**from_json(RESULTS.read_text("utf-8")).groups, **result.groups}
    return Result(
        result.machine, result.scale, {name: groups[name] for name in GROUPS if name in groups}
    )
