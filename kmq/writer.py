"""The writer of a process: lines from any thread, signal handler or fork, each appended with one write.

Owns which slot a call writes through, and what happens when a process forks. Knows nothing about what a line says.
There is one writer a spool and process (`for_process`); all clients share it.

A call that finds its own thread already inside (a signal handler, a `__del__`) takes the slot one deeper, so that it
neither waits for itself nor writes between the outer call's write and its look at the count. A thread only ever
waits for slots at least as deep as its own, so that no two can wait for each other.

A child of a fork starts anew: new locks, no partition. It closes what it inherited and unlocks nothing, since an
unlock would free its parent's lock. `os.getpid()` is compared at each call before any lock is touched, since some
servers fork without running Python's hooks.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from .cap import Cap
from .errors import SpoolError, handlers_own, spool_error
from .locks import boot_id
from .partition import Place, Rotation
from .slot import Slot

if TYPE_CHECKING:
    from .lease import Leases
    from .spool import Spool

__all__ = ["Writer", "for_process"]

_log = logging.getLogger("kmq")


class _Depth(threading.local):
    """How many calls of this thread are under way, one inside the other."""

    value = 0


@dataclass(slots=True)
class _Process:
    """What belongs to one process only, and is made anew in a child."""

    pid: int
    place: Place
    cap: Cap
    depth: _Depth = field(default_factory=_Depth)
    slots: dict[int, Slot] = field(default_factory=dict)

    def slot(self, depth: int) -> Slot:
        # setdefault is one step: two threads that come first get the same slot.
        slot = self.slots.get(depth)
        return slot or self.slots.setdefault(depth, Slot(self.place, self.cap, self.pid))

    def forget(self) -> None:
        for slot in list(self.slots.values()):
            slot.forget()


class Writer:
    """Appends lines to one spool, for all threads of this process."""

    def __init__(self, place: Place, max_bytes: int) -> None:
        self.place = place
        self._max_bytes = max_bytes
        self._process = self._fresh()
        self._processes = {self._process.pid: self._process}
        _writers.add(self)

    def append(self, line: bytes, *, durably: bool = False, quick: bool = False) -> Leases:
        """Append one whole `line`; with `durably`, return only when a power cut does not lose it.

        Names, age and cap are looked at where that is due, except with `quick` for a durable one. Returns where the
        appends that follow may find a lease. Raises `SpoolError` when the line is not in the spool.
        """
        process = self._current()
        outer = process.depth.value
        try:
            return _append(process, line, durably=durably, quick=quick)
        except OSError as error:
            if process.pid == os.getpid() or handlers_own(error):
                self._tell(error)
        finally:
            process.depth.value = outer
        # A signal handler forked in the middle, and this is the child.
        return self.append(line, durably=durably, quick=quick)

    def append_alone(self, line: bytes) -> bool:
        """Append `line` durably, if that can be done at once: nothing is due, and no other thread is at it."""
        process = self._process
        slot = process.slots.get(0)
        if slot is None or process.depth.value or not slot.here[0]:
            return False
        process.depth.value = 1
        try:
            return slot.append_alone(line)
        finally:
            process.depth.value = 0

    def check_names(self) -> None:
        """Look now whether what is written to still has its names; copy it where not. Raises `SpoolError`.

        A slot that this thread is just writing through, further out, is left out: that call looks by itself.
        """
        process = self._current()
        outer = process.depth.value
        try:
            for depth in sorted(list(process.slots)):  # noqa: C414 - one step, while other threads add slots
                if depth >= outer:
                    process.depth.value = depth + 1
                    process.slots[depth].check_name()
        except OSError as error:
            self._tell(error)
        finally:
            process.depth.value = outer

    def after_fork(self) -> None:
        """In a child: forget what is the parent's."""
        self._current()

    def _current(self) -> _Process:
        process = self._process
        if process.pid == os.getpid():
            return process
        fresh = self._processes.setdefault(os.getpid(), self._fresh())
        self._process = fresh
        self._processes.pop(process.pid, None)
        process.forget()
        return fresh

    def _fresh(self) -> _Process:
        cap = Cap(self.place.spool, self._max_bytes, clock=self.place.clock)
        return _Process(os.getpid(), self.place, cap)

    def _tell(self, error: OSError) -> NoReturn:
        own = handlers_own(error)
        if own is not None:
            raise own
        raise spool_error(error, "append to", self.place.spool.path) from _cause(error)


def _append(process: _Process, line: bytes, *, durably: bool, quick: bool) -> Leases:
    depth = process.depth.value
    while True:
        process.depth.value = depth + 1
        slot = process.slot(depth)
        if slot.append_durably(line, quick=quick) if durably else slot.append(line):
            return slot.leases
        depth += 1  # by its lease, this very thread may be in the middle of a write


def _cause(error: OSError) -> BaseException | None:
    return error.__cause__ if isinstance(error, SpoolError) else error


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
_shared: dict[Spool, Writer] = {}


def for_process(spool: Spool, max_bytes: int) -> Writer:
    """Return this process's writer for `spool`; the first call decides its cap."""
    writer = _shared.get(spool)
    if writer is None:
        boot = boot_id()
        if boot is None:
            _log.warning(
                "the kernel's boot id cannot be read: every process makes a partition of its own, and adopts none"
            )
        place = Place(spool, boot, Rotation.within(max_bytes))
        writer = _shared.setdefault(spool, Writer(place, max_bytes))
    return writer


def _after_fork_in_child() -> None:
    for writer in list(_writers):
        writer.after_fork()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)
