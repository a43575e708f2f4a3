"""Rejected commands: kept whole, numbered once, durable when it is said, and let go only when all agree."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kmq.durable import Files, open_regular
from kmq.errors import SpoolError, SpoolFull
from kmq.locks import make, take
from kmq.spool import Spool
from sender.rejected import New, RejectedStore
from sender.rejected import store as rejected_module
from tests.support.files import descriptors_in

P = "20261123T204501Z-4f2a91c3"
AT = 1_795_467_067.25
DAY = "2026-11-23"
DAY_S = 86_400.0
NAME = f"{DAY}-sender.jsonl"


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = AT) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self.now


class Failing(Files):
    """Files of which an operation fails, where a test says so; and which note what was done to what."""

    def __init__(self) -> None:
        self.fails: dict[str, int] = {}
        self.short_by: int | None = None
        self.done: list[tuple[str, str]] = []

    def _do(self, name: str, what: int | str) -> None:
        path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else what
        if name in self.fails:
            raise OSError(self.fails[name], os.strerror(self.fails[name]), path)
        self.done.append((name, os.path.basename(path)))

    def write(self, fd: int, data: memoryview | bytes) -> int:  # type: ignore[override]  # as os.write
        """Write; all of it, some of it and then nothing, or nothing."""
        if self.short_by is not None and os.readlink(f"/proc/self/fd/{fd}").endswith(".jsonl"):
            written = os.write(fd, data[: -self.short_by])
            self.short_by, self.fails["write"] = None, errno.ENOSPC
            return written
        self._do("write", fd)
        return os.write(fd, data)

    def fdatasync(self, fd: int) -> None:  # type: ignore[override]  # as os.fdatasync
        """Sync a file."""
        self._do("fdatasync", fd)
        os.fdatasync(fd)

    def fsync(self, fd: int) -> None:  # type: ignore[override]  # as os.fsync
        """Sync a directory."""
        self._do("fsync", fd)
        os.fsync(fd)

    def unlink(self, path: str) -> None:  # type: ignore[override]  # as os.unlink
        """Remove a file."""
        self._do("unlink", path)
        os.unlink(path)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Give an empty spool."""
    path = tmp_path / "s"
    path.mkdir()
    return Spool(str(path))


def new(text: bytes = b"text", offset: int | None = None) -> New:
    """Return a command to reject, of a partition if it has an offset."""
    if offset is None:
        return New("no-person", text)
    return New("torn", text, partition=P, offset=offset, end=offset + len(text))


def store_of(spool: Spool, program: str = "sender", **handed_in: object) -> RejectedStore:
    """Return a store as a process of its own would have it."""
    return RejectedStore(spool, program, **{"clock": Clock(), **handed_in})  # type: ignore[arg-type]  # by name


def ids(spool: Spool) -> list[str]:
    """Return what a program that comes new finds on the list."""
    return [rejection.id for rejection in store_of(spool, "other").kept()]


def content(spool: Spool, name: str = NAME) -> bytes:
    """Return what a file holds."""
    with open(f"{spool.rejected}/{name}", "rb") as file:
        return file.read()


def files_in(spool: Spool) -> list[str]:
    """Return the files of `rejected/`."""
    return sorted(set(os.listdir(spool.rejected)) - {"lock"})


def test_what_is_added_is_found_with_all_that_is_known_of_it(spool: Spool) -> None:
    """When, why, where from, the answer, the text."""
    store = store_of(spool)
    given = New(
        "answered-400",
        b"\xff text",
        rule="refused",
        partition=P,
        offset=7,
        end=14,
        status=400,
        said="no",
    )
    assert store.add([given]) == [f"{DAY}:1"]
    store.sync()
    (kept,) = store_of(spool, "other").kept()
    assert (kept.id, kept.at, kept.reason, kept.rule) == (f"{DAY}:1", AT, "answered-400", "refused")
    assert (kept.place, kept.end, kept.raw, kept.size) == ((P, 7), 14, b"\xff text", 6)
    assert (kept.status, kept.said, kept.program) == (400, "no", "sender")
    assert store.find(f"{DAY}:1") == kept
    assert store.find(f"{DAY}:2") is None
    assert [one.id for one in store.each()] == [f"{DAY}:1"]
    assert (store.count(), store.unreadable) == (1, 0)


def test_an_empty_batch_touches_nothing(spool: Spool) -> None:
    """No directory is made for it, no lock taken."""
    store = store_of(spool)
    assert store.add([]) == []
    store.sync()
    store.leave([f"{DAY}:1"], "dropped")
    assert os.listdir(spool.path) == []


