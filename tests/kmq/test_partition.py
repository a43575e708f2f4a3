"""One partition: made whole or not at all, adopted only where that is safe, rotated by what the file system says."""

from __future__ import annotations

import errno
import os
import random
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from filelock import lock_descriptor

from kmq import locks, partition
from kmq.durable import bears_name, open_regular
from kmq.errors import LocksUnsupported, NoPermission, SpoolError, SpoolFull
from kmq.partition import NameLost, Rotation, _Making, adopt, make, take
from kmq.spool import segment_path, writer_lock
from tests.support.files import Journal, descriptors_in, failing, files_with
from tests.support.held import BOOT
from tests.support.spooled import lines_in, partitions_in, segments_in, torn_in

if TYPE_CHECKING:
    from pathlib import Path

    from kmq.partition import Partition
    from tests.support.held import Writers

NAME = "20261123T204501Z-4f2a91c3"
OTHER_BOOT = "00000000-0000-4000-8000-000000000002"


@pytest.fixture
def left(writers: Writers) -> Path:
    """Return a partition that a process left behind by dying, with one whole line in it."""
    made = make(writers.place())
    made.append(b"one\n")
    made.forget()
    return partitions_in(writers.path)[0]


def adopted(writers: Writers) -> Partition | None:
    """Return the partition that the next process adopts."""
    found = adopt(writers.place())
    return None if found is None else writers.held(found)


# ---- making


def test_a_partition_is_made_in_the_order_that_survives_a_power_cut(writers: Writers) -> None:
    """Each name in it is durable before it gets its own, and that before it is used."""
    journal = Journal()
    made = writers.held(make(writers.place(files=journal.files)))
    name = os.path.basename(made.path)
    assert [entry for entry in journal.entries if entry[0] not in {"open", "fchmod"}] == [
        ("mkdir", f".new-{name}"),
        ("write", "writer.lock"),
        ("fsync", f".new-{name}"),
        ("rename", f".new-{name}"),
        ("fsync", "shared"),
    ]


def test_a_made_partition_is_held_and_names_its_boot(writers: Writers) -> None:
    """From its first moment; and its first segment is there."""
    made = writers.held(make(writers.place()))
    assert locks.take(writer_lock(made.path)) is locks.Denied.HELD
    assert sorted(os.listdir(made.path)) == [f"{0:020d}.jsonl", "writer.lock"]
    with open(writer_lock(made.path)) as file:
        assert file.read() == BOOT


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_has_its_modes_whatever_the_umask(writers: Writers, umask: int) -> None:
    """Files 0660, directories 0770 with the spool's setgid bit."""
    writers.path.chmod(0o2770)
    os.umask(umask)
    made = writers.held(make(writers.place()))
    assert stat.S_IMODE(os.stat(made.path).st_mode) == 0o2770
    for name in os.listdir(made.path):
        assert stat.S_IMODE(os.stat(f"{made.path}/{name}").st_mode) == 0o660


FAULTS = [
    ("mkdir", errno.ENOSPC),
    ("open", errno.EMFILE),
    ("write", errno.ENOSPC),
    ("fsync", errno.EIO),
    ("rename", errno.EIO),
]


@pytest.mark.parametrize(("operation", "code"), FAULTS)
@pytest.mark.parametrize("good", range(5))
def test_a_creation_that_fails_removes_what_it_made(
    writers: Writers, operation: str, code: int, good: int
) -> None:
    """At whichever step: no file, no directory, no descriptor, no lock stays; and the next one succeeds."""
    done = 0
    real = getattr(os, operation)

    def fail_after(*args: object, **kwargs: object) -> object:
        nonlocal done
        done += 1
        if done > good:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    before = descriptors_in(writers.path)
    place = writers.place(files=files_with(**{operation: fail_after}))
    try:
        made = make(place)
    except SpoolError as error:
        assert error.errno == code  # noqa: PT017 - whether it fails depends on the step
        assert list(writers.path.iterdir()) == []
    else:
        made.append(b"one\n") if operation != "write" else None
        made.forget()
    assert descriptors_in(writers.path) == before
    writers.held(make(writers.place())).append(b"one\n")


