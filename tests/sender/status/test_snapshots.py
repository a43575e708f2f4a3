"""From the sender's figures to its snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kmq.command import Command, encode
from sender.dispatcher import Dispatcher, Window
from sender.flow import Line, Outcome, Position, Verdict
from sender.status.snapshots import Snapshots
from tests.support.clock import MovableClock
from tests.support.sinks import DELIVERED, HandSink, answered
from tests.support.spools import Partition, make_spool

if TYPE_CHECKING:
    from pathlib import Path

    from sender.status import Snapshot

P = "20261123T204501Z-4f2a91c3"


class Bench:
    """A dispatcher, and the snapshots of it."""

    def __init__(self, path: Path, outcome: Outcome | None = DELIVERED) -> None:
        self.spool = make_spool(path)
        self.clock = MovableClock()
        self.outcome = outcome
        self.dispatcher = Dispatcher(
            HandSink(lambda _: self.outcome),
            lambda _: None,
            window=Window(),
            random=lambda: 1.0,
            clock=self.clock,
        )
        self.snapshots = Snapshots(self.spool, "http://127.0.0.1:1", "requests", clock=self.clock)
        self.end = 0

    def send(self, count: int = 1) -> None:
        raw = encode(Command("bob", 1_795_500_000, "x"))[:-1]
        lines = []
        for _ in range(count):
            position = Position(P, self.end, self.end + len(raw) + 1)
            lines.append(Line(position, raw))
            self.end = position.end
        self.snapshots.read(lines)
        self.dispatcher.offer(lines)
        for _ in range(count):
            self.dispatcher.turn(0.0)

    def take(self) -> Snapshot:
        marks = self.dispatcher.low_water()
        return self.snapshots.take(self.dispatcher, {P: marks.get(P, self.end)}, {P: self.end})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "spool")


def test_idle_sending_and_idle_again(bench: Bench) -> None:
    """It shows SENDING while commands flow, also in a moment when nothing happens to be in flight."""
    assert bench.take().state == "IDLE"
    bench.send(20)
    bench.take()
    bench.clock.advance(1.0)
    snapshot = bench.take()
    assert (snapshot.state, snapshot.rate.out, snapshot.rates_in) == ("SENDING", 2.0, {P: 2.0})
    bench.clock.advance(60.0)
    snapshot = bench.take()
    assert (snapshot.state, snapshot.rate.out, snapshot.rates_in) == ("IDLE", 0.0, {})


def test_what_waits_is_sending(bench: Bench) -> None:
    """Handed over and not answered yet."""
    bench.outcome = None
    bench.send()
    assert (bench.take().state, bench.take().in_flight) == ("SENDING", 1)


@pytest.mark.parametrize(
    ("outcome", "state", "message"),
    [
        (answered(503), "RETRYING", "503 from the API"),
        (Outcome(Verdict.RETRY, "timeout"), "RETRYING", "no answer from the API (timeout)"),
        (answered(403, Verdict.BLOCKED), "BLOCKED", "403 from the API"),
    ],
    ids=["retry", "no answer", "blocked"],
)
def test_trouble_is_shown_with_its_answer(
    bench: Bench, outcome: Outcome, state: str, message: str
) -> None:
    """Never with the text of an exception, which would hold the key."""
    bench.outcome = outcome
    bench.send()
    bench.clock.advance(5.0)
    snapshot = bench.take()
    assert snapshot.state == state
    assert snapshot.last_error is not None
    assert snapshot.last_error.message == message
    assert (snapshot.blocked is None) == (state != "BLOCKED")


def test_blocked_says_since_when_and_how_to_mend_it(bench: Bench) -> None:
    """For whoever looks at the status at night."""
    bench.outcome = answered(403, Verdict.BLOCKED)
    began = bench.clock.wall()
    bench.send()
    bench.clock.advance(0.25)
    blocked = bench.take().blocked
    assert blocked is not None
    assert blocked.since == pytest.approx(began)
    assert (blocked.status, blocked.next_probe_s) == (403, 0.25)
    assert "key" in blocked.advice


def test_how_far_behind_counts_from_the_files_own_time_at_first(bench: Bench) -> None:
    """Nobody saw it at rest yet; a command's `_t` never counts."""
    partition = Partition(bench.spool, P)
    partition.append(b"x" * 10)
    behind = bench.snapshots.take(bench.dispatcher, {P: 0}, {P: 10}).behind
    assert behind[P] <= bench.clock.wall()


def test_it_is_stopped_once_it_ended(bench: Bench) -> None:
    """And says how."""
    snapshot = bench.snapshots.take(bench.dispatcher, {}, {}, "signal 15")
    assert (snapshot.state, snapshot.ended) == ("STOPPED", "signal 15")


def test_what_says_nothing_new_is_written_every_five_seconds(bench: Bench) -> None:
    """So that the file is never stale while a sender runs, and an idle one writes little."""
    news = []
    for _ in range(11):
        news.append(bench.snapshots.is_news(bench.take()))
        bench.clock.advance(1)
    assert news == [True, *[False] * 4] * 2 + [True]
    bench.send()
    assert bench.snapshots.is_news(bench.take())
