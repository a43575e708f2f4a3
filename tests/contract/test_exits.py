"""The exit codes: a table that scripts and unit files rely on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from kmq import errors
from sender import cli
from sender.cli.exits import MEANINGS, Exit, Failure, exit_for, summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLE = {
    "OK": 0,
    "INCOMPLETE": 1,
    "USAGE": 2,
    "DATA": 65,
    "NO_INPUT": 66,
    "UNAVAILABLE": 69,
    "CANNOT_CREATE": 73,
    "TEMPORARY": 75,
    "NO_PERMISSION": 77,
    "CONFIG": 78,
    "INTERRUPTED": 130,
    "TERMINATED": 143,
}

ERRORS = [
    (errors.InvalidCommand("a name", "is too long", "shorten it"), Exit.DATA),
    (errors.NoPerson("nobody", "a person is needed", "identify"), Exit.DATA),
    (errors.InvalidSetting("KMQ_MAX_SPOOL", "much", "a size"), Exit.CONFIG),
    (errors.SpoolError("read-only", path="/spool"), Exit.CANNOT_CREATE),
    (errors.SpoolError("a lock is held", path="/spool", code=errno.EAGAIN), Exit.TEMPORARY),
    (errors.SpoolFull("full", path="/spool"), Exit.TEMPORARY),
    (errors.NoPermission("not yours", path="/spool"), Exit.NO_PERMISSION),
    (errors.LocksUnsupported("no locks", path="/spool"), Exit.CONFIG),
    (errors.KmqError("something else"), Exit.INCOMPLETE),
]


@pytest.fixture
def end_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], tuple[int, str, str]]:
    """Return a function that runs `kmq-sender verify` with a body that raises or returns something."""

    def run(ending: object) -> tuple[int, str, str]:
        def body() -> object:
            if isinstance(ending, BaseException):
                raise ending
            return ending

        command = click.Command("verify", callback=body)
        monkeypatch.setattr(cli.root, "get_command", lambda _ctx, _name: command)
        result = CliRunner().invoke(cli.root, ["verify"])
        return result.exit_code, result.stdout, result.stderr

    return run


def test_the_numbers_are_the_promised_ones() -> None:
    """Names and numbers are pinned: whoever changes one breaks somebody's script."""
    assert {code.name: code.value for code in Exit} == TABLE


def test_every_code_has_a_meaning_and_the_help_says_it() -> None:
    """No code is without words, and all but those of a second signal stand in the help."""
    assert set(MEANINGS) == set(Exit)
    for code in set(Exit) - {Exit.INTERRUPTED, Exit.TERMINATED}:
        assert f"{code:d} {MEANINGS[code]}" in summary()


@pytest.mark.parametrize(("error", "code"), ERRORS, ids=[type(e).__name__ for e, _ in ERRORS])
def test_an_error_ends_with_its_code_and_its_message_on_stderr(
    error: errors.KmqError, code: Exit, end_with: Callable[[object], tuple[int, str, str]]
) -> None:
    """Every class of error ends with one code, one line on stderr and nothing on stdout."""
    assert exit_for(error) == code
    assert end_with(error) == (code, "", f"Error: {error}\n")


def test_every_class_of_error_is_in_this_test() -> None:
    """A new class of error gets a code on purpose, not by falling through."""
    known = {type(error) for error, _ in ERRORS}
    public = (getattr(errors, name) for name in errors.__all__)
    assert known == {e for e in public if isinstance(e, type) and issubclass(e, errors.KmqError)}


def test_a_command_ends_with_the_code_that_it_returns(
    end_with: Callable[[object], tuple[int, str, str]],
) -> None:
    """A command returns an `Exit`, and nothing at all for success."""
    assert end_with(Exit.DATA) == (65, "", "")
    assert end_with(None) == (0, "", "")


def test_a_failure_ends_with_its_own_code(
    end_with: Callable[[object], tuple[int, str, str]],
) -> None:
    """What only a command can know ends it through `Failure`."""
    assert end_with(Failure("another sender runs", Exit.TEMPORARY)) == (
        75,
        "",
        "Error: another sender runs\n",
    )


def test_an_error_of_the_system_is_a_message_and_no_traceback(
    end_with: Callable[[object], tuple[int, str, str]],
) -> None:
    """A file that cannot be read names itself, the reason and the way out."""
    code, _, said = end_with(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/spool/x"))
    assert code == Exit.NO_PERMISSION
    assert said.startswith("Error: cannot use /spool/x: Permission denied;")


def test_ctrl_c_ends_with_130(end_with: Callable[[object], tuple[int, str, str]]) -> None:
    """An interrupt that a command does not handle itself ends as shells expect."""
    assert end_with(KeyboardInterrupt())[0] == Exit.INTERRUPTED


def test_a_reader_that_went_away_is_no_error(
    end_with: Callable[[object], tuple[int, str, str]],
) -> None:
    """`kmq-sender rejected list | head -1` prints no traceback."""
    assert end_with(BrokenPipeError(errno.EPIPE, "Broken pipe"))[1:] == ("", "")


def test_an_output_that_takes_nothing_is_named() -> None:
    """It is neither the spool nor its disk that is full; and nothing is said in Python's own words."""
    command = [sys.executable, "-m", "sender.cli", "verify", "--help"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == Exit.INCOMPLETE
    assert done.stderr == "Error: cannot write to standard output: No space left on device\n"


def test_a_full_output_of_a_command_is_named_too(tmp_path: Path) -> None:
    """After it has done its work."""
    command = [sys.executable, "-m", "sender.cli", "status", "--spool", str(tmp_path)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == Exit.INCOMPLETE
    assert done.stderr == "Error: cannot write to standard output: No space left on device\n"