def test_an_exception_while_it_is_made_removes_it_too(writers: Writers) -> None:
    """A signal handler can raise anywhere."""

    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(writers.place(files=files_with(rename=interrupted)))
    assert list(writers.path.iterdir()) == []


def test_a_failed_making_lets_go_of_the_lock_only_after_its_name_is_gone(writers: Writers) -> None:
    """Else another process could adopt what is being removed."""
    seen = []

    def unlink(path: str) -> None:
        if path.endswith("writer.lock"):
            seen.append(locks.take(path))
        os.unlink(path)

    syncs = iter([None, OSError(errno.EIO, "lost")])

    def fsync(_fd: int) -> None:
        answer = next(syncs)
        if answer is not None:
            raise answer

    with pytest.raises(SpoolError):
        make(writers.place(files=files_with(unlink=unlink, fsync=fsync)))
    assert seen == [locks.Denied.HELD]
    assert list(writers.path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EEXIST, errno.ENOENT, errno.ENOTEMPTY])
def test_a_name_that_is_taken_is_replaced_by_another(writers: Writers, code: int) -> None:
    """A child that was forked in the middle may have been faster; three names are tried."""
    twice = failing(code, times=2, real=os.rename)
    writers.held(make(writers.place(files=files_with(rename=twice)))).append(b"one\n")
    assert len(list(writers.path.iterdir())) == 1
    always = failing(code, real=os.rename)
    with pytest.raises(SpoolError, match="cannot make the partition"):
        make(writers.place(files=files_with(rename=always)))
    assert len(list(writers.path.iterdir())) == 1


def test_a_child_forked_in_the_middle_makes_nothing(writers: Writers) -> None:
    """Its parent goes on making it."""
    with pytest.raises(OSError, match="a fork came in between"):
        _Making(writers.place(), NAME, maker=-1).done()
    assert list(writers.path.iterdir()) == []


def test_a_child_forked_before_the_rename_gives_no_name(writers: Writers) -> None:
    """Its parent does: the lock in it is the parent's."""

    def fork(_fd: int) -> None:
        making._maker = -1

    making = _Making(writers.place(files=files_with(fsync=fork)), NAME, os.getpid())
    with pytest.raises(OSError, match="a fork came in between"):
        making.done()
    assert os.listdir(writers.path) == [f".new-{NAME}"]


@pytest.mark.parametrize("published", [False, True])
def test_a_child_forked_in_the_middle_unmakes_nothing(writers: Writers, *, published: bool) -> None:
    """What stands there is its parent's, before and after it has its name."""

    def fork(*args: str) -> None:
        if published:
            os.rename(*args)
        making._maker = -1
        raise OSError(errno.EIO, "the child's copy fails")

    making = _Making(writers.place(files=files_with(rename=fork)), NAME, os.getpid())
    with pytest.raises(OSError, match="copy fails"):
        making.done()
    [directory] = writers.path.iterdir()
    assert sorted(os.listdir(directory)) == [f"{0:020d}.jsonl", "writer.lock"]


# ---- adopting


def test_what_a_dead_process_left_is_continued(writers: Writers, left: Path) -> None:
    """The newest segment goes on, and a process that comes next takes another one."""
    found = adopted(writers)
    assert found is not None
    found.append(b"two\n")
    assert lines_in(writers.path) == [b"one", b"two"]
    assert len(segments_in(writers.path)) == 1
    assert adopted(writers) is None
    assert partitions_in(writers.path) == [left]


def test_an_empty_newest_segment_is_continued(writers: Writers) -> None:
    """A process can die right after a rotation."""
    make(writers.place()).forget()
    found = adopted(writers)
    assert found is not None
    found.append(b"one\n")
    assert len(segments_in(writers.path)) == 1


def test_a_segment_whose_maker_was_killed_before_it_had_its_mode_gets_it(
    writers: Writers, left: Path
) -> None:
    """Else what is appended there could not be read by a sender of another user."""
    segment = left / "00000000000000000000.jsonl"
    segment.chmod(0o600)
    assert adopted(writers) is not None
    assert stat.S_IMODE(segment.stat().st_mode) == 0o660


