"""The machine that the figures are of, as far as it matters and names nobody.

Owns what is told of it: cores, kernel, Python, the file system under what was written, and the versions of what is
compared. No host's name, no path.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

__all__ = ["cores", "describe", "file_system", "is_in_memory"]

_COMPARED: Final = (
    "pycurl",
    "requests",
    "urllib3",
    "aiohttp",
    "httpx",
    "structlog",
    "segment-analytics-python",
    "posthog",
    "litequeue",
    "diskcache",
    "persist-queue",
    "huey",
    "filelock",
)
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})


def describe(folder: str) -> dict[str, str]:
    """Return what there is to say of this machine, of the disk under `folder`, and of what is compared."""
    kernel = re.match(r"\d+\.\d+", platform.release())
    return {
        "cores": str(cores()),
        "processor": _processor(),
        "kernel": f"Linux {kernel[0] if kernel else 'unknown'}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "file system": file_system(folder),
        **_versions(),
    }


def cores() -> int:
    """Return on how many cores this process may run."""
    return len(os.sched_getaffinity(0))


def file_system(folder: str) -> str:
    """Return the kind of file system that `folder` lies on.

    >>> file_system("/proc")
    'proc'
    """
    best, kind = "", "unknown"
    path = os.path.realpath(folder)
    for line in Path("/proc/mounts").read_text("utf-8", "replace").splitlines():
        _, where, found, *_ = line.split()
        inside = path == where or path.startswith(where.rstrip("/") + "/")
        if inside and len(where) >= len(best):
            best, kind = where, found
    return kind


def is_in_memory(folder: str) -> bool:
    """Say whether what is synced in `folder` reaches no disk, so that a sync there says nothing."""
    return file_system(folder) in _IN_MEMORY


def _versions() -> dict[str, str]:
    found = {name: _version(name) for name in _COMPARED}
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program:
        said = subprocess.run([program, "-v"], capture_output=True, check=False).stderr.decode()
        found["nginx"] = said.strip().rpartition("/")[2]
    return {name: version for name, version in found.items() if version}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return "unknown"
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()
