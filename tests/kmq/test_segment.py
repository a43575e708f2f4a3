"""A segment: appended to with one write, never mended, finished once its end is in doubt."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from kmq.durable import FILES, Files
from kmq.segment import Segment
from tests.support.files import Journal, descriptors_in, failing, files_with

if TYPE_CHECKING:
    from pathlib import Path


def begun(path: Path, files: Files = FILES) -> Segment:
    """Return a new segment in `path`."""
    return Segment.create(str(path), 0, 0.0, files=files)


def content(path: Path) -> bytes:
    """Return what the first segment holds."""
    return (path / f"{0:020d}.jsonl").read_bytes()


def test_a_line_is_one_write(tmp_path: Path) -> None:
    """One system call a command, and nothing else that changes the file."""
    journal = Journal()
    segment = begun(tmp_path, journal.files)
    journal.entries.clear()
    assert segment.append(b"one\n")
    assert segment.append(b"two\n")
    assert journal.names() == ["write", "write"]
    assert content(tmp_path) == b"one\ntwo\n"
    assert segment.size == 8


def test_a_short_write_finishes_the_segment_and_is_not_mended(tmp_path: Path) -> None:
    """What stands there stays: cutting it back once lost what another thread had appended behind it."""
    segment = begun(tmp_path, files_with(write=lambda fd, data: os.write(fd, data[:2])))
    assert not segment.append(b"one\n")
    assert segment.finished
    assert content(tmp_path) == b"on"


def test_a_write_that_failed_with_nothing_written_changes_nothing(tmp_path: Path) -> None:
    """The next line lands right behind the one before."""
    segment = begun(tmp_path, files_with(write=failing(errno.ENOSPC, times=1, real=os.write)))
    with pytest.raises(OSError, match="No space"):
        segment.append(b"one\n")
    assert not segment.finished
    assert segment.append(b"two\n")
    assert content(tmp_path) == b"two\n"


@pytest.mark.parametrize("written", [0, 2, 4])
def test_an_exception_between_the_write_and_its_count_finishes_the_segment(
    tmp_path: Path, written: int
) -> None:
    """A signal handler can raise there, and nobody knows how much was written."""

    def interrupted(fd: int, data: bytes) -> int:
        os.write(fd, data[:written])
        raise KeyboardInterrupt

    segment = begun(tmp_path, files_with(write=interrupted))
    with pytest.raises(KeyboardInterrupt):
        segment.append(b"one\n")
    assert segment.finished


@pytest.mark.parametrize(
    ("data", "finished"), [(b"", False), (b"one\n", False), (b"one\ntw", True), (b"\0\0", True)]
)
def test_a_reopened_segment_is_finished_unless_it_ends_in_a_newline(
    tmp_path: Path, data: bytes, *, finished: bool
) -> None:
    """A torn tail is never continued."""
    (tmp_path / f"{0:020d}.jsonl").write_bytes(data)
    segment = Segment.reopen(str(tmp_path), 0, 0.0)
    assert segment.finished is finished
    assert segment.size == len(data)


def test_a_removed_segment_gives_back_what_it_got_since_it_had_its_name(tmp_path: Path) -> None:
    """An unlinked file stays readable to its descriptor; a torn tail was never acknowledged."""
    segment = begun(tmp_path)
    segment.append(b"one\n")
    assert segment.has_name()
    segment.append(b"two\n")
    (tmp_path / f"{0:020d}.jsonl").unlink()
    segment.append(b"three\n")
    os.write(segment._fd, b"torn")
    assert not segment.has_name()
    assert segment.since_named() == [b"two\n", b"three\n"]


def test_a_file_of_the_same_name_is_not_the_segment(tmp_path: Path) -> None:
    """Names are compared by the file behind them."""
    segment = begun(tmp_path)
    (tmp_path / f"{0:020d}.jsonl").unlink()
    (tmp_path / f"{0:020d}.jsonl").write_bytes(b"")
    assert not segment.has_name()


def test_a_closed_segment_does_not_count_as_one_without_a_name(tmp_path: Path) -> None:
    """In a child that a signal handler forked nothing must be copied that is the parent's."""
    segment = begun(tmp_path)
    segment.close()
    segment.close()
    with pytest.raises(OSError, match="Bad file"):
        segment.has_name()


def test_one_sync_covers_all_that_was_appended_before_it(tmp_path: Path) -> None:
    """Whoever comes second with the same bytes finds them durable."""
    journal = Journal()
    segment = begun(tmp_path, journal.files)
    segment.append(b"one\n")
    segment.append(b"two\n")
    assert segment.sync(4)
    assert segment.sync(8)
    assert journal.names().count("fdatasync") == 1
    segment.append(b"three\n")
    assert segment.sync(14)
    assert journal.names().count("fdatasync") == 2


def test_a_sync_covers_nothing_that_is_appended_while_it_is_under_way(tmp_path: Path) -> None:
    """The kernel may have been past it."""
    synced: list[int] = []

    def fdatasync(fd: int) -> None:
        if not synced:
            segment.append(b"two\n")
        synced.append(fd)

    segment = begun(tmp_path, files_with(fdatasync=fdatasync))
    segment.append(b"one\n")
    assert segment.sync(4)
    assert segment.sync(8)
    assert len(synced) == 2


def test_a_failed_sync_is_never_tried_again(tmp_path: Path) -> None:
    """Linux reports a failed write-back once; a later success proves nothing."""
    synced = []

    def fail_once(fd: int) -> None:
        synced.append(fd)
        if len(synced) == 1:
            raise OSError(errno.EIO, "lost")

    segment = begun(tmp_path, files_with(fdatasync=fail_once))
    segment.append(b"one\n")
    assert not segment.sync(4)
    assert not segment.sync(4)
    assert len(synced) == 1


def test_what_was_durable_before_a_failed_sync_stays_so(tmp_path: Path) -> None:
    """Only what came after the last good sync is in doubt."""
    answers = iter([None, OSError(errno.EIO, "lost")])

    def sync(_fd: int) -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    segment = begun(tmp_path, files_with(fdatasync=sync))
    segment.append(b"one\n")
    assert segment.sync(4)
    segment.append(b"two\n")
    assert not segment.sync(8)
    assert segment.sync(4)


def test_an_exception_in_the_middle_of_a_sync_counts_as_its_failure(tmp_path: Path) -> None:
    """Nobody saw the answer."""

    def interrupted(_fd: int) -> None:
        raise SystemExit

    segment = begun(tmp_path, files_with(fdatasync=interrupted))
    segment.append(b"one\n")
    with pytest.raises(SystemExit):
        segment.sync(4)
    assert not segment.sync(4)


def test_the_descriptor_goes_with_the_last_reference(tmp_path: Path) -> None:
    """A sealed segment is closed when the last thread that waits for its sync is done."""
    before = descriptors_in(tmp_path)
    segment = begun(tmp_path)
    assert descriptors_in(tmp_path) == before + 1
    del segment
    assert descriptors_in(tmp_path) == before
