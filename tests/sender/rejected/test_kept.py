"""What stands in `rejected/`, read beside those who append, whatever else lies there."""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmq.errors import NoPermission, SpoolError
from sender.rejected import New
from sender.rejected import kept as kept_module
from sender.rejected.kept import Kept
from sender.rejected.rejection import MAX_FORM, cut, form, gone_form

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

P = "20261123T204501Z-4f2a91c3"
DAY = "2026-11-23"
NAME = f"{DAY}-sender.jsonl"
OTHER = f"{DAY}-gateway.jsonl"


@pytest.fixture
def rejected(tmp_path: Path) -> Path:
    """Give an empty directory `rejected/`."""
    path = tmp_path / "rejected"
    path.mkdir()
    return path


def line(number: int, offset: int | None = None, day: str = DAY) -> bytes:
    """Return the line of a rejected command."""
    partition = None if offset is None else P
    new = New("torn", f"text {number}".encode(), partition=partition, offset=offset)
    return form(cut(new, f"{day}:{number}", 1_795_467_067.0, "sender"))


def append(path: Path, data: bytes) -> None:
    """Append as another program does."""
    with path.open("ab") as file:
        file.write(data)


def ids(kept: Kept) -> list[str]:
    """Return what is on the list."""
    return [rejection.id for rejection in kept.each()]


def test_nothing_is_kept_where_there_is_no_directory(tmp_path: Path) -> None:
    """No command was ever rejected there."""
    kept = Kept(str(tmp_path / "rejected"))
    assert (kept.count(), ids(kept), kept.found([f"{DAY}:1"]), kept.unreadable) == (0, [], {}, 0)


def test_what_others_append_is_seen(rejected: Path) -> None:
    """Also lines and leavings that came after the first look."""
    kept = Kept(str(rejected))
    append(rejected / NAME, line(1, 0) + line(2, 10))
    assert (kept.count(), ids(kept)) == (2, [f"{DAY}:1", f"{DAY}:2"])
    append(rejected / OTHER, line(3))
    append(rejected / NAME, gone_form(f"{DAY}:1", "dropped") + line(4, 20))
    assert (kept.count(), ids(kept)) == (3, [f"{DAY}:3", f"{DAY}:2", f"{DAY}:4"])
    assert kept.found([f"{DAY}:1"]) == {}
    found = kept.found([f"{DAY}:4", f"{DAY}:2", f"{DAY}:9"])
    assert {id_: one.raw for id_, one in found.items()} == {
        f"{DAY}:2": b"text 2",
        f"{DAY}:4": b"text 4",
    }


def test_a_place_is_counted_once(rejected: Path) -> None:
    """A sender that died before its checkpoint rejects the same line again."""
    kept = Kept(str(rejected))
    append(rejected / NAME, line(1, 0) + line(2, 0))
    append(rejected / f"2026-11-24-{'sender'}.jsonl", line(1, 0, "2026-11-24"))
    assert (kept.count(), ids(kept)) == (1, [f"{DAY}:1"])
    append(rejected / NAME, gone_form(f"{DAY}:1", "delivered"))
    assert (kept.count(), ids(kept)) == (1, [f"{DAY}:2"])


def test_a_line_that_was_written_to_two_files_is_counted_once(rejected: Path) -> None:
    """After a failed sync the same lines are written again elsewhere."""
    append(rejected / NAME, line(1))
    append(rejected / f"{DAY}-sender.1.jsonl", line(1))
    kept = Kept(str(rejected))
    assert (kept.count(), ids(kept)) == (1, [f"{DAY}:1"])


def test_what_is_said_twice_counts_once(rejected: Path) -> None:
    """A line that was copied, or a leaving that was repeated."""
    append(rejected / NAME, line(1, 0) + line(1, 0) + line(2))
    kept = Kept(str(rejected))
    assert (kept.count(), ids(kept)) == (2, [f"{DAY}:1", f"{DAY}:2"])
    append(rejected / NAME, gone_form(f"{DAY}:1", "dropped") * 2 + gone_form(f"{DAY}:9", "dropped"))
    assert (kept.count(), ids(kept), kept.unreadable) == (1, [f"{DAY}:2"], 0)


