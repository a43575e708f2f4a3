"""The first call of a process, wherever it is made."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.spooled import lines_in
from tests.support.system import environ, make_spool

if TYPE_CHECKING:
    from pathlib import Path

CALLS = """
for client in (Client(), Client(sync=True)):
    client.record("Did", {"Amount": 99.95, "Good": True, "Why": "\\u00fc"}, person="bob@bob.com")
    client.set({"gender": "male"}, person="bob@bob.com")
    client.alias("bob", "bob@bob.com")
"""

LOADED = """
import sys
from kmq import Client
import filelock
before = set(sys.modules)
{CALLS}
print(sorted(set(sys.modules) - before))
"""

OUT_OF_REACH = """
import fcntl, glob, os, sys
from kmq import Client
class Finder:
    def find_spec(self, name, *_):
        raise KeyError(name)  # as CPython 3.11 does in the middle of an import
sys.meta_path.insert(0, Finder())
{CALLS}
import_failed = "filelock" not in sys.modules
[lock] = glob.glob(os.environ["KMQ_SPOOL"] + "/*/writer.lock")
fd = os.open(lock, os.O_RDWR)
try:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("held", import_failed)
"""


def run(program: str, spool: str) -> str:
    """Return what `program` printed that makes the calls."""
    command = [sys.executable, "-c", program.replace("{CALLS}", CALLS)]
    made = environ(KMQ_SPOOL=spool)
    return subprocess.run(command, check=True, env=made, capture_output=True, text=True).stdout


def test_the_first_call_imports_nothing_but_what_the_lock_needs(tmp_path: Path) -> None:
    """A signal handler may make it in the middle of an import, and CPython 3.11 then fails on its import lock."""
    assert run(LOADED, make_spool(tmp_path)) == "[]\n"


def test_the_first_call_succeeds_where_nothing_can_be_imported(tmp_path: Path) -> None:
    """There, or after the app gave up its rights; and its partition is held all the same."""
    spool = make_spool(tmp_path)
    assert run(OUT_OF_REACH, spool) == "held True\n"
    assert len(lines_in(tmp_path / "spool")) == 6