def test_behind_a_torn_tail_a_new_segment_begins(writers: Writers, left: Path) -> None:
    """The tail stays as it is, and the new one's name is where it ends."""
    with (left / f"{0:020d}.jsonl").open("ab") as file:
        file.write(b"tor")
    found = adopted(writers)
    assert found is not None
    found.append(b"two\n")
    assert [path.name for path in segments_in(writers.path)] == [
        f"{0:020d}.jsonl",
        f"{7:020d}.jsonl",
    ]
    assert (lines_in(writers.path), torn_in(writers.path)) == ([b"one", b"two"], [b"tor"])


@pytest.mark.parametrize("content", [OTHER_BOOT, "", BOOT[:-1], BOOT + "x", "\0" * 36])
def test_a_partition_of_another_boot_is_finished(
    writers: Writers, left: Path, content: str
) -> None:
    """After a power cut its offsets may have been used before; an id that cannot be read is as good as another."""
    (left / "writer.lock").write_text(content)
    assert adopted(writers) is None
    fd = locks.take(str(left / "writer.lock"))
    assert isinstance(fd, int)
    os.close(fd)


def test_without_a_boot_id_of_its_own_a_process_adopts_nothing(
    writers: Writers, left: Path
) -> None:
    """Not even what another process without one has left."""
    (left / "writer.lock").write_text("")
    assert adopt(writers.place(boot=None)) is None
    made = writers.held(take(writers.place(boot=None)))
    assert os.stat(writer_lock(made.path)).st_size == 0
    assert len(partitions_in(writers.path)) == 2


