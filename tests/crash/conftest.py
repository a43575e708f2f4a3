"""Real processes, and none that is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.reaper import Reaper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    """Return what starts processes and ends them."""
    with Reaper() as made:
        yield made


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return an empty spool."""
    path = tmp_path / "shared"
    path.mkdir(mode=0o770)
    path.chmod(0o2770)
    return path
