"""When a directory is listed again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sender.reader.listing import Listing

if TYPE_CHECKING:
    from pathlib import Path


def test_what_changes_during_a_listing_is_found_at_the_next_look(tmp_path: Path) -> None:
    """A directory is not read at one moment: its time is taken before, or that change would be taken for seen."""
    before = tmp_path.stat().st_mtime_ns

    def listed() -> list[str]:
        names = os.listdir(tmp_path)
        if not names:
            (tmp_path / "late").touch()
            os.utime(
                tmp_path, ns=(before + 10**9, before + 10**9)
            )  # whatever ticks this file system has
        return names

    listing = Listing(str(tmp_path), listed)
    assert listing.look(0.0)
    assert listing.entries == []
    assert listing.look(0.1)
    assert listing.entries == ["late"]
