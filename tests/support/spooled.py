"""What stands in a spool, read by nothing but the directory and the bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from kmq.spool import is_partition

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["commands_in", "lines_in", "partitions_in", "segments_in", "torn_in"]


def partitions_in(spool: Path) -> list[Path]:
    """Return the partitions, in the order of their names."""
    return sorted(path for path in spool.iterdir() if is_partition(path.name))


def segments_in(spool: Path) -> list[Path]:
    """Return the segments of all partitions, oldest first in each."""
    return [path for part in partitions_in(spool) for path in sorted(part.glob("*.jsonl"))]


def lines_in(spool: Path) -> list[bytes]:
    """Return all whole lines without their newlines."""
    return [line for path in segments_in(spool) for line in path.read_bytes().split(b"\n")[:-1]]


def torn_in(spool: Path) -> list[bytes]:
    """Return what stands behind the last newline of each segment, where anything does."""
    tails = [path.read_bytes().split(b"\n")[-1] for path in segments_in(spool)]
    return [tail for tail in tails if tail]


def commands_in(spool: Path) -> list[dict[str, Any]]:
    """Return all lines as JSON objects; fails if one is none."""
    return [json.loads(line) for line in lines_in(spool)]
