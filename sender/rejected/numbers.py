"""`rejected/lock`: held by whoever appends in `rejected/`, for one batch, and where the numbers of the ids come from.

Owns how long one waits for it, and its content: the number last given for each of the latest days. Knows nothing
about the lines that are appended meanwhile.

Invariant: a number of a day is given once, by all programs together, also after the file that held it is gone. What a
power cut makes of the content is not trusted: whoever takes numbers says what the files hold.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from typing import TYPE_CHECKING, Final

from kmq.durable import FILES, Files, write_all
from kmq.errors import SpoolError
from kmq.locks import Denied, make, take
from kmq.spool import make_directory

from .kept import MAX_NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kmq.spool import Spool

__all__ = ["RejectedLock"]

_WAIT_S: Final = 0.02
_TRIES: Final = (
    250  # 5 s of waiting; who holds the lock appends one batch, so longer means stopped or stuck
)
_WAYS_OUT: Final = {
    Denied.HELD: "if it is stopped, let it go on or end it (fuser names it), and try again",
    Denied.GONE: "move away what bears that name, and try again",
}
_DAYS: Final = 32  # of which the last number is remembered: more than any clock is turned back
_BYTES: Final = 1_024
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class RejectedLock:
    """The lock of the directory `rejected/`, which is made with it.

    `wait` waits for some seconds; with None nobody waits, for a loop that has other things to do.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        wait: Callable[[float], None] | None = time.sleep,
        files: Files = FILES,
    ) -> None:
        self._directory = spool.rejected
        self._path = spool.rejected_lock
        self._wait = wait
        self._files = files
        self._compared_day = ""

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Hold the lock; give its descriptor.

        Raises `SpoolError` with EAGAIN where another holds it, after 5 s of waiting, if it waits, and with EEXIST where
        something that is no file bears its name. Other OSErrors pass.
        """
        with contextlib.suppress(FileExistsError):
            make_directory(self._directory, files=self._files)
        fd = self._taken()
        try:
            yield fd
        finally:
            os.close(fd)

    def _taken(self) -> int:
        answer = self._tried()
        for _ in range(_TRIES - 1):
            if isinstance(answer, int) or self._wait is None:
                break
            self._wait(_WAIT_S)
            answer = self._tried()
        if isinstance(answer, int):
            return answer
        message = f"cannot lock {self._path}: {answer.value}; {_WAYS_OUT[answer]}"
        code = errno.EAGAIN if answer is Denied.HELD else errno.EEXIST
        raise SpoolError(message, path=self._path, code=code)

    def _tried(self) -> int | Denied:
        make(self._path, files=self._files)
        return take(self._path)

    def take_numbers(self, fd: int, day: str, count: int, highest: Callable[[str], int]) -> int:
        """Take `count` numbers of `day` under the held lock `fd`; return the first. They are never given again.

        `highest` returns the highest number that the files of a day hold: asked at first use, since a power cut may
        have taken the number from the lock and left the lines.
        """
        given = _parse(os.pread(fd, _BYTES, 0))
        last = given.pop(day, 0)
        if day != self._compared_day or not last:
            last = max(last, highest(day))
            self._compared_day = day
        given[day] = last + count
        os.lseek(fd, 0, os.SEEK_SET)
        write_all(fd, _form(given), files=self._files)
        return last + 1


def _form(given: dict[str, int]) -> bytes:
    # Always as long, so that it is overwritten whole.
    latest = dict(list(given.items())[-_DAYS:])
    return json.dumps(latest, separators=(",", ":")).ljust(_BYTES - 1).encode() + b"\n"


def _parse(data: bytes) -> dict[str, int]:
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    items = value.items() if isinstance(value, dict) else ()
    return {day: number for day, number in items if _DAY.fullmatch(day) and _is_number(number)}


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_NUMBER
