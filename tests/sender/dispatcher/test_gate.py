"""The gate: when the whole sender holds back, and what a single answer means in the light of the others."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sender.dispatcher import GateState
from sender.dispatcher.gate import Gate
from sender.flow import Outcome, Verdict
from tests.support.sinks import DELIVERED, answered

BLOCKED = answered(403, Verdict.BLOCKED)


@dataclass(frozen=True)
class Sent:
    """A command that was sent."""

    ticket: int
    person: bytes
    window: int
    own_key: bool = False


def refused(status: int) -> Outcome:
    return answered(status, Verdict.REJECTED)


@pytest.fixture
def gate() -> Gate:
    """Return a gate with the longest delays that chance can give."""
    return Gate(lambda: 1.0)


def sent(gate: Gate, ticket: int, person: str = "") -> Sent:
    return Sent(ticket, (person or f"person {ticket}").encode(), gate.window)


def test_one_command_that_fails_beside_others_does_not_close_the_gate(gate: Gate) -> None:
    """What one command meets says nothing of the others."""
    assert gate.judge(sent(gate, 1), answered(500), 0.0, in_flight=5) is Verdict.RETRY
    assert gate.state is GateState.OPEN
    assert gate.may_send(2, 0.0, in_flight=5)


def test_several_failures_in_a_row_close_the_gate_to_one_probe_at_a_time(gate: Gate) -> None:
    """When everything fails, one probe goes at a time, and not before its delay."""
    window = [sent(gate, ticket) for ticket in range(32)]
    for number, one in enumerate(window):
        gate.judge(one, answered(503), 0.0, in_flight=31 - number)
    assert gate.state is GateState.RETRYING
    assert not gate.may_send(99, 0.1, in_flight=0)
    assert gate.may_send(99, 0.5, in_flight=0)
    assert not gate.may_send(99, 0.5, in_flight=1)


def test_five_that_fail_close_the_gate_although_others_are_under_way(gate: Gate) -> None:
    """Those may hang, and be no word for or against the API."""
    for ticket in range(5):
        assert gate.state is GateState.OPEN
        gate.judge(sent(gate, ticket), answered(503), 0.0, in_flight=20)
    assert gate.state is GateState.RETRYING


def test_a_window_that_fails_together_counts_as_one_failure(gate: Gate) -> None:
    """32 failures at once lead to the first delay, not to the cap."""
    window = [sent(gate, ticket) for ticket in range(32)]
    for number, one in enumerate(window):
        gate.judge(one, answered(503), 0.0, in_flight=31 - number)
    assert gate.next_try_at() <= 0.5


def test_the_delay_doubles_with_each_probe_up_to_its_cap(gate: Gate) -> None:
    """0.5 s, 1 s, 2 s, ... and never more than 30 s."""
    gate.judge(sent(gate, 1), answered(503), 0.0, in_flight=0)
    delays = []
    now = 0.0
    for _ in range(10):
        delays.append(gate.next_try_at() - now)
        now = gate.next_try_at()
        gate.judge(sent(gate, 1), answered(503), now, in_flight=0)
    assert delays == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30])


def test_a_delivery_opens_the_gate_and_forgets_the_failures(gate: Gate) -> None:
    """After it everything may go, and the next outage begins with the first delay."""
    for _ in range(6):
        gate.judge(sent(gate, 1), answered(503), 0.0, in_flight=0)
    gate.judge(sent(gate, 1), DELIVERED, 10.0, in_flight=0)
    assert (gate.state, gate.cause) == (GateState.OPEN, None)
    assert gate.may_send(2, 10.0, in_flight=20)
    gate.judge(sent(gate, 3), answered(503), 10.0, in_flight=0)
    assert gate.next_try_at() == pytest.approx(10.5)


def test_a_late_failure_of_an_older_window_does_not_lengthen_the_delay(gate: Gate) -> None:
    """An answer that was under way before the last count tells nothing new."""
    old = sent(gate, 2)
    gate.judge(sent(gate, 1), BLOCKED, 0.0, in_flight=1)
    before = gate.next_try_at()
    gate.judge(old, answered(503), 0.1, in_flight=0)
    assert gate.next_try_at() == before


def test_while_only_one_command_has_failed_an_untried_one_may_go_at_once(gate: Gate) -> None:
    """One command that can never be delivered must not slow a quiet sender down to its own retries."""
    gate.judge(sent(gate, 1), answered(500), 0.0, in_flight=0)
    assert not gate.may_send(1, 0.0, in_flight=0)
    assert gate.may_send(2, 0.0, in_flight=0)
    gate.judge(sent(gate, 2), answered(500), 0.0, in_flight=0)
    assert not gate.may_send(3, 0.0, in_flight=0)


def test_too_many_requests_close_the_gate_for_as_long_as_the_api_asks(gate: Gate) -> None:
    """429 is said to the sender as a whole: what was still under way does not shorten the pause."""
    gate.judge(sent(gate, 1), answered(429, retry_after_s=60.0), 0.0, in_flight=3)
    assert gate.state is GateState.RETRYING
    gate.judge(sent(gate, 2), DELIVERED, 1.0, in_flight=2)
    assert not gate.may_send(3, 59.0, in_flight=0)
    assert gate.may_send(3, 60.0, in_flight=0)
    assert gate.next_try_at() == 60.0
    gate.judge(sent(gate, 3), DELIVERED, 61.0, in_flight=0)
    assert gate.may_send(4, 61.0, in_flight=31)


def test_retry_after_of_one_command_among_deliveries_holds_up_that_one_only(gate: Gate) -> None:
    """One 503 must not silence a sender whose other commands are delivered."""
    gate.judge(sent(gate, 1), answered(503, retry_after_s=120.0), 0.0, in_flight=3)
    assert gate.state is GateState.OPEN
    assert gate.may_send(2, 0.0, in_flight=3)


def test_retry_after_is_a_minimum_when_everything_fails(gate: Gate) -> None:
    """The longest that was asked for counts, and is forgotten with the outage."""
    for ticket in range(5):
        gate.judge(sent(gate, ticket), answered(503, retry_after_s=10.0 + ticket), 0.0, 4 - ticket)
    assert gate.next_try_at() == 14.0
    gate.judge(sent(gate, 9), DELIVERED, 14.0, in_flight=0)
    gate.judge(sent(gate, 9), answered(503), 14.0, in_flight=0)
    assert gate.next_try_at() == pytest.approx(14.5)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_an_apps_own_key_does_not_block_the_host(gate: Gate, status: int) -> None:
    """It says nothing about the sender's key, nor about the API."""
    for ticket in range(50):
        own = Sent(ticket, b"bob", gate.window, own_key=True)
        assert gate.judge(own, answered(status, Verdict.BLOCKED), 0.0, 0) is Verdict.RETRY
    assert gate.state is GateState.OPEN
    assert gate.own_keys_refused == 50


