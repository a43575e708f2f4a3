"""The checkpoint: what is believed, what is said about the rest, and that a crash leaves one or the other."""

from __future__ import annotations

import json
import os
import stat
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmq.durable import Files
from kmq.errors import NoPermission, SpoolError
from kmq.spool import Spool
from sender import checkpoint
from sender.checkpoint import Loaded, form, load, parse, save

if TYPE_CHECKING:
    from pathlib import Path

P = "20261123T204501Z-4f2a91c3"
Q = "20261123T204501Z-90be12aa"

names = st.from_regex(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}", fullmatch=True)
offsets = st.dictionaries(names, st.integers(0, (1 << 63) - 1), max_size=20)


class Recording(Files):
    """Files that note what is done, and may stop before the n-th step as a crash would."""

    def __init__(self, stop_before: int | None = None) -> None:
        self.done: list[str] = []
        self._stop_before = stop_before

    def __getattribute__(self, name: str) -> object:
        """Wrap each operation."""
        value = object.__getattribute__(self, name)
        if name.startswith("_") or name == "done":
            return value

        def operation(*args: object, **kwargs: object) -> object:
            if len(self.done) == self._stop_before:
                raise KeyboardInterrupt
            self.done.append(name)
            return value(*args, **kwargs)

        return operation


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Give an empty spool."""
    return Spool(str(tmp_path))


def write(path: str, data: bytes) -> None:
    """Write a file as another program would."""
    with open(path, "wb") as file:
        file.write(data)


def document(**changed: object) -> bytes:
    """Return the bytes of a checkpoint with some of its entries replaced."""
    fields = {**json.loads(form({P: 93})), **changed}
    return json.dumps(fields).encode()


def checked(partitions: object, version: object = 1) -> bytes:
    """Return the bytes of a checkpoint whose check is right whatever its partitions are."""
    compact = json.dumps(partitions, separators=(",", ":"), sort_keys=True)
    fields = {"version": version, "partitions": partitions, "check": zlib.crc32(compact.encode())}
    return json.dumps(fields).encode()


@given(offsets)
def test_form_and_parse_are_inverse(given_offsets: dict[str, int]) -> None:
    """What was saved is what is loaded."""
    assert parse(form(given_offsets)) == given_offsets


def test_the_form_is_the_documented_one() -> None:
    """Other programs read it: version, partitions, and the CRC-32 of the compact sorted JSON of partitions."""
    compact = f'{{"{P}":93,"{Q}":0}}'
    assert json.loads(form({Q: 0, P: 93})) == {
        "version": 1,
        "partitions": {P: 93, Q: 0},
        "check": zlib.crc32(compact.encode()),
    }


@given(st.binary(max_size=200))
def test_parse_raises_nothing_but_value_error(data: bytes) -> None:
    """A checkpoint is input: whatever a disk makes of it must not stop the sender."""
    with pytest.raises(ValueError, match=r"\S"):
        parse(data)


@given(offsets.filter(bool), st.data())
def test_a_checkpoint_with_one_byte_changed_is_never_taken_for_another(
    given_offsets: dict[str, int], data: st.DataObject
) -> None:
    """A flipped byte gives the same offsets (in white space) or none."""
    whole = form(given_offsets)
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = whole[:at] + bytes([byte]) + whole[at + 1 :]
    try:
        parsed = parse(changed)
    except ValueError:
        return
    assert parsed == given_offsets


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no JSON"),
        (bytes(500), "no JSON"),
        (form({P: 93})[:-20], "no JSON"),
        (form({P: 93}).decode().encode("utf-16"), "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"version":1,"partitions":{"x":' + b"1" * 5_000 + b'},"check":0}', "no JSON"),
        (b'{"version":NaN}', "no JSON"),
        (form({P: 93}).replace(b'"version":1', b'"version":1,"version":1'), "it is no JSON"),
        (b"[]", "no JSON object"),
        (document(version=2), "version is 2"),
        (document(version=True), "version is True"),
        (document(version=1.0), "version is 1.0"),
        (b"{}", "version is None"),
        (document(partitions=[]), "partitions are no JSON object"),
        (document(check=1), "check does not fit"),
        (document(check=True), "check does not fit"),
        (document(check=float(json.loads(form({P: 93}))["check"])), "check does not fit"),
        (document(partitions={P: 94}), "check does not fit"),
        (checked({"../../etc": 1}), "no partition's name"),
        (checked({P: -1}), f"offset of {P} is -1"),
        (checked({P: True}), f"offset of {P} is True"),
        (checked({P: 1.5}), f"offset of {P} is 1.5"),
        (checked({P: "1"}), f"offset of {P} is '1'"),
        (checked({P: 1 << 63}), f"offset of {P} is 9223372036854775808"),
    ],
)
def test_what_is_not_exactly_a_checkpoint_is_not_believed(data: bytes, said: str) -> None:
    """Each fault is named; none is guessed around."""
    with pytest.raises(ValueError, match=said):
        parse(data)


def test_a_file_beyond_the_bound_is_not_parsed(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A huge file costs no more memory than the bound, and is named."""
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 1_000)
    with open(spool.checkpoint, "wb") as file:
        file.truncate(1 << 40)
    assert load(spool).problems == [
        "checkpoint.json is not believed: it is larger than 1,000 bytes"
    ]


