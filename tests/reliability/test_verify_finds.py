"""What `verify` finds: every damage by its place, none hiding another, and nothing that is none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq.command import Command, encode
from kmq.spool import writer_lock
from sender import checkpoint
from sender.rejected import New, RejectedStore
from tests.support.simulated import operator
from tests.support.spools import Partition, make_spool

if TYPE_CHECKING:
    from kmq.spool import Spool

LINE = encode(Command("bob@bob.com", 1_795_500_000, "Signed Up"))
SIZE = len(LINE)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


def plant(spool: Spool) -> set[tuple[str, str, int | None]]:
    """Damage a spool in every way; return what must be found: code, path, offset."""
    first, second = "20261123T204501Z-4f2a91c3", "20261123T204502Z-90be12aa"
    partition = Partition(spool, first)
    partition.append(LINE * 2 + LINE[:20] + b"\n" + LINE)
    torn_at = 2 * SIZE
    zeros_at = partition.append(b"\0" * 100 + b"\n" + LINE)
    intact_at = partition.append(b"\0" * 50 + LINE)
    gap_at, start = partition.end(), partition.end() + 7
    partition.begin(start)
    partition.append(LINE * 2)
    partition.begin(start + SIZE)
    partition.append(LINE)
    link_at = partition.end()
    os.symlink(partition.segment(0), f"{partition.path}/{link_at:020d}.jsonl")
    other = Partition(spool, second)
    other.append(LINE)
    os.chmod(other.segment(), 0o644)
    Path(other.path, "notes.txt").write_text("foreign", "ascii")
    os.unlink(writer_lock(other.path))
    os.mkdir(writer_lock(other.path), 0o770)
    checkpoint.save(spool, {first: 3})
    os.symlink(other.path, spool.partition("20261123T204503Z-00000000"))
    Path(spool.path, "core").write_bytes(b"")
    at = plant_in_rejected(spool)
    segment = f"{first}/{0:020d}.jsonl"
    return {
        ("not-json", segment, torn_at),
        ("not-json", segment, zeros_at),
        ("zeros", segment, intact_at),
        ("gap", f"{first}/{start:020d}.jsonl", gap_at),
        ("overlap", f"{first}/{start + SIZE:020d}.jsonl", start + SIZE),
        ("unreadable", f"{first}/{link_at:020d}.jsonl", link_at),
        ("checkpoint-offset-does-not-fit", "checkpoint.json", 3),
        ("mode", f"{second}/{0:020d}.jsonl", None),
        ("foreign", f"{second}/notes.txt", None),
        ("strange", f"{second}/writer.lock", None),
        ("mode", f"{second}/writer.lock", None),
        ("strange", "20261123T204503Z-00000000", None),
        ("foreign", "core", None),
        *((code, "rejected/2026-11-23-sender.jsonl", offset) for code, offset in at.items()),
    }


def plant_in_rejected(spool: Spool) -> dict[str, int]:
    """Damage a file of `rejected/`; return what must be found where."""
    store = RejectedStore(spool, "sender", clock=lambda: 1_795_467_067.0)
    news = [New("no-person", b"x" * 100) for _ in range(3)]
    store.add(news)
    store.sync()
    path = Path(spool.rejected, "2026-11-23-sender.jsonl")
    line = path.read_bytes().splitlines(keepends=True)[0]
    zeroed = bytearray(path.read_bytes())
    zeroed[len(line) + 30 : len(line) + 60] = bytes(30)
    path.write_bytes(bytes(zeroed) + line[:40] + b"\n" + line + line[:50])
    return {
        "rejected-unreadable": len(line),
        "rejected-cut": 3 * len(line),
        "unfinished": 4 * len(line) + 41,
    }


def test_every_damage_is_found_and_named_by_its_place(spool: Spool) -> None:
    """All of it at once: no damage hides another, and each is printed where it is."""
    os.umask(0o007)
    planted = plant(spool)
    result = operator(spool, "http://127.0.0.1:1", "verify", "--json")
    assert result.exit_code == 65
    document = json.loads(result.stdout)
    found = {(one["code"], one["path"], one["offset"]) for one in document["findings"]}
    assert found == planted
    harmless = {one["code"] for one in document["findings"] if not one["damage"]}
    assert harmless == {"foreign", "rejected-cut", "unfinished"}
    text = operator(spool, "http://127.0.0.1:1", "verify").stdout
    for _code, path, offset in planted:
        assert (path if offset is None else f"{path} at {offset:,}") in text
    assert "bob@bob.com" not in text


def test_names_that_kmq_did_not_give_are_told_and_are_no_damage(spool: Spool) -> None:
    """A note of the administrator's, or what a file system makes by itself."""
    Path(spool.path, "README").write_bytes(b"")
    result = operator(spool, "http://127.0.0.1:1", "verify")
    assert result.exit_code == 0
    assert result.stdout.endswith("\nsound, with 1 name that kmq did not give\n")
    assert "README: none of kmq's names" in result.stdout


@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
def test_what_stands_in_the_place_of_rejected_is_damage_and_is_not_followed(
    spool: Spool, tmp_path: Path, kind: str
) -> None:
    """The rest is checked all the same; nothing outside the spool is looked at."""
    partition = Partition(spool)
    os.chmod(partition.segment(), 0o660)
    partition.append(b"no command\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2026-11-23-sender.jsonl").write_bytes(b"private\n")
    if kind == "file":
        os.close(os.open(spool.rejected, os.O_CREAT))
    elif kind == "link":
        os.symlink(tmp_path / "elsewhere", spool.rejected)
    else:
        os.mkfifo(spool.rejected)
    result = operator(spool, "http://127.0.0.1:1", "verify", "--json")
    assert result.exit_code == 65
    found = {
        (one["code"], one["path"])
        for one in json.loads(result.stdout)["findings"]
        if one["code"] != "mode"
    }
    assert found == {("strange", "rejected"), ("not-json", f"{partition.name}/{0:020d}.jsonl")}


def test_another_group_is_found(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As only root can give one, the answer of the system is changed here."""
    partition = Partition(spool)
    partition.append(LINE)
    os.chmod(partition.segment(), 0o660)
    real = os.lstat

    def lstat(path: str) -> os.stat_result:
        values = list(real(path))
        values[5] += path == partition.segment()
        return os.stat_result(values)

    monkeypatch.setattr(os, "lstat", lstat)
    result = operator(spool, "http://127.0.0.1:1", "verify", "--json")
    assert [one["code"] for one in json.loads(result.stdout)["findings"]] == ["group"]
