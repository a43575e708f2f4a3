"""What gets into the log: each trouble once at its start, now and then while it lasts, once at its end."""

from __future__ import annotations

import errno
import io

import pytest

from kmq.command import Command, encode
from sender.advice import advice_for
from sender.announcer import Announcer
from sender.dispatcher import Dispatcher, GateState, Window
from sender.flow import Event, Line, Outcome, Position, Verdict
from sender.logs import Log
from tests.support.clock import MovableClock
from tests.support.sinks import DELIVERED, HandSink, answered

SECRET = "bob@secret.example"  # noqa: S105 - a person, which must get into no log


class Bench:
    """A dispatcher whose every answer is `outcome`, and the log of what is said about it."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.clock = MovableClock()
        self.outcome = DELIVERED
        self.keep_error: OSError | None = None
        self.announcer = Announcer(Log("text", "debug", stream=self.stream, clock=self.clock.wall))
        self.dispatcher = Dispatcher(
            HandSink(lambda _: self.outcome),
            self._keep,
            window=Window(),
            random=lambda: 1.0,
            clock=self.clock,
        )
        self.offset = 0

    def _keep(self, _batch: object) -> None:
        if self.keep_error:
            raise self.keep_error

    def pass_time(self, seconds: float, *, step: float = 1.0) -> None:
        for _ in range(round(seconds / step)):
            self.dispatcher.turn(0.0)
            self.announcer.look(self.dispatcher, self.dispatcher.waiting, self.clock.monotonic())
            self.clock.advance(step)

    def offer(self, raw: bytes | None = None) -> None:
        raw = raw or encode(Command(SECRET, 1_795_500_000, "Signed Up"))[:-1]
        end = self.offset + len(raw) + 1
        self.dispatcher.offer([Line(Position("20261123T204501Z-4f2a91c3", self.offset, end), raw)])
        self.offset = end

    def lines(self) -> list[str]:
        said = self.stream.getvalue().splitlines()
        return [line.split(" ", 1)[1] for line in said]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_outage_is_said_at_its_start_every_five_minutes_and_at_its_end(bench: Bench) -> None:
    """Not once for each probe."""
    bench.outcome = answered(503)
    bench.offer()
    bench.pass_time(601)
    bench.outcome = DELIVERED
    bench.pass_time(60)
    said = [line.split(":")[0] for line in bench.lines()]
    assert said == ["WARNING api answers 503, retrying"] * 3 + ["INFO api takes commands again"]


def test_no_answer_is_said_by_its_code(bench: Bench) -> None:
    """The text of a transport's exception would hold the URL and so the key."""
    bench.outcome = Outcome(Verdict.RETRY, "timeout")
    bench.offer()
    bench.pass_time(1)
    assert bench.lines()[0].startswith(
        "WARNING no answer from the api (timeout), retrying: code=timeout waiting=1"
    )


def test_blocked_says_loudly_why_and_how_to_mend_it(bench: Bench) -> None:
    """An error, with the way out, and that nothing is lost."""
    bench.outcome = answered(403, Verdict.BLOCKED)
    bench.offer()
    bench.pass_time(1)
    (line,) = bench.lines()
    assert line.startswith(
        "ERROR api answers 403: the API key is refused; nothing is lost; mend: put the right key"
    )


def test_an_api_that_flaps_is_one_outage(bench: Bench) -> None:
    """Up for a moment, down again: that is no news, many times a second."""
    for number in range(40):
        bench.outcome = answered(503) if number % 2 else DELIVERED
        bench.offer()
        bench.pass_time(3, step=0.5)
    bench.outcome = DELIVERED
    bench.pass_time(60)
    assert [line.split(":")[0] for line in bench.lines()] == [
        "WARNING api answers 503, retrying",
        "INFO api takes commands again",
    ]


def test_a_block_that_gets_another_cause_is_said_again(bench: Bench) -> None:
    """What has to be mended is another thing now."""
    bench.offer()
    for status in (403, 404):
        bench.outcome = answered(status, Verdict.BLOCKED)
        bench.pass_time(40)
    assert ["key" in line for line in bench.lines()] == [True, False]


def test_an_apps_own_key_that_is_refused_is_said_and_holds_up_nobody(bench: Bench) -> None:
    """Its commands wait; the sender's state is that of all others."""
    bench.outcome = answered(401, Verdict.BLOCKED)
    own = encode(Command(SECRET, 1_795_500_000, "Signed Up", key="another"))[:-1]
    bench.offer(own)
    bench.pass_time(60)
    said = [line for line in bench.lines() if "key of an app" in line]
    assert len(said) == 1
    assert "another" not in said[0]
    assert bench.dispatcher.gate.state is GateState.OPEN