def test_a_program_whose_name_makes_no_file_is_refused_at_once(spool: Spool) -> None:
    """And not when the first command is to be kept."""
    with pytest.raises(ValueError, match="small letters"):
        store_of(spool, "Sender/..")


def test_the_files_are_for_the_group_and_nobody_else(spool: Spool) -> None:
    """They hold people's addresses."""
    store_of(spool).add([new()])
    modes = [
        stat.S_IMODE(os.stat(path).st_mode) & 0o777
        for path in (spool.rejected, spool.rejected_lock, f"{spool.rejected}/{NAME}")
    ]
    assert modes == [0o770, 0o660, 0o660]


def test_a_batch_is_one_write(spool: Spool) -> None:
    """So that a batch is there whole or torn at its end, never mixed with another program's."""
    files = Failing()
    store_of(spool, files=files).add([new(), new(), new()])
    assert files.done.count(("write", NAME)) == 1


# Numbers


def test_numbers_count_over_all_programs_of_a_day(spool: Spool) -> None:
    """An id names one command, whoever kept it."""
    sender, gateway = store_of(spool), store_of(spool, "gateway")
    assert sender.add([new(), new()]) == [f"{DAY}:1", f"{DAY}:2"]
    assert gateway.add([new()]) == [f"{DAY}:3"]
    assert sender.add([new()]) == [f"{DAY}:4"]
    assert files_in(spool) == [f"{DAY}-gateway.jsonl", NAME]
    assert ids(spool) == [f"{DAY}:{number}" for number in (1, 2, 3, 4)]


def test_each_day_counts_from_one_and_has_its_own_file(spool: Spool) -> None:
    """Days are those of UTC; a clock that goes back goes on counting where that day stood."""
    clock = Clock()
    store = store_of(spool, clock=clock)
    assert store.add([new()]) == [f"{DAY}:1"]
    clock.now = AT + DAY_S
    assert store.add([new()]) == ["2026-11-24:1"]
    clock.now = AT
    assert store.add([new()]) == [f"{DAY}:2"]
    assert files_in(spool) == [NAME, "2026-11-24-sender.jsonl"]


def test_a_number_is_not_given_again_when_its_file_is_gone(spool: Spool) -> None:
    """Someone may have noted the id, and must not resend another command by it."""
    clock = Clock()
    store = store_of(spool, clock=clock)
    store.add([new(), new()])
    store.leave([f"{DAY}:1", f"{DAY}:2"], "dropped")
    assert files_in(spool) == []
    assert store.add([new()]) == [f"{DAY}:3"]
    store.leave([f"{DAY}:3"], "dropped")
    clock.now = AT + DAY_S
    store.add([new()])
    assert store_of(spool).add([new()]) == [f"{DAY}:4"], "another process, and the clock set back"


@pytest.mark.parametrize(
    "lost",
    [
        b"",
        bytes(1_024),
        b'{"2026-11-23":1,"2026',
        b"[" * 1_024,
        b"[]",
        b'{"2026-11-23":true}',
        b'{"2026-11-23":-3}',
        b'{"2026-11-23":1}',
        b'{"2026-11-23":1e99}',
        b'{"2026-11-23":1000000000001}',
        b'{"../x":3}',
    ],
)
def test_a_number_is_not_given_again_when_the_lock_forgot_it(spool: Spool, lost: bytes) -> None:
    """A power cut takes the lock's content and leaves the lines: a new process asks the files."""
    store_of(spool).add([new(), new(), new()])
    with open(spool.rejected_lock, "wb") as file:
        file.write(lost)
    assert store_of(spool).add([new()]) == [f"{DAY}:4"]


def test_a_process_that_has_compared_once_counts_on(spool: Spool) -> None:
    """The files are not read for each batch; a lock that was emptied is noticed all the same."""
    store = store_of(spool)
    store.add([new(), new()])
    os.truncate(spool.rejected_lock, 0)
    assert store.add([new()]) == [f"{DAY}:3"]


def test_the_numbers_of_the_latest_days_are_kept_within_bounds(spool: Spool) -> None:
    """The lock's file does not grow with the years."""
    clock = Clock()
    store = store_of(spool, clock=clock)
    for day in range(40):
        clock.now = AT + day * DAY_S
        store.add([new()])
    with open(spool.rejected_lock, "rb") as file:
        held = file.read()
    assert (len(held), len(json.loads(held))) == (1_024, 32)


