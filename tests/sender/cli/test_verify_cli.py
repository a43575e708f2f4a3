"""`kmq-sender verify`: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from kmq.access import group_name
from kmq.command import Command, encode
from kmq.errors import NoPermission
from kmq.spool import segment_starts
from sender import checkpoint
from sender.cli import root
from sender.reader.segment_reader import SegmentReader
from sender.rejected import New, RejectedStore
from sender.verify import modes, partition_check, spool_check
from sender.verify.findings import MAX_FINDINGS
from tests.support.spools import Partition, make_spool

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from kmq.spool import Spool

NAME = "20261122T085011Z-77aa0c1e"
LINE = encode(Command("bob@bob.com", 1_500_000_000, "Signed Up"))
SIZE = len(LINE)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return an empty spool."""
    return make_spool(tmp_path / "spool")


@pytest.fixture
def partition(spool: Spool) -> Partition:
    """Return a partition with ten commands."""
    partition = Partition(spool, NAME)
    partition.append(LINE * 10)
    return partition


def _verify(spool: Spool, *options: str) -> Result:
    return CliRunner().invoke(root, ["verify", "--spool", spool.path, *options])


def _lines(result: Result) -> list[str]:
    first, *rest = result.stdout.splitlines()
    return [first.partition(" read in ")[0], *rest]


def _torn_and_kept(spool: Spool, partition: Partition) -> str:
    partition.append(b"x" * 57)
    new = New(
        "torn",
        b"x" * 57,
        rule="it has no newline",
        partition=NAME,
        offset=10 * SIZE,
        end=10 * SIZE + 57,
        size=57,
    )
    return RejectedStore(spool, "sender").add([new])[0]


def test_a_sound_spool_with_a_torn_line(spool: Spool, partition: Partition) -> None:
    """Counts, the torn line with the id under which it is kept, the checkpoint and the verdict; exit 0."""
    id_ = _torn_and_kept(spool, partition)
    checkpoint.save(spool, {NAME: 10 * SIZE + 57})
    result = _verify(spool)
    assert result.exit_code == 0
    *lines, state, verdict = _lines(result)
    assert lines == [
        f"1 partition, 1 segment, 10 commands, {10 * SIZE + 57} B",
        f"{NAME}/{0:020d}.jsonl at {10 * SIZE}: torn line, 57 bytes (rejected as {id_})",
    ]
    assert state.startswith("checkpoint.json: sound, ")
    assert state.endswith(" s old; covers whole lines only")
    assert verdict == "sound, with 1 torn line that no call had acknowledged"


def test_an_empty_spool_is_sound(spool: Spool) -> None:
    """There is nothing to complain of, and no checkpoint yet."""
    result = _verify(spool)
    assert result.exit_code == 0
    assert _lines(result) == [
        "0 partitions, 0 segments, 0 commands, 0 B",
        "checkpoint.json: there is none yet",
        "sound",
    ]


def test_a_rejected_line_is_no_damage(spool: Spool, partition: Partition) -> None:
    """It was found, kept and counted; beside damage that nobody found yet it is still told."""
    partition.append(b"nonsense\n")
    new = New("not-json", b"nonsense", partition=NAME, offset=10 * SIZE, end=10 * SIZE + 9, size=9)
    id_ = RejectedStore(spool, "sender").add([new])[0]
    result = _verify(spool)
    assert result.exit_code == 0
    assert f"no JSON at character 1 (rejected as {id_})" in result.stdout
    assert result.stdout.endswith("\nsound, with 1 line kept in rejected/\n")
    partition.append(b"more of it\n")
    result = _verify(spool)
    assert result.exit_code == 65
    assert result.stdout.endswith("\ndamaged in 1 place, and 1 line kept in rejected/\n")


