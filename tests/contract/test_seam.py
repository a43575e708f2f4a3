"""One seam: whatever changes what is on disk goes through `kmq.durable.Files`, where tests record it or let it fail."""

from __future__ import annotations

import ast
import os
from pathlib import Path

from kmq.durable import Files

ROOT = Path(__file__).parents[2]

OPERATIONS = {name for name in vars(Files) if not name.startswith("_")} - {"open"}
CHANGES = OPERATIONS | {
    "chmod",
    "copy_file_range",
    "ftruncate",
    "lchown",
    "link",
    "makedirs",
    "mkfifo",
    "mknod",
    "posix_fallocate",
    "pwrite",
    "pwritev",
    "remove",
    "removedirs",
    "renames",
    "replace",
    "sendfile",
    "symlink",
    "sync",
    "truncate",
    "utime",
    "writev",
}

# What writes somewhere else than into a spool, and why it may.
ELSEWHERE = {
    "kmq/durable.py": "the seam",
    "sender/cli/collector.py": "the collector's own socket",
    "sender/demo/show.py": "the demo's folder",
    "sender/demo/writer.py": "the demo's notes",
    "sender/collector/listen.py": "the collector's own socket",
    "sender/collector/requestfile.py": "the collector's --log file",
}


def calls_of_os(path: Path) -> set[str]:
    """Return the changing functions of `os` that a module calls or hands on."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "os" and node.attr in CHANGES:
                found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module in {"os", "shutil"}:
            found |= {f"from {node.module} import {name.name}" for name in node.names}
    return found


def test_nothing_is_changed_on_disk_beside_the_seam() -> None:
    """A power cut is rehearsed on what the seam has seen: what goes past it would never be."""
    modules = [path for top in ("kmq", "sender") for path in (ROOT / top).rglob("*.py")]
    beside = {
        str(path.relative_to(ROOT)): calls
        for path in modules
        if (calls := calls_of_os(path)) and str(path.relative_to(ROOT)) not in ELSEWHERE
    }
    assert beside == {}


def test_each_operation_of_the_seam_is_the_real_one() -> None:
    """Outside of tests it costs one look-up and adds nothing."""
    real = {name: getattr(os, name, None) for name in OPERATIONS} | {"allocate": os.posix_fallocate}
    assert {name: getattr(Files, name) for name in OPERATIONS} == real
