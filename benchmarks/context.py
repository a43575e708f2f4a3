"""What every group of measurements is handed: how thoroughly, where, and whom to tell.

Owns the folder of a run, on a real disk where there is one, and that nothing of it is left. Knows nothing about what
is measured in it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .machine import is_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .scale import Scale

__all__ = ["ROOT", "Context", "environment", "folder_for"]

ROOT: Final = str(Path(__file__).parents[1])

_FOREIGN: Final = ("_PROXY", "_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True)
class Context:
    """`folder` is this run's own and empty at first; `say` tells a person what goes on."""

    scale: Scale
    folder: Path
    say: Callable[[str], None]

    @contextmanager
    def room(self, name: str) -> Iterator[Path]:
        """Give a folder for one measurement, and take it away with what was written there."""
        path = self.folder / name
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def folder_for(asked: str | None) -> Iterator[Path]:
    """Give a new folder below `asked`, else where temporary files go, unless that is memory; then remove it."""
    path = Path(tempfile.mkdtemp(prefix="kmq-bench-", dir=asked or _on_disk()))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a program that is measured: this tree's kmq, and none of this machine's settings."""
    own = {name: value for name, value in os.environ.items() if not _is_foreign(name)}
    return {**own, "PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": "", **more}


def _is_foreign(name: str) -> bool:
    upper = name.upper()
    return upper.startswith(("KMQ_", "COVERAGE_")) or upper.endswith(_FOREIGN)


def _on_disk() -> str | None:
    places = [tempfile.gettempdir(), "/var/tmp", os.getcwd()]  # noqa: S108 - a folder of its own is made there
    real = [place for place in places if os.access(place, os.W_OK) and not is_in_memory(place)]
    if real:
        return real[0]
    sys.stderr.write(
        "no folder on a disk was found (name one with --folder): syncs cost nothing here\n"
    )
    return None
