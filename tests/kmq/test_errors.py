"""The tree of errors: what each says, and that it survives the way to another process."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

from kmq import errors
from kmq.errors import (
    InvalidCommand,
    InvalidSetting,
    KmqError,
    LocksUnsupported,
    NoPermission,
    NoPerson,
    SpoolError,
    SpoolFull,
    handlers_own,
    shown,
    spool_error,
)


@pytest.mark.parametrize(
    "error",
    [
        InvalidCommand("event name ''", "it must not be empty", "give it a name"),
        NoPerson("no person", "nobody is identified", "identify"),
        InvalidSetting("KMQ_SYNC", "maybe", "yes or no"),
        SpoolError("odd", path="/spool", code=errno.EIO),
        SpoolFull("full", path="/spool", code=errno.EDQUOT),
        NoPermission("not yours", path="/spool", code=errno.EPERM),
        LocksUnsupported("no locks", path="/spool", code=errno.ENOLCK),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_is_whole_after_pickling(error: KmqError) -> None:
    """Process pools pickle exceptions: class, text and data arrive."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made in the line above
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert getattr(copy, "errno", None) == getattr(error, "errno", None)


def test_the_tree_is_the_one_that_apps_catch_by() -> None:
    """Wrong arguments are ValueErrors, what the spool refuses are OSErrors, all are KmqErrors."""
    assert issubclass(NoPerson, InvalidCommand)
    assert issubclass(InvalidCommand, (KmqError, ValueError))
    assert issubclass(InvalidSetting, ValueError)
    assert issubclass(SpoolError, OSError)
    for kind in (SpoolFull, NoPermission, LocksUnsupported):
        assert issubclass(kind, SpoolError)


@pytest.mark.parametrize(
    ("code", "kind", "way_out"),
    [
        (errno.ENOSPC, SpoolFull, "make room"),
        (errno.EDQUOT, SpoolFull, "make room"),
        (errno.EACCES, NoPermission, "chmod 2770 /spool"),
        (errno.EPERM, NoPermission, "RestrictSUIDSGID"),
        (errno.ENOLCK, LocksUnsupported, "local file system"),
        (errno.ENOSYS, LocksUnsupported, "local file system"),
        (errno.ENOENT, SpoolError, "install -d -m 2770 -g kmq /spool"),
        (errno.ENOTDIR, SpoolError, "a file stands where a directory is needed"),
        (errno.EROFS, SpoolError, "remount"),
        (errno.EMFILE, SpoolError, "LimitNOFILE"),
        (errno.EFBIG, SpoolError, "LimitFSIZE"),
        (errno.EIO, SpoolError, "look at the disk"),
    ],
)
def test_each_system_error_gets_its_class_and_its_way_out(
    code: int, kind: type[SpoolError], way_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what was being done, where, the system's reason, and what mends it."""
    monkeypatch.setattr(errors, "remedy", lambda path, _who: f"chmod 2770 {path}")
    error = spool_error(OSError(code, "x"), "make the spool", "/spool")
    assert type(error) is kind
    assert (error.errno, error.path) == (code, "/spool")
    assert str(error).startswith(f"cannot make the spool /spool: {os.strerror(code)}")
    assert way_out in str(error)


def test_an_error_without_a_number_is_an_input_output_error() -> None:
    """An OSError made without errno still becomes a complete SpoolError."""
    assert spool_error(OSError("odd"), "append to", "/spool").errno == errno.EIO


def test_what_a_signal_handler_raised_is_told_from_what_the_system_says() -> None:
    """TimeoutError is an OSError; and a layer may have made a SpoolError of it already."""
    own = TimeoutError("too late")
    wrapped = SpoolError("cannot append", path="/spool")
    wrapped.__cause__ = own
    assert handlers_own(own) is own
    assert handlers_own(wrapped) is own
    wrapped.__cause__ = OSError(errno.EIO, "x")
    assert handlers_own(wrapped) is None
    assert handlers_own(OSError(errno.EIO, "x")) is None
    assert handlers_own(ValueError("x")) is None


def test_a_spool_error_is_not_wrapped_twice() -> None:
    """What already says what happened passes unchanged."""
    first = SpoolFull("full", path="/spool")
    assert spool_error(first, "append to", "/other") is first


class Unshowable:
    """An object whose own repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("bob", "'bob'"),
        ("x" * 70, "'" + "x" * 59 + "... (72 characters)"),
        (10**5_000, "<int>"),
        (Unshowable(), "<Unshowable>"),
    ],
    ids=["short", "long", "huge integer", "no repr"],
)
def test_a_value_is_shown_cut_and_never_raises(value: object, text: str) -> None:
    """Showing what was given wrong must not become another error."""
    assert shown(value) == text
