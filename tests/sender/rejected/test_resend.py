"""Resending: three tries, a window, and nothing leaves the list but what the API has taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kmq.command import Command, encode
from kmq.spool import Spool
from sender.flow import Delivery, Outcome, Verdict
from sender.rejected import New, RejectedStore
from sender.rejected.rejection import cut
from sender.rejected.resend import Resend, Tally, command_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sender.rejected import Rejection

TAKEN = Outcome(Verdict.DELIVERED, "answered-200", 200)
BUSY = Outcome(Verdict.RETRY, "answered-503", 503)
ABSENT = Outcome(Verdict.RETRY, "refused")
BAD = Outcome(Verdict.REJECTED, "answered-400", 400)
FORBIDDEN = Outcome(Verdict.BLOCKED, "answered-403", 403)
PORTAL = Outcome(Verdict.BLOCKED, "web-page", 200)


class FakeSink:
    """Answers by the person of each command, at once or one exchange later."""

    def __init__(self, *, later: bool = False) -> None:
        self.answers: dict[str, list[Outcome]] = {}
        self.seen: list[str] = []
        self.widest = 0
        self.later = later
        self._held: list[Delivery] = []

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Answer what waits."""
        assert 0 <= wait_s <= 1.0
        self._held.extend(deliveries)
        self.widest = max(self.widest, len(self._held))
        if self.later and deliveries:
            return []
        answered, self._held = self._held, []
        return [(one.ticket, self._answer(one.command.person)) for one in answered]

    def _answer(self, person: str) -> Outcome:
        self.seen.append(person)
        left = self.answers.get(person) or self.answers.get("anyone", [TAKEN])
        return left.pop(0) if len(left) > 1 else left[0]

    def close(self) -> None:
        """Nothing to let go of."""


class Bench:
    """A store with rejected commands, a sink, and a clock that waits at once."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.store = RejectedStore(Spool(str(path)), "operator")
        self.sink = FakeSink()
        self.now = 0.0
        self.waits: list[float] = []
        self.stayed: list[tuple[str, str | None]] = []

    def reject(self, *people: str) -> None:
        """Put a command of each on the list."""
        self.store.add([New("answered-400", line(person)) for person in people])

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.waits.append(seconds)
        self.now += seconds

    def run(self, rejections: Sequence[Rejection] | None = None) -> Tally:
        """Resend the list."""
        resend = Resend(
            self.sink,
            self.store,
            monotonic=lambda: self.now,
            wait=self.wait,
            random=lambda: 0.5,
            stays=lambda one, got: self.stayed.append(
                (one.raw.decode()[7:10], got.code if got else None)
            ),
        )
        return resend.run(self.store.each() if rejections is None else rejections)

    def left(self) -> list[str]:
        """Return whose commands are still on the list."""
        return [one.raw.decode()[7:10] for one in self.store.kept()]


def line(person: str) -> bytes:
    """Return the line of a command, without its newline."""
    return encode(Command(person, 1_500_000_000, "Signed Up"))[:-1]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Give an empty list."""
    return Bench(tmp_path / "s")


def test_what_is_delivered_leaves_the_list(bench: Bench) -> None:
    """All of it, in one pass."""
    bench.reject("ann", "bob")
    assert bench.run() == Tally(delivered=2, answered=True)
    assert (bench.left(), bench.sink.seen, bench.stayed) == ([], ["ann", "bob"], [])


def test_nothing_else_leaves_the_list(bench: Bench) -> None:
    """What the API refuses again stays, and is said."""
    bench.reject("ann", "bob", "cat")
    bench.sink.answers["bob"] = [BAD]
    tally = bench.run()
    assert tally == Tally(delivered=2, stayed=1, answered=True)
    assert tally.undone == 1
    assert (bench.left(), bench.stayed) == (["bob"], [("bob", "answered-400")])


def test_each_is_tried_three_times_with_growing_delays(bench: Bench) -> None:
    """Then it is left; those beside it do not wait for it."""
    bench.reject("ann", "bob")
    bench.sink.answers["ann"] = [BUSY]
    assert bench.run() == Tally(delivered=1, stayed=1, answered=True)
    assert bench.sink.seen == ["ann", "bob", "ann", "ann"]
    assert bench.waits == [0.25, 0.5]
    assert bench.stayed == [("ann", "answered-503")]


def test_one_that_succeeds_at_the_third_try_is_delivered(bench: Bench) -> None:
    """A server that restarts."""
    bench.reject("ann")
    bench.sink.answers["ann"] = [BUSY, BUSY, TAKEN]
    assert bench.run() == Tally(delivered=1, answered=True)


