"""`kmq-sender demo`: a short show as a process, to its end or cut off, and nothing left behind."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from sender.cli import demo, root
from sender.cli.demo import demo_command
from sender.cli.exits import Exit
from sender.demo.account import Account, Twin, take_account
from sender.demo.telling import ShowFailed, Stopped
from tests.support.system import END_S, environ
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

SHORT = ("demo", "--seconds", "4", "--events", "100")


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo with a temporary folder of its own, and settings that must not reach it."""
    (tmp_path / "tmp").mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "sender.cli", *(arguments or SHORT)],
        env=environ(
            TMPDIR=str(tmp_path / "tmp"),
            KMQ_DISABLED="1",  # a setting of the user's, which must not reach the show
            KMQ_SPOOL=str(tmp_path / "spool"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_in(folder: Path) -> list[str]:
    """Return the processes that stand or work in a folder: those of a show stand in its own."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/cwd").startswith(str(folder)):
                found.append(pid)
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return found


def nothing_left(tmp_path: Path) -> bool:
    """Say whether the show left no process, no file, and no spool of the user's."""
    assert processes_in(tmp_path) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    assert not (tmp_path / "spool").exists()
    return True


def test_a_short_show_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    """All acts, the account, and the last line that everybody waits for."""
    with start(tmp_path) as process:
        output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    assert nothing_left(tmp_path)
    last = output.splitlines()[-1]
    match = re.fullmatch(r"(\d+) acknowledged, (\d+) delivered, 0 lost", last)
    assert match, output
    assert match[1] == match[2] == str(4 * 100 + 5)
    for said in (
        "KM.record('Signed Up', {'Plan' : 'Pro', 'Amount' : 99.95});",
        "Signed+Up&Plan=Pro&Amount=99.95",
        "GET /a?_k=demo-key&_p=bob&_n=bob%40bob.com",
        "killed with SIGKILL, the writers go on",
        "writer 2   killed with SIGKILL",
        "adopts its partition",
        "answers 503 to everything",
        "closes every connection without an answer",
        "run --drain: all that was left is delivered, exit 0",
        "byte by byte, _t included",
    ):
        assert said in output
    assert "\x1b" not in output  # no colours where there is no terminal
    assert len(output.splitlines()) < 50


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_show_that_is_cut_off_leaves_nothing(number: int, code: int, tmp_path: Path) -> None:
    """Ctrl-C in the middle: every process is ended, every file removed."""
    with start(tmp_path, "demo", "--seconds", "600") as process:
        wait_until(
            lambda: len(processes_in(tmp_path / "tmp")) >= 6, timeout_s=END_S, what="all play"
        )
        process.send_signal(number)
        process.communicate(timeout=END_S)
    assert process.returncode == code
    assert nothing_left(tmp_path)


def perform(monkeypatch: pytest.MonkeyPatch, outcome: Account | Exception) -> Result:
    """Run the command with a show that ends so."""

    def performed(*_: object) -> Account:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(demo, "perform", performed)
    return CliRunner().invoke(root, ["demo"])


def test_a_loss_is_named_and_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the demo finds, it does not gloss over it."""
    account = take_account([f"visitor-1-{number:05d}" for number in range(7)], [])
    result = perform(monkeypatch, account)
    assert result.exit_code == Exit.INCOMPLETE
    assert result.output.count("lost          visitor-1-") == 5
    assert "lost          and 2 more" in result.output
    assert result.output.splitlines()[-1] == "7 acknowledged, 0 delivered, 7 lost"


def test_a_command_that_changed_is_named_and_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody claims that repeats are alike."""
    account = dataclasses.replace(take_account([], []), changed=("visitor-1-00001",))
    result = perform(monkeypatch, account)
    assert result.exit_code == Exit.INCOMPLETE
    assert "changed       visitor-1-00001" in result.output
    assert "byte by byte" not in result.output


def test_the_account_says_what_came_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries, repeats, an example of them, and what came without having been acknowledged."""
    account = Account(
        acknowledged=8005,
        delivered=8005,
        lost=(),
        unacknowledged=("visitor-2-00100",),
        changed=(),
        requests=8103,
        answers={"200": 8038, "503": 17, "drop": 48},
        again=32,
        repeats=97,
        twin=Twin(3861, 4071, "/e?_k=demo-key"),
    )
    result = perform(monkeypatch, account)
    assert result.exit_code == 0
    for said in (
        "8,005 commands: their calls had returned",
        "1 more arrived: written, and the writer killed before its call returned",
        "8,038 answered 200, 32 of them again",
        "17 answered 503, and tried again",
        "48 dropped, and tried again",
        "97 requests repeat another",
        "#3,861 and #4,071 are both /e?_k=demo-key",
    ):
        assert said in result.output


def test_a_show_that_fails_says_why_and_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, no traceback."""
    result = perform(monkeypatch, ShowFailed("the sender ended with 1: no such luck"))
    assert result.exit_code == Exit.INCOMPLETE
    assert result.stderr == "Error: the sender ended with 1: no such luck\n"


def test_a_show_that_is_stopped_by_interrupt_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal is only noted; the show ends by itself."""

    def performed(_script: object, _tell: object, stopped: object) -> Account:
        assert callable(stopped)
        assert not stopped()
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
        raise Stopped

    monkeypatch.setattr(demo, "perform", performed)
    assert CliRunner().invoke(root, ["demo"]).exit_code == Exit.INTERRUPTED


def test_without_the_web_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "uvicorn" else object())
    result = CliRunner().invoke(demo_command)
    assert result.exit_code == Exit.CONFIG
    assert result.stderr == "Error: the demo's collector needs uvicorn: pip install 'kmq[web]'\n"
