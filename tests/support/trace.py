"""What a process asked the kernel for, in order: strace's record as events.

    trace = Trace(tmp_path / "trace")
    subprocess.Popen([*trace.prefix, sys.executable, ...])     # its number is that of the traced process
    trace.calls(pid, spool)                                         # once it has ended

Needs strace, and says so where it is missing: a test of an order that nobody looked at must not pass.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Call", "Trace"]

_CALLS = (
    "fdatasync,fsync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,openat,write,"
    "pread64,fstat,newfstatat"
)
_LINE = re.compile(r"^(\d+) +(.*)$")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_CALL = re.compile(r"^(\w+?)(?:at2?)?\((.*)\) += (-?\d+)")
_DESCRIPTOR = re.compile(r"^-?\d+<([^>]*)>")
_SIZE = re.compile(r"\bst_size=(\d+)")
_OFFSET = re.compile(r", (\d+)$")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that succeeded: `path` is what it was about; `text` what was written, `source` what was renamed.

    `seen` is how many bytes a file was seen to have, by reading (`pread`) or by asking for its size (`fstat`).
    """

    name: str
    path: str
    text: str = ""
    source: str = ""
    result: int = 0
    seen: int = 0


class Trace:
    """A record of one process and its threads, written to `path`."""

    def __init__(self, path: Path) -> None:
        if shutil.which("strace") is None:
            pytest.fail("this test needs strace: apt-get install strace (or the like)")
        self._path = path
        # -D: strace is a grandchild, so that signals and waiting reach the traced process itself.
        self.prefix = [
            "strace",
            "-D",
            "-f",
            "-y",
            "-s",
            "100000",
            "-o",
            str(path),
            "-e",
            f"trace={_CALLS}",
        ]

    def calls(self, pid: int, below: str) -> list[Call]:
        """Return the calls about something below the directory `below`, in order, once the process has ended."""
        ended = re.compile(rf"^{pid} +\+\+\+ (exited|killed)", re.MULTILINE)
        wait_until(
            lambda: ended.search(self._path.read_text("utf-8")), what=f"strace's record of {pid}"
        )
        found = [_call(text) for text in _whole_lines(self._path.read_text("utf-8"))]
        return [call for call in found if call and call.path.startswith(below) and call.result >= 0]


def _whole_lines(record: str) -> list[str]:
    """Return each call on one line, where it ended: another thread may have come in between."""
    begun: dict[str, str] = {}
    whole = []
    for line in record.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        pid, text = match.groups()
        resumed = _RESUMED.match(text)
        if text.endswith(_UNFINISHED):
            begun[pid] = text.removesuffix(_UNFINISHED)
        elif resumed:
            whole.append(begun.pop(pid) + resumed[1])
        else:
            whole.append(text)
    return whole


def _call(text: str) -> Call | None:
    match = _CALL.match(text)
    if match is None:
        return None
    name, arguments, result = match[1], match[2], int(match[3])
    texts = [_plain(one) for one in _TEXT.findall(arguments)]
    descriptor = _DESCRIPTOR.match(arguments)
    if name in {"rename", "link"}:
        return Call(name, texts[1], source=texts[0], result=result)
    if name in {"open", "unlink"}:
        return Call(name, texts[0], result=result)
    about = descriptor[1] if descriptor else ""
    if name == "pread64":
        offset = _OFFSET.search(arguments)
        return Call("pread", about, result=result, seen=result + int(offset[1] if offset else 0))
    size = _SIZE.search(arguments)
    if size:
        return Call("fstat", about, result=result, seen=int(size[1]))
    return Call(name, about, text="".join(texts), result=result)


def _plain(quoted: str) -> str:
    return quoted.encode("latin-1", "replace").decode("unicode_escape")
