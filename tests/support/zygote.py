"""A warm process that forks others in milliseconds: whoever kills by the thousand cannot import each time.

Owns how such a process is started, watched, killed, and that none outlives the one who asked for it. Knows nothing
about what it runs: a program is `module:function`, called with texts, and ends with what it returns.

    with Zygote("tests.support.hand") as zygote:
        child = zygote.start("tests.support.hand:main", spool, acks)
        child.kill()
        assert child.wait() == -signal.SIGKILL

The warm process has one thread, no coverage (its tracer holds a lock over a fork) and a session of its own, so that a
Ctrl-C reaches whoever asked and nobody else. When that one is gone, however it ended, all are killed: the programs, and
what they have forked.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any, Self

from tests.support.system import ROOT, unmeasured

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Child", "Zygote"]

END_S = 60.0

_MOST_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class Zygote:
    """Starts programs by a fork of a process that has imported `modules`; a context manager, for one thread."""

    def __init__(self, *modules: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *modules],
                cwd=ROOT,
                env=unmeasured(),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(
        self,
        program: str,
        *arguments: str,
        output: str = os.devnull,
        environ: Mapping[str, str] | None = None,
    ) -> Child:
        """Start `program`; what it writes goes to the end of the file `output`. `environ` is added to its own."""
        asked = {
            "program": program,
            "arguments": arguments,
            "output": output,
            "environ": dict(environ or {}),
        }
        answer, descriptors = self._ask(asked)
        return Child(self, answer["pid"], descriptors[0])

    def code_of(self, pid: int) -> int:
        """Return the exit code of a program that has ended; once."""
        answer, _ = self._ask({"wait": pid})
        return int(answer["code"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def _ask(self, asked: Mapping[str, object]) -> tuple[dict[str, Any], list[int]]:
        self._socket.send(json.dumps(asked).encode())
        data, descriptors, _, _ = socket.recv_fds(self._socket, _MOST_BYTES, 1)
        if not data:
            raise AssertionError("the warm process has ended; what it said stands above")
        return json.loads(data), descriptors


class Child:
    """A program that was started. It is signalled through a descriptor of it, so that no number is ever mistaken."""

    def __init__(self, zygote: Zygote, pid: int, fd: int) -> None:
        self.pid = pid
        self._zygote = zygote
        self._fd = fd
        self._code: int | None = None

    def send(self, number: int) -> None:
        """Send it a signal; nothing where it has ended."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._fd, number)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send(signal.SIGKILL)

    def running(self) -> bool:
        """Say whether it still runs."""
        return self._code is None and not self._ended_within(0.0)

    def wait(self, timeout_s: float = END_S) -> int:
        """Wait until it has ended; return its exit code, minus the signal's number where one killed it."""
        if self._code is None:
            if not self._ended_within(timeout_s):
                raise AssertionError(f"process {self.pid} still runs after {timeout_s} s")
            self._code = self._zygote.code_of(self.pid)
            os.close(self._fd)
        return self._code

    def _ended_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


# In the warm process


def _serve(asking: socket.socket) -> None:
    """Fork and wait as asked, until whoever asks is gone."""
    codes: dict[int, int] = {}
    mine: set[int] = set()
    while data := asking.recv(_MOST_BYTES):
        _reap(mine, codes)
        asked = json.loads(data)
        if "wait" in asked:
            pid = asked["wait"]
            if pid not in codes:
                codes[pid] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            mine.discard(pid)
            asking.send(json.dumps({"code": codes.pop(pid)}).encode())
            continue
        pid = _fork(asking, asked)
        mine.add(pid)
        fd = os.pidfd_open(pid)
        socket.send_fds(asking, [json.dumps({"pid": pid}).encode()], [fd])
        os.close(fd)


def _reap(mine: set[int], codes: dict[int, int]) -> None:
    # Also what programs have forked and left behind: it becomes a child of this process.
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] in mine:
                codes[ended[0]] = os.waitstatus_to_exitcode(ended[1])


def _fork(asking: socket.socket, asked: Mapping[str, Any]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _control(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == parent:
                asking.close()
                code = _run(asked)
        finally:
            os._exit(code)
    return pid


def _run(asked: Mapping[str, Any]) -> int:
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.update(asked["environ"])
    module, _, name = asked["program"].partition(":")
    try:
        return getattr(importlib.import_module(module), name)(*asked["arguments"]) or 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - it is said, and the process ends
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _kill_all() -> None:
    # What a program has forked becomes a child of this process once the program is dead.
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> list[int]:
    pid = os.getpid()
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(number) for number in file.read().split()]


def _control(option: int, value: int) -> None:
    nothing = ctypes.c_ulong(0)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(option, ctypes.c_ulong(value), nothing, nothing, nothing):
        raise OSError(ctypes.get_errno(), "prctl")


def main(descriptor: str, *modules: str) -> None:
    """Import `modules`, then fork whatever the socket `descriptor` asks for."""
    _control(_PR_SET_CHILD_SUBREAPER, 1)
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(descriptor)) as asking:
        try:
            _serve(asking)
        finally:
            _kill_all()


if __name__ == "__main__":
    main(*sys.argv[1:])
