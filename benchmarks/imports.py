"""What `import kmq` costs an app, against an empty Python, and whose share of it is whose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from .context import environment
from .harness import Sample, percentile
from .values import Row

if TYPE_CHECKING:
    from .context import Context

__all__ = ["run"]

_FIRST_CALL: Final = (
    "import tempfile, kmq; kmq.Client(tempfile.mkdtemp(dir='.')).record('x', person='bob')"
)
_PROGRAMS: Final = {
    "nothing": "pass",
    "kmq": "import kmq",
    "first": _FIRST_CALL,
    "filelock": "import filelock",
    "requests": "import requests",
}
_SAID: Final = {
    "kmq": "`import kmq`",
    "first": "`import kmq` and the first `record` (it takes a partition; with `tempfile`)",
    "filelock": "`import filelock`, for comparison",
    "requests": "`import requests`, for comparison",
}
_HEAVY: Final = ("asyncio", "click", "filelock", "pycurl", "requests", "urllib3")
_LOADED: Final = (
    "import sys; before = set(sys.modules); import kmq, json; "
    "print(json.dumps(sorted(set(sys.modules) - before)))"
)


def run(context: Context) -> list[Row]:
    """Start each program in turn, and take what an empty one costs off."""
    samples = {name: Sample() for name in _PROGRAMS}
    with context.room("imports") as folder:
        for _ in range(max(3, context.scale.rounds // 4)):
            for name, program in _PROGRAMS.items():
                _one(program, str(folder), samples[name])
    loaded = _loaded()
    heavy = [name for name in _HEAVY if name in loaded]
    rows = [_row(name, samples) for name in _SAID]
    note = f"{len(loaded)} modules, among them {', '.join(heavy) if heavy else 'no heavy one'}"
    return [
        Row("imports-loads", "modules that `import kmq` loads", len(loaded), "", note=note),
        *rows,
    ]


def _row(name: str, samples: dict[str, Sample]) -> Row:
    more = [a - b for a, b in zip(samples[name].cpu, samples["nothing"].cpu, strict=True)]
    return Row(
        f"imports-{name}",
        f"{_SAID[name]}, above an empty Python",
        (min(samples[name].cpu) - min(samples["nothing"].cpu)) * 1e3,
        "ms of CPU",
        (percentile(more, 0.1) * 1e3, percentile(more, 0.9) * 1e3),
        {"empty Python, ms of CPU": min(samples["nothing"].cpu) * 1e3},
    )


def _one(program: str, folder: str, sample: Sample) -> None:
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program], env=environment(), cwd=folder)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{program!r} ended with {process.returncode}")
    sample.wall.append(time.perf_counter() - began)
    sample.cpu.append(used.ru_utime + used.ru_stime)


def _loaded() -> set[str]:
    found = subprocess.run(
        [sys.executable, "-c", _LOADED], env=environment(), capture_output=True, check=True
    )
    return set(json.loads(found.stdout))