def test_a_line_on_its_way_is_passed_over_until_it_is_whole(rejected: Path) -> None:
    """A reader takes no lock, and may look in the middle of a batch."""
    kept = Kept(str(rejected))
    append(rejected / NAME, line(1) + line(2)[:-1])
    assert (kept.count(), kept.unreadable) == (1, 1)
    append(rejected / NAME, b"\n")
    assert (kept.count(), kept.unreadable) == (2, 0)


def test_torn_and_strange_lines_are_counted_and_take_no_neighbour_along(rejected: Path) -> None:
    """A crash leaves a cut line or zeros; another program may leave anything."""
    strange = [b'{"id":"2026-11', bytes(500), b"[" * 9_000, b"\xff\xfe", b'{"id":7}', b""]
    append(rejected / NAME, line(1) + b"\n".join([*strange, b""]) + line(2))
    kept = Kept(str(rejected))
    assert (ids(kept), kept.unreadable) == ([f"{DAY}:1", f"{DAY}:2"], len(strange))


def test_a_line_behind_zeros_is_on_the_list(rejected: Path) -> None:
    """A power cut after a failed sync leaves zeros in the place of what stood before, its newline included."""
    append(rejected / NAME, line(1) + bytes(500) + line(2))
    kept = Kept(str(rejected))
    assert (ids(kept), kept.unreadable) == ([f"{DAY}:1", f"{DAY}:2"], 0)


