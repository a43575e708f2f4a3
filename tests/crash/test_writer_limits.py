"""Limits and rights of real processes: file sizes, open files, users, umasks. Full disks have their own file."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.spooled import commands_in, partitions_in, segments_in, torn_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.reaper import Reaper

BEGIN = """
import json, os, resource, signal, sys
from kmq import Client, KmqError
client = Client(sys.argv[1])
acknowledged, refused = [], []
def record(name, **properties):
    try:
        client.record(name, properties, person="bob")
        acknowledged.append(name)
    except KmqError as error:
        refused.append([type(error).__name__, str(error)])
"""
END = """
for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
    resource.setrlimit(kind, (resource.getrlimit(kind)[1],) * 2)
print(json.dumps([acknowledged, refused]))
"""

NOBODY = 65534


def run(
    reaper: Reaper, spool: Path, program: str, *, user: int | None = None
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return what `program` was told is in the spool, and the errors that it got."""
    # Only after its imports: the interpreter may lie where the other user may not go.
    become = "" if user is None else f"os.setgroups([]); os.setgid({user}); os.setuid({user})\n"
    process = reaper.python("-c", BEGIN + become + program + END, str(spool))
    acknowledged, refused = json.loads(process.communicate()[0])
    return acknowledged, [(kind, text) for kind, text in refused]


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """Return a folder that any user can reach: pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_limit_on_the_size_of_files_is_met_by_a_new_segment(shared: Path, reaper: Reaper) -> None:
    """Short writes and EFBIG finish a segment; every call succeeds, and no line stands behind a torn one."""
    acknowledged, refused = run(
        reaper,
        shared,
        """
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for number in range(100):
    record(str(number), filler="x" * (number * 7 % 300))
""",
    )
    assert refused == []
    assert [c["_n"] for c in commands_in(shared)] == acknowledged == [str(n) for n in range(100)]
    assert len(segments_in(shared)) > 10
    assert torn_in(shared)


def test_a_limit_met_to_the_byte_is_met_by_a_new_segment(shared: Path, reaper: Reaper) -> None:
    """There nothing of the line is written at all, and it is no error yet."""
    acknowledged, refused = run(
        reaper,
        shared,
        """
record("first")
size = os.fstat(client._writer._process.slots[0]._partition.segment._fd).st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
record("other")
""",
    )
    assert (acknowledged, refused) == (["first", "other"], [])
    assert [path.stat().st_size for path in segments_in(shared)] == [
        path.stat().st_size for path in segments_in(shared)[:1]
    ] * 2
    assert torn_in(shared) == []


def test_a_limit_that_no_line_fits_into_is_an_error_that_names_it(
    shared: Path, reaper: Reaper
) -> None:
    """And what fits is still taken."""
    acknowledged, refused = run(
        reaper,
        shared,
        """
record("before")
resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
record("too long", filler="x" * 1000)
record("short")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
record("nothing fits")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
record("after")
""",
    )
    assert [c["_n"] for c in commands_in(shared)] == acknowledged == ["before", "short", "after"]
    assert [kind for kind, _ in refused] == ["SpoolFull", "SpoolError"]
    assert "LimitFSIZE" in refused[1][1]


def test_without_descriptors_the_error_names_the_limit(shared: Path, reaper: Reaper) -> None:
    """Nothing is half made, and with descriptors again the call succeeds."""
    acknowledged, refused = run(
        reaper,
        shared,
        """
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
lowest = os.dup(0)
os.close(lowest)
for more in range(4):
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, limit))
    record("refused")
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
record("taken")
""",
    )
    assert acknowledged[-1] == "taken"
    assert len(refused) >= 2
    assert all(kind == "SpoolError" and "LimitNOFILE" in text for kind, text in refused)
    assert not any(path.name.startswith(".new-") for path in shared.iterdir())


def test_without_a_descriptor_for_the_next_segment_the_error_names_the_limit(
    shared: Path, reaper: Reaper
) -> None:
    """At a rotation, too: the segment before stays as it is, and the next call with a descriptor succeeds."""
    acknowledged, refused = run(
        reaper,
        shared,
        """
