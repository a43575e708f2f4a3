"""An answer's header lines, as libcurl hands them over one by one.

Owns what is read of them: the status line, the type, `Retry-After`. Knows nothing about libcurl's handles. Invariants:
lines of an interim answer (100 Continue) count for nothing, and an answer counts as the usual one only if reading its
lines would say the same.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sender.flow import Outcome

__all__ = ["Headers", "Lines", "Usual", "new_lines", "read"]

Lines = deque[bytes]

_MAX_LINES: Final = 128
"""http.client takes 100 headers. Of more the first are forgotten, and with them the status line: no answer, then."""

_STATUS: Final = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})(?!\d)")
_END: Final = b"\r\n"


class Headers(NamedTuple):
    """What the lines say: `status` is 0 where there is no status line that can be read."""

    status: int
    content_type: str
    retry_after: str | None


def new_lines() -> Lines:
    """Return an empty place for lines, bounded; its `append` is what libcurl calls."""
    return deque(maxlen=_MAX_LINES)


def read(lines: Lines) -> Headers:
    """Return what the last answer in `lines` says.

    >>> read(deque([b"HTTP/1.1 100 Continue", b"", b"HTTP/1.1 503 No", b"retry-AFTER: 7"]))
    Headers(status=503, content_type='', retry_after='7')
    """
    status, found = 0, dict[bytes, str]()
    for line in lines:
        if match := _STATUS.match(line):
            status = int(match[1])
            found = {}  # what came before belongs to an interim answer
        else:
            name, _, value = line.partition(b":")
            found[name.lower()] = value.strip().decode("latin-1")
    return Headers(status, found.get(b"content-type", ""), found.get(b"retry-after"))


class Usual:
    """What an answer that delivers looks like here, as the last one showed: its status line and its type.

    Nearly all answers are alike, and each is read again only where it differs: 0.2 us instead of 1.7 for one of
    eight lines.
    """

    __slots__ = ("_outcome", "_status", "_type")

    def __init__(self) -> None:
        self._outcome: Outcome | None = None
        self._status = b""
        self._type = b""

    def learn(self, lines: Lines, outcome: Outcome) -> None:
        """Take `lines`, of which status and type say `outcome`, as what is usual."""
        types = [line for line in lines if line[:13].lower() == b"content-type:"]
        if len(types) == 1 and lines.count(_END) == 1:
            self._outcome, self._status, self._type = outcome, lines[0], types[0]

    def outcome_of(self, lines: Lines) -> Outcome | None:
        """Return the outcome if `lines` are the usual ones, else None: then they are to be read."""
        if (
            lines
            and lines[0] == self._status
            and self._type in lines
            and lines.count(_END) == 1  # more than one end: an interim answer, or trailers
        ):
            return self._outcome
        return None
