"""What a replay reads: every line once, with its place, in bounded memory; what cannot be read is told."""

from __future__ import annotations

import errno
import os
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmq.command import MAX_LINE
from kmq.errors import NoPermission, SpoolError
from kmq.spool import Spool, segment_path
from sender.flow import Line, Position
from sender.replay import ReplaySource
from sender.replay import source as replay_source
from sender.replay.cut import Cut
from sender.replay.source import Missing, Piece, describe, file_pieces, spool_pieces
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

P = "20261123T204501Z-4f2a91c3"
Q = "20261124T204501Z-90be12aa"


class Failures(list[tuple[str, int | None]]):
    """What could not be read: which piece, and the system's number."""

    def __call__(self, piece: Piece, error: OSError) -> None:
        """Take note."""
        self.append((piece.name, error.errno))


def read_all(source: ReplaySource, max_lines: int = 1_000, max_bytes: int = 1 << 20) -> list[Line]:
    """Read to the end."""
    lines = []
    while not source.ended:
        lines += source.read(max_lines, max_bytes)
    return lines


def lines_of(pieces: list[Piece]) -> list[Line]:
    """Return all lines of pieces that can all be read."""
    failures = Failures()
    lines = read_all(ReplaySource(pieces, failures))
    assert failures == []
    return lines


def put(spool: Spool, name: str, *segments: bytes, start: int = 0) -> None:
    """Make a partition whose segments hold these bytes."""
    os.mkdir(spool.partition(name))
    for content in segments:
        with open(segment_path(spool.partition(name), start), "wb") as file:
            file.write(content)
        start += len(content)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Give an empty spool."""
    (tmp_path / "spool").mkdir()
    return Spool(str(tmp_path / "spool"))


# The spool


def test_all_segments_of_all_partitions_oldest_first(spool: Spool) -> None:
    """Delivered or not; each line with its partition and its offset over all segments."""
    put(spool, Q, b"e\n")
    put(spool, P, b"a\nbb\n", b"c\n")
    assert lines_of(spool_pieces(spool)) == [
        Line(Position(P, 0, 2), b"a"),
        Line(Position(P, 2, 5), b"bb"),
        Line(Position(P, 5, 7), b"c"),
        Line(Position(Q, 0, 2), b"e"),
    ]


def test_where_retention_removed_the_oldest_offsets_stay(spool: Spool) -> None:
    """A segment's name is the offset of its first byte."""
    put(spool, P, b"a\n", start=1_000)
    assert lines_of(spool_pieces(spool)) == [Line(Position(P, 1_000, 1_002), b"a")]


def test_an_unfinished_end_is_passed_silently_only_where_it_may_be_on_its_way(spool: Spool) -> None:
    """In the newest segment nobody was told of it; before a successor it is torn, and named."""
    put(spool, P, b"a\nto", b"b\nunfin")
    assert lines_of(spool_pieces(spool)) == [
        Line(Position(P, 0, 2), b"a"),
        Line(Position(P, 2, 4), b"to", "torn"),
        Line(Position(P, 4, 6), b"b"),
    ]


def test_what_is_appended_meanwhile_is_not_read(spool: Spool) -> None:
    """A replay of a spool in use comes to an end."""
    put(spool, P, b"a\n")
    pieces = spool_pieces(spool)
    with open(segment_path(spool.partition(P), 0), "ab") as file:
        file.write(b"b\n")
    assert [line.raw for line in lines_of(pieces)] == [b"a"]


def test_a_segment_that_retention_removed_is_told_and_passed(spool: Spool) -> None:
    """What follows it is read."""
    put(spool, P, b"a\n", b"b\n")
    pieces = spool_pieces(spool)
    os.unlink(pieces[0].path)
    failures = Failures()
    assert [line.raw for line in read_all(ReplaySource(pieces, failures))] == [b"b"]
    assert failures == [(P, errno.ENOENT)]
    assert "retention" in describe(FileNotFoundError(errno.ENOENT, ""))


def test_links_and_pipes_in_a_spool_are_not_read(spool: Spool, tmp_path: Path) -> None:
    """A spool holds regular files."""
    put(spool, P, b"a\n")
    (tmp_path / "outside").write_bytes(b"x\n")
    os.symlink(tmp_path / "outside", segment_path(spool.partition(P), 2))
    os.mkfifo(segment_path(spool.partition(P), 4))
    assert [line.raw for line in lines_of(spool_pieces(spool)[:1])] == [b"a"]
    assert len(spool_pieces(spool)) == 1


def test_a_segment_that_became_a_link_is_not_followed(spool: Spool, tmp_path: Path) -> None:
    """Whatever it was when it was listed."""
    put(spool, P, b"a\n")
    pieces = spool_pieces(spool)
    (tmp_path / "outside").write_bytes(b"x\n")
    os.unlink(pieces[0].path)
    os.symlink(tmp_path / "outside", pieces[0].path)
    failures = Failures()
    assert read_all(ReplaySource(pieces, failures)) == []
    assert failures == [(P, errno.ELOOP)]


