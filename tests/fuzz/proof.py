"""Lines that carry their own proof, so that intact ones are known without reading them as kmq does.

The proof is a CRC-32 in the place of an API key, which each kind of command may have. Whoever judges needs the bytes
alone: no list of what was once written, and none of kmq's own reading.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

from kmq.command import encode

from .values import command

if TYPE_CHECKING:
    from random import Random

__all__ = ["proved", "proven_start"]

_PROVED = re.compile(rb'(\{"_p":.*),"_k":"([0-9a-f]{8})"\}', re.DOTALL)


def proved(rng: Random) -> bytes:
    """Return the line of a command, without its newline, that ends in the proof of itself."""
    line = encode(command(rng))[:-2].partition(b',"_k":"')[0]
    return b'%b,"_k":"%08x"}' % (line, zlib.crc32(line))


def proven_start(raw: bytes) -> int | None:
    """Return where an intact line begins that ends with `raw`: at its beginning or right behind zeros; None if none."""
    start = raw.rfind(b"\0") + 1
    found = _PROVED.fullmatch(raw, start)
    if found is None or zlib.crc32(found[1]) != int(found[2], 16):
        return None
    return start
