"""How the bytes of a segment, a file or a stream become lines with their places.

Owns the line that is not finished yet. Knows nothing about where bytes come from. Memory is bounded, whatever a line's
length: of one that is too long both ends are kept, since an intact command can stand behind a block of zeros.
"""

from __future__ import annotations

from typing import Final

from kmq.command import MAX_LINE, salvage
from sender.flow import Line, Position

__all__ = ["Cut"]

_HEAD: Final = 1024


class Cut:
    """Cuts bytes into lines. Of a line that is too long it keeps both ends, else at most one unfinished line."""

    def __init__(self, name: str, start: int) -> None:
        self._name = name
        self._start = start
        self._rest = b""
        self._tail = b""
        self._size = 0  # of the unfinished line; `_rest` may be its head and `_tail` its end

    def feed(self, data: bytes) -> list[Line]:
        """Return the lines that `data` ends."""
        *whole, rest = data.split(b"\n")
        lines = [line for raw in whole for line in self._finish(raw, newline=1)]
        self._grow(rest)
        return lines

    def end(self, fault: str | None) -> list[Line]:
        """Return what stands behind the last newline, if anything does."""
        return self._finish(b"", newline=0, fault=fault) if self._size else []

    def _grow(self, data: bytes) -> None:
        self._size += len(data)
        if self._size < MAX_LINE:
            self._rest += data
            return
        self._tail = ((self._tail or self._rest) + data)[-MAX_LINE:]
        self._rest = (self._rest + data)[:_HEAD]

    def _finish(self, data: bytes, *, newline: int, fault: str | None = None) -> list[Line]:
        self._grow(data)
        end = self._start + self._size + newline
        whole = Line(Position(self._name, self._start, end), self._rest, fault)
        tail = self._tail[1 - MAX_LINE :]
        self._start, self._rest, self._tail, self._size = end, b"", b"", 0
        if tail:
            return _too_long(whole, b"" if fault else tail, newline)
        return [whole] if whole.raw.strip() else []  # a blank line says nothing; kmq writes none


def _too_long(whole: Line, tail: bytes, newline: int) -> list[Line]:
    # As in the sender: a block of zeros can be longer than any line, and the command that begins behind it is whole.
    intact = salvage(tail)
    if intact is None:
        return [whole._replace(fault="too-long")]
    position = whole.position
    begin = position.end - newline - (len(tail) - intact)
    return [
        whole._replace(position=position._replace(end=begin), fault="too-long"),
        Line(position._replace(start=begin), tail[intact:]),
    ]