PROGRAM_OF_ITS_OWN = """
import sys
from kmq.spool import Spool
from sender.rejected import New
from sender.rejected import RejectedStore

path, program = sys.argv[1:]
store = RejectedStore(Spool(path), program, clock=lambda: 1_795_467_067.25)
for number in range(20):
    store.add([New("no-person", f"{program} {number} {line}".encode()) for line in range(3)])
    store.sync()
"""


def test_programs_that_add_at_once_share_one_count_and_tear_no_line(spool: Spool) -> None:
    """Four real processes, each in its file but two in the same one."""
    programs = ["sender", "gateway", "gateway", "third"]
    command = [sys.executable, "-c", PROGRAM_OF_ITS_OWN, spool.path]
    running = [subprocess.Popen([*command, program]) for program in programs]
    assert [process.wait(60) for process in running] == [0, 0, 0, 0]
    store = store_of(spool, "other")
    assert [one.id for one in store.kept()] == [f"{DAY}:{number}" for number in range(1, 241)]
    assert store.unreadable == 0


# The lock


def test_a_lock_that_is_held_is_waited_for_a_bounded_time(spool: Spool) -> None:
    """Then the batch counts as not kept, and it is said what may hold it; when that is over all is well."""
    waits: list[float] = []
    store = store_of(spool, wait=waits.append)
    store.add([new()])
    held = take(spool.rejected_lock)
    with pytest.raises(SpoolError, match="another process holds it; if it is stopped") as raised:
        store.add([new()])
    assert raised.value.errno == errno.EAGAIN
    assert 4.9 < sum(waits) <= 5.0
    assert isinstance(held, int)
    os.close(held)
    assert store.add([new()]) == [f"{DAY}:2"]


def test_whoever_has_other_things_to_do_never_waits_for_the_lock(spool: Spool) -> None:
    """The sender: its commands go on while another program appends, or is stopped in the middle of that."""
    store = store_of(spool, wait=None)
    store.add([new()])
    held = take(spool.rejected_lock)
    for _ in range(3):
        with pytest.raises(SpoolError, match="another process holds it") as raised:
            store.add([new()])
        assert raised.value.errno == errno.EAGAIN
    assert isinstance(held, int)
    os.close(held)
    assert store.add([new()]) == [f"{DAY}:2"]


def test_whoever_only_adds_has_no_index(spool: Spool) -> None:
    """It asks the files of the day for their highest number, and remembers nothing of them."""
    store_of(spool).add([new()] * 1_000)
    os.truncate(spool.rejected_lock, 0)
    store = store_of(spool)
    assert store.add([new()]) == [f"{DAY}:1001"]
    assert store._kept._files == {}


def test_a_lock_that_comes_free_while_it_is_waited_for_is_taken(spool: Spool) -> None:
    """The usual case: another program's batch."""
    os.mkdir(spool.rejected)
    make(spool.rejected_lock)
    held = take(spool.rejected_lock)
    assert isinstance(held, int)
    assert store_of(spool, wait=lambda _seconds: os.close(held)).add([new()]) == [f"{DAY}:1"]


def test_a_lock_that_is_a_link_is_not_followed(spool: Spool, tmp_path: Path) -> None:
    """Numbers would be written over whatever it points to."""
    (tmp_path / "precious").write_bytes(b"precious")
    os.mkdir(spool.rejected)
    os.symlink(tmp_path / "precious", spool.rejected_lock)
    with pytest.raises(SpoolError, match="cannot lock"):
        store_of(spool, wait=lambda _seconds: None).add([new()])
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_spool_that_is_not_there_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    """The spool itself is not made here."""
    with pytest.raises(SpoolError, match="make it first"):
        store_of(Spool(str(tmp_path / "none"))).add([new()])


# Disks that fail


