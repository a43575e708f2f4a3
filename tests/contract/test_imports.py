"""Who may know whom: the order of the layers, what an app pays for an import, and the public names."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import kmq

ROOT = Path(__file__).parents[2]

# Each layer imports only what stands above it. A name that ends in a dot is a package: its modules may import each
# other without a cycle. Names on one line stand side by side and do not know each other.
KMQ = """
access
errors durable rules clock forks turn
locks command group
spool settings arguments lines
cap segment environment
partition lease
slot
writer identity
client
__init__
"""
SENDER = """
__init__
flow quoting logs reserve rhythm signals holding aside
api tracking checkpoint
advice rejected. retention. reader.
dispatcher.
status. commit announcer drain plan
replay. verify. transport.
daemon
collector.
demo.
cli.
"""

PUBLIC = [
    "KM",
    "Client",
    "InvalidCommand",
    "InvalidSetting",
    "KmqError",
    "LocksUnsupported",
    "NoPermission",
    "NoPerson",
    "SpoolError",
    "SpoolFull",
    "__version__",
]


def layers() -> dict[str, int]:
    """Return each module or package with the number of its layer."""
    placed: dict[str, int] = {}
    lines = [("kmq", line) for line in KMQ.split("\n")] + [
        ("sender", line) for line in SENDER.split("\n")
    ]
    for number, (top, line) in enumerate(lines):
        for name in line.split():
            whole = top if name == "__init__" else f"{top}.{name.removesuffix('.')}"
            placed[whole] = number
    return placed


LAYERS = layers()


def module_of(path: Path) -> str:
    """Return the dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_of(path): path
    for top in ("kmq", "sender")
    for path in sorted((ROOT / top).rglob("*.py"))
}


def group_of(module: str) -> str:
    """Return the entry of the table that `module` falls under: itself, or its package."""
    if module in LAYERS or module.count(".") == 0:
        return module
    return group_of(module.rpartition(".")[0]) if module.count(".") > 1 else module


def imported(module: str) -> set[str]:
    """Return the modules of ours that `module` imports anywhere: for types, and inside functions, too."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            # `from package import module` names a module, `from module import name` does not.
            names = [f"{source}.{name.name}" for name in node.names]
            found |= {name if name in MODULES else source for name in names}
    return found & set(MODULES)


def python(code: str) -> list[str]:
    """Return the list that `code` prints as JSON, in an interpreter of its own."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    names: list[str] = json.loads(done.stdout)
    return names


def test_every_module_has_a_place() -> None:
    """A new module is given its layer on purpose, and a removed one loses it."""
    assert {group_of(module) for module in MODULES} == set(LAYERS)


def test_each_module_imports_only_what_stands_above_it() -> None:
    """Downward only, also for types alone: what a module must not know it must not name."""
    wrong = [
        f"{module} imports {other}"
        for module in MODULES
        for other in sorted(imported(module))
        if group_of(module) != group_of(other)
        and LAYERS.get(group_of(other), -1) >= LAYERS.get(group_of(module), len(LAYERS))
    ]
    assert wrong == []


def test_no_package_has_a_cycle() -> None:
    """Within a package, too, somebody stands at the bottom."""
    graph = {module: imported(module) - {module} for module in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


def test_an_app_does_not_pay_for_the_sender() -> None:
    """`import kmq` loads no click, no requests, and nothing of the sender."""
    loaded = python("import kmq, json, sys; print(json.dumps(sorted(sys.modules)))")
    tops = {name.partition(".")[0] for name in loaded}
    assert "kmq" in tops
    assert tops & {"click", "requests", "urllib3", "sender", "pycurl", "uvicorn"} == set()


def test_importing_starts_nothing_and_touches_no_disk() -> None:
    """An app that is only imported, by a test or a build, has no thread, no open file and no spool."""
    left = python(
        "import kmq, json, os, threading\n"
        "made = [os.environ['KMQ_SPOOL']] if os.path.exists(os.environ['KMQ_SPOOL']) else []\n"
        "print(json.dumps(made + [t.name for t in threading.enumerate()]))"
    )
    assert left == ["MainThread"]


def test_the_public_names_are_pinned() -> None:
    """What apps import stays; a new name is a decision."""
    assert kmq.__all__ == PUBLIC
    assert [name for name in PUBLIC if not hasattr(kmq, name)] == []
