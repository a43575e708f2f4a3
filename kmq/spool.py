"""The spool: names, places and modes of everything in it.

Owns how things in the spool are called, how they are found, and how directories are made so that an app's user and the
sender's user can both work there. Knows nothing about what stands in the files.

    SPOOL/20261123T204501Z-4f2a91c3/00000000000000000000.jsonl

Whatever does not have the exact form of such a name is none of ours: it is never read, counted or removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from calendar import timegm
from dataclasses import dataclass
from time import gmtime, strftime, strptime
from typing import TYPE_CHECKING, Final

from .access import GROUP
from .durable import FILES, Files, sync_directory
from .errors import NoPermission, SpoolError, handlers_own, spool_error

if (
    sys.platform != "win32"
):  # where there are no groups there is no spool either, and the client says so
    import grp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "GONE_PREFIX",
    "GROUP",
    "MODE_SPOOL",
    "NEW_PREFIX",
    "SYSTEM_SPOOL",
    "Spool",
    "default_path",
    "is_partition",
    "made_at",
    "make",
    "make_directory",
    "measure",
    "new_partition_name",
    "partitions",
    "segment_path",
    "segment_start",
    "segment_starts",
    "writer_lock",
]

SYSTEM_SPOOL: Final = "/var/spool/kmq"
MODE_SPOOL: Final = 0o2770
NEW_PREFIX: Final = ".new-"
GONE_PREFIX: Final = ".gone-"

_MODE_DIRECTORY: Final = 0o770
_PARTITION: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
_SEGMENT: Final = re.compile(r"[0-9]{20}\.jsonl")
_SEGMENT_SUFFIX: Final = ".jsonl"
_LAST_OFFSET: Final = 2**62 - 1


@dataclass(frozen=True, slots=True)
class Spool:
    """The spool directory, by its absolute `path`, and the places in it.

    >>> Spool("/var/spool/kmq").checkpoint
    '/var/spool/kmq/checkpoint.json'
    """

    path: str

    @property
    def checkpoint(self) -> str:
        """The offsets below which every command was delivered or rejected."""
        return f"{self.path}/checkpoint.json"

    @property
    def checkpoint_old(self) -> str:
        """The checkpoint before that one."""
        return f"{self.path}/checkpoint.json.old"

    @property
    def status(self) -> str:
        """The sender's figures."""
        return f"{self.path}/status.json"

    @property
    def sender_lock(self) -> str:
        """Held for as long as a sender runs."""
        return f"{self.path}/sender.lock"

    @property
    def rejected(self) -> str:
        """The directory of what can never be delivered."""
        return f"{self.path}/rejected"

    @property
    def rejected_lock(self) -> str:
        """Held for each batch that is appended in `rejected`."""
        return f"{self.path}/rejected/lock"

    def partition(self, name: str) -> str:
        """Return the directory of the partition `name`."""
        return f"{self.path}/{name}"


def default_path(environ: Mapping[str, str]) -> str:
    """Return the spool of this host: `KMQ_SPOOL`, else /var/spool/kmq if it exists, else the user's own.

    Raises `SpoolError` naming KMQ_SPOOL where there is no home either.
    """
    if environ.get("KMQ_SPOOL"):
        return os.path.abspath(environ["KMQ_SPOOL"])
    if os.path.isdir(SYSTEM_SPOOL):
        return SYSTEM_SPOOL
    return _own_path(environ)


def _own_path(environ: Mapping[str, str]) -> str:
    return os.path.join(_state_home(environ), "kmq", "spool")


def _state_home(environ: Mapping[str, str]) -> str:
    state = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):  # the XDG specification has relative ones ignored
        return state
    home = environ.get("HOME") or os.path.expanduser("~")
    if not os.path.isabs(home):
        raise SpoolError(
            f"there is no spool: {SYSTEM_SPOOL} does not exist and this user has no home; set KMQ_SPOOL to a directory",
            path=SYSTEM_SPOOL,
            code=errno.ENOENT,
        )
    return os.path.join(home, ".local", "state")


def make(spool: Spool, *, files: Files = FILES) -> None:
    """Make the spool directory if it is missing, mode 2770; an existing one is used as it is.

    Made by root it belongs to group kmq, or is not made at all: a directory of root's own would lock the apps out. Its
    parents are never made, except those of the user's own spool. Raises `SpoolError`.
    """
    if os.path.isdir(spool.path):
        return
    try:
        _check_place(spool.path)
        group = _group(spool.path) if os.geteuid() == 0 else None
        _make_own_parents(spool.path, files)
        _make_spool(spool.path, group, files)
    except OSError as error:
        raise spool_error(error, "make the spool", spool.path) from error


def _check_place(path: str) -> None:
    # Before the group: whoever makes one, and then meets this, has mended the wrong thing first.
    if os.path.lexists(path) and not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if not _is_own(path):
        os.stat(os.path.dirname(path))


def _group(path: str) -> int:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        raise NoPermission(
            f"cannot make the spool {path}: as root it must belong to group {GROUP}, which does not exist, or the "
            f"apps could not write there; groupadd --system {GROUP}, or make it: install -d -m 2770 -g GROUP {path}",
            path=path,
            code=errno.EPERM,
        ) from None


