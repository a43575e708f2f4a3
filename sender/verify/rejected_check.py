"""Reads the files of `rejected/` and notes what nobody can list there.

Owns what counts as damage in them: a line that is none of kmq's and is not the beginning of one either. A line that was
cut is none: its batch fell short, or is being written, and was not counted as kept. Knows nothing about the list.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

from kmq.durable import open_regular
from sender.rejected.kept import whole_lines
from sender.rejected.rejection import file_day, parse

from .findings import Finding, unreadable
from .listing import names_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kmq.spool import Spool

__all__ = ["check_rejected"]

# A word or an escape that was cut is reported where it begins.
_LONGEST_PIECE: Final = 6


def check_rejected(spool: Spool) -> Iterator[Finding]:
    """Yield what cannot be listed in `rejected/`, by file and byte. What vanishes meanwhile is passed over."""
    try:
        names = list(filter(file_day, names_in(spool.rejected)))
    except (
        FileNotFoundError,
        NotADirectoryError,
    ):  # what else bears the name is told with the names
        return
    except OSError as error:
        yield unreadable("rejected", error)
        return
    for name in names:
        try:
            yield from _lines(f"{spool.rejected}/{name}", f"rejected/{name}")
        except FileNotFoundError:  # all that stood there is gone
            continue
        except OSError as error:
            yield unreadable(f"rejected/{name}", error)


def _lines(path: str, shown: str) -> Iterator[Finding]:
    at = 0
    with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
        for line, length in whole_lines(file):
            if line is None or not _is_read(line):
                yield _about(shown, at, line, length)
            at += length
        unfinished = os.fstat(file.fileno()).st_size - at
    if unfinished > 0:
        yield Finding(
            "unfinished", shown, f"unfinished line, {unfinished:,} bytes", damage=False, offset=at
        )


def _about(shown: str, at: int, line: bytes | None, length: int) -> Finding:
    if line is not None and _is_cut(line):
        detail = f"cut line, {length:,} bytes, that was not counted as kept"
        return Finding("rejected-cut", shown, detail, damage=False, offset=at)
    return Finding(
        "rejected-unreadable",
        shown,
        f"nobody can list it, {length:,} bytes",
        offset=at,
        size=length,
    )


def _is_read(line: bytes) -> bool:
    try:
        parse(line)
    except ValueError:
        return False
    return True


def _is_cut(line: bytes) -> bool:
    """Say whether `line` is the beginning of one and then nothing, or the zeros that a power cut leaves there."""
    text = line.rstrip(b"\0\n").decode("utf-8", "ignore")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        begun = not text or text.startswith('{"')
        near_the_end = error.pos >= len(text) - _LONGEST_PIECE
        return begun and (near_the_end or error.msg.startswith("Unterminated string"))
    except (ValueError, RecursionError):
        return False
    return False