def test_offsets_that_no_load_would_believe_are_not_saved(spool: Spool) -> None:
    """A caller's mistake is found before the checkpoint in force is replaced."""
    save(spool, {P: 1})
    with pytest.raises(ValueError, match="no partition's name"):
        save(spool, {"rejected": 1})
    assert load(spool).offsets == {P: 1}


def test_a_fresh_spool_has_no_checkpoint_and_no_problem(spool: Spool) -> None:
    """Nothing is wrong where nothing was ever sent."""
    assert load(spool) == Loaded({}, [], None)


def test_the_last_saved_is_loaded_and_the_one_before_stays(spool: Spool) -> None:
    """The old one is there for the day the new one cannot be read."""
    save(spool, {P: 10})
    save(spool, {P: 20, Q: 5})
    assert load(spool) == Loaded({P: 20, Q: 5}, [], "checkpoint.json")
    with open(spool.checkpoint_old, "rb") as file:
        assert parse(file.read()) == {P: 10}


def test_a_checkpoint_that_cannot_be_believed_falls_back_to_the_one_before(spool: Spool) -> None:
    """Some commands are sent twice then, and it is said why."""
    save(spool, {P: 10})
    save(spool, {P: 20})
    write(spool.checkpoint, bytes(300))
    loaded = load(spool)
    assert (loaded.offsets, loaded.source) == ({P: 10}, "checkpoint.json.old")
    assert loaded.problems == ["checkpoint.json is not believed: it is no JSON"]


def test_a_missing_checkpoint_falls_back_too_and_is_a_problem(spool: Spool) -> None:
    """No crash of kmq leaves the old one alone: someone removed the other."""
    save(spool, {P: 10})
    save(spool, {P: 20})
    os.unlink(spool.checkpoint)
    assert load(spool) == Loaded({P: 10}, ["checkpoint.json is missing"], "checkpoint.json.old")


def test_two_that_cannot_be_believed_are_both_named(spool: Spool) -> None:
    """The sender starts from the oldest segment then, and says so."""
    write(spool.checkpoint, b"{}")
    write(spool.checkpoint_old, b"")
    assert load(spool) == Loaded(
        {},
        [
            "checkpoint.json is not believed: its version is None, known is 1",
            "checkpoint.json.old is not believed: it is no JSON",
        ],
        None,
    )


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_what_is_no_file_is_neither_followed_nor_waited_for(spool: Spool, kind: str) -> None:
    """A link could point at another spool's checkpoint; a pipe would hang the sender."""
    if kind == "directory":
        os.mkdir(spool.checkpoint)
    elif kind == "link":
        write(f"{spool.path}/other", form({P: 7}))
        os.symlink("other", spool.checkpoint)
    else:
        os.mkfifo(spool.checkpoint)
    assert load(spool).problems == ["checkpoint.json is not believed: it is no regular file"]