def _make_own_parents(path: str, files: Files) -> None:
    # Of no other spool: below a mount point that is not mounted they would hide what is spooled there.
    parent = os.path.dirname(path)
    if os.path.isdir(parent) or not _is_own(path):
        return
    missing = []
    while not os.path.isdir(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    for directory in reversed(missing):
        _mkdir(directory, 0o700, files)
        sync_directory(os.path.dirname(directory), files=files)


def _is_own(path: str) -> bool:
    try:
        return path == os.path.abspath(_own_path(os.environ))
    except SpoolError:  # no home
        return False


def _make_spool(path: str, group: int | None, files: Files) -> None:
    if _mkdir(path, MODE_SPOOL, files):
        if group is not None:
            files.chown(path, -1, group)
        _set_missing_bits(path, MODE_SPOOL, files)
        sync_directory(os.path.dirname(path), files=files)
    elif not os.path.isdir(path):  # else another process was faster
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def _mkdir(path: str, mode: int, files: Files) -> bool:
    try:
        files.mkdir(path, mode)
    except FileExistsError:
        return False
    return True


def make_directory(path: str, *, files: Files = FILES) -> None:
    """Make a sub-directory of the spool, mode 0770, with the group and the setgid bit that it inherits.

    Raises OSError; what fails leaves none. The entry is not durable before the spool is synced.
    """
    files.mkdir(path, _MODE_DIRECTORY)
    try:
        _set_missing_bits(path, _MODE_DIRECTORY, files)
    except OSError:
        # Without descriptors each further call of an app would leave one more.
        with contextlib.suppress(OSError):
            files.rmdir(path)
        raise


def _set_missing_bits(path: str, mode: int, files: Files) -> None:
    # Only where a umask took bits: under systemd's RestrictSUIDSGID a chmod with setgid is refused, mkdir is not.
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        has = stat.S_IMODE(os.fstat(fd).st_mode)
        if has & mode != mode:
            files.fchmod(fd, has | mode)
    finally:
        os.close(fd)


def is_partition(name: str) -> bool:
    """Say whether `name` has the exact form of a partition's name.

    >>> is_partition("20261123T204501Z-4f2a91c3"), is_partition("../etc")
    (True, False)
    """
    return _PARTITION.fullmatch(name) is not None


def new_partition_name(now: float, token: str) -> str:
    """Return a partition's name: UTC time and 8 random hex digits.

    >>> new_partition_name(1_795_466_701, "4f2a91c3")
    '20261123T204501Z-4f2a91c3'
    """
    return f"{strftime('%Y%m%dT%H%M%SZ', gmtime(now))}-{token}"


def made_at(name: str) -> float | None:
    """Return when the partition `name` was made, in seconds since the epoch; None where its digits are no date.

    >>> made_at("20261123T204501Z-4f2a91c3")
    1795466701.0
    """
    try:
        return float(timegm(strptime(name.partition("-")[0], "%Y%m%dT%H%M%SZ")))
    except ValueError:
        return None


def partitions(spool: Spool) -> list[str]:
    """Return the names of all partitions, oldest first. Raises OSError if the spool cannot be listed."""
    with os.scandir(spool.path) as entries:
        return sorted(
            entry.name
            for entry in entries
            if is_partition(entry.name) and entry.is_dir(follow_symlinks=False)
        )


def segment_path(partition_path: str, start: int) -> str:
    """Return the path of the segment that begins at offset `start`.

    >>> segment_path("/spool/p", 16777216)
    '/spool/p/00000000000016777216.jsonl'
    """
    return f"{partition_path}/{start:020d}{_SEGMENT_SUFFIX}"


def segment_start(name: str) -> int | None:
    """Return the offset that a segment's file `name` stands for, or None if it is no such name.

    Beyond what a file can hold there are no offsets: the next one's name would be a digit too long to be seen.

    >>> segment_start("00000000000016777216.jsonl"), segment_start("99999999999999999999.jsonl")
    (16777216, None)
    """
    start = int(name[: -len(_SEGMENT_SUFFIX)]) if _SEGMENT.fullmatch(name) else None
    return start if start is not None and start <= _LAST_OFFSET else None


def segment_starts(partition_path: str) -> list[int]:
    """Return the starts of all segments of a partition, oldest first, by name alone. Raises OSError."""
    starts = (segment_start(name) for name in os.listdir(partition_path))
    return sorted(start for start in starts if start is not None)


def writer_lock(partition_path: str) -> str:
    """Return the path of the lock that a partition's writer holds."""
    return f"{partition_path}/writer.lock"


def measure(spool: Spool) -> int:
    """Return the bytes of all partitions and of `rejected`, by listing; what vanishes meanwhile counts nothing.

    A counter would drift; 1,000 partitions are listed in some milliseconds.
    """
    return sum(_sizes(spool))


def _sizes(spool: Spool) -> Iterator[int]:
    with os.scandir(spool.path) as entries:
        directories = [entry.path for entry in entries if _counts(entry)]
    for directory in directories:
        yield from _file_sizes(directory)


def _counts(entry: os.DirEntry[str]) -> bool:
    named = (
        entry.name == "rejected"
        or is_partition(entry.name)
        or entry.name.startswith((NEW_PREFIX, GONE_PREFIX))
    )
    return named and entry.is_dir(follow_symlinks=False)


def _file_sizes(directory: str) -> Iterator[int]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                yield _size(entry)
    except OSError as error:
        if handlers_own(error):
            raise
        # Removed or renamed by the sender meanwhile, or of another user: its bytes cannot be known.


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return (
            entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
        )
    except FileNotFoundError:
        return 0