def test_wrong_settings_block_at_once(gate: Gate) -> None:
    """A refused key closes the gate with the first answer, whatever else is in flight."""
    assert gate.judge(sent(gate, 1), BLOCKED, 0.0, in_flight=31) is Verdict.BLOCKED
    assert (gate.state, gate.cause) == (GateState.BLOCKED, BLOCKED)
    assert not gate.may_send(2, 0.0, in_flight=31)


def test_a_probe_that_meets_another_trouble_changes_the_state(gate: Gate) -> None:
    """Blocked, then no answer: what is shown is what holds it up now."""
    gate.judge(sent(gate, 1), BLOCKED, 0.0, in_flight=0)
    gate.judge(sent(gate, 1), answered(503), 1.0, in_flight=0)
    assert gate.state is GateState.RETRYING
    assert gate.since == 1.0


def test_refusals_are_rejected_one_by_one(gate: Gate) -> None:
    """19 commands that the API refuses for what they say are rejected, and nothing is held up."""
    verdicts = {gate.judge(sent(gate, ticket), refused(400), 0.0, 1) for ticket in range(19)}
    assert verdicts == {Verdict.REJECTED}
    assert gate.state is GateState.OPEN


def test_twenty_equal_refusals_of_several_people_block_instead(gate: Gate) -> None:
    """An API that answers the same 4xx to everything would turn the whole backlog into rejects."""
    verdicts = [gate.judge(sent(gate, ticket), refused(400), 0.0, 1) for ticket in range(25)]
    assert verdicts[:19] == [Verdict.REJECTED] * 19
    assert verdicts[19:] == [Verdict.BLOCKED] * 6
    assert gate.state is GateState.BLOCKED


def test_twenty_equal_refusals_of_one_person_do_not_block(gate: Gate) -> None:
    """One person's commands can all be bad."""
    verdicts = {gate.judge(sent(gate, n, "bob"), refused(400), 0.0, 1) for n in range(40)}
    assert verdicts == {Verdict.REJECTED}


def test_a_row_of_refusals_is_broken_by_a_delivery(gate: Gate) -> None:
    """An API that takes one command refuses the others for what they say."""
    for ticket in range(19):
        gate.judge(sent(gate, ticket), refused(400), 0.0, 1)
    gate.judge(sent(gate, 50), DELIVERED, 0.0, 1)
    assert gate.judge(sent(gate, 51), refused(400), 0.0, 1) is Verdict.REJECTED


def test_refusals_of_different_kinds_block_together(gate: Gate) -> None:
    """What answers 400 to one kind of request and 422 to another refuses everything all the same."""
    verdicts = [
        gate.judge(sent(gate, ticket), refused(400 + 22 * (ticket % 2)), 0.0, 1)
        for ticket in range(25)
    ]
    assert verdicts == [Verdict.REJECTED] * 19 + [Verdict.BLOCKED] * 6


def test_a_failure_between_equal_refusals_does_not_hide_them(gate: Gate) -> None:
    """An API that refuses everything and is down at times would otherwise reject the whole backlog."""
    for ticket in range(19):
        gate.judge(sent(gate, ticket), refused(400), 0.0, 1)
        gate.judge(sent(gate, 100), answered(503), 0.0, 1)
    assert gate.judge(sent(gate, 51), refused(400), 0.0, 1) is Verdict.BLOCKED


def test_a_delivery_ends_the_block_by_refusals(gate: Gate) -> None:
    """When the API takes commands again, the next refusal is the command's own."""
    for ticket in range(20):
        gate.judge(sent(gate, ticket), refused(400), 0.0, 1)
    gate.judge(sent(gate, 30), DELIVERED, 40.0, 0)
    assert gate.judge(sent(gate, 31), refused(400), 40.0, 0) is Verdict.REJECTED
    assert gate.state is GateState.OPEN
