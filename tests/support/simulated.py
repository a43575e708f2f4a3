"""The sender's parts in this process: a real spool, the real transport over HTTP, and a time that the test moves.

    api = Api()
    with MisbehavingServer(api) as server, Simulation(spool, server.url) as sender:
        api.say("bob", answer(500))
        sender.pass_time(3_600, meanwhile=write_something)

What takes an hour of the clock takes no hour here; every answer is one that came over a socket.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl

from click.testing import CliRunner

from kmq.command import Command, encode
from sender.cli import root
from sender.commit import Committer
from sender.dispatcher import Dispatcher, Window
from sender.reader import SpoolReader
from sender.rejected import RejectedStore
from sender.retention import Limits, Retention
from sender.transport.pooled import PooledSink
from sender.transport.settings import TransportSettings
from tests.support.clock import MovableClock
from tests.support.misbehaving import answer
from tests.support.oracle import Oracle
from tests.support.spools import Reports

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from click.testing import Result

    from kmq.spool import Spool
    from sender.dispatcher import GateState
    from sender.rejected import New
    from tests.support.misbehaving import Conversation
    from tests.support.spools import Partition

__all__ = ["Api", "Simulation", "operator", "write"]

KEY = "4f2a91c34f2a91c34f2a91c34f2a91c34f2a91c3"
KEPT_FOR_GOOD = Limits(age_s=1e9, max_bytes=1 << 40)


class Api:
    """Answers each person as was said, all others with `otherwise`, and tells the oracle what came.

    `asked` holds the people of all requests, in the order in which they came.
    """

    def __init__(self, otherwise: bytes = answer()) -> None:
        self.oracle = Oracle()
        self.otherwise = otherwise
        self.asked: list[str] = []
        self._said: dict[str, bytes] = {}

    def say(self, person: str, what: bytes) -> None:
        """Answer `person` so from now on."""
        self._said[person] = what

    def heal(self) -> None:
        """Answer everybody well from now on."""
        self._said.clear()
        self.otherwise = answer()

    def __call__(self, conversation: Conversation) -> None:
        """Answer one connection's requests."""
        while (request := conversation.request()) is not None:
            form = _form(request)
            person = dict(parse_qsl(form.partition("?")[2]))["_p"]
            said = self._said.get(person, self.otherwise)
            self.asked.append(person)
            self.oracle.arrived(person, form, delivered=said.startswith(b"HTTP/1.1 200"))
            conversation.send(said)


def _form(request: bytes) -> str:
    """Return path and query of a request, whether that came by GET or as the body of a POST."""
    head, _, body = request.partition(b"\r\n\r\n")
    target = head.split(b" ", 2)[1]
    return (target + b"?" + body if body else target).decode("ascii")


def write(partition: Partition, oracle: Oracle, *people: str) -> None:
    """Append a command for each of `people`, as a writer whose calls have returned."""
    for person in people:
        oracle.tried(person)
        partition.append(encode(Command(person, 1_795_500_000, "Signed Up")))
        oracle.acknowledged(person)


class Simulation:
    """Reads, sends, keeps and commits as the daemon does, a turn at a time; a context manager."""

    def __init__(self, spool: Spool, url: str, *, in_flight: int = 4) -> None:
        self.clock = MovableClock()
        self.reports = Reports()
        self.sink = PooledSink(TransportSettings(url, KEY, user_agent="kmq-sender/0"), environ={})
        self.store = RejectedStore(spool, "sender", clock=self.clock.wall, wait=None)
        self.dispatcher = Dispatcher(
            self.sink,
            self._keep,
            window=Window(in_flight),
            random=lambda: 0.5,
            clock=self.clock,
        )
        self._reader = SpoolReader(spool, {}, report=self.reports, clock=self.clock.monotonic)
        retention = Retention(
            spool,
            KEPT_FOR_GOOD,
            clock=self.clock.wall,
            monotonic=self.clock.monotonic,
            report=self.reports,
        )
        self._committer = Committer(
            spool,
            {},
            reader=self._reader,
            dispatcher=self.dispatcher,
            rejected=self.store,
            retention=retention,
            report=self.reports,
        )

    def _keep(self, batch: Sequence[New]) -> None:
        self._committer.keep(batch)

    def state(self) -> GateState:
        """Return how sending goes."""
        return self.dispatcher.gate.state

    def turn(self) -> None:
        """Read what is there, send what may go now, wait for every answer, and commit."""
        lines, size = self.dispatcher.room()
        self.dispatcher.offer(self._reader.read(lines, size, self.dispatcher.hungry))
        self.dispatcher.turn(0.0)
        while self.dispatcher.in_flight:
            self.dispatcher.turn(0.5)
        self._committer.commit()

    def pass_time(
        self,
        seconds: float,
        *,
        step_s: float = 5.0,
        until: Callable[[], bool] = lambda: False,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> bool:
        """Let so many seconds pass, or end when `until` says so; return whether it did."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            meanwhile()
            self.turn()
            if until():
                return True
            self.clock.advance(step_s)
        return False

    def reasons(self) -> list[str]:
        """Return why each command that is on the list of rejected ones is there."""
        return [one.reason for one in self.store.kept()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._reader.close()
        self.sink.close()
        self.store.close()


def operator(spool: Spool, url: str, *arguments: str) -> Result:
    """Run `kmq-sender ARGUMENTS` on the spool."""
    environ = {"KMQ_SPOOL": spool.path, "KMQ_URL": url, "KMQ_API_KEY": KEY}
    return CliRunner().invoke(root, arguments, env=environ)
