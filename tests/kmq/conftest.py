"""A spool for each test, and writers on it that are gone afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.held import Writers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    """Return a maker of writers on an empty spool."""
    path = tmp_path / "shared"
    path.mkdir(mode=0o770)
    made = Writers(path)
    yield made
    made.close()
