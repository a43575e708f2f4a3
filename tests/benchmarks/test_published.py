"""What is published: the page and its plots say what the result beside them says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.groups import GROUPS, TITLES
from benchmarks.peers import PEERS
from benchmarks.pictures import PICTURES, drawn
from benchmarks.publish import DOCUMENT, RESULTS, files_of
from benchmarks.values import Result, from_json

if TYPE_CHECKING:
    from pathlib import Path

PUBLISHED = from_json(RESULTS.read_text("utf-8"))
MADE = files_of(PUBLISHED, DOCUMENT.read_text("utf-8"))


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.name)
def test_what_is_committed_is_what_is_made_of_the_result(path: Path) -> None:
    """Nobody has mended a figure by hand; `make bench` writes all of these."""
    assert path.read_text("utf-8") == MADE[path]


def test_the_result_has_every_group_and_was_measured_in_full() -> None:
    """A part, or a quick look, is not what is published."""
    assert list(PUBLISHED.groups) == list(GROUPS) == list(TITLES)
    assert PUBLISHED.scale == "full"


def test_every_peer_has_its_row() -> None:
    """Also one that could not be measured."""
    rows = {row.id for row in PUBLISHED.groups["peers"]}
    assert rows == {f"peer-{name}" for name in PEERS} | {"peers-cheapest"}


def test_the_page_shows_every_group_and_every_plot() -> None:
    """What was measured can be seen."""
    document = DOCUMENT.read_text("utf-8")
    for name in [*GROUPS, "bounds", "machine"]:
        assert f"<!-- table: {name} -->" in document
    for name in PICTURES:
        assert f"({name})" in document


def test_what_was_not_measured_is_not_drawn() -> None:
    """The plots of an empty result are none, and none of them fails."""
    assert drawn(Result({}, "full", {})) == {}


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e4])
def test_figures_of_any_size_can_be_drawn(factor: float) -> None:
    """Another machine is not this one."""
    groups = {
        name: [
            replace(
                row,
                value=None if row.value is None else row.value * factor,
                parts={part: value * factor for part, value in row.parts.items()},
            )
            for row in rows
        ]
        for name, rows in PUBLISHED.groups.items()
    }
    assert drawn(Result({}, "full", groups)).keys() == PICTURES.keys()


def test_the_result_names_no_machine() -> None:
    """No path, no host."""
    assert not {"/tmp", "/home", "/root"} & set(json.dumps(dict(PUBLISHED.machine)).split())  # noqa: S108 - looked for
    assert "localhost" not in RESULTS.read_text("utf-8")
