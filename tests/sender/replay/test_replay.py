"""A replay: what is sent again is what was sent, all of it is settled, and it can be stopped."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from kmq.clock import Clock
from kmq.command import Command, encode
from kmq.spool import Spool, segment_path
from sender import checkpoint
from sender.api import request_for
from sender.dispatcher import Window
from sender.flow import Delivery, Outcome, Verdict
from sender.replay import Filter, Replay, ReplaySource
from sender.replay.filters import EVERYTHING
from sender.replay.source import file_pieces, spool_pieces
from sender.replay.tally import HOUR_S, tally
from sender.transport.choose import make_sink
from sender.transport.settings import TransportSettings
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures, by name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sender.flow import Sink
    from sender.rejected import New
    from sender.replay.source import Piece
    from tests.support.collector import CollectorProcess

P = "20261123T204501Z-4f2a91c3"
Q = "20261124T204501Z-90be12aa"
AT = 1_500_000_000
COMMANDS = [
    Command("bob", AT, "Viewed Homepage"),
    Command("bob", AT + 1, "Signed Up", properties={"Plan": "Pro", "Größe": "a&b=c +%"}),
    Command("al", AT + 2, properties={"gender": "male"}),
    Command("al", AT + 3, other="al@example.com"),
    Command("al", AT + 4, "viewed homepage", key="another"),
]
DELIVERED = Outcome(Verdict.DELIVERED, "answered-200", 200)
UNAVAILABLE = Outcome(Verdict.RETRY, "answered-503", 503)
REFUSED = Outcome(Verdict.REJECTED, "answered-400", 400)


@pytest.fixture
def api(request: pytest.FixtureRequest) -> CollectorProcess:
    """Give a running collector that has seen nothing and answers 200."""
    running: CollectorProcess = request.getfixturevalue("collector")
    return running


class Time(Clock):
    """A clock that moves only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self.now

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        assert seconds > 0
        self.now += seconds


