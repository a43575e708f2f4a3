"""The table of mutants fits the sources: each can still be made, names a test that is there, and is in the documents.

Runs none of them (`python -m tests.mutants` does).
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.mutants.table import DOCUMENT, ROOT, Mutant, load, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MUTANTS = load()
BY_FILE = sorted({mutant.file for mutant in MUTANTS})

# What makes something durable, or takes its place: whoever adds one adds the mutant that leaves it out.
ORDERED = {"bears_name", "fdatasync", "fsync", "link", "rename", "samestat", "sync_directory"}


@cache
def text_of(file: str) -> str:
    """Return the text of a file of this tree."""
    return (ROOT / file).read_text("utf-8")


@cache
def functions_in(file: str) -> frozenset[str]:
    """Return the names of the functions of a file."""
    nodes = ast.walk(ast.parse(text_of(file)))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef))


def lines_of(mutant: Mutant) -> set[int]:
    """Return the numbers of the lines that a mutant replaces."""
    before, _, _ = text_of(mutant.file).partition(mutant.old)
    first = before.count("\n") + 1
    return set(range(first, first + mutant.old.rstrip("\n").count("\n") + 1))


def ordered_calls(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each call in `path` that makes something durable or takes a place."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in ORDERED:
                yield node.lineno, name


def test_each_mutant_has_a_name_of_its_own() -> None:
    """By which it is asked for."""
    assert [name for name, count in Counter(one.id for one in MUTANTS).items() if count > 1] == []


@pytest.mark.parametrize("file", BY_FILE)
def test_each_can_be_made_and_is_still_python(file: str) -> None:
    """What it replaces stands there exactly once, and what it leaves can be run."""
    for mutant in MUTANTS:
        if mutant.file == file:
            mutated = mutant.applied_to(text_of(file))
            assert mutated != text_of(file), mutant.id
            compile(mutated, file, "exec")


def test_each_names_a_test_that_is_there() -> None:
    """One that was renamed would never fail."""
    for mutant in MUTANTS:
        file, _, name = mutant.test.partition("::")
        assert name.partition("[")[0] in functions_in(file), mutant.id


def test_each_sync_rename_and_comparison_is_among_them() -> None:
    """None that is added is left out of the table."""
    covered: defaultdict[str, set[int]] = defaultdict(set)
    for mutant in MUTANTS:
        covered[mutant.file] |= lines_of(mutant)
    paths = [path for top in ("kmq", "sender") for path in sorted((ROOT / top).rglob("*.py"))]
    missing = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in paths
        for line, name in ordered_calls(path)
        if line not in covered[str(path.relative_to(ROOT))]
    ]
    assert missing == []


def test_the_documents_show_this_table() -> None:
    """`python -m tests.mutants --table` writes it there."""
    assert shown(MUTANTS) in DOCUMENT.read_text("utf-8")