@pytest.mark.parametrize("gone", ["lstat", "listdir"])
def test_a_partition_that_vanishes_while_listed_is_none(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Retention removes whole partitions too."""
    put(spool, P, b"a\n")

    def vanished(path: str) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, gone, vanished)
        pieces = spool_pieces(spool)
    assert pieces == []


def test_a_spool_that_may_not_be_listed_is_an_error(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is one that is not there."""

    def refuse(one: Spool) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied", one.path)

    monkeypatch.setattr(replay_source, "partitions", refuse)
    with pytest.raises(NoPermission):
        spool_pieces(spool)
    monkeypatch.undo()
    with pytest.raises(SpoolError):
        spool_pieces(Spool(f"{spool.path}/nothing"))


# Files


def test_files_and_directories_in_the_order_given(tmp_path: Path) -> None:
    """Of a directory the *.json and *.jsonl, sorted; nothing else, and no deeper."""
    folder = tmp_path / "folder"
    (folder / "deeper.jsonl").mkdir(parents=True)
    for name, content in [("b.jsonl", b"b\n"), ("a.json", b"a\n"), ("c.txt", b"c\n")]:
        (folder / name).write_bytes(content)
    single = tmp_path / "single.log"
    single.write_bytes(b"s\n")
    pieces = file_pieces([str(single), str(folder)])
    assert lines_of(pieces) == [
        Line(Position(str(single), 0, 2), b"s"),
        Line(Position(str(folder / "a.json"), 0, 2), b"a"),
        Line(Position(str(folder / "b.jsonl"), 0, 2), b"b"),
    ]


def test_a_last_line_without_its_newline_is_one_in_a_file(tmp_path: Path) -> None:
    """Other programs end a file so."""
    (tmp_path / "x").write_bytes(b"a\nbc")
    path = str(tmp_path / "x")
    assert lines_of(file_pieces([path])) == [
        Line(Position(path, 0, 2), b"a"),
        Line(Position(path, 2, 4), b"bc"),
    ]


def test_blank_lines_say_nothing_and_keep_their_bytes(tmp_path: Path) -> None:
    """Also where lines end as they do on Windows."""
    (tmp_path / "x").write_bytes(b"\na\r\n\r\n  \nb\n\n")
    path = str(tmp_path / "x")
    assert lines_of(file_pieces([path])) == [
        Line(Position(path, 1, 4), b"a\r"),
        Line(Position(path, 9, 11), b"b"),
    ]


@pytest.mark.parametrize("source", ["nothing", "file/deeper"])
def test_a_source_that_does_not_exist_is_named(tmp_path: Path, source: str) -> None:
    """Before anything is sent."""
    (tmp_path / "file").touch()
    with pytest.raises(Missing) as caught:
        file_pieces([str(tmp_path / "file"), str(tmp_path / source)])
    assert caught.value.path == str(tmp_path / source)


def test_a_file_that_cannot_be_read_is_told_and_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad block, a disk that goes."""
    paths = [tmp_path / "bad", tmp_path / "good"]
    for path in paths:
        path.write_bytes(b"a\n")
    pieces = file_pieces([str(path) for path in paths])
    bad = os.stat(paths[0])
    read = os.read

    def failing(fd: int, size: int) -> bytes:
        if os.path.samestat(os.fstat(fd), bad):
            raise OSError(errno.EIO, "Input/output error")
        return read(fd, size)

    monkeypatch.setattr(os, "read", failing)
    failures = Failures()
    assert [line.position.partition for line in read_all(ReplaySource(pieces, failures))] == [
        str(paths[1])
    ]
    assert failures == [(str(paths[0]), errno.EIO)]
    assert describe(OSError(errno.EIO, "")) == "Input/output error"


# Lines


@given(
    st.lists(st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")), max_size=30),
    st.booleans(),
)
def test_every_line_comes_once_at_its_place(raws: list[bytes], ended: bool) -> None:  # noqa: FBT001 - Hypothesis names it
    """However the bytes are cut into pieces."""
    content = b"\n".join(raws) + (b"\n" if ended and raws else b"")
    for size in (1, 2, 7, 1_000):
        cut = Cut("x", 10)
        lines = [
            line
            for at in range(0, len(content), size)
            for line in cut.feed(content[at : at + size])
        ] + cut.end(None)
        assert [line.raw for line in lines] == [raw for raw in raws if raw.strip()]
        for line in lines:
            begin, end = line.position.start - 10, line.position.end - 10
            assert content[begin:end].removesuffix(b"\n") == line.raw


def test_a_line_that_is_too_long_is_a_fault_with_its_head(tmp_path: Path) -> None:
    """One byte less is still one."""
    path = str(tmp_path / "x")
    longest, longer, monstrous = b"a" * (MAX_LINE - 1), b"b" * MAX_LINE, b"c" * (10 * MAX_LINE)
    with open(path, "wb") as file:
        file.write(b"\n".join([longest, longer, monstrous, b"d", longer]))
    found = lines_of(file_pieces([path]))
    assert [(line.raw, line.fault) for line in found] == [
        (longest, None),
        (b"b" * 1024, "too-long"),
        (b"c" * 1024, "too-long"),
        (b"d", None),
        (b"b" * 1024, "too-long"),
    ]
    assert found[2].position.end - found[2].position.start == len(monstrous) + 1
    assert found[-1].position.end == os.path.getsize(path)


@pytest.mark.parametrize("zeros", [65_536, 200_000, 1 << 20])
def test_behind_zeros_longer_than_any_line_the_intact_command_is_given_back(
    tmp_path: Path, zeros: int
) -> None:
    """As the sender does: what a power cut zeroed does not take along what was appended behind it."""
    whole = b'{"_p":"bob","_t":1795500000,"_n":"x"}'
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"_p":"cut' + bytes(zeros) + whole + b"\n" + whole + b"\n")
    found = lines_of(file_pieces([str(path)]))
    begin = len(b'{"_p":"cut') + zeros
    assert [(line.position.start, line.position.end, line.fault) for line in found] == [
        (0, begin, "too-long"),
        (begin, begin + len(whole) + 1, None),
        (begin + len(whole) + 1, path.stat().st_size, None),
    ]
    assert [line.raw for line in found[1:]] == [whole, whole]


def test_a_long_line_is_said_though_it_begins_with_blanks(tmp_path: Path) -> None:
    """It is no blank line: something stands behind."""
    (tmp_path / "x.jsonl").write_bytes(b" " * 70_000 + b"x\n")
    (found,) = lines_of(file_pieces([str(tmp_path / "x.jsonl")]))
    assert (found.fault, found.position.end) == ("too-long", 70_002)


def test_memory_is_bounded(tmp_path: Path) -> None:
    """By the size of a piece that is read, not by the file's or the line's."""
    path = str(tmp_path / "x")
    with open(path, "wb") as file:
        file.write(b"x" * (16 << 20) + b"\n")
        file.write((b"l" * 127 + b"\n") * (16 << 13))
    source = ReplaySource(file_pieces([path]), Failures())
    tracemalloc.start()
    count = 0
    while not source.ended:
        count += len(source.read(1_000, 1 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 1 + (16 << 13)
    assert peak < 4 << 20


def test_no_more_is_given_than_asked_for(tmp_path: Path) -> None:
    """A full dispatcher gets nothing; a line that passes the limit of bytes is the last one."""
    (tmp_path / "x").write_bytes(b"aaa\nbbb\nccc\n")
    source = ReplaySource(file_pieces([str(tmp_path / "x")]), Failures())
    assert source.read(0, 100) == []
    assert source.read(100, 0) == []
    assert [line.raw for line in source.read(1, 100)] == [b"aaa"]
    assert [line.raw for line in source.read(100, 2)] == [b"bbb"]
    source.close()
    assert source.read(100, 100) == []
    assert source.ended


# Streams


def test_standard_input_is_read_as_it_comes() -> None:
    """Reading never waits: while nothing is there, nothing is given."""
    reading, writing = os.pipe()
    source = ReplaySource(file_pieces(["-"]), Failures(), stdin=reading)
    assert source.read(10, 1_000) == []
    os.write(writing, b"a\nb")
    assert source.read(10, 1_000) == [Line(Position("-", 0, 2), b"a")]
    assert source.read(10, 1_000) == []
    os.write(writing, b"b\nc")
    os.close(writing)
    assert source.read(10, 1_000) == [
        Line(Position("-", 2, 5), b"bb"),
        Line(Position("-", 5, 6), b"c"),
    ]
    assert source.ended
    os.close(reading)


def test_a_named_pipe_is_waited_for_without_being_held(tmp_path: Path) -> None:
    """Nobody writes to it yet; a signal must be able to end the replay meanwhile."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    (piece,) = file_pieces([path])
    assert not piece.again
    source = ReplaySource([piece], Failures())
    assert source.read(10, 1_000) == []
    writing = os.open(path, os.O_WRONLY)
    os.write(writing, b"a\n")
    os.close(writing)
    assert wait_until(lambda: source.read(10, 1_000)) == [Line(Position(path, 0, 2), b"a")]
    wait_until(lambda: source.read(10, 1_000) == [] and source.ended)


def test_a_pipe_that_has_nothing_after_all_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another reader of the same pipe may have been quicker."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    source = ReplaySource(file_pieces([path]), Failures())
    assert source.read(10, 1_000) == []
    with monkeypatch.context() as patch:
        patch.setattr("select.select", lambda *_: ([0], [], []))
        writing = os.open(path, os.O_WRONLY)
        assert source.read(10, 1_000) == []
    os.close(writing)
    source.close()
