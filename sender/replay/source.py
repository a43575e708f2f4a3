"""What a replay reads: the spool's segments, files, directories, standard input; a source without a checkpoint.

Owns which pieces there are and how bytes become lines with their places. Knows nothing about commands or filters.
Reads in bounded memory, whatever the size of a file or the length of a line, and changes nothing on disk.

Invariants: of a segment or a file no more is read than it held when it was listed, so that a replay of a spool in use
comes to an end and can be counted first. What cannot be read is told and passed. What ends in a segment without a
newline was never acknowledged and is no command; in a file of another program it is.
"""

from __future__ import annotations

import errno
import os
import select
import stat
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from kmq.durable import open_regular
from kmq.errors import spool_error
from kmq.spool import Spool, partitions, segment_path, segment_starts

from .cut import Cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sender.flow import Line

__all__ = [
    "STANDARD_INPUT",
    "Missing",
    "Piece",
    "ReplaySource",
    "describe",
    "file_pieces",
    "spool_pieces",
]

STANDARD_INPUT: Final = "-"

_CHUNK: Final = 64 * 1024  # its lines are kept until they are asked for
_SUFFIXES: Final = (".json", ".jsonl")
_OF_A_SPOOL: Final = frozenset({"checkpoint.json", "status.json"})

Form = Literal["segment", "file", "stream"]


