"""The file of requests as they come."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from sender.collector.arrivals import Arrival
from sender.collector.requestfile import RequestFile

if TYPE_CHECKING:
    from pathlib import Path


def arrival(seq: int) -> Arrival:
    """Return a request with bytes that are no UTF-8."""
    return Arrival(seq, 1.5, "POST", "/e", {"_p": "\udcff"}, "_p=\udcff", "drop", "not-utf8")


def unexpected(said: str) -> None:
    """Fail: nothing was to go wrong."""
    raise AssertionError(said)


def test_each_request_is_a_line_behind_those_that_were_there(tmp_path: Path) -> None:
    """A restart appends."""
    path = tmp_path / "requests.jsonl"
    for seq in (1, 2):
        file = RequestFile(str(path), unexpected)
        file.record(arrival(seq))
        file.close()
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [
        arrival(1).form(),
        arrival(2).form(),
    ]


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """It holds people's addresses."""
    path = tmp_path / "requests.jsonl"
    RequestFile(str(path), unexpected).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_disk_is_told_once_and_raises_nothing() -> None:
    """The request is answered all the same."""
    said: list[str] = []
    file = RequestFile("/dev/full", said.append)
    for seq in (1, 2, 3):
        file.record(arrival(seq))
    file.close()
    assert said == [os.strerror(28)]


def test_a_file_that_cannot_be_made_raises(tmp_path: Path) -> None:
    """At the start, where someone sees it."""
    with pytest.raises(FileNotFoundError):
        RequestFile(str(tmp_path / "missing" / "file"), unexpected)
