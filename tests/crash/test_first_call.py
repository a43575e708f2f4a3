"""The first call of a process, wherever it is made."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.system import environ, make_spool

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
from kmq import Client
before = set(sys.modules)
for client in (Client(), Client(sync=True)):
    client.record("Did", {"Amount": 99.95, "Good": True, "Why": "\\u00fc"}, person="bob@bob.com")
    client.set({"gender": "male"}, person="bob@bob.com")
    client.alias("bob", "bob@bob.com")
print(sorted(set(sys.modules) - before))
"""


def test_the_first_call_imports_nothing(tmp_path: Path) -> None:
    """A signal handler may make it in the middle of an import, and CPython 3.11 then fails on its import lock."""
    command = [sys.executable, "-c", PROGRAM]
    made = environ(KMQ_SPOOL=make_spool(tmp_path))
    done = subprocess.run(command, check=True, env=made, capture_output=True, text=True)
    assert done.stdout == "[]\n"
