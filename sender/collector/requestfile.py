"""The file of `--log`: every request as a JSON line, as it comes.

Owns the file, and that a full disk costs lines and never an answer. It holds what people sent, e-mail addresses
included: only its owner may read it. Not synced: it is for looking at, nothing is rebuilt from it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .arrivals import Arrival

__all__ = ["RequestFile"]


class RequestFile:
    """Appends arrivals to the file at `path`, made if missing; raises OSError where that cannot be.

    `failed` gets what the system said when a line could not be written, once.
    """

    def __init__(self, path: str, failed: Callable[[str], None]) -> None:
        self._failed: Callable[[str], None] | None = failed
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def record(self, arrival: Arrival) -> None:
        """Append `arrival`; a line that the system refuses is gone."""
        line = json.dumps(arrival.form(), separators=(",", ":")).encode() + b"\n"
        try:
            os.write(self._fd, line)
        except OSError as error:
            self._report(error)

    def _report(self, error: OSError) -> None:
        if self._failed is not None:
            self._failed(os.strerror(error.errno or 0))
        self._failed = None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
