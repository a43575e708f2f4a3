"""Failpoints: a name for each moment between two operations that change the disk, and a SIGKILL at the one asked for.

Owns the names. They need no line in kmq, since the seam `kmq.durable.Files` sees every such operation:

    before:rename:checkpoint.json.tmp     all is done that comes before it
    torn:write:segment                    half of the bytes are written
    after:fdatasync:segment               it is done, and its caller does not know
    before:write:segment#2                the second time
    before:child:mkdir:.new               the first time in a child of a fork

`after` is there for what makes something count; after anything else is before the next. Which partition, segment or
day it is does not stand in a name. Knows nothing about what the operations are for.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.support.files import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmq.durable import Files

__all__ = ["Failpoints"]

_OPERATIONS: Final = (*Journal.NAMES, "allocate")
_COUNTING: Final = frozenset({"write", "fdatasync", "rename"})
_STAMP: Final = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}"
_KINDS: Final = (
    (re.compile(rf"(\.new|\.gone)-{_STAMP}"), r"\1"),
    (re.compile(rf"{_STAMP}/"), ""),
    (re.compile(_STAMP), "partition"),
    (re.compile(r"[0-9]{20}\.jsonl"), "segment"),
    (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-"), ""),
)


class Failpoints:
    """The moments of this process's operations on `spool`; each is put down in the file `reached`.

    At the one called `fatal` the process kills itself.
    """

    def __init__(self, spool: str, reached: str, fatal: str) -> None:
        self._spool = spool
        self._fatal = fatal
        self._pid = os.getpid()
        self._reached = os.open(reached, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._times: Counter[str] = Counter()

    def switch_on(self, files: Files) -> None:
        """Watch all that goes through `files` from now on."""
        for name in _OPERATIONS:
            setattr(files, name, self._watched(name, getattr(files, name)))

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the real one takes
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args, **kwargs)
            step = self._step(f"{name}:{self._kind(args[0])}")
            self._reach("before", step)
            if name == "write" and self._fatal == f"torn:{step}":
                real(args[0], args[1][: len(args[1]) // 2])
                self._reach("torn", step)
            done = real(*args, **kwargs)
            if name == "write":  # one that fails whole is never torn
                self._put_down("torn", step)
            if name in _COUNTING:
                self._reach("after", step)
            return done

        return operation

    def _step(self, what: str) -> str:
        named = what if os.getpid() == self._pid else f"child:{what}"
        self._times[named] += 1
        return named if self._times[named] == 1 else f"{named}#{self._times[named]}"

    def _reach(self, moment: str, step: str) -> None:
        self._put_down(moment, step)
        if self._fatal == f"{moment}:{step}":
            os.kill(os.getpid(), signal.SIGKILL)

    def _put_down(self, moment: str, step: str) -> None:
        os.write(self._reached, f"{moment}:{step}\n".encode())

    def _kind(self, target: int | str) -> str:
        path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target
        path = path.removesuffix(" (deleted)")
        if path == self._spool:
            return "spool"
        if not path.startswith(f"{self._spool}/"):
            return "above"
        kind = path.removeprefix(f"{self._spool}/")
        for pattern, short in _KINDS:
            kind = pattern.sub(short, kind)
        return kind