def test_a_lock_that_cannot_be_read_is_passed_by(
    writers: Writers, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of one partition must not stop what another one can take."""
    assert left.exists()
    before = descriptors_in(writers.path)
    monkeypatch.setattr(os, "pread", failing(errno.EIO, real=os.pread))
    assert adopted(writers) is None
    assert descriptors_in(writers.path) == before


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_a_newest_segment_that_is_no_regular_file_is_passed_by(
    writers: Writers, left: Path, tmp_path: Path, kind: str
) -> None:
    """Nothing is written through a link, and no pipe is waited for."""
    path = left / f"{99:020d}.jsonl"
    (tmp_path / "target").write_bytes(b"")
    if kind == "link":
        path.symlink_to(tmp_path / "target")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert adopted(writers) is None


def test_a_partition_without_a_segment_is_passed_by(writers: Writers, left: Path) -> None:
    """Where its offsets have come to cannot be known."""
    (left / f"{0:020d}.jsonl").unlink()
    assert adopted(writers) is None


@pytest.mark.parametrize("kind", ["missing", "link", "pipe", "directory"])
def test_a_partition_without_a_regular_lock_is_passed_by(
    writers: Writers, left: Path, kind: str
) -> None:
    """And no lock is made for it."""
    lock = left / "writer.lock"
    lock.unlink()
    if kind == "link":
        (left / "other").write_text(BOOT)
        lock.symlink_to("other")
    elif kind == "pipe":
        os.mkfifo(lock)
    elif kind == "directory":
        lock.mkdir()
    assert adopted(writers) is None
    assert lock.exists() is (kind != "missing")


def test_a_link_to_a_partition_is_none(writers: Writers, left: Path, tmp_path: Path) -> None:
    """What lies outside the spool is not written to."""
    left.rename(tmp_path / "outside")
    left.symlink_to(tmp_path / "outside")
    assert adopted(writers) is None


def test_an_offset_beyond_any_file_is_no_segment(writers: Writers, left: Path) -> None:
    """The next one's name would be a digit too long for the reader to see."""
    (left / ("9" * 20 + ".jsonl")).write_bytes(b"x\n")
    found = adopted(writers)
    assert found is not None
    found.append(b"two\n")
    assert (left / f"{0:020d}.jsonl").read_bytes() == b"one\ntwo\n"


def test_another_users_partition_is_passed_by(
    writers: Writers, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From before the spool had its group; making a new one is still possible."""
    assert left.exists()
    monkeypatch.setattr(locks, "open_regular", failing(errno.EACCES, times=1, real=open_regular))
    made = writers.held(take(writers.place()))
    assert made.path != str(left)


def test_a_file_system_without_locks_is_no_reason_to_pass_by(
    writers: Writers, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told at once, and not after 256 tries."""
    assert left.exists()
    monkeypatch.setattr("filelock.lock_descriptor", failing(errno.ENOLCK, real=lock_descriptor))
    for way in (adopt, take):
        with pytest.raises(LocksUnsupported, match="local file system"):
            way(writers.place())


def test_at_most_256_partitions_are_tried_from_a_random_start(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that start together do not queue at the same one."""
    for number in range(300):
        (writers.path / f"20260101T000000Z-{number:08x}").mkdir()
    tried: list[str] = []

    def taken(path: str) -> locks.Denied:
        tried.append(path)
        return locks.Denied.GONE

    monkeypatch.setattr(locks, "take", taken)
    chance = random.Random()
    monkeypatch.setattr(chance, "randrange", lambda count: count - 1)
    assert adopt(replace(writers.place(), chance=chance)) is None
    assert len(tried) == len(set(tried)) == 256
    assert [os.path.dirname(path)[-3:] for path in tried[:2]] == ["12b", "000"]


def test_a_spool_that_cannot_be_listed_is_an_error(writers: Writers) -> None:
    """It is gone, or not ours."""
    writers.path.rmdir()
    with pytest.raises(SpoolError, match="cannot list"):
        adopt(writers.place())


# ---- appending


def test_a_segment_is_sealed_at_its_size_and_the_next_begins_where_it_ends(
    writers: Writers,
) -> None:
    """Names are offsets; no line crosses a segment."""
    made = writers.held(make(writers.place(rotation=Rotation(max_bytes=8))))
    for line in (b"one\n", b"two\n", b"three\n", b"four\n", b"five\n"):
        made.append(line)
    assert [(p.name, p.read_bytes()) for p in segments_in(writers.path)] == [
        (f"{0:020d}.jsonl", b"one\ntwo\n"),
        (f"{8:020d}.jsonl", b"three\nfour\n"),
        (f"{19:020d}.jsonl", b"five\n"),
    ]


def test_a_segment_is_sealed_at_its_age(writers: Writers) -> None:
    """An hour; an empty one stays."""
    made = writers.held(make(writers.place()))
    writers.clock.advance(4_000)
    made.append(b"one\n")
    made.append(b"two\n")
    assert len(segments_in(writers.path)) == 2
    writers.clock.advance(3_599)
    made.append(b"three\n")
    assert len(segments_in(writers.path)) == 2
    writers.clock.advance(1)
    made.append(b"four\n")
    assert len(segments_in(writers.path)) == 3


def test_a_name_is_what_the_file_system_says_and_not_what_was_counted(writers: Writers) -> None:
    """Anything else would leave a gap or an overlap where something unknown was appended."""
    made = writers.held(make(writers.place(rotation=Rotation(max_bytes=4))))
    made.append(b"one\n")
    with open(segment_path(made.path, 0), "ab") as file:
        file.write(b"foreign\n")
    made.append(b"two\n")
    assert [path.name for path in segments_in(writers.path)] == [
        f"{0:020d}.jsonl",
        f"{12:020d}.jsonl",
    ]


def test_the_entry_of_a_new_segment_is_synced_before_it_is_written_to(writers: Writers) -> None:
    """Else a power cut could take the name of what was synced."""
    journal = Journal()
    made = writers.held(make(writers.place(rotation=Rotation(max_bytes=1), files=journal.files)))
    made.append(b"one\n")
    journal.entries.clear()
    made.append(b"two\n")
    assert [name for name in journal.names() if name != "fchmod"] == [
        "open",
        "open",
        "fsync",
        "write",
    ]


def test_a_short_write_goes_on_in_a_new_segment(writers: Writers) -> None:
    """The torn tail stays; the call that met it succeeds."""
    shorts = iter([2])
    files = files_with(write=lambda fd, data: os.write(fd, data[: next(shorts, len(data))]))
    made = make(writers.place())
    made.append(b"one\n")
    made.forget()
    found = writers.held(adopt(writers.place(files=files)))  # type: ignore[arg-type]  # it is there
    found.append(b"two\n")
    found.append(b"three\n")
    assert (lines_in(writers.path), torn_in(writers.path)) == ([b"one", b"two", b"three"], [b"tw"])


def test_two_short_writes_are_an_error_and_no_line_is_glued_to_what_they_left(
    writers: Writers,
) -> None:
    """The call raises; what it left is torn, and the next line begins a segment."""
    made = make(writers.place())
    made.append(b"one\n")
    made.forget()
    shorts = iter([2, 1])
    files = files_with(write=lambda fd, data: os.write(fd, data[: next(shorts, len(data))]))
    found = writers.held(adopt(writers.place(files=files)))  # type: ignore[arg-type]  # it is there
    with pytest.raises(SpoolFull, match="only a part of 4 bytes fits"):
        found.append(b"two\n")
    found.append(b"three\n")
    assert (lines_in(writers.path), torn_in(writers.path)) == ([b"one", b"three"], [b"tw", b"t"])


def test_a_full_disk_is_an_error_and_leaves_the_segment_as_it_was(writers: Writers) -> None:
    """Nothing was written, nothing is finished, and the next call goes on where it stood."""
    made = make(writers.place())
    made.append(b"one\n")
    made.forget()
    files = files_with(write=failing(errno.ENOSPC, times=2, real=os.write))
    found = writers.held(adopt(writers.place(files=files)))  # type: ignore[arg-type]  # it is there
    for _ in range(2):
        with pytest.raises(SpoolFull, match="make room"):
            found.append(b"two\n")
    found.append(b"three\n")
    assert len(segments_in(writers.path)) == 1
    assert lines_in(writers.path) == [b"one", b"three"]


def test_a_segment_that_cannot_be_started_is_an_error_and_tried_again(writers: Writers) -> None:
    """No room for another file today does not finish the partition."""
    blocked = True

    def maybe_open(path: str, flags: int, mode: int = 0o777) -> int:
        if blocked and path.endswith(f"{4:020d}.jsonl"):
            raise OSError(errno.ENOSPC, "full")
        return os.open(path, flags, mode)

    made = writers.held(
        make(writers.place(rotation=Rotation(max_bytes=1), files=files_with(open=maybe_open)))
    )
    made.append(b"one\n")
    with pytest.raises(SpoolFull, match="start the next segment"):
        made.append(b"two\n")
    assert not made.left
    blocked = False
    made.append(b"three\n")
    assert lines_in(writers.path) == [b"one", b"three"]


def test_a_next_segment_whose_name_is_taken_leaves_the_partition(writers: Writers) -> None:
    """The one before is sealed by it, whoever made it: a reader may be past it already."""
    made = writers.held(make(writers.place(rotation=Rotation(max_bytes=1))))
    made.append(b"one\n")
    os.mkfifo(segment_path(made.path, 4))
    with pytest.raises(SpoolError, match="File exists"):
        made.append(b"two\n")
    assert made.left


def test_a_next_segment_whose_entry_cannot_be_synced_leaves_the_partition(writers: Writers) -> None:
    """No later sync would prove that the entry became durable."""
    syncs = iter([None] * 2)

    def fsync(_fd: int) -> None:
        if next(syncs, "fail") == "fail":
            raise OSError(errno.EIO, "lost")

    made = writers.held(
        make(writers.place(rotation=Rotation(max_bytes=1), files=files_with(fsync=fsync)))
    )
    made.append(b"one\n")
    with pytest.raises(SpoolError, match="sync the partition"):
        made.append(b"two\n")
    assert made.left


def test_an_exception_before_the_first_write_leaves_a_usable_segment(writers: Writers) -> None:
    """Nothing is torn, and no name would be left for a next one."""
    answers = iter([KeyboardInterrupt()])

    def write(fd: int, data: bytes) -> int:
        for answer in answers:
            raise answer
        return os.write(fd, data)

    make(writers.place()).forget()
    found = writers.held(adopt(writers.place(files=files_with(write=write))))  # type: ignore[arg-type]  # it is there
    with pytest.raises(KeyboardInterrupt):
        found.append(b"one\n")
    found.append(b"two\n")
    assert len(segments_in(writers.path)) == 1
    assert lines_in(writers.path) == [b"two"]


def test_an_adopted_partition_is_made_durable_once(writers: Writers, left: Path) -> None:
    """Whoever made it may have died before its syncs; a rotation that was interrupted counts, too."""
    journal = Journal()
    found = writers.held(adopt(writers.place(files=journal.files)))  # type: ignore[arg-type]  # it is there
    found.make_entries_durable()
    found.make_entries_durable()
    assert [target for name, target in journal.entries if name == "fsync"] == [left.name, "shared"]


def test_entries_that_cannot_be_made_durable_are_an_error(writers: Writers, left: Path) -> None:
    """`sync=True` promises what was not done."""
    assert left.exists()
    files = files_with(fsync=failing(errno.EIO, real=os.fsync))
    found = writers.held(adopt(writers.place(files=files)))  # type: ignore[arg-type]  # it is there
    with pytest.raises(SpoolError, match="sync the partition"):
        found.make_entries_durable()


def test_an_exception_between_a_new_segment_and_its_sync_is_made_good_before_a_promise(
    writers: Writers,
) -> None:
    """The directory is synced before `sync=True` returns."""
    synced: list[str] = []
    interrupt = False

    def fsync(fd: int) -> None:
        synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        if interrupt:
            raise KeyboardInterrupt

    made = writers.held(
        make(writers.place(rotation=Rotation(max_bytes=1), files=files_with(fsync=fsync)))
    )
    made.append(b"one\n")
    interrupt = True
    with pytest.raises(KeyboardInterrupt):
        made.append(b"two\n")
    interrupt = False
    synced.clear()
    made.append(b"three\n")
    made.make_entries_durable()
    assert synced == [os.path.basename(made.path), "shared"]


# ---- names


@pytest.mark.parametrize("what", ["segment", "lock", "partition", "moved"])
def test_a_lost_name_is_noticed_within_a_second(writers: Writers, what: str) -> None:
    """Of the segment, of the lock without which everybody thinks it finished, or of the whole partition."""
    made = writers.held(make(writers.place()))
    made.append(b"one\n")
    if what == "segment":
        os.unlink(segment_path(made.path, 0))
    elif what == "lock":
        os.unlink(writer_lock(made.path))
    else:
        os.rename(made.path, made.path + "-moved")
    writers.clock.advance(0.4)
    made.append(b"two\n")
    writers.clock.advance(0.2)
    for _ in range(2):
        with pytest.raises(NameLost):
            made.append(b"three\n")
    assert made.segment.since_named() == [b"one\n", b"two\n"]


def test_a_segment_near_the_end_of_all_names_is_not_adopted(writers: Writers, left: Path) -> None:
    """Behind it the next one would have a name that no reader knows."""
    (left / f"{(1 << 62) - 1:020}.jsonl").write_bytes(b"foreign\n")
    assert adopted(writers) is None


def test_a_lost_name_is_noticed_before_a_segment_is_sealed(writers: Writers) -> None:
    """No successor is made for what nobody can read."""
    made = writers.held(make(writers.place(rotation=Rotation(max_bytes=1))))
    made.append(b"one\n")
    os.unlink(segment_path(made.path, 0))
    with pytest.raises(NameLost):
        made.append(b"two\n")
    assert os.listdir(made.path) == ["writer.lock"]


def test_a_name_that_cannot_be_looked_at_is_an_error(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that gave up its rights is told at once, and not when the segment is full."""
    made = writers.held(make(writers.place()))
    made.append(b"one\n")
    writers.clock.advance(2)
    monkeypatch.setattr(partition, "bears_name", failing(errno.EACCES, real=bears_name))
    with pytest.raises(NoPermission, match="cannot look at"):
        made.append(b"two\n")


def test_a_forgotten_partition_is_never_written_to(writers: Writers) -> None:
    """It is the parent's: the child's copy of a call that was under way fails, and the lock stays held."""
    made = make(writers.place())
    keeper = os.dup(made._lock)
    made.forget()
    made.forget()
    with pytest.raises(OSError, match="a fork came in between"):
        made.append(b"one\n")
    assert locks.take(writer_lock(made.path)) is locks.Denied.HELD
    os.close(keeper)