def test_a_line_that_is_too_long_is_passed_over_in_bounded_pieces(rejected: Path) -> None:
    """Its neighbours are whole, and it is not read into memory at once."""
    append(rejected / NAME, line(1) + b"x" * (3 * MAX_FORM) + b"\n" + line(2))
    kept = Kept(str(rejected))
    assert (ids(kept), kept.unreadable) == ([f"{DAY}:1", f"{DAY}:2"], 1)
    append(rejected / NAME, b"x" * (2 * MAX_FORM))
    assert (ids(kept), kept.unreadable) == ([f"{DAY}:1", f"{DAY}:2"], 2)


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_content_makes_a_reader_fail(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    """The directory is input: an intact line is found wherever it stands."""
    rejected = tmp_path_factory.mktemp("rejected")
    hostile = b"\n".join(line.replace(b"\n", b"") for line in lines)
    append(rejected / NAME, hostile + b"\n" + line(1) + hostile)
    assert ids(Kept(str(rejected))) == [f"{DAY}:1"]
    shutil.rmtree(rejected)


def test_only_regular_files_of_the_right_name_are_read(rejected: Path, tmp_path: Path) -> None:
    """No link is followed, no pipe waited for; those with a right name are counted as unreadable."""
    append(tmp_path / "secret", line(9))
    (rejected / f"{DAY}-a.jsonl").symlink_to(tmp_path / "secret")
    (rejected / f"{DAY}-b.jsonl").mkdir()
    os.mkfifo(rejected / f"{DAY}-c.jsonl")
    append(rejected / "notes.jsonl", line(8))
    append(rejected / "lock", b"")
    append(rejected / NAME, line(1))
    kept = Kept(str(rejected))
    assert (ids(kept), kept.unreadable) == ([f"{DAY}:1"], 3)


def test_a_directory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    """It could point anywhere."""
    (tmp_path / "real").mkdir()
    (tmp_path / "rejected").symlink_to("real")
    with pytest.raises(SpoolError, match="cannot list"):
        Kept(str(tmp_path / "rejected")).count()


def test_a_removed_file_takes_its_commands_off_the_list(rejected: Path) -> None:
    """By hand or because all had gone."""
    append(rejected / NAME, line(1, 0))
    append(rejected / OTHER, line(2, 0))
    kept = Kept(str(rejected))
    assert kept.count() == 1
    (rejected / NAME).unlink()
    assert (kept.count(), ids(kept)) == (1, [f"{DAY}:2"])
    (rejected / OTHER).unlink()
    assert (kept.count(), ids(kept)) == (0, [])


def test_another_file_of_the_same_name_is_read_anew(rejected: Path) -> None:
    """Also where it is longer, so that only its inode tells."""
    append(rejected / NAME, line(1))
    kept = Kept(str(rejected))
    assert kept.count() == 1
    append(rejected / "beside", line(2) + line(3))
    (rejected / "beside").rename(rejected / NAME)
    assert ids(kept) == [f"{DAY}:2", f"{DAY}:3"]


def test_a_file_that_shrank_or_was_changed_in_place_is_read_anew(rejected: Path) -> None:
    """Nobody of kmq does that; an editor may."""
    append(rejected / NAME, line(1) + line(2))
    kept = Kept(str(rejected))
    assert kept.count() == 2
    (rejected / NAME).write_bytes(line(3))
    assert ids(kept) == [f"{DAY}:3"]
    with (rejected / NAME).open("r+b") as file:
        file.write(line(4))
    os.utime(rejected / NAME, (1.0, 1.0))
    assert ids(kept) == [f"{DAY}:4"]


def test_a_file_that_vanishes_between_listing_and_opening_is_no_error(
    rejected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lets the last command go removes it."""
    append(rejected / NAME, line(1))
    real = os.lstat
    kept = Kept(str(rejected))

    def then_removed(path: str) -> os.stat_result:
        found = real(path)
        os.unlink(path)
        return found

    monkeypatch.setattr(os, "lstat", then_removed)
    assert kept.count() == 0
    monkeypatch.undo()
    append(rejected / NAME, line(1))
    assert kept.count() == 1
    listing = os.listdir

    def with_one_more(fd: int) -> list[str]:
        return [*listing(fd), f"{DAY}-vanished.jsonl"]

    monkeypatch.setattr(os, "listdir", with_one_more)
    assert kept.count() == 1


def test_what_vanishes_while_it_is_listed_is_passed_over(rejected: Path) -> None:
    """The list was begun before, and goes on with the next file."""
    append(rejected / OTHER, line(1))
    append(rejected / NAME, line(2))
    kept = Kept(str(rejected))
    listing = kept.each()
    assert next(listing).id == f"{DAY}:1"
    (rejected / NAME).unlink()
    assert list(listing) == []


def test_what_leaves_while_it_is_listed_is_not_yielded_any_more(rejected: Path) -> None:
    """`resend` takes commands off while it goes through them."""
    append(rejected / NAME, line(1) + line(2) + line(3))
    kept = Kept(str(rejected))
    listing = kept.each()
    assert next(listing).id == f"{DAY}:1"
    append(rejected / NAME, gone_form(f"{DAY}:2", "delivered"))
    kept.refresh()
    assert [rejection.id for rejection in listing] == [f"{DAY}:3"]


def test_a_file_that_was_removed_before_it_was_found_again_is_none(
    rejected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`show` of a command that has just left."""
    append(rejected / NAME, line(1))
    kept = Kept(str(rejected))
    kept.refresh()
    (rejected / NAME).unlink()
    monkeypatch.setattr(kept, "refresh", lambda: None)
    assert kept.found([f"{DAY}:1"]) == {}


def test_ids_alike_are_those_of_the_same_places(rejected: Path) -> None:
    """Whoever lets one go lets all of them go, in whatever file they stand."""
    append(rejected / NAME, line(1, 0) + line(2, 10) + line(3))
    append(rejected / OTHER, line(4, 0) + line(5))
    kept = Kept(str(rejected))
    assert kept.alike([f"{DAY}:4", f"{DAY}:3", f"{DAY}:99"]) == {
        NAME: [f"{DAY}:1", f"{DAY}:3"],
        OTHER: [f"{DAY}:4"],
    }
    assert kept.alike([]) == {}


def test_a_file_is_finished_when_all_its_lines_are_gone_and_it_can_be_read(rejected: Path) -> None:
    """A line that nobody can read might be a command."""
    gone = gone_form(f"{DAY}:1", "dropped")
    append(rejected / f"{DAY}-a.jsonl", line(1) + gone)
    append(rejected / f"{DAY}-b.jsonl", line(1) + gone + b"strange\n")
    append(rejected / f"{DAY}-c.jsonl", line(1) + gone + b"torn")
    append(rejected / f"{DAY}-d.jsonl", line(1) + gone + line(2))
    append(rejected / f"{DAY}-e.jsonl", b"")
    kept = Kept(str(rejected))
    kept.refresh()
    assert sorted(kept.finished()) == [f"{DAY}-a.jsonl", f"{DAY}-e.jsonl"]
    assert f"{DAY}-d.jsonl" in kept.finished({f"{DAY}-d.jsonl": [f"{DAY}:2"]})


def test_the_highest_number_of_a_day_counts_gone_ones_too(rejected: Path) -> None:
    """A number is never given twice; one that nobody can have given is not counted on from."""
    append(rejected / NAME, line(7) + gone_form(f"{DAY}:7", "dropped") + line(3))
    append(rejected / OTHER, line(5) + line(10**12 + 1) + line(99, day="2026-11-22"))
    append(rejected / "2026-11-24-sender.jsonl", line(50, day="2026-11-24"))
    kept = Kept(str(rejected))
    assert (kept.highest(DAY), kept.highest("2026-11-24"), kept.highest("2026-11-25")) == (7, 50, 0)


def test_looking_again_reads_nothing_when_nothing_changed(
    rejected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status file is written every second."""
    append(rejected / NAME, line(1))
    kept = Kept(str(rejected))
    assert kept.count() == 1

    def fail(*_: object) -> int:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(kept_module, "open_regular", fail)
    assert kept.count() == 1


def no_permission(path: str, _flags: int) -> int:
    """Open as a user who may not."""
    raise PermissionError(errno.EACCES, "no", path)


def swapped(path: str, _flags: int) -> int:
    """Open what was replaced by a link since it was listed."""
    raise OSError(errno.ELOOP, "a link", path)


def unreadable(path: str, _flags: int) -> int:
    """Open a file of a disk that fails: a descriptor that cannot be read."""
    return os.open(path, os.O_WRONLY)


@pytest.mark.parametrize(
    ("opened", "error"), [(no_permission, NoPermission), (unreadable, SpoolError)]
)
def test_a_file_that_cannot_be_read_is_an_error(
    rejected: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: Callable[[str, int], int],
    error: type[Exception],
) -> None:
    """A list that is short without saying so would be believed; once it can be read, it is."""
    append(rejected / NAME, line(1))
    kept = Kept(str(rejected))
    with monkeypatch.context() as patched:
        patched.setattr(kept_module, "open_regular", opened)
        with pytest.raises(error, match="cannot read"):
            kept.count()
    assert kept.count() == 1


def test_what_is_replaced_by_a_link_meanwhile_is_not_followed(
    rejected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the listing and the opening."""
    append(rejected / NAME, line(1))
    monkeypatch.setattr(kept_module, "open_regular", swapped)
    assert Kept(str(rejected)).count() == 0


def test_ids_and_places_are_numbers_of_their_own(rejected: Path) -> None:
    """Those that differ in one character only are counted as two, and what has no place goes by its id."""
    kept = Kept(str(rejected))
    append(rejected / NAME, line(1, 0) + line(2, 1) + line(3) + line(4))
    append(rejected / "2026-11-24-sender.jsonl", line(1, 2, "2026-11-24"))
    assert kept.count() == 5
    assert kept.alike([f"{DAY}:1", f"{DAY}:4"]) == {NAME: [f"{DAY}:1", f"{DAY}:4"]}
    assert kept.alike(["2026-11-24:1"]) == {"2026-11-24-sender.jsonl": ["2026-11-24:1"]}