def test_an_outage_that_turns_into_a_block_is_said_at_once(bench: Bench) -> None:
    """The operator has to act now, not in five minutes."""
    bench.outcome = answered(503)
    bench.offer()
    bench.pass_time(2)
    bench.outcome = answered(403, Verdict.BLOCKED)
    bench.pass_time(5)
    assert [line.split()[0] for line in bench.lines()] == ["WARNING", "ERROR"]


def test_rejected_commands_are_counted_by_reason_once_a_minute(bench: Bench) -> None:
    """A flood of broken lines is a line a minute."""
    for _ in range(5):
        bench.offer(b"broken")
        bench.pass_time(1)
    bench.pass_time(60)
    counts = [line.rsplit("count=")[1] for line in bench.lines() if "rejected" in line]
    assert counts == ["2", "3"]


def test_a_reject_that_cannot_be_kept_is_said_until_it_can(bench: Bench) -> None:
    """Once, although it is tried each second."""
    bench.keep_error = OSError(28, "No space left on device")
    bench.offer(b"broken")
    bench.pass_time(30)
    assert [line for line in bench.lines() if "No space left" in line] == [
        "ERROR [Errno 28] No space left on device"
    ]


def test_a_lock_that_another_program_holds_is_said_only_if_it_stays_so(bench: Bench) -> None:
    """It appends one batch and lets go; one that is stopped in the middle is somebody's business."""
    bench.keep_error = OSError(errno.EAGAIN, "another process holds it")
    bench.offer(b"broken")
    bench.pass_time(3)
    bench.keep_error = None
    bench.pass_time(3)
    assert not any("holds it" in line for line in bench.lines())
    bench.keep_error = OSError(errno.EAGAIN, "another process holds it")
    bench.offer(b"broken")
    bench.pass_time(30)
    assert len([line for line in bench.lines() if "holds it" in line]) == 1


def test_a_checkpoint_that_fails_is_said_once_and_so_is_that_it_works_again(bench: Bench) -> None:
    """Each trouble has its own beginning, and an end: when it has been over for a while."""
    error = OSError(5, "Input/output error")
    for moment in (error, None, error, *[None] * 12, error):
        bench.announcer.checkpoint(moment, bench.clock.monotonic())
        bench.clock.advance(1.0)
    assert bench.lines() == [
        "ERROR [Errno 5] Input/output error",
        "INFO works again: checkpoint-failed: lasted=3s",
        "ERROR [Errno 5] Input/output error",
    ]


def test_a_fact_from_below_is_said_with_its_place(bench: Bench) -> None:
    """Partition and offset are what an operator looks it up by."""
    bench.announcer.event(Event("gap", "20261123T204501Z-4f2a91c3", 4_093, "57 bytes are missing"))
    bench.announcer.event(Event("segment-gone"))
    assert bench.lines() == [
        "ERROR gap: 57 bytes are missing: partition=20261123T204501Z-4f2a91c3 offset=4093",
        "ERROR segment gone",
    ]


def test_no_person_gets_into_the_log(bench: Bench) -> None:
    """At no level, whatever happens to a command."""
    for outcome in (
        answered(503),
        answered(403, Verdict.BLOCKED),
        answered(400, Verdict.REJECTED),
        DELIVERED,
    ):
        bench.outcome = outcome
        bench.offer()
        bench.pass_time(70)
    assert "secret" not in bench.stream.getvalue()


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (answered(401, Verdict.BLOCKED), "key"),
        (answered(403, Verdict.BLOCKED), "key"),
        (answered(404, Verdict.BLOCKED), "not the tracking API"),
        (answered(407, Verdict.BLOCKED), "proxy"),
        (answered(301, Verdict.BLOCKED), "redirects"),
        (answered(400, Verdict.BLOCKED), "answered-400"),
        (Outcome(Verdict.BLOCKED, "tls"), "certificate"),
        (Outcome(Verdict.BLOCKED, "web-page", 200), "web page"),
    ],
    ids=lambda value: value.code if isinstance(value, Outcome) else "",
)
def test_every_kind_of_block_has_its_reason_and_a_way_out(outcome: Outcome, word: str) -> None:
    """An operator reads it at night."""
    advice = advice_for(outcome)
    assert word in advice.reason
    assert advice.mend