class Missing(Exception):  # noqa: N818 - it is what the source is
    """A source that was named and does not exist; `path` is its name."""

    def __init__(self, path: str) -> None:
        super().__init__(f"there is no {path}")
        self.path = path


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment, a file or a stream. `name` is what positions bear: the partition, or the path as it was given.

    `start` is the offset of its first byte, `size` how many bytes are read (None: until it ends), `modified` its time
    in epoch seconds. `newest` says that a segment has no successor, so that its end may be on its way.
    """

    name: str
    path: str
    form: Form
    start: int = 0
    size: int | None = None
    modified: float = 0.0
    newest: bool = False

    @property
    def again(self) -> bool:
        """Whether it can be read twice."""
        return self.form != "stream"


def spool_pieces(spool: Spool) -> list[Piece]:
    """Return the segments of all partitions, oldest partition first; raise `SpoolError` if they cannot be listed."""
    try:
        return [piece for name in partitions(spool) for piece in _segments(spool, name)]
    except OSError as error:
        raise spool_error(error, "list", error.filename or spool.path) from error


def _segments(spool: Spool, name: str) -> list[Piece]:
    path = spool.partition(name)
    try:
        starts = segment_starts(path)
    except (
        FileNotFoundError
    ):  # removed meanwhile, as a whole: it is no loss that anyone has to be told
        return []
    return [
        piece
        for start in starts
        if (piece := _segment(name, segment_path(path, start), start, newest=start == starts[-1]))
    ]


def _segment(name: str, path: str, start: int, *, newest: bool) -> Piece | None:
    try:
        file = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(file.st_mode):
        return None
    return Piece(name, path, "segment", start, file.st_size, file.st_mtime, newest)


def file_pieces(sources: Iterable[str]) -> list[Piece]:
    """Return what `sources` name: files, directories, `-` for standard input.

    Of a directory: its *.jsonl and *.json, sorted, and the partitions in it, if it is a spool or a copy of one.

    Raises `Missing` for a source that is not there, OSError for a directory that cannot be listed.
    """
    return [piece for source in sources for piece in _named(source)]


def _named(source: str) -> list[Piece]:
    if source == STANDARD_INPUT:
        return [Piece(source, source, "stream")]
    try:
        file = os.stat(source)
    except (FileNotFoundError, NotADirectoryError):
        raise Missing(source) from None
    if not stat.S_ISDIR(file.st_mode):
        return [_file(source, file)]
    return [*_copied_spool(source), *_files_in(source)]


def _copied_spool(source: str) -> list[Piece]:
    # A backup of a spool is given as the directory that it is.
    copy = Spool(os.path.abspath(source))
    return [piece for name in partitions(copy) for piece in _segments(copy, name)]


def _files_in(source: str) -> list[Piece]:
    names = sorted(name for name in os.listdir(source) if name.endswith(_SUFFIXES))
    inside = (os.path.join(source, name) for name in names if name not in _OF_A_SPOOL)
    return [_file(path, os.stat(path)) for path in inside if os.path.isfile(path)]


def _file(path: str, file: os.stat_result) -> Piece:
    if stat.S_ISREG(file.st_mode):
        return Piece(path, path, "file", size=file.st_size, modified=file.st_mtime)
    return Piece(path, path, "stream")


class ReplaySource:
    """Reads `pieces` one after another. `passed` is told of a piece that cannot be read, with the system's error.

    A segment that retention has removed since it was listed comes with ENOENT.
    """

    def __init__(
        self, pieces: Sequence[Piece], passed: Callable[[Piece, OSError], None], *, stdin: int = 0
    ) -> None:
        self._left = deque(pieces)
        self._passed = passed
        self._stdin = stdin
        self._open: _OpenPiece | None = None
        self._lines: deque[Line] = deque()

    @property
    def ended(self) -> bool:
        """Whether all was read."""
        return not self._left and self._open is None and not self._lines

    def read(self, max_lines: int, max_bytes: int) -> list[Line]:
        """Return the next lines, at most so many, and no further one once `max_bytes` are reached; never waits.

        An empty list means that there is no room, or nothing there for the moment, or that `ended` is true.
        """
        lines: list[Line] = []
        while len(lines) < max_lines and max_bytes > 0 and (self._lines or self._fill()):
            line = self._lines.popleft()
            lines.append(line)
            max_bytes -= len(line.raw)
        return lines

    def close(self) -> None:
        """Let go of what is open, and of what was not read."""
        self._left.clear()
        self._lines.clear()
        self._leave()

    def _fill(self) -> bool:
        """Read on until there are lines; return whether there are."""
        while not self._lines:
            if self._open is None and not self._next():
                return False
            if self._open is not None and not self._read_on(self._open):
                return False
        return True

    def _next(self) -> bool:
        while self._left:
            piece = self._left.popleft()
            try:
                self._open = _OpenPiece(piece, self._descriptor(piece))
            except OSError as error:
                self._passed(piece, error)
            else:
                return True
        return False

    def _descriptor(self, piece: Piece) -> int:
        if piece.path == STANDARD_INPUT:
            return os.dup(self._stdin)
        if piece.form == "segment":
            return open_regular(piece.path, os.O_RDONLY)
        # A named pipe that nobody writes to yet must not hold us, past a signal that asks to stop.
        return os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)

    def _read_on(self, piece: _OpenPiece) -> bool:
        """Read a piece on; return False where it has nothing for the moment."""
        try:
            lines = piece.read()
        except OSError as error:
            self._passed(piece.piece, error)
            self._leave()
            return True
        if lines is None:
            return False
        self._lines.extend(lines)
        if piece.ended:
            self._leave()
        return True

    def _leave(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


class _OpenPiece:
    """A piece that is being read."""

    def __init__(self, piece: Piece, fd: int) -> None:
        self.piece = piece
        self.ended = False
        self._fd = fd
        self._cut = Cut(piece.name, piece.start)
        self._left = piece.size

    def read(self) -> list[Line] | None:
        """Return what the next bytes hold, no line maybe; None where none are there yet."""
        if self.piece.form == "stream" and not select.select([self._fd], [], [], 0)[0]:
            return None
        try:
            data = os.read(self._fd, _CHUNK if self._left is None else min(_CHUNK, self._left))
        except BlockingIOError:  # another reader of the same pipe was quicker
            return None
        if self._left is not None:
            self._left -= len(data)
        if not data:
            self.ended = True
            return self._end()
        return self._cut.feed(data)

    def close(self) -> None:
        os.close(self._fd)

    def _end(self) -> list[Line]:
        if self.piece.form != "segment":
            return self._cut.end(None)
        if not self.piece.newest:
            return self._cut.end("torn")
        return []  # it may be on its way; no call was told that it is there


def describe(error: OSError) -> str:
    """Return in words why a piece could not be read."""
    if error.errno == errno.ENOENT:
        return "it is gone: retention removed it, or somebody did"
    return os.strerror(error.errno or errno.EIO)
