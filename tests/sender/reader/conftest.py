"""What the reader's tests share: a spool with one partition, a clock that they move, and what is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sender.reader import SpoolReader
from tests.support.spools import ManualClock, Partition, Reports, make_spool

if TYPE_CHECKING:
    from pathlib import Path

    from kmq.spool import Spool

NAME = "20261123T204501Z-4f2a91c3"


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that the test moves."""
    return ManualClock()


@pytest.fixture
def reports() -> Reports:
    """Return what the reader reports."""
    return Reports()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return an empty spool."""
    return make_spool(tmp_path / "spool")


@pytest.fixture
def partition(spool: Spool) -> Partition:
    """Return a partition that nobody holds."""
    return Partition(spool, NAME)


@pytest.fixture
def reader(spool: Spool, clock: ManualClock, reports: Reports) -> SpoolReader:
    """Return a reader without a checkpoint."""
    return SpoolReader(spool, {}, clock=clock, report=reports)
