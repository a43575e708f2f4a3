"""What the library takes from the environment, beside where the spool is.

Owns which `KMQ_` variables a client reads, their defaults, and that an argument of `Client` goes before its variable.
Knows nothing about calls. The API key is not among them: it belongs to the sender.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from . import settings
from .command import MAX_LINE
from .errors import InvalidSetting

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_MAX_SPOOL", "Settings", "cap", "on_error", "read"]

DEFAULT_MAX_SPOOL: Final = 4 << 30
"""The cap of a spool in bytes, where KMQ_MAX_SPOOL says nothing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment and the arguments of `Client` came to."""

    sync: bool
    on_error: str
    disabled: bool
    max_bytes: int


def read(environ: Mapping[str, str], *, sync: bool | None, refusal: str | None) -> Settings:
    """Return the settings; `sync` and `refusal` (`on_error`) are what `Client` was given. Raises `InvalidSetting`."""
    if sync is None:
        sync = settings.switch("KMQ_SYNC", environ.get("KMQ_SYNC", ""))
    if refusal is None:
        refusal = on_error("KMQ_ON_ERROR", environ.get("KMQ_ON_ERROR") or "raise")
    return Settings(
        sync,
        refusal,
        settings.switch("KMQ_DISABLED", environ.get("KMQ_DISABLED", "")),
        cap("KMQ_MAX_SPOOL", environ.get("KMQ_MAX_SPOOL") or str(DEFAULT_MAX_SPOOL)),
    )


def on_error(setting: str, given: str) -> str:
    """Return `given` if it says what is to happen with what the spool refuses, else raise `InvalidSetting`."""
    if given not in {"raise", "log"}:
        raise InvalidSetting(setting, given, "raise or log")
    return given


def cap(setting: str, text: str) -> int:
    """Return the spool's cap in bytes, as `setting` gives it. Raises `InvalidSetting`.

    >>> cap("KMQ_MAX_SPOOL", "64MiB")
    67108864
    """
    size = settings.size(setting, text)
    if (
        size < MAX_LINE
    ):  # none is no way to say "unlimited", and less than a line would refuse every call
        raise InvalidSetting(setting, text, "at least 64KiB; there is no unlimited spool")
    return size
