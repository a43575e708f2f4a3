"""A lease: leave to append to the open segment, up to so many bytes, without asking anything else.

Owns the quick append. A slot looks at all that has to be looked at before an append (names, age, size, the spool's cap)
and then gives a lease out; until it takes it back, appends need only what the lease itself knows. It lies in a queue of
one, from which whoever appends takes it for the time of one write: that excludes threads, and a call inside a call,
without a lock (taking and putting back cost 90 ns, acquiring and releasing a lock 240 ns, `with lock` 400 ns).

Knows nothing about partitions and commands. Invariant: a lease of which a write did not end as it should says so
(`TORN`), and is good for nothing more.
"""

from __future__ import annotations

import contextlib
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from .errors import handlers_own

if TYPE_CHECKING:
    from collections.abc import Callable

    from .forks import SameProcess
    from .segment import Segment

__all__ = ["TORN", "Lease", "Leases"]

TORN: Final = -1
"""What is `left` of a lease while a write is under way, and for good where an exception or a short count ended it."""

_LOOKS_APART_S: Final = 0.001


def _shut() -> Lease:
    """Stand in for the taking, while the lease is asked back: whoever appends goes the long way, and waits there."""
    raise Empty


class Lease:
    """Leave to append `given` bytes to `segment`, of which `left` are left, in the process of `here` only."""

    __slots__ = ("fd", "files", "given", "here", "left", "segment")

    def __init__(self, segment: Segment, given: int, here: SameProcess) -> None:
        self.segment = segment
        self.fd, self.files = segment.opened
        self.given = self.left = given
        self.here = here

    @property
    def torn(self) -> bool:
        """Whether a write did not end as it should."""
        return self.left == TORN

    @property
    def appended(self) -> int:
        """How many bytes were appended by it; all that were given, where nobody knows how many."""
        return self.given if self.torn else self.given - self.left


class Leases:
    """The place where the lease of one slot lies while nobody writes."""

    __slots__ = ("_back", "_get", "_open", "give")

    def __init__(self) -> None:
        queue: SimpleQueue[Lease] = SimpleQueue()
        self._open = queue.get_nowait
        self._get: Callable[[], Lease] = self._open
        self._back: list[Lease] = []
        self.give = queue.put

    def append(self, line: bytes) -> Segment | None:
        """Append `line` with one write, and return where to; None if it has to go the long way: then it is not there.

        None without a lease, in a child of a fork, past what is left, and after a write that failed or fell short.
        """
        try:
            lease = self._get()
        except Empty:
            return None
        left = lease.left
        try:
            size = len(line)
            if left >= size and lease.here[0]:
                # Whatever comes between these, an exception of a signal handler too: the tail may be torn.
                lease.left = TORN
                if lease.files.write(lease.fd, line) == size:
                    lease.left = left - size
                    return lease.segment
        except OSError as error:
            if handlers_own(error):
                raise
            lease.left = left  # nothing was written, so that nothing is torn; the long way meets it again and tells
        finally:
            self.give(lease)
        return None

    def take_back(self, looks: int) -> bool:
        """Say whether the lease is back, at one of `looks` looks, a millisecond apart; then nobody appends by it.

        It is until `settled` says that what was appended by it is accounted for. Meanwhile it is given to nobody:
        threads that take it in turns would else leave no moment in which it can be seen.

        Counted, and not by a clock, which a test may have stopped. `SimpleQueue.get` with a timeout never returns where
        a signal handler, or a thread that was faster, outlasts it.
        """
        self._get = _shut
        while True:
            with contextlib.suppress(Empty):
                # In one step, between which no signal handler comes whose exception would take the lease along.
                self._back.extend(iter(self._open, None))
            looks -= 1
            if self._back:
                return True
            if looks <= 0:
                self._get = self._open
                return False
            time.sleep(_LOOKS_APART_S)

    def settled(self) -> None:
        """Forget the lease that is back, and let the next one be taken."""
        self._back.clear()
        self._get = self._open
