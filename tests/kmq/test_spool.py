"""The spool: its names, its place, and how it is made so that apps and sender can both work there."""

from __future__ import annotations

import errno
import grp
import os
import stat
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from kmq import spool as places
from kmq.errors import NoPermission, SpoolError
from kmq.spool import SYSTEM_SPOOL, Spool, default_path, make, make_directory, measure
from tests.support.files import Journal, failing, files_with

if TYPE_CHECKING:
    from pathlib import Path


def mode_of(path: Path) -> int:
    """Return the permission bits of `path`, setgid included."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> int:
    """Let group kmq exist on this machine; return its number, which is the running user's own."""
    monkeypatch.setattr(
        grp, "getgrnam", lambda name: SimpleNamespace(gr_name=name, gr_gid=os.getegid())
    )
    return os.getegid()


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be no root, as far as the making of a spool is concerned."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be root, as far as the making of a spool is concerned."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.usefixtures("as_user")
def test_a_spool_is_made_with_mode_2770_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Group may write, new entries inherit the group, the world sees nothing."""
    os.umask(umask)
    make(Spool(str(tmp_path / "spool")))
    assert mode_of(tmp_path / "spool") == 0o2770


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.usefixtures("as_user")
def test_a_sub_directory_has_mode_0770_and_inherits_setgid(tmp_path: Path, umask: int) -> None:
    """Whatever the umask; where the spool has no setgid bit none is added."""
    make(Spool(str(tmp_path / "spool")))
    (tmp_path / "plain").mkdir(mode=0o770)
    os.umask(umask)
    for parent, mode in (("spool", 0o2770), ("plain", 0o770)):
        make_directory(str(tmp_path / parent / "sub"))
        assert mode_of(tmp_path / parent / "sub") == mode


def test_no_mode_is_set_through_a_link(tmp_path: Path) -> None:
    """Somebody may be faster than the one who makes a directory, and put a link in its place."""

    def mkdir(path: str, _mode: int) -> None:
        os.symlink(tmp_path / "theirs", path)

    (tmp_path / "theirs").mkdir(mode=0o700)
    with pytest.raises(OSError, match="sub"):
        make_directory(str(tmp_path / "sub"), files=files_with(mkdir=mkdir))
    assert mode_of(tmp_path / "theirs") == 0o700


@pytest.mark.usefixtures("as_user")
def test_modes_are_changed_only_where_bits_are_missing(tmp_path: Path) -> None:
    """Under systemd's RestrictSUIDSGID a needless fchmod would be refused."""
    os.umask(0o000)
    make(Spool(str(tmp_path / "spool")))
    journal = Journal()
    make_directory(str(tmp_path / "spool" / "sub"), files=journal.files)
    assert journal.names() == ["mkdir"]


@pytest.mark.usefixtures("as_user")
def test_a_refused_mode_names_what_refuses_it(tmp_path: Path) -> None:
    """RestrictSUIDSGID= answers EPERM, and the error says so."""
    os.umask(0o077)
    files = files_with(fchmod=failing(errno.EPERM, real=os.fchmod))
    with pytest.raises(NoPermission, match="RestrictSUIDSGID="):
        make(Spool(str(tmp_path / "spool")), files=files)


def test_an_existing_spool_is_used_as_it_is(tmp_path: Path) -> None:
    """Its modes are its administrator's."""
    (tmp_path / "spool").mkdir(mode=0o700)
    make(Spool(str(tmp_path / "spool")))
    assert mode_of(tmp_path / "spool") == 0o700


@pytest.mark.usefixtures("as_user")
def test_parents_are_never_made(tmp_path: Path) -> None:
    """A mount that is missing must not be hidden by a directory in its place, whatever the path ends in."""
    for path in (tmp_path / "mnt" / "spool", tmp_path / "mnt" / "kmq" / "spool"):
        with pytest.raises(SpoolError, match="make it first: install -d") as caught:
            make(Spool(str(path)))
        assert caught.value.errno == errno.ENOENT
    assert not (tmp_path / "mnt").exists()