def test_what_may_not_be_read_ends_with_77(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is checked; damage there goes first. Root reads everything, so the refusal is given here."""
    other = Partition(spool, "20261122T085011Z-77aa0c1f")
    other.append(LINE)

    def starts(path: str) -> list[int]:
        if path.endswith(other.name):
            raise PermissionError(13, "Permission denied", path)
        return segment_starts(path)

    monkeypatch.setattr(partition_check, "segment_starts", starts)
    monkeypatch.setattr(modes, "segment_starts", starts)
    monkeypatch.setattr(spool_check, "segment_starts", starts)
    checkpoint.save(spool, {NAME: SIZE, other.name: SIZE})
    result = _verify(spool)
    assert result.exit_code == 77
    assert f"{other.name}: unreadable: this user may not read it" in result.stdout
    assert "1 partition, 1 segment, 10 commands" in result.stdout
    assert "sound as far as it could be read; 1 place unreadable for this user" in result.stdout
    assert json.loads(_verify(spool, "--json").stdout)["unreadable"] == 1
    partition.append(b"nonsense\n")
    result = _verify(spool)
    assert result.exit_code == 65
    assert "damaged in 1 place, and 1 place unreadable for this user" in result.stdout


def test_a_segment_that_may_not_be_read_is_no_damage(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user can read it, for all that is known."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", partition.name)

    monkeypatch.setattr(SegmentReader, "open", refuse)
    result = _verify(spool)
    assert result.exit_code == 77
    assert f"{NAME}/{0:020d}.jsonl at 0: unreadable: this user may not read it" in result.stdout


def test_offline_a_lock_that_may_not_be_opened_counts_as_held(
    spool: Spool, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who holds it cannot be told."""

    def refuse(path: str) -> int:
        raise NoPermission("no", path=path)

    monkeypatch.setattr("kmq.locks.take", refuse)
    assert f"{partition.name}/writer.lock" in _verify(spool, "--offline").stdout


def test_wrong_modes_end_in_the_lines_that_mend_them(spool: Spool, partition: Partition) -> None:
    """They can be pasted."""
    os.chmod(spool.partition(partition.name), 0o700)
    result = _verify(spool)
    assert result.exit_code == 65
    gid = os.stat(spool.path).st_gid
    assert result.stdout.splitlines()[-4:] == [
        "mend modes and groups as root:",
        f"  chgrp -R {group_name(gid) if gid else 'kmq'} {spool.path}",
        f"  find {spool.path} -type d -exec chmod 2770 {{}} +",
        f"  find {spool.path} -type f -exec chmod 660 {{}} +",
    ]


def test_damage_ends_with_65(spool: Spool, partition: Partition) -> None:
    """Each damage is named by its place, without a word of what stands there."""
    partition.append(b'{"_p":"secret@example.com"}\n' + LINE)
    partition.append(b"torn")
    result = _verify(spool)
    assert result.exit_code == 65
    assert f"{NAME}/{0:020d}.jsonl at {10 * SIZE}: no command, 28 bytes" in result.stdout
    assert result.stdout.endswith(
        "damaged in 1 place, and 1 torn line that no call had acknowledged\n"
    )
    assert "secret" not in result.output


def test_a_checkpoint_that_does_not_fit_is_named(spool: Spool, partition: Partition) -> None:
    """With its partition and the offset, and what the sender will make of it."""
    checkpoint.save(spool, {partition.name: 3})
    result = _verify(spool)
    assert result.exit_code == 65
    assert _lines(result)[1:] == [
        f"checkpoint.json at 3: {NAME} begins no line",
        "checkpoint.json: damaged; what does not fit is sent again from the oldest segment on",
        "damaged in 1 place",
    ]


def test_so_many_findings_are_not_all_printed(spool: Spool, partition: Partition) -> None:
    """The rest is counted."""
    partition.append(b"x\n" * (MAX_FINDINGS + 7))
    result = _verify(spool)
    assert "and 7 more like these" in result.stdout.splitlines()
    assert "damaged in 1,007 places" in result.stdout


def test_offline_says_what_is_in_use(spool: Spool, partition: Partition) -> None:
    """A spool that is not at rest was checked as it stood."""
    partition.hold()
    result = _verify(spool, "--offline")
    assert result.exit_code == 0
    assert f"in use, and so checked as it stood: {NAME}/writer.lock" in result.stdout
    partition.let_go()
    assert "in use" not in _verify(spool, "--offline").stdout


def test_json_has_the_same_for_programs(spool: Spool, partition: Partition) -> None:
    """Stable keys, sizes in bytes, times in seconds."""
    id_ = _torn_and_kept(spool, partition)
    result = _verify(spool, "--json", "--offline")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document.pop("seconds") >= 0
    assert document == {
        "version": 1,
        "spool": spool.path,
        "sound": True,
        "partitions": 1,
        "segments": 1,
        "commands": 10,
        "bytes": 10 * SIZE + 57,
        "torn": 1,
        "damages": 0,
        "kept": 0,
        "unreadable": 0,
        "foreign": 0,
        "findings": [
            {
                "code": "torn",
                "path": f"{NAME}/{0:020d}.jsonl",
                "damage": False,
                "partition": NAME,
                "offset": 10 * SIZE,
                "bytes": 57,
                "detail": "torn line, 57 bytes",
                "rejected": id_,
            }
        ],
        "unlisted": 0,
        "checkpoint": {"state": "none", "source": None, "age_s": None},
        "held": [],
    }


def test_without_a_spool_it_ends_with_66(tmp_path: Path) -> None:
    """Nothing is made."""
    result = CliRunner().invoke(root, ["verify", "--spool", str(tmp_path / "none")])
    assert result.exit_code == 66
    assert not os.path.exists(tmp_path / "none")


def test_help_ends_in_an_example() -> None:
    """As every command's does."""
    result = CliRunner().invoke(root, ["verify", "--help"])
    assert result.exit_code == 0
    assert result.stdout.rstrip().endswith("kmq-sender verify && echo sound")
    assert "--offline" in result.stdout