def test_a_batch_that_fell_short_counts_as_not_kept_and_is_kept_at_the_next_try(
    spool: Spool,
) -> None:
    """Disk full in the middle: the torn line is passed over, the next batch begins on a line of its own."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new(b"one", 0)])
    files.short_by = 40
    with pytest.raises(SpoolFull):
        store.add([new(b"two", 10), new(b"three", 20)])
    del files.fails["write"]
    store.add([new(b"two", 10), new(b"three", 20)])
    other = store_of(spool)
    assert [(one.place, one.raw) for one in other.kept()] == [
        ((P, 0), b"one"),
        ((P, 10), b"two"),
        ((P, 20), b"three"),
    ]
    assert other.unreadable == 1


def test_a_disk_that_is_full_from_the_start_leaves_nothing_and_heals(spool: Spool) -> None:
    """The command waits, and the sender goes on."""
    files = Failing()
    files.fails["write"] = errno.ENOSPC
    store = store_of(spool, files=files)
    with pytest.raises(SpoolFull, match="keep rejected commands"):
        store.add([new()])
    files.fails.clear()
    store.add([new()])
    store.sync()
    assert len(ids(spool)) == 1


def test_a_file_whose_maker_was_killed_before_it_had_its_mode_gets_it(spool: Spool) -> None:
    """Else an operator of the group could take nothing off the list."""
    os.mkdir(spool.rejected)
    Path(spool.rejected, NAME).touch(mode=0o600)
    store_of(spool).add([new()])
    assert stat.S_IMODE(os.stat(f"{spool.rejected}/{NAME}").st_mode) == 0o660


def test_sync_makes_files_and_names_durable_before_it_returns(spool: Spool) -> None:
    """Content, then the entry in rejected/, then the entry of rejected/ itself."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new()])
    files.done.clear()
    store.sync()
    assert files.done == [("fdatasync", NAME), ("fsync", "rejected"), ("fsync", "s")]
    store.sync()
    assert len(files.done) == 3, "nothing was added since"


def test_after_a_failed_sync_the_bytes_are_written_again_elsewhere(spool: Spool) -> None:
    """A second sync of the same file would succeed although the bytes are lost."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new(b"one", 0)])
    store.sync()
    store.add([new(b"two", 10)])
    files.fails["fdatasync"] = errno.EIO
    with pytest.raises(SpoolError, match="cannot sync"):
        store.sync()
    files.fails.clear()
    files.done.clear()
    store.sync()
    assert ("fdatasync", f"{DAY}-sender.1.jsonl") in files.done
    assert ("fdatasync", NAME) not in files.done
    assert b"two" in content(spool, f"{DAY}-sender.1.jsonl")
    assert ids(spool) == [f"{DAY}:1", f"{DAY}:2"]


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_added_during_a_sync_is_kept_whatever_becomes_of_it(
    spool: Spool, *, fails: bool
) -> None:
    """It stands in the same file, which goes where the sync fails, and is durable only after the next one."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new(b"one", 0)])
    unsynced = store.begin_sync()
    assert unsynced is not None
    store.add([new(b"two", 10)])
    if fails:
        files.fails["fdatasync"] = errno.EIO
    unsynced.run()
    files.fails.clear()
    if fails:
        with pytest.raises(SpoolError, match="cannot sync"):
            store.end_sync(unsynced)
    else:
        store.end_sync(unsynced)
    files.done.clear()
    store.sync()
    assert [what for what, _ in files.done].count("fdatasync") == 1
    assert ids(spool) == [f"{DAY}:1", f"{DAY}:2"]
    assert store.begin_sync() is None


def test_a_sync_that_does_not_come_to_its_end_leaves_no_descriptor(spool: Spool) -> None:
    """As where the lock of the spool is lost meanwhile."""
    store = store_of(spool)
    store.add([new(b"one", 0)])
    assert store.begin_sync() is not None
    store.add([new(b"two", 10)])
    store.close()
    assert descriptors_in(spool.path) == 0


def test_what_is_added_after_a_failed_sync_carries_the_rest_along(spool: Spool) -> None:
    """Whichever comes first, `add` or `sync`."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new(b"one", 0)])
    files.fails["fsync"] = errno.EIO
    with pytest.raises(SpoolError):
        store.sync()
    assert files_in(spool) == [], "made since the last sync, it holds nothing else"
    files.fails.clear()
    store.add([new(b"two", 10)])
    store.sync()
    assert [one.raw for one in store_of(spool).kept()] == [b"one", b"two"]


def test_a_disk_that_refuses_every_sync_is_not_filled_by_the_tries(spool: Spool) -> None:
    """One file more at most, whatever the number of tries."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new(b"one", 0)])
    store.sync()
    files.fails["fdatasync"] = errno.EIO
    for offset in range(1, 20):
        store.add([new(b"again", offset)])
        with pytest.raises(SpoolError):
            store.sync()
    assert len(files_in(spool)) <= 2
    files.fails.clear()
    store.sync()
    assert len(ids(spool)) == 20