@pytest.mark.usefixtures("as_root")
def test_a_parent_that_vanishes_meanwhile_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that is unmounted in that moment must not get a directory in its place."""

    def unmounted(name: str) -> SimpleNamespace:
        (tmp_path / "mnt").rmdir()
        return SimpleNamespace(gr_name=name, gr_gid=os.getegid())

    (tmp_path / "mnt").mkdir()
    monkeypatch.setattr(grp, "getgrnam", unmounted)
    with pytest.raises(SpoolError, match="make it first"):
        make(Spool(str(tmp_path / "mnt" / "spool")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("as_user")
def test_the_entry_of_a_new_spool_is_synced(tmp_path: Path) -> None:
    """Or a power cut takes all that was spooled with it."""
    journal = Journal()
    make(Spool(str(tmp_path / "spool")), files=journal.files)
    assert journal.entries[-1] == ("fsync", tmp_path.name)


@pytest.mark.usefixtures("as_user")
def test_parents_are_not_made_without_a_home_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no own spool exists no path is the own one."""
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "nowhere")
    with pytest.raises(SpoolError, match="make it first"):
        make(Spool(str(tmp_path / "mnt" / "spool")))


@pytest.mark.usefixtures("as_user")
def test_the_parents_of_the_users_own_spool_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Private, as everything below ~/.local/state, and durable from the top down."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    journal = Journal()
    make(Spool(str(tmp_path / "home" / "state" / "kmq" / "spool")), files=journal.files)
    assert mode_of(tmp_path / "home" / "state" / "kmq") == 0o700
    assert mode_of(tmp_path / "home" / "state" / "kmq" / "spool") == 0o2770
    synced = [target for name, target in journal.entries if name == "fsync"]
    assert synced == [tmp_path.name, "home", "state", "kmq"]


@pytest.mark.usefixtures("as_root")
def test_root_gives_the_spool_to_group_kmq(tmp_path: Path, group: int) -> None:
    """A directory of root's own group would lock the apps out."""
    journal = Journal()
    make(Spool(str(tmp_path / "spool")), files=journal.files)
    assert ("chown", "spool") in journal.entries
    assert (tmp_path / "spool").stat().st_gid == group
    assert mode_of(tmp_path / "spool") == 0o2770


@pytest.mark.usefixtures("as_root")
def test_root_makes_no_spool_without_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails, and names the mend."""

    def missing(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(grp, "getgrnam", missing)
    with pytest.raises(NoPermission, match="groupadd --system kmq"):
        make(Spool(str(tmp_path / "spool")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("as_root")
def test_root_is_told_of_the_path_before_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever makes the group meets the next refusal."""
    monkeypatch.setattr(grp, "getgrnam", {}.__getitem__)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpoolError, match="a file stands where a directory is needed"):
        make(Spool(str(tmp_path / "file")))
    with pytest.raises(SpoolError, match="make it first") as caught:
        make(Spool(str(tmp_path / "mnt" / "spool")))
    assert caught.value.errno == errno.ENOENT


@pytest.mark.usefixtures("as_user")
def test_a_file_in_the_spools_place_is_named(tmp_path: Path) -> None:
    """Neither removed nor mistaken for a directory; a link that leads nowhere is no directory either."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(SpoolError, match="a file stands where a directory is needed"):
            make(Spool(str(tmp_path / name)))


@pytest.mark.usefixtures("as_user")
def test_two_processes_may_make_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one takes what the faster one made, and changes nothing about it."""
    path = tmp_path / "spool"
    path.mkdir(mode=0o700)
    looked = iter([False])
    monkeypatch.setattr(os.path, "isdir", lambda _path: next(looked, True))
    make(Spool(str(path)))
    assert mode_of(path) == 0o700


def test_the_default_is_what_the_environment_says(tmp_path: Path) -> None:
    """KMQ_SPOOL first, made absolute."""
    assert default_path({"KMQ_SPOOL": str(tmp_path / "x" / ".." / "y")}) == str(tmp_path / "y")
    assert default_path({"KMQ_SPOOL": "here"}) == os.path.join(os.getcwd(), "here")


def test_else_it_is_the_systems_if_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the user's own."""
    monkeypatch.setattr(os.path, "isdir", lambda path: path == SYSTEM_SPOOL)
    assert default_path({"KMQ_SPOOL": "", "XDG_STATE_HOME": str(tmp_path)}) == "/var/spool/kmq"
    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    assert default_path({"XDG_STATE_HOME": "/state"}) == "/state/kmq/spool"
    assert (
        default_path({"XDG_STATE_HOME": "relative", "HOME": "/home/bob"})
        == "/home/bob/.local/state/kmq/spool"
    )


