"""One call of a writer, interrupted at each of its bytecodes in turn.

Python runs signal handlers, which may raise, record or fork, at the begin of a function, after a call, and at the end
of a loop's round. This program lets a tracer be that handler, at the first such bytecode of a call, then at the second,
and so on until a call ends undisturbed.

    python tests/support/interrupted.py FOLDER raise|time_out|record|fork plain|durable|quick|alone used|making|adopting

The call appends and rotates (`used`), makes a partition, or adopts one; each of the last two in a spool of its own.
`quick` and `alone` are plain and durable by the lease that the call before left.
Prints the lines that were acknowledged, as JSON.
"""

from __future__ import annotations

import dis
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

import kmq
from kmq.lease import Leases
from kmq.locks import boot_id
from kmq.partition import Place, Rotation, make
from kmq.spool import Spool
from kmq.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_OURS = os.path.dirname(kmq.__file__)


class Interrupted(BaseException):
    """What the signal handler raises."""


class At:
    """Runs `handler` once, at the place number `number` of kmq's own code where Python would run one."""

    def __init__(self, number: int, handler: Callable[[], None]) -> None:
        self._left = number
        self._handler = handler
        self._before: dict[FrameType, str] = {}
        self.reached = False

    def __call__(self, frame: FrameType, event: str, _arg: Any) -> Any:  # noqa: ANN401 - as sys.settrace has it
        if not frame.f_code.co_filename.startswith(_OURS) or self._is_del(frame):
            return None  # what is raised in a `__del__` goes nowhere
        frame.f_trace_opcodes = True
        if event == "opcode" and not self.reached and self._is_a_place(frame):
            self._left -= 1
            if self._left < 0:
                self.reached = True
                sys.settrace(None)
                self._handler()
        return self

    @staticmethod
    def _is_del(frame: FrameType) -> bool:
        caller = frame.f_back
        return "__del__" in {frame.f_code.co_name, caller and caller.f_code.co_name}

    def _is_a_place(self, frame: FrameType) -> bool:
        before = self._before.get(frame, "RESUME")
        self._before[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        return before.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))


class Trial:
    """One call after the other, and what they were told."""

    def __init__(self, folder: str, action: str, kind: str, state: str) -> None:
        self._folder = folder
        self._handler = {
            "raise": self._raise,
            "time_out": self._time_out,
            "record": self._record,
            "fork": self._fork,
        }[action]
        self._durable = kind in {"durable", "alone"}
        self._quick = kind in {"quick", "alone"}
        self._leases = Leases()
        self._state = state
        self._number = 0
        self._raised = 0
        self.acknowledged: list[str] = []
        self._writer = self._fresh(0)

    def run(self, step: int) -> None:
        """Interrupt at every `step`th place until none is left."""
        at = 0
        while self._once(at):
            at += step

    def _fresh(self, number: int) -> Writer:
        path = f"{self._folder}/{number}"
        os.mkdir(path)
        place = Place(Spool(path), boot_id(), Rotation(max_bytes=200))
        if self._state == "adopting":
            partition = make(place)
            partition.append(b"left\n")
            partition.forget()
        return Writer(place, 1 << 32)

    def _once(self, number: int) -> bool:
        if self._state != "used":
            self._writer._process.forget()
            self._writer = self._fresh(number + 1)
        me = os.getpid()
        at = At(number, self._handler)
        sys.settrace(at)
        try:
            self._append("call")
        except (Interrupted, TimeoutError):
            self._raised += 1
        finally:
            sys.settrace(None)
            if os.getpid() != me:
                self._end_of_child()
        self._append("after")
        if self._handler == self._time_out and self._state == "used":
            assert self._raised == number + at.reached, "what the handler raised got lost"
        return at.reached

    def _append(self, what: str) -> None:
        self._number += 1
        line = f"{os.getpid()}.{what}.{self._number}"
        pid = os.getpid()
        data = f"{line}\n".encode()
        if not (self._quick and self._at_once(data)):
            self._leases = self._writer.append(data, durably=self._durable)
        if os.getpid() == pid:
            self.acknowledged.append(line)

    def _at_once(self, data: bytes) -> bool:
        if self._durable:
            return self._writer.append_alone(data)
        return self._leases.append(data) is not None

    def _raise(self) -> None:
        raise Interrupted

    def _time_out(self) -> None:
        raise TimeoutError("too late")

    def _record(self) -> None:
        self._append("handler")

    def _fork(self) -> None:
        self._reader, self._pipe = os.pipe()
        child = os.fork()
        if child == 0:
            self.acknowledged = []
            return
        os.close(self._pipe)
        with open(self._reader, "rb") as file:
            told = json.load(file)
        os.waitpid(child, 0)
        self.acknowledged += told

    def _end_of_child(self) -> None:
        try:
            if sys.exc_info()[0] is not None:
                traceback.print_exc()  # the call raised: the parent finds nothing in the pipe, and fails
                os._exit(1)
            self._append("child")
            os.write(self._pipe, json.dumps(self.acknowledged).encode())
        finally:
            os._exit(0)


def _main(folder: str, action: str, kind: str, state: str) -> None:
    trial = Trial(folder, action, kind, state)
    trial.run(step=3 if action == "fork" else 1)
    sys.stdout.write(json.dumps(trial.acknowledged))


if __name__ == "__main__":
    _main(*sys.argv[1:])
