"""Every error that kmq raises, as one tree.

    KmqError
    |-- InvalidCommand (ValueError)     a call's arguments break a rule; nothing was written
    |   `-- NoPerson                    nobody is identified and no person was given
    |-- InvalidSetting (ValueError)     a KMQ_ variable or an argument of Client has no such value
    `-- SpoolError (OSError)            the arguments are fine, the spool could not take the command
        |-- SpoolFull                   the cap is reached, or the disk or a quota is full
        |-- NoPermission                modes or group do not allow it
        `-- LocksUnsupported            the file system under the spool has no locks

An error names what was given, the rule, and the way out, and carries them as data. This module knows
nothing about files or commands: others say what they were doing, `spool_error` finds the class, and `access` what mends
a refusal.
"""

from __future__ import annotations

import errno
import os
from functools import partial

from .access import remedy, who

__all__ = [
    "InvalidCommand",
    "InvalidSetting",
    "KmqError",
    "LocksUnsupported",
    "NoPermission",
    "NoPerson",
    "SpoolError",
    "SpoolFull",
    "handlers_own",
    "shown",
    "spool_error",
]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})

_SHOWN_CHARACTERS = 60


class KmqError(Exception):
    """The root of all errors that kmq raises on purpose."""


class InvalidCommand(KmqError, ValueError):  # noqa: N818 - named for what the caller gave, as the API's pages do
    """A call's arguments break a rule of KISSmetrics or of the spool; nothing was written.

    `what` names what was given, `rule` the rule that it breaks, `way_out` what to do instead.
    """

    def __init__(self, what: str, rule: str, way_out: str) -> None:
        super().__init__(f"{what}: {rule}; {way_out}")
        self.what = what
        self.rule = rule
        self.way_out = way_out

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.what, self.rule, self.way_out)


class NoPerson(InvalidCommand):
    """Nobody is identified in this thread or task, and the call names no person."""


class InvalidSetting(KmqError, ValueError):  # noqa: N818 - see InvalidCommand
    """A `KMQ_` variable, an option or an argument of `Client` has a value that it cannot have."""

    def __init__(self, setting: str, given: str, allowed: str) -> None:
        super().__init__(f"{setting} is {given!r}: it must be {allowed}")
        self.setting = setting
        self.given = given
        self.allowed = allowed

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.setting, self.given, self.allowed)


class SpoolError(KmqError, OSError):
    """The spool could not take the command; nothing of it was acknowledged.

    `errno` is the system's own number where there is one, `path` the file or directory concerned.
    """

    def __init__(self, message: str, *, path: str, code: int = errno.EIO) -> None:
        super().__init__(code, message)
        self.path = path
        self.message = message

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross processes (multiprocessing, Celery), and OSError's own way drops the path.
        return partial(type(self), self.message, path=self.path, code=self.errno or errno.EIO), ()

    def __str__(self) -> str:
        return self.message


class SpoolFull(SpoolError):  # noqa: N818 - see InvalidCommand
    """The spool's cap is reached, or the disk or a quota is full."""


class NoPermission(SpoolError):  # noqa: N818 - see InvalidCommand
    """Modes or group of the spool do not let this process write."""


class LocksUnsupported(SpoolError):  # noqa: N818 - see InvalidCommand
    """The file system under the spool cannot lock files, so that no partition can be held."""


def shown(value: object) -> str:
    """Return `value` as an error message shows it: its repr, cut to a length that a log can bear.

    What has no repr (an integer of over 4,300 digits, an object whose own one raises) is shown by its type.

    >>> shown("x" * 300)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... (302 characters)"
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - whatever it raises, the caller's mistake is what must be told
        return f"<{type(value).__name__}>"
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}... ({len(text):,} characters)"


def spool_error(error: OSError, doing: str, path: str) -> SpoolError:
    """Return the `SpoolError` that says what `doing` met at `path`, and the way out.

    Raise it `from error`, so that the system's own exception stays in the traceback.
    """
    if isinstance(error, SpoolError):
        return error
    code = error.errno or errno.EIO
    kind, way_out = _explanation(code, path)
    reason = os.strerror(code)
    return kind(f"cannot {doing} {path}: {reason}; {way_out}", path=path, code=code)


def handlers_own(error: Exception) -> OSError | None:
    """Return what a signal handler raised in the middle, where `error` is it, or a `SpoolError` that was made of it.

    Many a handler raises TimeoutError, which is an OSError, and says nothing about the spool. What the system says has
    a number.
    """
    cause = error.__cause__ if isinstance(error, SpoolError) else error
    return cause if isinstance(cause, OSError) and cause.errno is None else None


def _explanation(code: int, path: str) -> tuple[type[SpoolError], str]:
    if code in _FULL:
        return SpoolFull, (
            "make room on its file system (df; df -i where inodes ran out), or move the spool with KMQ_SPOOL"
        )
    if code == errno.EPERM:
        return NoPermission, (
            "a unit with RestrictSUIDSGID= may not set mode 2770, which directories here need: leave that setting "
            "out; elsewhere look for an attribute (lsattr)"
        )
    if code == errno.EACCES:
        return NoPermission, remedy(path, who())
    if code in _NO_LOCKS:
        return LocksUnsupported, "put the spool on a local file system (ext4, xfs, tmpfs)"
    return SpoolError, _way_out(code, path)


def _way_out(code: int, path: str) -> str:
    if code == errno.ENOENT:
        return f"make it first: install -d -m 2770 -g kmq {path}"
    if code == errno.ENOTDIR:
        return "a file stands where a directory is needed: move it away, or move the spool with KMQ_SPOOL"
    if code == errno.EROFS:
        return "remount its file system read-write, or move the spool with KMQ_SPOOL"
    if code in {errno.EMFILE, errno.ENFILE}:
        return "raise the limit of open files (ulimit -n, LimitNOFILE=)"
    if code == errno.EFBIG:
        return "raise the limit of file sizes (ulimit -f, LimitFSIZE=)"
    return "look at the disk (dmesg), or move the spool with KMQ_SPOOL"
