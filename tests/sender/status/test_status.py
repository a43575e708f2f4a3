"""The sender's status file: what is written is read back, and nothing else is believed."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmq.durable import Files
from kmq.errors import NoPermission
from kmq.spool import Spool
from sender.status import Blocked, LastError, Latency, Rate, Snapshot, Totals, load, save
from sender.status import snapshot as status
from sender.status.snapshot import form, parse

if TYPE_CHECKING:
    from pathlib import Path

P = "20261123T204501Z-4f2a91c3"
SNAPSHOT = Snapshot(
    at=1_795_467_067.25,
    pid=1423,
    started=1_795_193_467.0,
    version="1.0.0",
    url="https://trk.kissmetrics.io",
    transport="curl",
    state="BLOCKED",
    in_flight=32,
    totals=Totals(1_048_576, 17, 3, 1_795_193_467.0),
    rate=Rate(412.0, 415.2, 10.0),
    latency=Latency(0.048, 0.21),
    blocked=Blocked(
        1_795_466_347.0, 403, "the API key is refused", "put the right key there", 21.0
    ),
    last_error=LastError(1_795_466_947.0, "answered-503", 503, "503 from the API"),
    behind={P: 1_795_467_064.0},
    rates_in={P: 310.0},
    ended="signal 15",
)

texts = st.text(max_size=40).filter(str.isprintable)
moments = st.floats(0, 253_402_300_799)
numbers = st.floats(0, 1e15)
wholes = st.integers(0, (1 << 63) - 1)
names = st.from_regex(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}", fullmatch=True)
statuses = st.none() | wholes
by_partition = st.dictionaries(names, numbers, max_size=3)
snapshots = st.builds(
    Snapshot,
    at=moments,
    pid=wholes,
    started=moments,
    version=texts,
    url=texts,
    transport=texts,
    state=st.sampled_from(["SENDING", "IDLE", "RETRYING", "BLOCKED", "STOPPED"]),
    in_flight=wholes,
    totals=st.builds(Totals, wholes, wholes, wholes, moments),
    rate=st.builds(Rate, numbers, numbers, numbers),
    latency=st.builds(Latency, st.none() | numbers, st.none() | numbers),
    blocked=st.none() | st.builds(Blocked, moments, statuses, texts, texts, st.none() | numbers),
    last_error=st.none() | st.builds(LastError, moments, texts, statuses, texts),
    behind=st.dictionaries(names, moments, max_size=3),
    rates_in=by_partition,
    ended=st.none() | texts,
)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Give an empty spool."""
    return Spool(str(tmp_path))


def changed(**fields: object) -> bytes:
    """Return the form of the snapshot with other fields."""
    return json.dumps({**json.loads(form(SNAPSHOT)), **fields}).encode()


@given(snapshots)
@example(SNAPSHOT)
def test_what_is_formed_is_parsed_as_the_same(snapshot: Snapshot) -> None:
    """Every snapshot survives the file."""
    assert parse(form(snapshot)) == snapshot


def test_saved_is_loaded(spool: Spool) -> None:
    """The file holds the last snapshot, readable for the group and nobody else."""
    save(spool, SNAPSHOT)
    assert load(spool) == SNAPSHOT
    assert stat.S_IMODE(os.stat(spool.status).st_mode) == 0o660
    assert os.listdir(spool.path) == ["status.json"]


def test_saving_syncs_nothing(spool: Spool) -> None:
    """A file of no use after a power cut costs no sync."""

    class NoSync(Files):
        def __getattribute__(self, name: str) -> object:
            assert "sync" not in name
            return object.__getattribute__(self, name)

    save(spool, SNAPSHOT, files=NoSync())
    assert load(spool) == SNAPSHOT


def test_no_file_is_no_snapshot(spool: Spool) -> None:
    """Where no sender ever ran there is none."""
    assert load(spool) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        bytes(4096),
        b"\xff\xfe{\x00}\x00",
        b"[" * 100_000,
        b"1" * 5_000,
        form(SNAPSHOT)[:100],
        changed(form=2),
        changed(form=True),
        changed(at=None),
        changed(at="1795467067"),
        changed(at=True),
        changed(at=-1),
        changed(at=1e12),
        changed(at=10**400),
        form(SNAPSHOT).replace(b"1795467067.25", b"NaN"),
        form(SNAPSHOT).replace(b"1795467067.25", b"1e400"),
        changed(pid=1.5),
        changed(pid=-1),
        changed(in_flight=1 << 63),
        changed(state="DANCING"),
        changed(state=None),
        changed(url=7),
        changed(url="https://x\x1b[2J"),
        changed(url="x" * 2_001),
        changed(totals=None),
        changed(totals={"delivered": 1}),
        changed(rate=[1, 2, 3]),
        changed(blocked=[]),
        changed(blocked={"since": 1}),
        changed(last_error="503"),
        changed(behind={"../../etc/passwd": 1.0}),
        changed(behind={P: "long"}),
        changed(rates_in={P: None}),
        changed(ended=15),
    ],
)
def test_anything_else_is_no_snapshot(spool: Spool, content: bytes) -> None:
    """A file of another program, of a torn write or of an enemy makes nothing fail."""
    with open(spool.status, "wb") as file:
        file.write(content)
    assert load(spool) is None


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr).map(str.encode)
)
def test_no_bytes_raise_anything_but_value_error(data: bytes) -> None:
    """Whatever stands there is refused in one way."""
    with pytest.raises(ValueError, match=r"."):
        parse(data)


def test_what_a_newer_version_adds_is_passed_over() -> None:
    """Keys that are not known do no harm."""
    assert parse(changed(colour="green")) == SNAPSHOT


def test_what_a_terminal_cannot_bear_is_not_written() -> None:
    """A text from outside is written printable and bounded, so that it can be read again."""
    wild = "\x1b[2J" + "x" * 5_000 + "\n"
    snapshot = Snapshot(
        **{name: getattr(SNAPSHOT, name) for name in Snapshot.__slots__} | {"ended": wild}
    )
    ended = parse(form(snapshot)).ended
    assert ended is not None
    assert ended == " [2J" + "x" * 1_996


def test_a_larger_file_is_none(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is read than a snapshot can have."""
    save(spool, SNAPSHOT)
    monkeypatch.setattr(status, "MAX_BYTES", os.path.getsize(spool.status) - 1)
    assert load(spool) is None


def test_a_link_or_a_directory_is_none(spool: Spool, tmp_path: Path) -> None:
    """Nothing is followed that is a link."""
    (tmp_path / "elsewhere").write_bytes(form(SNAPSHOT))
    os.symlink("elsewhere", spool.status)
    assert load(spool) is None
    os.unlink(spool.status)
    os.mkdir(spool.status)
    assert load(spool) is None


def test_one_that_may_not_be_read_is_an_error(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to read it nothing can be said about the sender."""

    def refuse(path: str, _flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(status, "open_regular", refuse)
    with pytest.raises(NoPermission, match=r"status\.json"):
        load(spool)
