"""The account of a soak is judged: it forgets what is settled, and sees all the same when something breaks."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.soak.account import Account
from tests.support.hand import line_of
from tests.support.spools import Partition, make_spool

if TYPE_CHECKING:
    from pathlib import Path

    from kmq.spool import Spool

NAME = "6924a000-0123456789"
BEGAN = int("6924a000", 16)
REPLAY = "0" * 40


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


@pytest.fixture
def acks(tmp_path: Path) -> Path:
    (tmp_path / "acks").mkdir()
    return tmp_path / "acks"


@pytest.fixture
def account(acks: Path) -> Account:
    """Return the account of a process that noted its calls 1 to 3 and has ended."""
    (acks / NAME).write_text("".join(f"{NAME}-{number}\n" for number in (1, 2, 3)))
    made = Account(acks, replayed_with=REPLAY)
    assert made.take_notes()
    return made


def request(number: int, *, answer: int = 200, **changed: str) -> dict[str, Any]:
    """Return the request of a call, as the collector shows it."""
    person = f"{NAME}-{number}"
    size = line_of(person, BEGAN).rpartition(":")[2].strip('"}')
    params = {"_p": person, "_t": str(BEGAN), "_k": "key", "_n": "Did", "Size": size} | changed
    return {"path": "/e", "params": params, "answer": answer}


def test_what_is_settled_is_counted_and_forgotten(account: Account, spool: Spool) -> None:
    """And is known again when it comes once more."""
    account.take_requests([request(number) for number in (1, 2, 3)])
    account.fold()
    assert account._oracle.judge().acknowledged == 0
    account.take_requests([request(2), request(3, _k=REPLAY)])
    found = account.judge(spool.path)
    found.check()
    assert (found.acknowledged, found.delivered, found.delivered_again) == (3, 3, 2)
    assert account.replayed == 1


def test_what_never_came_is_lost(account: Account, spool: Spool) -> None:
    """Also when it came and was refused, and is not kept."""
    account.take_requests([request(1), request(2, answer=400)])
    account.fold()
    assert account.judge(spool.path).lost == {f"{NAME}-2", f"{NAME}-3"}


def test_what_lies_in_the_spool_is_not_lost(account: Account, spool: Spool) -> None:
    """Where it is what its call wrote."""
    account.take_requests([request(1), request(3)])
    partition = Partition(spool)
    partition.append(f"{line_of(f'{NAME}-2', BEGAN + 5)}\n".encode())
    account.judge(spool.path).check()


@pytest.mark.parametrize("changed", [{"Size": "y"}, {"_t": str(BEGAN + 1)}, {"More": "1"}])
def test_a_changed_command_is_seen_at_once(
    account: Account, spool: Spool, changed: dict[str, Any]
) -> None:
    """Also the only time it comes: what a call wrote follows from its person."""
    account.take_requests([request(1, **changed), request(2), request(3)])
    assert account.judge(spool.path).changed.keys() == {f"{NAME}-1"}


def test_a_command_that_changes_later_is_seen(account: Account, spool: Spool) -> None:
    """Also where the call gave no time, and the first one is forgotten."""
    account.take_requests([request(number) for number in (1, 2, 3)])
    account.fold()
    account.take_requests([request(2, _t=str(BEGAN + 1))])
    assert account.judge(spool.path).changed.keys() == {f"{NAME}-2"}


def test_what_nobody_called_for_is_foreign(account: Account, spool: Spool) -> None:
    """A person of no process's name."""
    account.take_requests([request(number) for number in (1, 2, 3)] + [request(1, _p="bob")])
    assert account.judge(spool.path).foreign == {"bob"}


def test_notes_are_read_until_their_process_has_ended(acks: Path) -> None:
    """It holds a lock on them; half a note is none."""
    notes = os.open(acks / NAME, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    fcntl.flock(notes, fcntl.LOCK_EX)
    os.write(notes, f"{NAME}-1\n{NAME}".encode())
    account = Account(acks, replayed_with=REPLAY)
    assert not account.take_notes()
    assert account.acknowledged == 1
    os.write(notes, b"-2\n")
    assert not account.take_notes()
    assert account.acknowledged == 2
    os.close(notes)
    assert account.take_notes()
    assert list(acks.iterdir()) == []
