"""The active segment: a descriptor that is appended to, and what is known of its end.

Owns one open file. Knows nothing about rotation, partitions, threads or forks: whoever appends here is alone, and so is
whoever syncs; its slot sees to both.

Invariant: a segment never shrinks and is never mended. Once its tail may be torn, or a sync of it failed, it is
finished, and whatever comes next stands in another segment. (Cutting a torn tail off lost commands that another thread
or a signal handler had appended behind it.)
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Final

from .durable import FILES, Files, bears_name, create, open_own
from .errors import handlers_own
from .spool import segment_path

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Segment"]

_FLAGS: Final = (
    os.O_RDWR | os.O_APPEND
)  # readable, so that what it holds can be copied if its name is removed
_CHUNK: Final = 1 << 20


class Segment:
    """An open segment that begins at offset `start` of its partition.

    `size` is what this process knows of its length in bytes, good enough to decide when to rotate; a name is made
    from `real_size` only. The descriptor is closed with the last reference, so that a thread that still waits for a
    sync keeps it open.
    """

    _fd = -1  # also for `__del__`, where an exception cut `__init__` short

    def __init__(
        self, fd: int, path: str, start: int, opened_at: float, *, files: Files = FILES
    ) -> None:
        self.path = path
        self.start = start
        self.opened_at = opened_at
        self.finished = False
        self._fd = fd
        self._files = files
        self.size = self.real_size()
        self._named_up_to = self.size
        self._durable_up_to = 0
        self._sync_failed = False

    @classmethod
    def create(cls, partition_path: str, start: int, now: float, *, files: Files = FILES) -> Self:
        """Create the segment that begins at `start`; its entry is not durable before the directory is synced."""
        path = segment_path(partition_path, start)
        return cls(create(path, _FLAGS, files=files), path, start, now, files=files)

    @classmethod
    def reopen(cls, partition_path: str, start: int, now: float, *, files: Files = FILES) -> Self:
        """Open the segment that another process left; raises OSError if no regular file bears its name."""
        path = segment_path(partition_path, start)
        segment = cls(open_own(path, _FLAGS, files=files), path, start, now, files=files)
        segment.finished = not segment.ends_whole()
        return segment

    def append(self, line: bytes) -> bool:
        """Append `line` with one write; return whether all of it was written. Raises OSError if nothing was.

        While the write is under way the segment counts as finished: an exception out of a signal handler between the
        write and the look at its count must not let the next line land behind a torn one.
        """
        self.finished = True
        try:
            written = self._files.write(self._fd, line)
        except OSError as error:
            self.finished = handlers_own(error) is not None
            raise
        if written != len(line):
            return False
        self.size += written
        self.finished = False
        return True

    @property
    def opened(self) -> tuple[int, Files]:
        """The descriptor, and the operations that it is used with: for appends by a lease."""
        return self._fd, self._files

    def ends_whole(self) -> bool:
        """Say whether it is empty or its last byte is a newline."""
        size = self.real_size()
        return size == 0 or os.pread(self._fd, 1, size - 1) == b"\n"

    def real_size(self) -> int:
        """Return its length in bytes as the file system has it."""
        return os.fstat(self._fd).st_size

    def has_name(self) -> bool:
        """Say whether its path still leads to it, and remember how far it was good. Raises OSError if none can tell."""
        named = bears_name(self._fd, self.path)
        if named:
            self._named_up_to = self.size
        return named

    def since_named(self) -> list[bytes]:
        """Return the whole lines that were appended since `has_name` last said yes."""
        data = bytearray()
        end = self.real_size()
        at = self._named_up_to
        while at < end and (chunk := os.pread(self._fd, min(_CHUNK, end - at), at)):
            data += chunk
            at += len(chunk)
        return [line + b"\n" for line in bytes(data).split(b"\n")[:-1]]

    def sync(self, end: float = math.inf) -> bool:
        """Return whether its bytes below `end` are durable, after a sync where one is needed; by default all of them.

        One sync covers all that was appended before it. A failure is final: a later success of the same descriptor
        would prove nothing. An exception in the middle counts as one, since nobody saw the answer.
        """
        if self._durable_up_to >= end:
            return True
        if self._sync_failed:
            return False
        appended = self.size
        self._sync_failed = True
        try:
            self._files.fdatasync(self._fd)
        except (OSError, ValueError) as error:  # os takes no -1, which it is in a child
            if handlers_own(error):
                raise
            return False
        self._durable_up_to = appended
        self._sync_failed = False
        return True

    def finish(self) -> None:
        """Let nothing more be appended: the next line starts the next segment."""
        self.finished = True

    def close(self) -> None:
        """Close the descriptor; what was appended stays."""
        # Cleared first: a child that a signal handler forked must find no number that may be another file by now.
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()
