"""Why this process may not use a place of the spool, and the line that mends it.

Owns the reading of modes, owners and groups along a path. Only looks, as the kernel would by the mode bits alone; knows
nothing about errors, nor for what the place was wanted. All in a spool is for its group, to read and to write: whoever
is kept out lacks a mode, a group, or a membership, and each has a line of its own.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Final

if sys.platform != "win32":  # where there is no spool either, and the client says so
    import grp
    import pwd

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GROUP", "Who", "group_name", "remedy", "user_name", "who"]

GROUP: Final = "kmq"
"""The group of a spool, where nobody chose another."""

_IN_A_SPOOL: Final = re.compile(
    r"(\.new-|\.gone-)?\d{8}T\d{6}Z-[0-9a-f]{8}|rejected|reserve|sender\.lock|(checkpoint|status)\.json.*",
    re.ASCII,
)
_SEARCH: Final = 0o1
_DIRECTORY: Final = 0o7
_FILE: Final = 0o6


@dataclass(frozen=True, slots=True)
class Who:
    """A process as the kernel sees it, with the name of its user."""

    name: str
    uid: int
    gids: frozenset[int]

    def may(self, found: os.stat_result, bits: int) -> bool:
        """Say whether the mode of `found` allows `bits` (those of a mode's last digit)."""
        if self.uid == 0:
            return True
        return (found.st_mode >> self._shift(found)) & bits == bits

    def _shift(self, found: os.stat_result) -> int:
        if found.st_uid == self.uid:
            return 6
        return 3 if found.st_gid in self.gids else 0


def who() -> Who:
    """Return this process."""
    uid = os.geteuid()
    return Who(user_name(uid), uid, frozenset({os.getegid(), *os.getgroups()}))


def user_name(uid: int) -> str:
    """Return the name of a user, or its number where it has none, as in a container."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of a group, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def remedy(path: str, me: Who) -> str:
    """Return what keeps `me` from using `path`, which is a spool or a place in one, and how to mend it."""
    spool = _spool_of(path)
    for place in _above(spool):
        found = _looked_at(place)
        if found is not None and not me.may(found, _SEARCH):
            return _pass(place, found, me)
    if not os.path.lexists(spool):
        return _make(spool, me)
    for place in _down(spool, path):
        found = _looked_at(place)
        if found is not None and not me.may(found, _needed(found)):
            return _mend(place, "it" if place == path else place, found, _group_of(spool), me)
    return f"the modes let {me.name} in: look for an ACL, an attribute (lsattr), or a unit that forbids it"


def _spool_of(path: str) -> str:
    parts = path.split("/")
    inner = (end for end in range(2, len(parts)) if _IN_A_SPOOL.fullmatch(parts[end]))
    return "/".join(parts[: next(inner, len(parts))])


def _above(spool: str) -> Iterator[str]:
    yield "/"
    yield from list(_down("/", os.path.dirname(spool)))[1:]


def _down(top: str, path: str) -> Iterator[str]:
    yield top
    for part in os.path.relpath(path, top).split("/"):
        if part != ".":
            top = os.path.join(top, part)
            yield top


def _looked_at(place: str) -> os.stat_result | None:
    try:
        return os.stat(place)
    except OSError:
        return None


def _needed(found: os.stat_result) -> int:
    return _DIRECTORY if stat.S_ISDIR(found.st_mode) else _FILE


def _group_of(spool: str) -> str:
    found = _looked_at(spool)
    return GROUP if found is None or found.st_gid == 0 else group_name(found.st_gid)


# The words


def _pass(place: str, found: os.stat_result, me: Who) -> str:
    closed = f"{place} is {_described(found)} and {me.name} may not pass it"
    return f"{closed}: chmod o+x {quote(place)}, or move the spool with KMQ_SPOOL"


def _make(spool: str, me: Who) -> str:
    where = os.path.dirname(spool)
    line = f"install -d -m 2770 -g {GROUP} {quote(spool)}"
    return (
        f"{me.name} may not write in {where}: {line} as root, or set KMQ_SPOOL to another directory"
    )


def _mend(place: str, named: str, found: os.stat_result, group: str, me: Who) -> str:
    lacks = me.uid != found.st_uid and found.st_gid not in me.gids
    why = f" and {me.name} is not in group {group_name(found.st_gid)}" if lacks else ""
    lines = [*_mode_lines(place, found, group), *_member_lines(found, group, me)]
    return f"{named} is {_described(found)}{why}: {'; '.join(lines)}"


def _mode_lines(place: str, found: os.stat_result, group: str) -> Iterator[str]:
    needed = _needed(found)
    if group_name(found.st_gid) != group:
        yield f"chgrp {group} {quote(place)}"
    if found.st_mode >> 3 & found.st_mode >> 6 & needed != needed:
        yield f"chmod {'2770' if stat.S_ISDIR(found.st_mode) else '660'} {quote(place)}"


def _member_lines(found: os.stat_result, group: str, me: Who) -> Iterator[str]:
    if found.st_uid == me.uid or group in map(group_name, me.gids):
        return
    if me.name in _members(group):
        yield f"{me.name} was put into group {group} since this process began, so start it again"
    else:
        yield f"usermod -aG {group} {me.name}"


def _members(group: str) -> list[str]:
    try:
        return grp.getgrnam(group).gr_mem
    except KeyError:
        return []


def _described(found: os.stat_result) -> str:
    mode = stat.S_IMODE(found.st_mode)
    return f"{mode:04o} {user_name(found.st_uid)}:{group_name(found.st_gid)}"
