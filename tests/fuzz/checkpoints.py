"""The target *checkpoint*: bytes that may be one, alone and as files in a spool."""

from __future__ import annotations

import json
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from kmq.spool import Spool
from sender import checkpoint

from .mutations import mutated, spoilt_object
from .target import require
from .values import checkpoint_of

if TYPE_CHECKING:
    from random import Random

__all__ = ["Checkpoints"]

_AS_FILES = 0.03


class Checkpoints:
    """What is believed is exactly what a sender wrote; nothing makes reading fail."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="kmq-fuzz-")

    def make(self, rng: Random) -> bytes:
        """Return a checkpoint, mostly spoilt; now and then with a check that fits what was spoilt."""
        data = checkpoint_of(rng)
        if rng.random() < 0.2:
            return _signed(spoilt_object(rng, _partitions_in(data)))
        return data if rng.random() < 0.05 else mutated(rng, data, lambda: checkpoint_of(rng))

    def check(self, data: bytes, rng: Random) -> None:
        """Parse it; now and then load it from files."""
        offsets = _parsed(data)
        if offsets is not None:
            _check_believed(data, offsets)
        if rng.random() < _AS_FILES:
            self._check_files(data, offsets, checkpoint_of(rng))

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder)

    def _check_files(self, data: bytes, offsets: dict[str, int] | None, old: bytes) -> None:
        spool = Spool(self._folder)
        Path(spool.checkpoint).write_bytes(data)
        Path(spool.checkpoint_old).write_bytes(old)
        loaded = checkpoint.load(spool)
        expected = checkpoint.parse(old) if offsets is None else offsets
        require(loaded.offsets == expected, "the newest that can be believed counts")
        require(bool(loaded.problems) == (offsets is None), "what is not believed is said")
        require(
            all(words.isprintable() for words in loaded.problems), "a problem acts on no terminal"
        )


def _parsed(data: bytes) -> dict[str, int] | None:
    try:
        return checkpoint.parse(data)
    except ValueError as error:
        require(
            str(error).isprintable() and len(str(error)) < 500, "what is wrong is said, and briefly"
        )
        return None


def _check_believed(data: bytes, offsets: dict[str, int]) -> None:
    document = json.loads(data.decode("utf-8"))
    require(document["partitions"] == offsets, "the offsets are those that stand there")
    compact = json.dumps(dict(sorted(offsets.items())), separators=(",", ":"))
    require(document["check"] == zlib.crc32(compact.encode()), "the check fits")
    require(
        all(type(offset) is int and 0 <= offset < 1 << 63 for offset in offsets.values()),
        "offsets are whole",
    )
    require(
        checkpoint.parse(checkpoint.form(offsets)) == offsets, "what is believed can be written"
    )


def _partitions_in(data: bytes) -> bytes:
    return json.dumps(json.loads(data)["partitions"], separators=(",", ":")).encode()


def _signed(partitions: bytes) -> bytes:
    return b'{"version":1,"partitions":%b,"check":%d}\n' % (partitions, zlib.crc32(partitions))
