"""Why a place may not be used: what its modes say, and the line that mends it."""

from __future__ import annotations

import os
import stat
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from kmq import access
from kmq.access import Who, group_name, remedy, user_name, who

if TYPE_CHECKING:
    from pathlib import Path

BOB = Who("bob", 1001, frozenset({1001}))
MEMBER = Who("bob", 1001, frozenset({1001, 900}))
NAMES = {0: "root", 900: "kmq", 901: "web", 1001: "bob"}
WRONG_ALL_OVER = (
    "it is 0700 root:root and bob is not in group root: chgrp kmq /var/kmq; chmod 2770 /var/kmq; "
    "usermod -aG kmq bob"
)
P = "20261123T204501Z-4f2a91c3"

Tree = dict[str, tuple[int, int, int]]

ABOVE: Tree = {"/": (0o755, 0, 0), "/var": (0o755, 0, 0)}


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Give a file system of modes, owners and groups; a name with a dot is a file's."""
    tree = dict(ABOVE)

    def looked_at(place: str) -> os.stat_result | None:
        if place not in tree:
            return None
        mode, uid, gid = tree[place]
        kind = stat.S_IFREG if "." in os.path.basename(place) else stat.S_IFDIR
        return os.stat_result((kind | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))

    monkeypatch.setattr(access, "_looked_at", looked_at)
    monkeypatch.setattr(os.path, "lexists", lambda place: place in tree)
    monkeypatch.setattr(access, "group_name", lambda gid: NAMES.get(gid, str(gid)))
    monkeypatch.setattr(access, "user_name", lambda uid: NAMES.get(uid, str(uid)))
    monkeypatch.setattr(access, "_members", lambda _group: [])
    return tree


def test_where_a_spool_cannot_be_made_it_says_how_root_makes_it(tree: Tree) -> None:
    """Or where else it may lie."""
    assert tree == ABOVE
    assert remedy("/var/kmq", BOB) == (
        "bob may not write in /var: install -d -m 2770 -g kmq /var/kmq as root, or set KMQ_SPOOL to another directory"
    )


@pytest.mark.parametrize(
    ("found", "me", "said"),
    [
        ((0o700, 0, 0), BOB, WRONG_ALL_OVER),
        (
            (0o2770, 0, 0),
            BOB,
            "it is 2770 root:root and bob is not in group root: chgrp kmq /var/kmq; usermod -aG kmq bob",
        ),
        (
            (0o700, 0, 0),
            MEMBER,
            "it is 0700 root:root and bob is not in group root: chgrp kmq /var/kmq; chmod 2770 /var/kmq",
        ),
        (
            (0o2770, 0, 900),
            BOB,
            "it is 2770 root:kmq and bob is not in group kmq: usermod -aG kmq bob",
        ),
        (
            (0o2770, 0, 901),
            BOB,
            "it is 2770 root:web and bob is not in group web: usermod -aG web bob",
        ),
        ((0o2750, 0, 900), MEMBER, "it is 2750 root:kmq: chmod 2770 /var/kmq"),
        ((0o500, 1001, 1001), BOB, "it is 0500 bob:bob: chmod 2770 /var/kmq"),
    ],
)
def test_a_spool_is_described_with_just_the_lines_that_are_missing(
    tree: Tree, found: tuple[int, int, int], me: Who, said: str
) -> None:
    """Its mode, owner and group as they are; then mode, group and membership, each only where it lacks."""
    tree["/var/kmq"] = found
    assert remedy("/var/kmq", me) == said


def test_a_place_within_is_named_and_gets_the_spools_own_group(tree: Tree) -> None:
    """A partition, or a file of it, that root made beside the apps; files get another mode than directories."""
    tree |= {"/var/kmq": (0o2770, 0, 900), f"/var/kmq/{P}": (0o700, 0, 0)}
    segment = f"/var/kmq/{P}/{0:020d}.jsonl"
    assert remedy(segment, MEMBER) == (
        f"/var/kmq/{P} is 0700 root:root and bob is not in group root: "
        f"chgrp kmq /var/kmq/{P}; chmod 2770 /var/kmq/{P}"
    )
    tree |= {f"/var/kmq/{P}": (0o2770, 0, 900), segment: (0o600, 0, 900)}
    assert remedy(segment, MEMBER) == f"it is 0600 root:kmq: chmod 660 {segment}"
    tree["/var/kmq"] = (0o2750, 0, 900)
    assert (
        remedy("/var/kmq/sender.lock", MEMBER) == "/var/kmq is 2750 root:kmq: chmod 2770 /var/kmq"
    )


def test_a_directory_above_is_only_to_be_passed(tree: Tree) -> None:
    """It is not the spool, and is opened no further than that."""
    tree |= {"/var/my dir": (0o700, 0, 0), "/var/my dir/kmq": (0o2770, 0, 900)}
    assert remedy("/var/my dir/kmq", MEMBER) == (
        "/var/my dir is 0700 root:root and bob may not pass it: chmod o+x '/var/my dir', "
        "or move the spool with KMQ_SPOOL"
    )


def test_a_membership_that_came_later_needs_a_new_start(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process keeps the groups that it began with: the usual stumble after usermod."""
    tree["/var/kmq"] = (0o2770, 0, 900)
    monkeypatch.setattr(access, "_members", lambda group: ["bob"] if group == "kmq" else [])
    assert remedy("/var/kmq", BOB) == (
        "it is 2770 root:kmq and bob is not in group kmq: "
        "bob was put into group kmq since this process began, so start it again"
    )


def test_where_the_modes_allow_it_something_else_forbids_it(tree: Tree) -> None:
    """An access list, an attribute, a unit; root is let in by any mode."""
    tree["/var/kmq"] = (0o2770, 0, 900)
    said = "the modes let bob in: look for an ACL, an attribute (lsattr), or a unit that forbids it"
    assert remedy("/var/kmq", MEMBER) == said
    tree["/var/kmq"] = (0o000, 5, 5)
    assert "the modes let root in" in remedy("/var/kmq", Who("root", 0, frozenset({0})))


def test_real_modes_are_read(tmp_path: Path) -> None:
    """Of directories on disk, by somebody who owns none of them."""
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool").chmod(0o700)
    stranger = Who("stranger", 4_000_000_001, frozenset({4_000_000_001}))
    told = remedy(str(tmp_path / "spool"), stranger)
    closed = [one for one in (*reversed(tmp_path.parents), tmp_path) if not one.stat().st_mode & 1]
    named = str(closed[0]) if closed else "it"
    assert told.startswith(f"{named} is 0")
    assert "stranger" in told


def test_what_has_no_name_is_shown_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the user and the group often have none."""
    assert user_name(4_000_000_001) == "4000000001"
    assert group_name(4_000_000_001) == "4000000001"
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_001)
    assert who().name == "4000000001"


def test_the_members_of_a_group_are_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that does not exist has none."""
    monkeypatch.setattr("grp.getgrnam", lambda name: {"kmq": SimpleNamespace(gr_mem=["bob"])}[name])
    assert access._members("kmq") == ["bob"]
    assert access._members("nobodys") == []