def test_a_checkpoint_that_may_not_be_read_is_an_error(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To go on without it would send everything again, and a chmod mends it."""

    def forbidden(path: str, _flags: int) -> int:
        raise PermissionError(13, "no", path)

    monkeypatch.setattr(checkpoint, "open_regular", forbidden)
    with pytest.raises(NoPermission, match="cannot read the checkpoint"):
        load(spool)


def test_a_disk_that_fails_while_it_is_read_is_an_error(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EIO says nothing about what stands in the file."""
    writing_end = os.open(f"{spool.path}/w", os.O_WRONLY | os.O_CREAT)
    monkeypatch.setattr(checkpoint, "open_regular", lambda _path, _flags: os.dup(writing_end))
    with pytest.raises(SpoolError, match="cannot read the checkpoint"):
        load(spool)
    os.close(writing_end)


def test_the_order_of_a_save(spool: Spool) -> None:
    """Content is synced before the rename, the directory after it; the old one is linked in between."""
    save(spool, {P: 1})
    files = Recording()
    save(spool, {P: 2}, files=files)
    order = [step for step in files.done if step != "fchmod"]
    assert order == [
        "unlink",
        "open",
        "write",
        "fsync",
        "unlink",
        "link",
        "rename",
        "open",
        "fsync",
    ]


def test_a_crash_at_any_step_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    """Whichever step is the last one: nothing is lost but at most this save."""
    steps = Recording()
    (tmp_path / "whole").mkdir()
    whole = Spool(str(tmp_path / "whole"))
    save(whole, {P: 1})
    save(whole, {P: 2}, files=steps)
    for step in range(len(steps.done)):
        spool = Spool(str(tmp_path / str(step)))
        os.mkdir(spool.path)
        save(spool, {P: 1})
        with pytest.raises(KeyboardInterrupt):
            save(spool, {P: 2}, files=Recording(stop_before=step))
        assert load(spool).offsets in ({P: 1}, {P: 2})
        assert load(spool).problems == []
        save(spool, {P: 3})
        assert load(spool).offsets == {P: 3}


def test_the_file_is_for_the_group_and_nobody_else(spool: Spool) -> None:
    """`status` and `replay` may run as a member of the group; names of partitions are nobody else's."""
    save(spool, {P: 1})
    assert stat.S_IMODE(os.stat(spool.checkpoint).st_mode) == 0o660


def test_a_directory_in_its_place_is_put_aside_and_the_old_one_is_spared(tmp_path: Path) -> None:
    """Otherwise no checkpoint could ever be written again, and every start would send everything."""
    spool = Spool(str(tmp_path))
    save(spool, {P: 1})
    save(spool, {P: 2})
    os.unlink(spool.checkpoint)
    os.mkdir(spool.checkpoint)
    assert load(spool).offsets == {P: 1}
    save(spool, {P: 3})
    assert load(spool).offsets == {P: 3}
    assert os.path.isdir(spool.checkpoint + ".bad")


@pytest.mark.parametrize("name", ["checkpoint.json.old", "checkpoint.json.tmp"])
def test_a_directory_beside_it_is_put_aside(tmp_path: Path, name: str) -> None:
    """It would keep each checkpoint from being written as well."""
    spool = Spool(str(tmp_path))
    (tmp_path / name).mkdir()
    (tmp_path / name / "somebody's").touch()
    for offset in (1, 2):
        save(spool, {P: offset})
    assert load(spool) == Loaded({P: 2}, [], "checkpoint.json")
    assert (tmp_path / f"{name}.bad" / "somebody's").exists()


def test_a_link_in_its_place_is_replaced_and_never_kept(tmp_path: Path) -> None:
    """What it leads to is none of ours."""
    spool = Spool(str(tmp_path))
    save(spool, {P: 1})
    save(spool, {P: 2})
    os.rename(spool.checkpoint, str(tmp_path / "elsewhere"))
    os.symlink("elsewhere", spool.checkpoint)
    save(spool, {P: 3})
    assert not os.path.islink(spool.checkpoint)
    assert not os.path.islink(spool.checkpoint_old)
    assert load(spool).offsets == {P: 3}