def test_a_file_that_can_be_neither_synced_nor_removed_is_left_alone(spool: Spool) -> None:
    """Its name is used up, since a later sync of it proves nothing."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new()])
    files.fails.update(fdatasync=errno.EIO, unlink=errno.EROFS)
    with pytest.raises(SpoolError):
        store.sync()
    files.fails.clear()
    store.sync()
    assert files_in(spool) == [f"{DAY}-sender.1.jsonl", NAME]
    assert ids(spool) == [f"{DAY}:1"]


def test_a_file_that_someone_else_made_under_that_name_is_not_removed(spool: Spool) -> None:
    """Only what this process made and nobody needs goes."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new()])
    os.rename(f"{spool.rejected}/{NAME}", f"{spool.rejected}/saved")
    with open(f"{spool.rejected}/{NAME}", "wb") as file:
        file.write(b"foreign\n")
    files.fails["fdatasync"] = errno.EIO
    with pytest.raises(SpoolError):
        store.sync()
    assert content(spool) == b"foreign\n"


def test_what_waits_for_a_sync_is_bounded(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of rejected commands syncs by itself; on a disk that refuses, it is refused."""
    monkeypatch.setattr(rejected_module, "_MAX_UNSYNCED", 1_000)
    files = Failing()
    store = store_of(spool, files=files)
    for offset in range(10):
        store.add([new(b"x" * 300, offset)])
    assert ("fdatasync", NAME) in files.done
    files.fails["fdatasync"] = errno.EIO

    def flood() -> None:
        for offset in range(100, 110):
            store.add([new(b"x" * 300, offset)])

    with pytest.raises(SpoolError, match="cannot sync"):
        flood()
    files.fails.clear()
    flood()
    store.sync()
    assert len(ids(spool)) == 20


def test_two_days_are_synced_together(spool: Spool) -> None:
    """Midnight between two syncs."""
    clock, files = Clock(), Failing()
    store = store_of(spool, clock=clock, files=files)
    store.add([new()])
    clock.now = AT + DAY_S
    store.add([new()])
    store.sync()
    synced = {what for name, what in files.done if name == "fdatasync"}
    assert synced == {NAME, "2026-11-24-sender.jsonl"}


# Names that are taken


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_a_name_that_is_taken_by_no_file_is_passed_by(
    spool: Spool, tmp_path: Path, kind: str
) -> None:
    """Nothing is followed or waited for, and the command is kept all the same."""
    os.mkdir(spool.rejected)
    path = f"{spool.rejected}/{NAME}"
    if kind == "directory":
        os.mkdir(path)
    elif kind == "link":
        os.symlink(tmp_path / "elsewhere", path)
    else:
        os.mkfifo(path)
    store_of(spool).add([new()])
    assert ids(spool) == [f"{DAY}:1"]
    assert not (tmp_path / "elsewhere").exists()


def test_when_every_name_is_taken_it_says_so(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than trying for ever."""
    monkeypatch.setattr(rejected_module, "_MAX_NAMES", 2)
    for name in (NAME, f"{DAY}-sender.1.jsonl"):
        os.makedirs(f"{spool.rejected}/{name}")
    with pytest.raises(SpoolError, match="no file bears each name"):
        store_of(spool).add([new()])


def test_a_file_that_may_not_be_opened_is_an_error(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mode that is wrong is for the operator to mend."""

    def refusing(path: str, _flags: int, **_: object) -> int:
        raise PermissionError(errno.EACCES, "no", path)

    monkeypatch.setattr(rejected_module, "open_own", refusing)
    with pytest.raises(SpoolError, match="Permission denied"):
        store_of(spool).add([new()])


def test_a_file_that_was_removed_between_two_batches_is_made_again(spool: Spool) -> None:
    """Another program let the first one go, and so removed the file."""
    store = store_of(spool)
    store.add([new(b"one", 0)])
    store_of(spool, "other").leave([f"{DAY}:1"], "dropped")
    store.add([new(b"two", 10)])
    store.sync()
    assert ids(spool) == [f"{DAY}:2"]
    store.close()


def test_close_lets_go_of_descriptors(spool: Spool) -> None:
    """Without a sync: whoever wants one asks for it."""
    before = os.listdir("/proc/self/fd")
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new()])
    store.close()
    assert os.listdir("/proc/self/fd") == before
    assert ("fdatasync", NAME) not in files.done


# Leaving


def test_what_leaves_is_off_the_list_and_the_file_stays_for_the_others(spool: Spool) -> None:
    """The leaving is a line of its own; the text before it stays as it was."""
    store = store_of(spool)
    store.add([new(b"one"), new(b"two")])
    before = content(spool)
    store_of(spool, "operator").leave([f"{DAY}:1"], "delivered")
    assert content(spool) == before + b'{"gone":"2026-11-23:1","how":"delivered"}\n'
    assert ids(spool) == [f"{DAY}:2"]
    assert store.count() == 1


def test_a_file_goes_with_the_last_of_its_commands(spool: Spool) -> None:
    """And its directory entry is gone for good."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new(), new()])
    store.leave([f"{DAY}:1"], "dropped")
    files.done.clear()
    store.leave([f"{DAY}:2"], "dropped")
    assert files.done == [("fdatasync", "lock"), ("unlink", NAME), ("fsync", "rejected")]
    assert files_in(spool) == []


def test_a_leaving_is_synced(spool: Spool) -> None:
    """What was dropped does not come back with a power cut."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new(), new()])
    files.done.clear()
    store.leave([f"{DAY}:2"], "dropped")
    assert files.done == [("write", NAME), ("fdatasync", NAME)]


def test_all_ids_of_a_place_leave_together(spool: Spool) -> None:
    """A sender that died before its checkpoint rejected the line twice, on two days."""
    clock = Clock()
    store = store_of(spool, clock=clock)
    store.add([new(b"one", 0), new(b"two", 10)])
    clock.now = AT + DAY_S
    store.add([new(b"one", 0)])
    assert [one.id for one in store.kept()] == [f"{DAY}:1", f"{DAY}:2"]
    store.leave(["2026-11-24:1"], "delivered")
    assert ids(spool) == [f"{DAY}:2"]
    assert files_in(spool) == [NAME]


def test_what_is_not_on_the_list_cannot_leave_it(spool: Spool) -> None:
    """A leaving that was repeated, or an id that never was."""
    store = store_of(spool)
    store.add([new(), new()])
    store.leave([f"{DAY}:1"], "dropped")
    before = content(spool)
    store.leave([f"{DAY}:1", f"{DAY}:77"], "dropped")
    assert content(spool) == before


def test_a_file_with_a_line_that_nobody_can_read_is_never_removed(spool: Spool) -> None:
    """It might be a command."""
    store = store_of(spool)
    store.add([new()])
    with open(f"{spool.rejected}/{NAME}", "ab") as file:
        file.write(b"strange\n")
    store.leave([f"{DAY}:1"], "dropped")
    assert content(spool).startswith(b'{"id"')
    assert (ids(spool), store.unreadable) == ([], 1)


def test_a_leaving_begins_on_a_line_of_its_own(spool: Spool) -> None:
    """Behind a line that a crash tore."""
    store = store_of(spool)
    store.add([new()])
    with open(f"{spool.rejected}/{NAME}", "ab") as file:
        file.write(b'{"id":"2026-')
    store.leave([f"{DAY}:1"], "dropped")
    assert content(spool).endswith(b'{"id":"2026-\n{"gone":"2026-11-23:1","how":"dropped"}\n')


def test_a_file_that_is_removed_by_hand_meanwhile_is_no_error(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it held is off the list anyhow."""
    store = store_of(spool)
    store.add([new(), new()])

    def removed(path: str, flags: int) -> int:
        os.unlink(path)
        return open_regular(path, flags)

    monkeypatch.setattr(rejected_module, "open_regular", removed)
    store.leave([f"{DAY}:1"], "dropped")
    assert ids(spool) == []


def test_a_disk_that_is_full_does_not_keep_the_last_ones_from_leaving(spool: Spool) -> None:
    """Whoever drops to make room must not need room for it."""
    files = Failing()
    store = store_of(spool, files=files)
    store.add([new(), new()])
    files.fails["write"] = errno.ENOSPC
    with pytest.raises(SpoolFull, match="take commands off the list"):
        store.leave([f"{DAY}:1"], "dropped")
    store.leave([f"{DAY}:1", f"{DAY}:2"], "dropped")
    assert files_in(spool) == []


def test_kept_is_in_the_order_in_which_they_were_rejected(spool: Spool) -> None:
    """Over programs, and by number, not by text."""
    sender, gateway = store_of(spool), store_of(spool, "gateway")
    for _ in range(6):
        sender.add([new()])
        gateway.add([new()])
    assert ids(spool) == [f"{DAY}:{number}" for number in range(1, 13)]
