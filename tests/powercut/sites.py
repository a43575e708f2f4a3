"""Where the code syncs: each call of fsync, fdatasync or sync_directory in `kmq` and `sender`, by name.

A site is `kmq/partition.py:_publish#2`: module, function, and which of its syncs. Two ways find it, and a test holds
them against each other: the sources, by their syntax, and the stack at the moment of a sync.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import kmq
import sender

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["ELSEWHERE", "all_sites", "site_of_caller"]

ELSEWHERE = "elsewhere"
"""What a test itself syncs."""

_SYNCS = frozenset({"fsync", "fdatasync", "sync_directory", "names_synced"})

# The one sync in these counts for whoever calls them.
_DOORS = frozenset(
    {
        ("kmq/durable.py", "sync_directory"),
        ("sender/reader/syncs.py", "names_synced"),
    }
)


def all_sites() -> list[str]:
    """Return all sites, by the sources."""
    return sorted(set(_sites().values()))


def site_of_caller() -> str:
    """Return the site that the current stack stands in."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        site = _sites().get((frame.f_code.co_filename, frame.f_lineno))
        if site is not None:
            return site
        frame = frame.f_back
    return ELSEWHERE


@cache
def _sites() -> dict[tuple[str, int], str]:
    """Return the site of each line of each call."""
    found = {}
    for package in (kmq, sender):
        top = Path(str(package.__file__)).parent
        for path in sorted(top.rglob("*.py")):
            module = str(path.relative_to(top.parent))
            for site, lines in _sites_in(module, path.read_text("utf-8")):
                found.update({(str(path), line): site for line in lines})
    return found


def _sites_in(module: str, source: str) -> Iterator[tuple[str, range]]:
    counted: Counter[str] = Counter()
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef) or (module, function.name) in _DOORS:
            continue
        for call in filter(_is_sync, ast.walk(function)):
            counted[function.name] += 1
            yield f"{module}:{function.name}#{counted[function.name]}", _lines_of(call)


def _is_sync(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    named = node.func
    name = named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")
    return name in _SYNCS


def _lines_of(call: ast.AST) -> range:
    first: int = getattr(call, "lineno", 0)
    return range(first, getattr(call, "end_lineno", first) + 1)
