"""How much memory this process takes at most while something is done, by the kernel's own count.

    with Peak() as peak:
        ...
    assert peak.grown < 1 << 20

It counts pages, whoever in the process uses them, so that what a library in C takes is counted too.
"""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Self

__all__ = ["Peak", "peak"]


class Peak:
    """A context manager; `grown` is by how many bytes the process was larger than at the beginning, at most."""

    def __init__(self) -> None:
        self.grown = 0
        self._before = 0

    def __enter__(self) -> Self:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak begins anew
        self._before = _status("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.grown = _status("VmHWM") - self._before


def peak(pid: int | str = "self") -> int:
    """Return how many bytes a process has taken at most, this one without `pid`.

    Not `ru_maxrss`: that is what the process had taken that started this one, where it was more.
    """
    return _status("VmHWM", pid)


def _status(name: str, pid: int | str = "self") -> int:
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise AssertionError(f"the kernel tells no {name}")
    return int(found[1]) << 10