def test_without_a_home_the_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without any place gets told which setting to make."""
    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(SpoolError, match="set KMQ_SPOOL"):
        default_path({})


def test_the_places_in_a_spool() -> None:
    """The names that stand in the documentation."""
    spool = Spool("/s")
    assert (spool.checkpoint, spool.checkpoint_old) == (
        "/s/checkpoint.json",
        "/s/checkpoint.json.old",
    )
    assert (spool.status, spool.sender_lock) == ("/s/status.json", "/s/sender.lock")
    assert (spool.rejected, spool.rejected_lock) == ("/s/rejected", "/s/rejected/lock")
    assert spool.partition("p") == "/s/p"
    assert places.writer_lock("/s/p") == "/s/p/writer.lock"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("20261123T204501Z-4f2a91c3", True),
        (".new-20261123T204501Z-4f2a91c3", False),
        (".gone-20261123T204501Z-4f2a91c3", False),
        ("20261123T204501Z-4F2A91C3", False),
        ("20261123T204501Z-4f2a91c3\n", False),
        ("20261123T204501Z-4f2a91c34", False),
        ("rejected", False),
        ("", False),
        ("..", False),
        ("\u0662\u0660\u0662\u06661123T204501Z-4f2a91c3", False),
    ],
)
def test_only_the_exact_form_is_a_partition(name: str, *, is_one: bool) -> None:
    """Whatever else lies in the spool is none of ours."""
    assert places.is_partition(name) is is_one


def test_a_new_name_has_the_form() -> None:
    """UTC, whatever the host's zone."""
    name = places.new_partition_name(1_795_466_701.9, "4f2a91c3")
    assert name == "20261123T204501Z-4f2a91c3"
    assert places.is_partition(name)


def test_partitions_are_directories_in_the_order_of_their_names(tmp_path: Path) -> None:
    """A link or a file of that name is none."""
    for name in ("20261124T000000Z-00000000", "20261123T000000Z-ffffffff"):
        (tmp_path / name).mkdir()
    (tmp_path / "20261125T000000Z-00000000").write_bytes(b"")
    (tmp_path / "20261126T000000Z-00000000").symlink_to(tmp_path)
    (tmp_path / "rejected").mkdir()
    assert places.partitions(Spool(str(tmp_path))) == [
        "20261123T000000Z-ffffffff",
        "20261124T000000Z-00000000",
    ]


def test_segments_are_in_the_order_of_their_offsets(tmp_path: Path) -> None:
    """Twenty digits; an offset beyond any file's size is none."""
    for name in (
        f"{5:020d}.jsonl",
        f"{0:020d}.jsonl",
        "5.jsonl",
        f"{7:020d}.json",
        f"{8:020d}.jsonl.gz",
        "9" * 20 + ".jsonl",
        "writer.lock",
    ):
        (tmp_path / name).write_bytes(b"")
    assert places.segment_starts(str(tmp_path)) == [0, 5]


def test_the_size_is_that_of_partitions_and_rejected(tmp_path: Path) -> None:
    """Also of what is being made or removed; not of other people's files, links or sub-directories."""
    name = "20261123T204501Z-4f2a91c3"
    for directory in (name, f".new-{name}", f".gone-{name}", "rejected", "foreign"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "file").write_bytes(b"x" * 10)
    (tmp_path / name / "link").symlink_to(tmp_path / "foreign" / "file")
    (tmp_path / name / "sub").mkdir()
    (tmp_path / f"{name[:-1]}0").symlink_to(tmp_path / "foreign")
    (tmp_path / "file").write_bytes(b"x" * 1000)
    assert measure(Spool(str(tmp_path))) == 40


def test_what_vanishes_while_it_is_measured_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender removes segments and partitions at any moment."""
    name = "20261123T204501Z-4f2a91c3"
    (tmp_path / name).mkdir()
    (tmp_path / name / "a").write_bytes(b"x" * 10)
    (tmp_path / name / "b").write_bytes(b"x" * 10)
    real = places._file_sizes

    class Vanished:
        """A directory entry whose file is gone."""

        def is_file(self, *, follow_symlinks: bool) -> bool:
            return not follow_symlinks

        def stat(self, *, follow_symlinks: bool) -> None:
            raise FileNotFoundError(errno.ENOENT, str(follow_symlinks))

    assert places._size(Vanished()) == 0  # type: ignore[arg-type]  # all that is asked of an entry
    monkeypatch.setattr(places, "_file_sizes", lambda path: real(path + "-removed"))
    assert measure(Spool(str(tmp_path))) == 0


def test_a_directory_whose_mode_cannot_be_set_is_not_left_behind(tmp_path: Path) -> None:
    """Else an app without descriptors, say, leaves one more with each call."""
    os.umask(0o077)
    refused = files_with(fchmod=failing(errno.EIO, real=os.fchmod))
    with pytest.raises(OSError, match="Input/output"):
        make_directory(str(tmp_path / "new"), files=refused)
    assert list(tmp_path.iterdir()) == []
