"""A disk that fails on command, inside a real process of kmq, for as long as the test wants it.

Owns what a process meets instead of the real operations: the whole seam of files, reads, openings and listings. The
test holds a `Faults` and says what fails; the process, which ran `install` before anything else, asks for it at each
operation and leaves a mark whenever one failed. Knows nothing about what the process does.

    faults = Faults(tmp_path / "faults", spool)
    with SenderProcess(spool, url, program=faults.sender) as sender:
        faults.begin("fsync", errno.EIO)
        faults.wait_until_felt()
        faults.end()

`limit` makes a small disk of it where no real one can be mounted: so many bytes, counted in blocks as a file system
counts them, and so many files and directories; what exceeds that falls short, or fails with ENOSPC.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from typing import TYPE_CHECKING, Any, Final

from kmq.durable import Files
from sender.daemon import Daemon
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["BLOCK", "Faults", "install", "used"]

BLOCK: Final = 4096

_SEAM: Final = tuple(name for name in vars(Files) if not name.startswith("_"))
_GROWING: Final = frozenset({"write", "allocate"})
_MAKING: Final = frozenset({"open", "mkdir"})
_OPENING: Final = frozenset({"open", "look"})
_BY_PATH: Final = frozenset({"rename", "link", "unlink", "mkdir", "rmdir", "chown"})


class Faults:
    """What fails in the processes that were started with `program_of`; `folder` is the test's own, `spool` the place.

    A fault concerns only paths in the spool, and of these only such as hold `within`.
    """

    def __init__(self, folder: Path, spool: str) -> None:
        folder.mkdir()
        self._order = folder / "order"
        self._marks = folder / "marks"
        self._order.write_text("{}")
        self._base: dict[str, Any] = {"spool": os.path.realpath(spool)}
        self.limit()

    @property
    def sender(self) -> tuple[str, ...]:
        """The program of a `SenderProcess` that meets these."""
        return self.program_of("from sender.cli import main; main()")

    def program_of(self, code: str) -> tuple[str, ...]:
        """Return the arguments of an interpreter that runs `code` and meets these."""
        begin = "from tests.support.faults import install"
        return ("-c", f"{begin}; install({str(self._order)!r}, {str(self._marks)!r}); {code}")

    def limit(self, size: int | None = None, inodes: int | None = None) -> None:
        """Let the spool hold so many bytes and so many files and directories; None is as many as the disk has."""
        self._base |= {"size": size, "inodes": inodes}
        self._say({})

    def begin(self, operation: str, code: int, within: str = "") -> None:
        """Let `operation` fail with `code` from now on: one of the seam; or `read`, `look` (an opening), `list`.

        `change` is all that a read-only mount refuses: what changes entries, and opening for writing.
        """
        self._marks.unlink(missing_ok=True)
        self._say({"operation": operation, "code": code, "within": within})

    def end(self) -> None:
        """Let all succeed again."""
        self._say({})

    def felt(self) -> int:
        """Return how often the fault was met since it began."""
        return self._marks.stat().st_size if self._marks.exists() else 0

    def wait_until_felt(self, times: int = 1) -> None:
        """Wait until it was met so often."""
        wait_until(lambda: self.felt() >= times, what="a process that meets the fault")

    def _say(self, fault: dict[str, object]) -> None:
        beside = self._order.with_suffix(".new")
        beside.write_text(json.dumps(self._base | fault))
        beside.rename(self._order)


def used(spool: str) -> tuple[int, int]:
    """Return the bytes, in blocks, and the number of files and directories below `spool`."""
    size = count = 0
    for folder, folders, names in os.walk(spool):
        count += len(folders) + len(names)
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += -(-os.lstat(os.path.join(folder, name)).st_size // BLOCK) * BLOCK
    return size, count


class _Disk:
    """What stands in the place of the real operations, in the process that fails."""

    def __init__(self, order: str, marks: str) -> None:
        self._order = order
        self._marks = marks
        self.real_open, self.real_write = os.open, os.write

    def fault(self, operation: str, target: object, *, changes: bool = False) -> dict[str, Any]:
        """Return what was ordered where `target` lies in the spool, having failed where that was ordered."""
        with open(self._order, "rb") as file:
            order: dict[str, Any] = json.load(file)
        path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
        if not os.path.realpath(path).startswith(order["spool"]):
            return {}
        ordered = order.get("operation")
        if (ordered == operation or (ordered == "change" and changes)) and order["within"] in path:
            self.fail(order["code"], path)
        return order

    def fail(self, code: int, path: str) -> None:
        """Leave a mark and fail."""
        fd = self.real_open(self._marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self.real_write(fd, b".")
        os.close(fd)
        raise OSError(code, os.strerror(code), path)

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return the operation `name`, which fails when ordered."""

        def operation(target: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the real one takes
            writes = name in _OPENING and bool(args[0] & (os.O_WRONLY | os.O_RDWR))
            order = self.fault(name, target, changes=writes or name in _BY_PATH)
            if order.get("size") is not None and name in _GROWING:
                args = self._fitting(order, name, target, args)
            if order.get("inodes") is not None and name in _MAKING:
                self._make(order, name, target, args)
            return real(target, *args, **kwargs)

        return operation

    def _fitting(
        self, order: dict[str, Any], name: str, fd: int, args: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        free = max(0, order["size"] - used(order["spool"])[0]) + -os.fstat(fd).st_size % BLOCK
        if name == "allocate":
            if args[1] > free:
                self.fail(errno.ENOSPC, order["spool"])
            return args
        if not free:
            self.fail(errno.ENOSPC, order["spool"])
        return (args[0][:free], *args[1:])

    def _make(self, order: dict[str, Any], name: str, path: str, args: tuple[Any, ...]) -> None:
        makes = name == "mkdir" or (args and args[0] & os.O_CREAT)
        if makes and not os.path.lexists(path) and used(order["spool"])[1] >= order["inodes"]:
            self.fail(errno.ENOSPC, path)


def install(order: str, marks: str) -> None:
    """Let this process meet what `order` says from now on, and leave its marks in `marks`."""
    disk = _Disk(order, marks)
    for name in _SEAM:
        setattr(Files, name, staticmethod(disk.wrapped(name, getattr(Files, name))))
    defaults: dict[str, Any] = Daemon.__init__.__kwdefaults__ or {}
    defaults["pread"] = disk.wrapped("read", os.pread)
    # What only looks does not go through the seam.
    os.open = disk.wrapped("look", os.open)
    os.listdir = disk.wrapped("list", os.listdir)
    os.scandir = disk.wrapped("list", os.scandir)
