"""The demo's account: acknowledged against arrived."""

from __future__ import annotations

import dataclasses

from sender.demo.account import Twin, command_of, take_account, visitor

ANN, BOB, EVE = visitor(1, 1), visitor(1, 2), visitor(2, 1)


def arrival(seq: int, person: str, answer: int | str = 200, time: int = 1) -> dict[str, object]:
    """Return a request as the collector gives it."""
    raw = f"_p={person}&_t={time}"
    return {"seq": seq, "path": "/e", "raw": raw, "params": {"_p": person}, "answer": answer}


def test_what_arrived_once_each_is_sound() -> None:
    """The plain case."""
    account = take_account([ANN, BOB], [arrival(1, ANN), arrival(2, BOB)])
    assert account.sound
    assert account.verdict == "2 acknowledged, 2 delivered, 0 lost"
    assert (account.requests, account.repeats, account.again, account.twin) == (2, 0, 0, None)


def test_what_never_arrived_is_lost() -> None:
    """By its name, so that it can be looked for."""
    account = take_account([ANN, BOB], [arrival(1, ANN)])
    assert account.lost == (BOB,)
    assert not account.sound
    assert account.verdict == "2 acknowledged, 1 delivered, 1 lost"


def test_what_was_only_ever_refused_is_lost() -> None:
    """A request that was answered with a failure, or not at all, is no delivery."""
    account = take_account([ANN, BOB], [arrival(1, ANN, 503), arrival(2, BOB, "drop")])
    assert account.lost == (ANN, BOB)
    assert account.answers == {"503": 1, "drop": 1}


def test_repeats_are_counted_and_one_of_them_shown() -> None:
    """Retries and what was sent again after a kill, apart: only the second kind was answered 200 twice."""
    came = [arrival(1, ANN, 503), arrival(2, ANN), arrival(3, BOB), arrival(4, BOB)]
    account = take_account([ANN, BOB], came)
    assert account.sound
    assert (account.repeats, account.again) == (2, 1)
    assert account.twin == Twin(3, 4, f"/e?_p={BOB}&_t=1")


def test_a_command_that_changed_on_its_way_is_a_fault() -> None:
    """With another time it would count twice."""
    account = take_account([ANN], [arrival(1, ANN), arrival(2, ANN, time=2)])
    assert account.changed == (ANN,)
    assert not account.sound


def test_what_arrived_without_being_acknowledged_is_no_fault() -> None:
    """Its writer was killed between the write and the return of the call."""
    account = take_account([ANN], [arrival(1, ANN), arrival(2, EVE)])
    assert account.sound
    assert account.unacknowledged == (EVE,)
    assert account.verdict == "1 acknowledged, 1 delivered, 0 lost"


def test_commands_of_one_person_are_told_apart_by_their_requests() -> None:
    """Those of the common methods share theirs."""
    first, second = arrival(1, "bob@bob.com"), arrival(2, "bob@bob.com", time=2)
    assert command_of(first) != command_of(second)
    assert take_account([command_of(first), command_of(second)], [first, second]).sound


def test_thousands_are_set_apart() -> None:
    """It is read by people."""
    account = dataclasses.replace(take_account([], []), acknowledged=8005, delivered=8005)
    assert account.verdict == "8,005 acknowledged, 8,005 delivered, 0 lost"
