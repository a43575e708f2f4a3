"""Group commit: who leads, who waits, and what a leader that is cut short leaves behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from kmq.group import Group
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def never(_line: bytes) -> bool:
    return False


def group(
    commit: Callable[[Sequence[bytes], bool], Sequence[Exception | None]],
    alone: Callable[[bytes], bool] = never,
    here: bytearray | None = None,
) -> Group:
    """Return one that commits by `commit`, in this process."""
    page = bytearray(b"\1") if here is None else here
    return Group(commit, alone, page, lambda: OSError("left behind"))  # type: ignore[arg-type]  # it is only asked for [0]


class Held:
    """A commit that waits, in its first round, until it is let go."""

    def __init__(self) -> None:
        self.rounds: list[tuple[list[bytes], bool]] = []
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self, lines: Sequence[bytes], quick: bool) -> list[Exception | None]:  # noqa: FBT001 - as the group calls it
        self.rounds.append((list(lines), quick))
        self.entered.set()
        assert self.go.wait(20)
        return [None] * len(lines)


def test_who_comes_while_one_leads_is_in_the_next_round_together() -> None:
    """Two rounds for eight threads."""
    held = Held()
    shared = group(held)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(shared.append, b"0", quick=True)
        assert held.entered.wait(20)
        others = [pool.submit(shared.append, b"%d" % n, quick=True) for n in range(1, 8)]
        wait_until(lambda: len(shared._calls) == 8)
        held.go.set()
        for each in (first, *others):
            each.result(20)
    assert [len(lines) for lines, _ in held.rounds] == [1, 7]
    assert sorted(held.rounds[1][0]) == [b"%d" % n for n in range(1, 8)]
    assert not shared._calls


def test_a_round_is_quick_only_if_each_line_may_be() -> None:
    """Else what is due is done by it."""
    held = Held()
    held.go.set()
    shared = group(held)
    shared.append(b"0", quick=True)
    shared.append(b"1", quick=False)
    assert [quick for _, quick in held.rounds] == [True, False]


def test_each_learns_what_went_wrong_with_its_own_line() -> None:
    """One that is too long for the disk is no error of its neighbour."""

    def commit(lines: Sequence[bytes], _quick: bool) -> list[Exception | None]:  # noqa: FBT001 - as the group calls it
        return [OSError("full") if line == b"bad" else None for line in lines]

    shared = group(commit)
    shared.append(b"good", quick=True)
    with pytest.raises(OSError, match="full"):
        shared.append(b"bad", quick=True)
    assert not shared._calls


def test_a_leader_that_is_cut_short_takes_nobodys_line_with_it() -> None:
    """Those who waited in its round are woken, lead themselves, and return."""
    entered, go = threading.Event(), threading.Event()
    rounds: list[list[bytes]] = []

    def commit(lines: Sequence[bytes], _quick: bool) -> list[Exception | None]:  # noqa: FBT001 - as the group calls it
        rounds.append(list(lines))
        if len(rounds) == 1:
            entered.set()
            assert go.wait(20)
        if len(rounds) == 2:  # the second leader has everybody's line
            raise KeyboardInterrupt
        return [None] * len(lines)

    shared = group(commit)
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(shared.append, b"0", quick=True)]
        assert entered.wait(20)
        calls += [pool.submit(shared.append, b"%d" % n, quick=True) for n in range(1, 6)]
        wait_until(lambda: len(shared._calls) == 6)
        go.set()
        errors = [call.exception(20) for call in calls]
    assert sum(isinstance(error, KeyboardInterrupt) for error in errors) == 1
    assert errors.count(None) == 5
    answered = {line for round_ in (rounds[0], *rounds[2:]) for line in round_}
    interrupted = next(n for n, error in enumerate(errors) if error is not None)
    assert answered == {b"%d" % n for n in range(6)} - {b"%d" % interrupted}
    assert not shared._calls


def test_alone_it_needs_no_round_and_beside_others_it_waits_for_one() -> None:
    """What is done at once is done by `commit_one`, and never while somebody leads."""
    held = Held()
    alone: list[bytes] = []

    def at_once(line: bytes) -> bool:
        alone.append(line)
        return True

    shared = group(held, at_once)
    assert shared.append_alone(b"0")
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(shared.append, b"1", quick=True)
        assert held.entered.wait(20)
        assert not shared.append_alone(b"2")
        held.go.set()
        leader.result(20)
    assert alone == [b"0"]


def test_who_waits_for_one_alone_is_woken_by_it() -> None:
    """It leads no round, and passes the lead on."""
    held = Held()
    held.go.set()
    entered, go = threading.Event(), threading.Event()

    def at_once(_line: bytes) -> bool:
        entered.set()
        return go.wait(20)

    shared = group(held, at_once)
    with ThreadPoolExecutor(2) as pool:
        alone = pool.submit(shared.append_alone, b"0")
        assert entered.wait(20)
        other = pool.submit(shared.append, b"1", quick=True)
        wait_until(lambda: any(call.signal is not None for call in list(shared._calls)))
        go.set()
        assert alone.result(20)
        other.result(20)
    assert held.rounds == [([b"1"], True)]


def test_in_a_child_a_call_that_waited_is_left_behind() -> None:
    """Its leader is a thread of the parent."""
    held = Held()
    here = bytearray(b"\1")
    shared = group(held, here=here)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(shared.append, b"0", quick=True)
        assert held.entered.wait(20)
        waiting = pool.submit(shared.append, b"1", quick=True)
        wait_until(lambda: any(call.signal is not None for call in list(shared._calls)))
        here[0] = 0
        error = waiting.exception(20)
        held.go.set()
        leader.exception(20)
    assert isinstance(error, OSError)
    assert held.rounds == [([b"0"], True)]