class Answers:
    """A sink that answers each delivery as a function says, at once; None leaves it in flight."""

    def __init__(self, time: Time, answer: Callable[[Command, int], Outcome | None]) -> None:
        self.sent: list[Command] = []
        self._time = time
        self._answer = answer
        self._hanging = 0

    def exchange(self, deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        """Answer."""
        outcomes = []
        for delivery in deliveries:
            self.sent.append(delivery.command)
            outcome = self._answer(delivery.command, len(self.sent))
            if outcome is None:
                self._hanging += 1
            else:
                outcomes.append((delivery.ticket, outcome))
        if self._hanging and not outcomes:
            self._time.now += wait_s
        return outcomes

    def close(self) -> None:
        """Nothing is open."""


class Passed(list[tuple[str | None, int | None, str]]):
    """What was not sent, or refused: source, offset, reason."""

    def __call__(self, new: New) -> None:
        """Take note."""
        self.append((new.partition, new.offset, new.reason))


def put(spool: Spool, name: str, content: bytes) -> None:
    """Make a partition of one segment."""
    os.makedirs(spool.partition(name))
    with open(segment_path(spool.partition(name), 0), "wb") as file:
        file.write(content)


def file_of(tmp_path: Path, content: bytes) -> list[Piece]:
    """Make a file and return it as a piece."""
    (tmp_path / "x.jsonl").write_bytes(content)
    return file_pieces([str(tmp_path / "x.jsonl")])


def replay_of(  # noqa: PLR0913 - the parts of a replay
    pieces: list[Piece],
    sink: Sink,
    wanted: Filter = EVERYTHING,
    *,
    passed: Passed | None = None,
    window: Window | None = None,
    time: Time | None = None,
) -> Replay:
    """Build one whose pieces can all be read."""

    def unread(piece: Piece, error: OSError) -> None:
        pytest.fail(f"{piece.path}: {error}")

    source = ReplaySource(pieces, unread)
    note = Passed() if passed is None else passed
    chance = random.Random(1).random
    window = window or Window()
    if time is None:
        return Replay(source, sink, wanted, window=window, passed=note, random=chance)
    return Replay(source, sink, wanted, window=window, passed=note, random=chance, clock=time)


def unstopped() -> bool:
    """Never stop."""
    return False


def nothing() -> None:
    """Look at nothing."""


# Against a real collector


@pytest.fixture(params=["requests", "curl"])
def sink(request: pytest.FixtureRequest, api: CollectorProcess) -> Iterator[Sink]:
    """Give each transport in turn."""
    made = make_sink(request.param, TransportSettings(api.url, "the-key"))
    yield made
    made.close()


def test_queries_are_those_of_the_first_sending_byte_for_byte(
    tmp_path: Path, api: CollectorProcess, sink: Sink
) -> None:
    """KISSmetrics counts once what it gets twice only because nothing in it changes."""
    spool = Spool(str(tmp_path / "spool"))
    put(spool, P, b"".join(map(encode, COMMANDS)))
    first = [request_for(command, "the-key") for command in COMMANDS]
    for _ in range(2):
        assert replay_of(spool_pieces(spool), sink).run(unstopped, nothing)
    raws = [request["raw"] for request in api.requests()]
    assert sorted(raws) == sorted(2 * [request.query for request in first])


def test_nothing_of_the_spool_is_changed(tmp_path: Path, api: CollectorProcess, sink: Sink) -> None:
    """No checkpoint moves, no file is made, no lock is taken; delivered ones are sent like the others."""
    spool = Spool(str(tmp_path / "spool"))
    put(spool, P, b"".join(map(encode, COMMANDS)))
    put(spool, Q, b"nonsense\n" + encode(COMMANDS[0]))
    checkpoint.save(spool, {P: len(encode(COMMANDS[0]))})
    before = {path: sorted(names) for path, _, names in os.walk(spool.path)}
    with open(spool.checkpoint, "rb") as file:
        offsets = file.read()
    passed = Passed()
    assert replay_of(spool_pieces(spool), sink, passed=passed).run(unstopped, nothing)
    assert api.summary()["total"] == 6
    assert passed == [(Q, 0, "not-json")]
    assert {path: sorted(names) for path, _, names in os.walk(spool.path)} == before
    with open(spool.checkpoint, "rb") as file:
        assert file.read() == offsets


def test_an_api_that_fails_for_a_while_gets_everything(
    tmp_path: Path, api: CollectorProcess, sink: Sink
) -> None:
    """It is retried as the sender does it."""
    api.answer(status=503, count=3)
    replay = replay_of(file_of(tmp_path, b"".join(map(encode, COMMANDS))), sink)
    assert replay.run(unstopped, nothing)
    good = [request["raw"] for request in api.requests() if request["answer"] == 200]
    assert len(good) == len(set(good)) == replay.delivered == 5


# With answers made here


def test_only_what_is_meant_is_sent(tmp_path: Path) -> None:
    """The rest is not counted either."""
    time = Time()
    sink = Answers(time, lambda *_: DELIVERED)
    pieces = file_of(tmp_path, b"".join(map(encode, COMMANDS)))
    replay = replay_of(pieces, sink, Filter(event="VIEWED homepage"), time=time)
    assert replay.run(unstopped, nothing)
    assert sorted(command.person for command in sink.sent) == ["al", "bob"]
    assert (replay.delivered, replay.rejected) == (2, 0)


def test_what_is_no_command_or_refused_is_named_and_the_rest_is_sent(tmp_path: Path) -> None:
    """By its place and the reason, never by what it says."""
    time = Time()
    lines = [encode(COMMANDS[0]), b"{}\n", encode(COMMANDS[2]), b'{"_p":"cut', bytes(9)]
    lines.append(encode(COMMANDS[4]))
    pieces = file_of(tmp_path, b"".join(lines))
    sink = Answers(time, lambda command, _: REFUSED if command.name is None else DELIVERED)
    passed = Passed()
    replay = replay_of(pieces, sink, passed=passed, time=time)
    assert replay.run(unstopped, nothing)
    path, offset = pieces[0].path, len(lines[0])
    assert sorted(passed) == [
        (path, offset, "no-person"),
        (path, offset + len(lines[1]), "answered-400"),
        (path, offset + len(lines[1]) + len(lines[2]), "zeros"),
    ]
    assert (replay.delivered, replay.rejected) == (2, 3)


def test_a_file_larger_than_what_is_read_ahead_goes_through(tmp_path: Path) -> None:
    """Memory is bounded by the dispatcher, and everything is sent once."""
    time = Time()
    content = b"".join(encode(Command(f"p{number}", AT, "x")) for number in range(30_000))
    waiting = 0

    def look() -> None:
        nonlocal waiting
        waiting = max(waiting, replay.dispatcher.waiting)

    sink = Answers(time, lambda *_: DELIVERED)
    replay = replay_of(file_of(tmp_path, content), sink, time=time, window=Window(8))
    assert replay.run(unstopped, look)
    assert len({command.person for command in sink.sent}) == len(sink.sent) == 30_000
    assert waiting <= 20_000
    assert len(replay.dispatcher._tracks) == 0


def test_too_much_beyond_one_that_hangs_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one source no more is kept in mind than of a partition."""
    monkeypatch.setattr("sender.dispatcher.track.MAX_BEYOND", 100)
    time = Time()
    content = b"".join(encode(Command(f"p{number}", AT, "x")) for number in range(5_000))
    sink = Answers(time, lambda command, _: None if command.person == "p0" else DELIVERED)
    replay = replay_of(file_of(tmp_path, content), sink, time=time)
    stops = iter([False] * 300 + [True])
    assert not replay.run(lambda: next(stops), nothing)
    assert len(sink.sent) < 5_000


def test_no_faster_than_the_rate(tmp_path: Path) -> None:
    """Fifty a second take 200 commands four seconds, on the clock that is handed in."""
    time = Time()
    content = b"".join(encode(Command(f"p{number}", AT, "x")) for number in range(200))
    replay = replay_of(
        file_of(tmp_path, content),
        Answers(time, lambda *_: DELIVERED),
        time=time,
        window=Window(32, 50.0),
    )
    assert replay.run(unstopped, nothing)
    assert 3.9 <= time.now - 1_000.0 <= 4.5


def test_it_retries_without_end(tmp_path: Path) -> None:
    """Hours of an outage lose nothing."""
    time = Time()
    sink = Answers(time, lambda *_: UNAVAILABLE if time.now < 1_000.0 + 3 * HOUR_S else DELIVERED)
    replay = replay_of(file_of(tmp_path, b"".join(map(encode, COMMANDS))), sink, time=time)
    assert replay.run(unstopped, nothing)
    assert replay.delivered == 5
    assert time.now > 1_000.0 + 3 * HOUR_S


def test_a_stream_is_waited_for() -> None:
    """What comes later is sent later, and its end is the end."""
    time = Time()
    reading, writing = os.pipe()
    source = ReplaySource(file_pieces(["-"]), lambda *_: None, stdin=reading)
    sink = Answers(time, lambda *_: DELIVERED)
    replay = Replay(
        source,
        sink,
        EVERYTHING,
        window=Window(),
        passed=Passed(),
        random=lambda: 0.5,
        clock=time,
    )
    coming = [encode(command) for command in COMMANDS]
    turns = 0

    def look() -> None:
        nonlocal turns
        turns += 1
        if turns % 5 == 0:
            if coming:
                os.write(writing, coming.pop(0))
            elif turns == 40:
                os.close(writing)

    assert replay.run(unstopped, look)
    assert sink.sent == COMMANDS
    os.close(reading)


def test_told_to_stop_it_finishes_what_is_in_flight(tmp_path: Path) -> None:
    """It reads no more and sends nothing new, and says that not all is done."""
    time = Time()
    content = b"".join(encode(Command(f"p{number}", AT, "x")) for number in range(100))
    release = False
    sink = Answers(time, lambda *_: None)
    late = sink.exchange

    def exchange(deliveries: Sequence[Delivery], wait_s: float) -> list[tuple[int, Outcome]]:
        late(deliveries, wait_s)
        tickets.extend(delivery.ticket for delivery in deliveries)
        given = [(ticket, DELIVERED) for ticket in tickets] if release else []
        if given:
            tickets.clear()
        return given

    tickets: list[int] = []
    sink.exchange = exchange  # type: ignore[method-assign]  # answers only when released
    replay = replay_of(file_of(tmp_path, content), sink, time=time, window=Window(8))

    def stopping() -> bool:
        nonlocal release
        release = bool(sink.sent)
        return release

    assert not replay.run(stopping, nothing)
    assert (len(sink.sent), replay.delivered, replay.dispatcher.in_flight) == (8, 8, 0)


def test_it_waits_ten_seconds_for_what_is_in_flight_and_no_longer(tmp_path: Path) -> None:
    """A server that hangs does not hold it."""
    time = Time()
    sink = Answers(time, lambda *_: None)
    replay = replay_of(file_of(tmp_path, encode(COMMANDS[0])), sink, time=time)
    assert not replay.run(lambda: bool(sink.sent), nothing)
    assert 9.9 <= time.now - 1_000.0 <= 10.6


# Counting


def test_the_count_is_by_kind_event_hour_and_place(tmp_path: Path) -> None:
    """Events are one whatever their case; what is no command is counted apart."""
    spool = Spool(str(tmp_path / "spool"))
    put(spool, P, b"".join(map(encode, COMMANDS)) + b"nonsense\n")
    put(spool, Q, encode(Command("bob", AT + 2 * HOUR_S, "Signed Up")))
    found = tally(spool_pieces(spool), EVERYTHING, lambda *_: None)
    assert found.commands == 6
    assert found.kinds == {"record": 4, "set": 1, "alias": 1}
    assert found.events == {"viewed homepage": 2, "signed up": 2}
    assert found.spelled == {"viewed homepage": "Viewed Homepage", "signed up": "Signed Up"}
    hour = AT - AT % HOUR_S
    assert found.hours == {hour: 5, hour + 2 * HOUR_S: 1}
    assert found.partitions == {P: 5, Q: 1}
    assert found.pieces == {(P, 0), (Q, 0)}
    assert found.unreadable == 1
    assert tally(spool_pieces(spool), Filter(kind="set"), lambda *_: None).commands == 1


def test_segments_are_told_apart(tmp_path: Path) -> None:
    """Only those count in which something is meant."""
    spool = Spool(str(tmp_path / "spool"))
    first, second = encode(COMMANDS[0]), encode(COMMANDS[2])
    put(spool, P, first)
    for start in (len(first), len(first) + len(second)):
        with open(segment_path(spool.partition(P), start), "wb") as file:
            file.write(second)
    found = tally(spool_pieces(spool), Filter(kind="set"), lambda *_: None)
    assert found.pieces == {(P, len(first)), (P, len(first) + len(second))}


def test_memory_for_names_and_hours_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of random names is counted all the same."""
    monkeypatch.setattr("sender.replay.tally._MAX_DIFFERENT", 10)
    content = b"".join(
        encode(Command("bob", AT + number * HOUR_S, f"event {number % 25}")) for number in range(50)
    )
    found = tally(file_of(tmp_path, content), EVERYTHING, lambda *_: None)
    assert (found.commands, len(found.events), found.others, len(found.hours)) == (50, 10, 30, 10)


def test_a_stream_is_counted_to_its_end(tmp_path: Path) -> None:
    """Counting waits for what comes."""
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    writing: list[int] = []

    def wait(_seconds: float) -> None:
        if not writing:
            writing.append(os.open(path, os.O_WRONLY))
            os.write(writing[0], encode(COMMANDS[0]))
        elif len(writing) == 1:
            os.close(writing[0])
            writing.append(0)

    assert tally(file_pieces([path]), EVERYTHING, lambda *_: None, wait=wait).commands == 1
