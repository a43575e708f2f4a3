"""The checkpoint: per partition the offset below which every command was delivered or rejected, made durable.

Owns the form of `checkpoint.json`, what of it is believed, and how it replaces the one before. Knows nothing about
what stands in the partitions: whether an offset fits its partition is for the reader to find.

Invariant: after a crash at any moment `load` gives the offsets of the last `save` that returned, or of one that was
on its way. What is not exactly the form that `form` writes is not believed: offsets taken wrongly would skip
commands, offsets not taken only send some twice.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeGuard

from kmq.durable import FILES, NO_REGULAR_FILE, Files, open_regular, replace
from kmq.errors import shown, spool_error
from kmq.spool import is_partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kmq.spool import Spool

__all__ = ["MAX_BYTES", "Loaded", "form", "load", "parse", "save"]

MAX_BYTES: Final = 64 * 1024 * 1024
"""A larger file is no checkpoint: 64 MiB hold the offsets of more than a million partitions."""

VERSION: Final = 1

_MAX_OFFSET: Final = (
    1 << 63
) - 1  # what pread takes; a larger one would make the reader fail, not just start over

Name = Literal["checkpoint.json", "checkpoint.json.old"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `load` found. `problems` says in words what was wrong; `source` is the file believed, None if none was.

    No offsets and no problems: the spool never had a checkpoint. No source and problems: the sender starts from the
    oldest segment and has to say so.
    """

    offsets: dict[str, int]
    problems: list[str]
    source: Name | None


def load(spool: Spool) -> Loaded:
    """Return the newest checkpoint that can be believed, never raising for what stands in it.

    Raises `SpoolError` where a file is there and cannot be read (EACCES, EIO): mending that loses nothing, starting
    from the oldest segment would send everything again.
    """
    problems: list[str] = []
    places: tuple[tuple[Name, str], ...] = (
        ("checkpoint.json", spool.checkpoint),
        ("checkpoint.json.old", spool.checkpoint_old),
    )
    for name, path in places:
        offsets = _believed(name, path, problems)
        if offsets is not None:
            return Loaded(offsets, _with_missing(name, problems), name)
    return Loaded({}, problems, None)


def _with_missing(source: Name, problems: list[str]) -> list[str]:
    if source == "checkpoint.json.old" and not problems:
        return ["checkpoint.json is missing"]
    return problems


def _believed(name: Name, path: str, problems: list[str]) -> dict[str, int] | None:
    try:
        data = _read(path)
        return None if data is None else parse(data)
    except ValueError as error:
        problems.append(f"{name} is not believed: {error}")
        return None


def _read(path: str) -> bytes | None:
    try:
        fd = open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in NO_REGULAR_FILE:
            raise ValueError("it is no regular file") from None
        raise spool_error(error, "read the checkpoint", path) from error
    return _content(fd, path)


def _content(fd: int, path: str) -> bytes:
    try:
        with os.fdopen(fd, "rb") as file:
            return file.read(
                MAX_BYTES + 1
            )  # one more than parse accepts, so that parse sees the excess
    except OSError as error:
        raise spool_error(error, "read the checkpoint", path) from error


def save(spool: Spool, offsets: Mapping[str, int], *, files: Files = FILES) -> None:
    """Make `offsets` the checkpoint, whole or not at all; the one before stays as `checkpoint.json.old`.

    The segments that it covers, and what was rejected below it, must have been synced before: a checkpoint that
    outlives its data skips what the next boot appends there. Raises OSError where the disk refuses (the checkpoint
    before is then still in force), ValueError for offsets that no `load` would believe.
    """
    for path in (spool.checkpoint, spool.checkpoint_old, f"{spool.checkpoint}.tmp"):
        _clear_the_place(path, files)
    replace(spool.checkpoint, form(offsets), sync=True, keep=spool.checkpoint_old, files=files)


def _clear_the_place(path: str, files: Files) -> None:
    # No file can take a directory's place. It is none of ours and may hold something: it is put aside, not removed.
    if os.path.isdir(path) and not os.path.islink(path):
        files.rename(path, f"{path}.bad")


def form(offsets: Mapping[str, int]) -> bytes:
    r"""Return the checkpoint of `offsets` as it stands in the file; `parse` is its inverse.

    >>> form({"20261123T204501Z-4f2a91c3": 93})
    b'{"version":1,"partitions":{"20261123T204501Z-4f2a91c3":93},"check":994625071}\n'
    """
    partitions = _checked(offsets.items())
    document = {"version": VERSION, "partitions": partitions, "check": _check(partitions)}
    return f"{_compact(document)}\n".encode()


def parse(data: bytes) -> dict[str, int]:
    """Return the offsets of a checkpoint's bytes; raise ValueError naming what is wrong with them.

    >>> parse(bytes(100))
    Traceback (most recent call last):
        ...
    ValueError: it is no JSON
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    document = _document(data)
    if not _is_whole(document.get("version")) or document["version"] != VERSION:
        raise ValueError(f"its version is {shown(document.get('version'))}, known is {VERSION}")
    offsets = _checked(_object(document.get("partitions"), "its partitions are").items())
    if not _is_whole(document.get("check")) or document["check"] != _check(offsets):
        raise ValueError("its check does not fit its partitions")
    return offsets


def _document(data: bytes) -> dict[str, object]:
    # json.loads would guess UTF-16 and UTF-32 from bytes, so they are decoded here. Of a deep nesting it raises
    # RecursionError, of an integer over 4,300 digits a plain ValueError.
    try:
        value: object = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    return _object(value, "it is")


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} no JSON object")  # noqa: TRY004 - the file is wrong, not a call
    return value


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands in it twice")
    return fields


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(entries: Iterable[tuple[object, object]]) -> dict[str, int]:
    offsets: dict[str, int] = {}
    for name, offset in entries:
        if not isinstance(name, str) or not is_partition(name):
            raise ValueError(f"{shown(name)} is no partition's name")
        if not _is_whole(offset) or not 0 <= offset <= _MAX_OFFSET:
            raise ValueError(f"the offset of {name} is {shown(offset)}")
        offsets[name] = offset
    return dict(sorted(offsets.items()))


def _check(sorted_offsets: dict[str, int]) -> int:
    return zlib.crc32(_compact(sorted_offsets).encode())


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
