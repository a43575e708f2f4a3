"""How a sink takes deliveries and gives outcomes: without waiting in vain, side by side, each once."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from kmq.command import Command
from sender.flow import Delivery, Verdict
from tests.sender.transport.helpers import BOB, deliver
from tests.support.misbehaving import answer, answering
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender.flow import Sink
    from tests.support.misbehaving import Conversation, MisbehavingServer

    Serve = Callable[..., MisbehavingServer]
    SinkFor = Callable[..., Sink]

AT = 1262304000


def hang(conversation: Conversation) -> None:
    """Read a request and say nothing."""
    conversation.request()
    conversation.hang()


def test_with_nothing_in_flight_it_returns_at_once(serve: Serve, sink_for: SinkFor) -> None:
    """Nothing can come, so nothing is waited for: an hour would run into the test's limit."""
    sink = sink_for(serve(answering(answer())).url)
    assert sink.exchange([], 3600.0) == []
    deliver(sink, BOB)
    assert sink.exchange([], 3600.0) == []


def test_it_waits_no_longer_than_for_the_first(serve: Serve, sink_for: SinkFor) -> None:
    """One answer comes and one does not: the one is returned, without waiting for the other."""

    def behave(conversation: Conversation) -> None:
        if b"quick" in (conversation.request() or b""):
            conversation.send(answer())
        conversation.hang()

    sink = sink_for(serve(behave).url, timeout_s=3600.0)
    outcomes = sink.exchange(
        [Delivery(1, Command("bob", AT, "slow")), Delivery(2, Command("bob", AT, "quick"))], 3600.0
    )
    assert [ticket for ticket, _ in outcomes] == [2]


def test_it_gives_up_waiting_in_time(serve: Serve, sink_for: SinkFor) -> None:
    """With something in flight it waits as long as it may, and no answer is no outcome."""
    sink = sink_for(serve(hang).url, timeout_s=3600.0)
    began = time.monotonic()
    assert sink.exchange([Delivery(1, BOB)], 0.1) == []
    assert time.monotonic() - began >= 0.1
    assert sink.exchange([], 0.0) == []


def test_it_takes_along_what_else_is_there(serve: Serve, sink_for: SinkFor) -> None:
    """Outcomes that wait are returned together, even by a call that must not wait."""
    sink = sink_for(serve(answering(answer())).url, max_in_flight=4)
    outcomes = sink.exchange([Delivery(at, BOB) for at in range(4)], 0.0)
    while len(outcomes) < 4:
        outcomes += sink.exchange([], 0.0)
    assert sorted(ticket for ticket, _ in outcomes) == [0, 1, 2, 3]


def test_commands_are_in_flight_side_by_side(serve: Serve, sink_for: SinkFor) -> None:
    """As many as there may be: the server answers nobody before all are there."""
    all_there = threading.Barrier(8, timeout=30)

    def behave(conversation: Conversation) -> None:
        while conversation.request() is not None:
            all_there.wait()
            conversation.send(answer())

    outcomes = deliver(sink_for(serve(behave).url, max_in_flight=8, timeout_s=60.0), *[BOB] * 16)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.DELIVERED}


def test_more_than_may_be_in_flight_wait_in_line(serve: Serve, sink_for: SinkFor) -> None:
    """A sink takes more than it sends at a time, and forgets none."""
    server = serve(answering(answer()))
    commands = [Command(f"person {n}", AT, "x") for n in range(300)]
    outcomes = deliver(sink_for(server.url, max_in_flight=3), *commands)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.DELIVERED}
    assert len(set(server.targets)) == 300
    assert server.connections <= 3


def test_each_outcome_is_that_of_its_own_command(serve: Serve, sink_for: SinkFor) -> None:
    """Answers come in any order over any connection; tickets do not get mixed up."""

    def behave(conversation: Conversation) -> None:
        while (request := conversation.request()) is not None:
            conversation.send(answer(400, body=request.split(b"_p=")[1].split(b"&")[0]))

    people = [f"person-{n}" for n in range(200)]
    outcomes = deliver(
        sink_for(serve(behave).url, max_in_flight=16), *[Command(p, AT, "x") for p in people]
    )
    assert [outcome.said for outcome in outcomes] == people


def test_closing_breaks_off_what_is_in_flight(serve: Serve, sink_for: SinkFor) -> None:
    """The server sees its connections end although it never answered, and nothing of it comes back."""
    hung = []

    def behave(conversation: Conversation) -> None:
        conversation.request()
        hung.append(conversation)
        conversation.request()

    server = serve(behave)
    sink = sink_for(server.url, max_in_flight=2, timeout_s=3600.0)
    sink.exchange([Delivery(at, BOB) for at in range(4)], 0.0)
    wait_until(lambda: sink.exchange([], 0.0) or len(hung) == 2)
    sink.close()
    wait_until(lambda: server.closed == 2, what="both connections are closed")
    assert len(server.requests) == 2


PROGRAM = """
import os, sys
from kmq.command import Command
from sender.flow import Delivery
from sender.transport import TransportSettings, make_sink

sink = make_sink(sys.argv[1], TransportSettings(sys.argv[2], "k", timeout_s=3600.0))
sink.exchange([Delivery(n, Command("bob", 1262304000, "x")) for n in range(3)], 0.2)
if sys.argv[3] == "close":
    sink.close()
"""


@pytest.mark.parametrize("how", ["close", "leave"])
def test_a_server_that_hangs_does_not_hold_the_process(
    serve: Serve, transport: str, how: str
) -> None:
    """The process ends while its requests are unanswered, whether the sink was closed or not."""
    environ = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    command = [sys.executable, "-c", PROGRAM, transport, serve(hang).url, how]
    ended = subprocess.run(
        command, check=False, timeout=60, env=environ, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_thousand_open_files_do_no_harm(serve: Serve, sink_for: SinkFor) -> None:
    """A sender holds a descriptor for each segment it reads; its sockets then have numbers past 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
        while (fd := os.open(os.devnull, os.O_RDONLY)) < 1024:
            stack.callback(os.close, fd)
        stack.callback(os.close, fd)
        outcomes = deliver(sink_for(serve(answering(answer())).url, max_in_flight=2), *[BOB] * 5)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.DELIVERED}


def test_neither_key_nor_person_is_logged(
    serve: Serve, sink_for: SinkFor, caplog: pytest.LogCaptureFixture
) -> None:
    """At no level, whatever goes wrong: libraries log URLs."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.DEBUG)
    bad = [
        b"",
        b"nonsense\r\n\r\n",
        answer(302, {"Location": "/"}),
        b"HTTP/1.1 200 OK\r\n bad\r\n: :\r\n\r\n",
        answer(),
    ]

    def behave(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(bad.pop(0))

    sink = sink_for(serve(behave).url, key="s3cret", max_in_flight=1)
    outcomes = deliver(sink, *[Command("bob@bob.com", AT, "x")] * 5)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.NOTSET)
    assert "s3cret" not in f"{caplog.text} {outcomes}"
    assert "bob" not in f"{caplog.text} {outcomes}"