def test_retry_after_is_a_minimum(bench: Bench) -> None:
    """The API asked for it."""
    bench.reject("ann")
    bench.sink.answers["ann"] = [Outcome(Verdict.RETRY, "answered-429", 429, 7.0), TAKEN]
    bench.run()
    assert bench.waits == [7.0]


def test_answers_may_come_later(bench: Bench) -> None:
    """The sink is asked again while something is in flight, without waiting beside it."""
    bench.sink.later = True
    bench.reject("ann", "bob")
    assert bench.run() == Tally(delivered=2, answered=True)
    assert bench.waits == []


def test_only_so_many_are_under_way_at_once(bench: Bench) -> None:
    """Also of those that wait for another try."""
    bench.sink.later = True
    bench.reject(*(f"p{number:02}" for number in range(90)))
    bench.sink.answers["p00"] = [BUSY, TAKEN]
    assert bench.run().delivered == 90
    assert bench.sink.widest == 32


def test_where_nobody_answers_the_rest_is_not_tried(bench: Bench) -> None:
    """Ten thousand commands times three tries would tell nothing new."""
    bench.reject(*(f"p{number:02}" for number in range(50)))
    bench.sink.answers["anyone"] = [ABSENT]
    assert bench.run() == Tally(stayed=32, untried=18)
    assert len(bench.left()) == 50


def test_one_that_gets_no_answer_does_not_end_it_where_others_do(bench: Bench) -> None:
    """A server may hang up on one command and take the rest."""
    bench.reject(*(f"p{number:02}" for number in range(50)))
    bench.sink.answers["p00"] = [ABSENT]
    assert bench.run() == Tally(delivered=49, stayed=1, answered=True)


@pytest.mark.parametrize(("outcome", "answered"), [(FORBIDDEN, True), (PORTAL, False)])
def test_wrong_settings_end_it_at_the_first_answer(
    bench: Bench,
    outcome: Outcome,
    answered: bool,  # noqa: FBT001 - a parameter of pytest's
) -> None:
    """A wrong key, or a portal that answers for the API: what is under way is waited for, no more is begun."""
    bench.reject(*(f"p{number:02}" for number in range(50)))
    bench.sink.answers["anyone"] = [outcome]
    assert bench.run() == Tally(stayed=32, untried=18, answered=answered)


def test_what_cannot_be_sent_is_counted_said_and_stays(bench: Bench) -> None:
    """And what can be sent beside it is."""
    bench.store.add(
        [New("not-json", b"{not"), New("torn", line("bob")), New("no-time", line("cat"))]
    )
    assert bench.run() == Tally(delivered=1, unsendable=2, answered=True)
    assert [why for _, why in bench.stayed] == [None] * 2
    assert len(bench.left()) == 2


def test_what_was_delivered_is_off_the_list_however_it_ends(bench: Bench) -> None:
    """Ctrl-C in the middle."""
    bench.reject("ann", "bob")
    answer = bench.sink.exchange

    def interrupted(deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        if bench.sink.seen:
            raise KeyboardInterrupt
        return answer(deliveries[:1], wait_s)

    bench.sink.exchange = interrupted  # type: ignore[method-assign]  # an interrupt at a known moment
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert bench.left() == ["bob"]


def test_many_leave_in_batches(bench: Bench) -> None:
    """A crash sends at most a batch once more, and not each costs a sync."""
    bench.reject(*(f"p{number:03}" for number in range(250)))
    batches: list[int] = []
    leave = bench.store.leave

    def counted(ids: Sequence[str], how: str) -> None:
        assert how == "delivered"
        batches.append(len(ids))
        leave(ids, "delivered")

    bench.store.leave = counted  # type: ignore[method-assign]  # to count
    bench.run()
    assert sum(batches) == 250
    assert max(batches) == 100
    assert bench.left() == []


def kept(reason: str, raw: bytes, size: int | None = None) -> Rejection:
    """Return a rejected command as it is kept."""
    return cut(New(reason, raw, size=size), "2026-11-23:1", 0.0, "sender")


@pytest.mark.parametrize(
    ("rejection", "sendable"),
    [
        (kept("answered-400", line("bob")), True),
        (kept("torn", line("bob")), False),
        (kept("too-long", line("bob"), size=70_000), False),
        (kept("no-person", b"{}"), False),
    ],
)
def test_only_a_whole_command_that_was_acknowledged_can_be_sent(
    rejection: Rejection,
    sendable: bool,  # noqa: FBT001 - a parameter of pytest's
) -> None:
    """A torn line never was, and the head of one is another one."""
    assert (command_of(rejection) is not None) is sendable
