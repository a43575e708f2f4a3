"""A process that tries inputs, one after another, and says what it found.

    python -m tests.fuzz.worker SEED FIRST STEP END KIND PROGRESS FOLDER

It tries the numbers FIRST, FIRST + STEP ... below END. Before each it puts the number into PROGRESS, a mapped file, and
beside it what was found so far, so that whoever started it sees that it goes on, and at which input it stopped. What it
finds is kept in FOLDER: the input, and beside it what happened.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import random
import struct
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from tests.support.memory import peak

from .answers import Answers, Wire
from .checkpoints import Checkpoints
from .lines import Lines
from .rejections import Rejections
from .segments import Segments
from .target import LineLost
from .trackings import Trackings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .target import Target

__all__ = ["KINDS", "TARGETS", "Progress", "keep", "made"]

MOST_KEPT: Final = 20
MOST_RSS: Final = 256 << 20
"""Bytes of memory, of the process as a whole. It begins with some 50 MiB, and needs no more for any input."""

TARGETS: Final[dict[str, Callable[[], Target]]] = {
    "line": Lines,
    "segment": Segments,
    "checkpoint": Checkpoints,
    "answer": Answers,
    "wire": Wire,
    "rejected": Rejections,
    "tracking": Trackings,
}

KINDS: Final[dict[str, dict[str, float]]] = {
    "line": {"line": 0.92, "segment": 0.08},
    "checkpoint": {"checkpoint": 1.0},
    "answer": {"answer": 0.94, "wire": 0.06},
    "rejected": {"rejected": 1.0},
    "tracking": {"tracking": 1.0},
}
"""Which targets an `--only` names, and in which shares."""

_SHARES: Final = {
    "line": 0.45,
    "checkpoint": 0.15,
    "answer": 0.15,
    "rejected": 0.15,
    "tracking": 0.10,
}


@dataclass(slots=True)
class Progress:
    """Where a worker is and what it has found: the number it is at, and the first that found something (-1: none)."""

    number: int
    crashes: int = 0
    lost: int = 0
    first_at: int = -1

    FORM: ClassVar = struct.Struct("qqqq")

    def form(self) -> bytes:
        """Return it as it stands in the mapped file."""
        return self.FORM.pack(self.number, self.crashes, self.lost, self.first_at)

    @classmethod
    def of(cls, data: bytes) -> Progress:
        """Return what `form` wrote."""
        return cls(*cls.FORM.unpack(data))


def made(seed: int, number: int, kind: str) -> tuple[str, random.Random]:
    """Return the target of an input, and the generator that makes it."""
    rng = random.Random(f"{seed}:{number}")
    group = kind if kind != "all" else rng.choices(list(_SHARES), list(_SHARES.values()))[0]
    return rng.choices(list(KINDS[group]), list(KINDS[group].values()))[0], rng


def keep(folder: Path, name: str, data: bytes, words: str) -> None:
    """Keep an input and what it led to."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.bin").write_bytes(data)
    (folder / f"{name}.txt").write_text(words, "utf-8", "backslashreplace")


class _Trial:
    """Tries inputs of one seed, and notes in `mapped` how far it is."""

    def __init__(self, seed: int, kind: str, folder: Path, mapped: mmap.mmap) -> None:
        self._seed = seed
        self._kind = kind
        self._folder = folder
        self._mapped = mapped
        self._targets: dict[str, Target] = {}
        self._progress = Progress(-1)

    def one(self, number: int) -> None:
        """Try an input."""
        self._progress.number = number
        self._mapped[:] = self._progress.form()
        name, rng = made(self._seed, number, self._kind)
        target = self._targets.get(name) or self._targets.setdefault(name, TARGETS[name]())
        data = target.make(rng)
        try:
            target.check(data, rng)
            _check_memory()
        except LineLost:
            self._progress.lost += 1
            self._keep("lost", name, data)
        except Exception:  # noqa: BLE001 - whatever a target does not expect is what is looked for
            self._progress.crashes += 1
            self._keep("crash", name, data)

    def close(self) -> None:
        """Note what was found, and let the targets go."""
        self._mapped[:] = self._progress.form()
        for target in self._targets.values():
            target.close()

    def _keep(self, what: str, name: str, data: bytes) -> None:
        progress = self._progress
        if progress.first_at < 0:
            progress.first_at = progress.number
        if progress.crashes + progress.lost <= MOST_KEPT:
            name = f"{what}-{name}-{self._seed}-{progress.number}"
            keep(self._folder, name, data, traceback.format_exc())


def _check_memory() -> None:
    used = peak()
    if used > MOST_RSS:
        raise MemoryError(f"it takes {used:,} bytes, and none should need {MOST_RSS:,}")


def main(arguments: Sequence[str]) -> None:
    """Try a range of numbers."""
    faulthandler.enable()  # whoever finds this process hanging ends it with SIGABRT
    seed, first, step, end = map(int, arguments[:4])
    kind, progress, folder = arguments[4:]
    fd = os.open(progress, os.O_RDWR | os.O_CLOEXEC)
    with mmap.mmap(fd, Progress.FORM.size) as mapped:
        trial = _Trial(seed, kind, Path(folder), mapped)
        for number in range(first, end, step):
            trial.one(number)
        trial.close()


if __name__ == "__main__":
    main(sys.argv[1:])