from kmq import partition
partition.Rotation.__init__.__defaults__ = (100, 3600.0)
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for number in range(3):
    record(f"before-{number}", filler="x" * 100)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limit))
    record("refused")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    record(f"after-{number}", filler="x" * 100)
""",
    )
    assert acknowledged == [f"{when}-{n}" for n in range(3) for when in ("before", "after")]
    assert [c["_n"] for c in commands_in(shared)] == acknowledged
    assert [kind for kind, _ in refused] == ["SpoolError"] * 3
    assert all("LimitNOFILE" in text for _, text in refused)
    assert len(partitions_in(shared)) == 1


@pytest.mark.parametrize("umask", ["000", "077"])
def test_modes_do_not_depend_on_the_apps_umask(shared: Path, reaper: Reaper, umask: str) -> None:
    """Files 0660, directories 2770, for whoever shares the group."""
    run(reaper, shared, f"os.umask(0o{umask})\nrecord('x')")
    [part] = partitions_in(shared)
    assert stat.S_IMODE(part.stat().st_mode) == 0o2770
    assert {stat.S_IMODE(path.stat().st_mode) for path in part.iterdir()} == {0o660}


def other_user() -> int | None:
    """Return another user to run as, for root; an ordinary user is one already."""
    return NOBODY if os.geteuid() == 0 else None


def test_a_spool_without_the_right_to_write_is_an_error_that_names_the_mend(
    open_to_all: Path, reaper: Reaper
) -> None:
    """A directory first made by root must not lock the app out in silence."""
    spool = open_to_all / "spool"
    spool.mkdir()
    spool.chmod(0o555)
    acknowledged, refused = run(reaper, spool, "record('x')", user=other_user())
    spool.chmod(0o755)
    assert acknowledged == []
    assert [kind for kind, _ in refused] == ["NoPermission"]
    assert "usermod -aG kmq" in refused[0][1] or "chmod 2770" in refused[0][1]  # it is the owner
    assert list(spool.iterdir()) == []


def test_a_spool_that_may_not_be_entered_is_an_error(open_to_all: Path, reaper: Reaper) -> None:
    """Mode 2770 of a group that the app is not in."""
    spool = open_to_all / "spool"
    spool.mkdir()
    spool.chmod(0o000)
    acknowledged, refused = run(reaper, spool, "record('x')", user=other_user())
    spool.chmod(0o755)
    assert acknowledged == []
    assert [kind for kind, _ in refused] == ["NoPermission"]


def test_a_user_who_may_makes_the_spool_and_writes_there(open_to_all: Path, reaper: Reaper) -> None:
    """The first append makes it, never its parents."""
    open_to_all.chmod(0o777)
    acknowledged, refused = run(reaper, open_to_all / "spool", "record('x')", user=other_user())
    assert (acknowledged, refused) == (["x"], [])
    assert stat.S_IMODE((open_to_all / "spool").stat().st_mode) == 0o2770
    acknowledged, refused = run(
        reaper, open_to_all / "no" / "spool", "record('x')", user=other_user()
    )
    assert acknowledged == []
    assert "make it first: install -d -m 2770 -g kmq" in refused[0][1]
    assert not (open_to_all / "no").exists()


def test_what_another_user_left_unreachable_does_not_stop_an_app(
    open_to_all: Path, reaper: Reaper
) -> None:
    """It makes a partition of its own."""
    spool = open_to_all / "spool"
    spool.mkdir()
    spool.chmod(0o777)
    run(reaper, spool, "record('first')")
    [part] = partitions_in(spool)
    part.chmod(0o000)
    acknowledged, refused = run(reaper, spool, "record('second')", user=other_user())
    part.chmod(0o700)
    assert (acknowledged, refused) == (["second"], [])
    assert len(partitions_in(spool)) == 2
    shutil.rmtree(spool)
