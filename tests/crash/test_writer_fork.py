"""Forks: a child has a partition of its own, and never holds or frees what is its parent's."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq import locks
from tests.support.spooled import commands_in, partitions_in, segments_in

if TYPE_CHECKING:
    import subprocess

    from tests.support.reaper import Reaper

BEGIN = """
import ctypes, os, signal, sys, threading
from kmq import Client
client = Client(sys.argv[1])
def say(text):
    os.write(1, (text + "\\n").encode())
def record(name):
    client.record(name, person="bob")
def ended(child):
    say("child ended %d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

FORKS = {
    "with hooks": "fork, end = os.fork, os._exit",
    # As uWSGI does: Python hears nothing of it. PyDLL keeps the interpreter's lock, so that the child can go on; and
    # what measures coverage heard nothing either, so that the child ends without it.
    "without hooks": "libc = ctypes.PyDLL(None)\nfork, end = libc.fork, libc._exit",
}


def started(reaper: Reaper, spool: Path, program: str) -> subprocess.Popen[bytes]:
    """Return a process that runs `program`."""
    return reaper.python("-c", BEGIN + program, str(spool))


def names_by_partition(spool: Path) -> list[list[str]]:
    """Return the events of each partition."""
    return sorted(
        [
            json.loads(line)["_n"]
            for path in segments_in(part.parent)
            if path.parent == part
            for line in path.read_bytes().splitlines()
        ]
        for part in partitions_in(spool)
    )


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_a_child_takes_a_partition_of_its_own(shared: Path, reaper: Reaper, fork: str) -> None:
    """Parent, child and grandchild never write to the same one while they live."""
    program = started(
        reaper,
        shared,
        fork
        + """
record("parent 1")
ready, go = os.pipe()
child = fork()
if child == 0:
    record("child 1")
    grandchild = fork()
    if grandchild == 0:
        record("grandchild")
        end(0)
    os.waitpid(grandchild, 0)
    record("child 2")
    os.write(go, b"x")
    end(0)
os.read(ready, 1)
record("parent 2")
ended(child)
""",
    )
    assert program.communicate()[0] == b"child ended 0\n"
    assert names_by_partition(shared) == [
        ["child 1", "child 2"],
        ["grandchild"],
        ["parent 1", "parent 2"],
    ]


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_a_childs_quick_call_does_not_use_its_parents_lease(
    shared: Path, reaper: Reaper, fork: str
) -> None:
    """It was copied with all else, and leads to the partition that the parent goes on with."""
    program = started(
        reaper,
        shared,
        fork
        + """
parent = os.getpid()
for _ in range(50):  # most of them go the quick way
    client.record("same", {"by": parent}, person="bob")
child = fork()
if child == 0:
    client.record("same", {"by": 1}, person="bob")
    client.record("same", {"by": 1}, person="bob")
    end(0)
ended(child)
client.record("same", {"by": parent}, person="bob")
""",
    )
    assert program.communicate()[0] == b"child ended 0\n"
    writers = [
        {
            json.loads(line)["by"]
            for path in part.glob("*.jsonl")
            for line in path.read_text().splitlines()
        }
        for part in partitions_in(shared)
    ]
    assert len(writers) == 2
    assert all(len(by) == 1 for by in writers)


def test_a_child_that_never_records_does_not_hold_its_parents_lock(
    shared: Path, reaper: Reaper
) -> None:
    """A worker that outlives its killed parent must not keep the partition from being finished."""
    program = started(
        reaper,
        shared,
        """
record("parent")
child = os.fork()
if child == 0:
    say("child lives")
    sys.stdin.read()
    os._exit(0)
signal.pause()
""",
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"child lives\n"
    lock = str(partitions_in(shared)[0] / "writer.lock")
    assert locks.take(lock) is locks.Denied.HELD
    program.kill()
    program.wait()
    fd = locks.take(lock)
    assert isinstance(fd, int)
    os.close(fd)


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_a_childs_end_frees_nothing_of_its_parents(shared: Path, reaper: Reaper, fork: str) -> None:
    """The lock is one descriptor's, shared by both: a child closes its copy and never unlocks."""
    program = started(
        reaper,
        shared,
        fork
        + """
record("parent")
child = fork()
if child == 0:
    record("child")
    end(0)
ended(child)
sys.stdin.read()
record("parent")
""",
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"child ended 0\n"
    held = [locks.take(str(part / "writer.lock")) for part in partitions_in(shared)]
    assert held.count(locks.Denied.HELD) == 1
    for fd in held:
        if isinstance(fd, int):
            os.close(fd)
    program.communicate()
    assert sorted(c["_n"] for c in commands_in(shared)) == ["child", "parent", "parent"]


@pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)
def test_a_fork_while_another_thread_is_inside_does_not_stop_the_child(
    shared: Path, reaper: Reaper, fork: str
) -> None:
    """The lock that this thread holds is copied as taken, and nobody in the child would ever free it."""
    program = started(
        reaper,
        shared,
        fork
        + """
record("parent")
slot = client._writer._process.slots[0]
inside, leave = threading.Event(), threading.Event()
def hold():
    inside.set()
    leave.wait()
thread = threading.Thread(target=slot._writing.run, args=(hold,))
thread.start()
inside.wait()
child = fork()
if child == 0:
    record("child")
    end(0)
ended(child)
leave.set()
thread.join()
""",
    )
    assert program.communicate(timeout=60)[0] == b"child ended 0\n"
    assert sorted(c["_n"] for c in commands_in(shared)) == ["child", "parent"]


@pytest.mark.parametrize(
    ("turn", "waits"),
    [
        ("slot._writing", "f_locals.get('self') is waited_for"),
        ("slot._group._leading", "f_code.co_name == 'wait'"),
    ],
    ids=["write", "sync"],
)
def test_a_fork_in_a_handler_while_its_thread_waits_for_another_does_not_stop_the_child(
    shared: Path, reaper: Reaper, turn: str, waits: str
) -> None:
    """The child comes back from its handler into a wait for a thread that was left behind, in a write or in a sync."""
    program = started(
        reaper,
        shared,
        """
client = Client(sys.argv[1], sync=True)
record("parent")
slot = client._writer._process.slots[0]
assert slot.leases.take_back(1)  # so that the call goes the long way
waited_for = TURN
inside, leave = threading.Event(), threading.Event()
pid = os.getpid()
children = []
def handler(*_):
    if leave.is_set():
        return
    child = os.fork()
    if child:
        children.append(child)
        leave.set()
main = threading.get_ident()
def hold():
    inside.set()
    while not sys._current_frames()[main].WAITS:
        os.sched_yield()
    # Again and again: one that comes just before the wait begins does not interrupt it.
    while not leave.wait(0.01):
        os.kill(pid, signal.SIGUSR1)
signal.signal(signal.SIGUSR1, handler)
thread = threading.Thread(target=waited_for.run, args=(hold,))
thread.start()
inside.wait()
record("cut in two")
if os.getpid() != pid:
    record("child")
    os._exit(0)
ended(children[0])
""".replace("TURN", turn).replace("WAITS", waits),
    )
    assert program.communicate(timeout=60)[0] == b"child ended 0\n"
    assert {c["_n"] for c in commands_in(shared)} == {"parent", "child", "cut in two"}


def test_a_started_program_inherits_no_lock(shared: Path, reaper: Reaper) -> None:
    """What an app starts and leaves behind does not hold its partition."""
    program = started(
        reaper,
        shared,
        """
record("parent")
import subprocess
subprocess.Popen(["sleep", "600"], close_fds=False, stdin=0, stdout=2)
say("started")
sys.stdin.read()
""",
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"started\n"
    [child] = Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split()
    opened = [os.readlink(entry) for entry in Path(f"/proc/{child}/fd").iterdir()]
    os.kill(int(child), signal.SIGKILL)
    assert opened
    assert not any(path.startswith(str(shared)) for path in opened)


def test_a_fork_in_a_handler_in_the_middle_of_a_write_does_not_lose_the_childs_call(
    shared: Path, reaper: Reaper
) -> None:
    """The child's copy of the call finds its parent's descriptor closed, and goes on in a partition of its own."""
    program = started(
        reaper,
        shared,
        """
from kmq.durable import Files
record("parent")
pid = os.getpid()
children = []
def write(fd, data):
    os.kill(os.getpid(), signal.SIGUSR1)
    return os.write(fd, data)
files = Files()
files.write = write
client._writer._process.slots[0]._partition.segment._files = files
def handler(*_):
    child = os.fork()
    if child:
        children.append(child)
        ended(child)
signal.signal(signal.SIGUSR1, handler)
record("cut in two")
if os.getpid() != pid:
    record("child")
    os._exit(0)
""",
    )
    assert program.communicate(timeout=60)[0] == b"child ended 0\n"
    assert names_by_partition(shared) == [["cut in two", "child"], ["parent", "cut in two"]]
