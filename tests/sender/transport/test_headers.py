"""Reading an answer's header lines, and knowing the usual answer without reading it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kmq.command import Command
from sender.flow import Outcome, Verdict
from sender.transport.headers import Headers, Lines, Usual, new_lines, read
from tests.sender.transport.helpers import deliver
from tests.support.misbehaving import GIF, answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from sender.flow import Sink
    from tests.support.misbehaving import Conversation, MisbehavingServer

    Serve = Callable[..., MisbehavingServer]
    SinkFor = Callable[..., Sink]

TAKEN = Outcome(Verdict.DELIVERED, "answered-200", 200)
OK = [b"HTTP/1.1 200 OK\r\n", b"Content-Type: image/gif\r\n", b"Date: now\r\n", b"\r\n"]
CONTINUE = [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]


def lines_of(*lines: bytes) -> Lines:
    """Return `lines` where libcurl puts them."""
    place = new_lines()
    place.extend(lines)
    return place


def usual() -> Usual:
    """Return what has seen the usual answer once."""
    seen = Usual()
    seen.learn(lines_of(*OK), TAKEN)
    return seen


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], Headers(0, "", None)),
        (OK, Headers(200, "image/gif", None)),
        ([b"HTTP/2 503 \r\n", b"retry-after: 7 \r\n"], Headers(503, "", "7")),
        ([*CONTINUE, b"HTTP/1.1 503 No\r\n", b"\r\n"], Headers(503, "", None)),
        ([*OK, b"HTTP/1.0 400 No\r\n", b"\r\n"], Headers(400, "", None)),
        ([b"hTTP/1.1 503 No\r\n", b"\r\n"], Headers(0, "", None)),
        ([b"HTTP/1.1 2000 OK\r\n", b"\r\n"], Headers(0, "", None)),
        ([b"HTTP/1.1 200 OK\r\n", b"CONTENT-type:text/html\r\n"], Headers(200, "text/html", None)),
        ([b"HTTP/1.1 200 OK\r\n", b"Retry-After: \xff\r\n"], Headers(200, "", "\xff")),
    ],
)
def test_the_last_answers_lines_are_read(lines: list[bytes], says: Headers) -> None:
    """Status, type and wait; what came before the last status line counts for nothing."""
    assert read(lines_of(*lines)) == says


def test_more_lines_than_anybody_sends_are_no_answer() -> None:
    """They take a bounded place, and the status line falls out of it."""
    lines = lines_of(*OK, *[b"X-More: y\r\n"] * 1_000)
    assert read(lines).status == 0
    assert len(lines) < 200
    assert usual().outcome_of(lines) is None


def test_the_usual_answer_is_known() -> None:
    """By its status line and its type, whatever else it says."""
    assert usual().outcome_of(lines_of(*OK)) is TAKEN
    assert usual().outcome_of(lines_of(*OK[:2], b"Date: later\r\n", b"X: y\r\n", b"\r\n")) is TAKEN


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"HTTP/1.1 503 No\r\n", *OK[1:]],
        [OK[0], b"Content-Type: text/html\r\n", b"\r\n"],
        [OK[0], b"\r\n"],
        OK[1:],
        [*OK, b"HTTP/1.1 503 No\r\n", b"\r\n"],
        [*CONTINUE, *OK],
    ],
)
def test_any_other_answer_is_not(lines: list[bytes]) -> None:
    """Whatever differs is to be read."""
    assert usual().outcome_of(lines_of(*lines)) is None
    assert Usual().outcome_of(lines_of(*lines)) is None


@pytest.mark.parametrize(
    "lines",
    [
        [OK[0], b"\r\n"],
        [OK[0], OK[1], b"content-TYPE: text/html\r\n", b"\r\n"],
        [*CONTINUE, *OK],
    ],
)
def test_what_its_lines_alone_do_not_say_is_not_learned(lines: list[bytes]) -> None:
    """Without one type it is the body that tells whether an answer is a page."""
    seen = Usual()
    seen.learn(lines_of(*lines), TAKEN)
    assert seen.outcome_of(lines_of(*lines)) is None


def test_what_follows_the_usual_answer_is_judged_by_what_it_says(
    serve: Serve, sink_for: SinkFor
) -> None:
    """On the same connection, answer after answer, each in its own way different."""
    page = answer(200, {"Content-Type": "text/html"}, b"<html>")
    odd = {
        "refused": answer(400, body=b"no"),
        "portal": page,
        "nameless": answer(200, {"Content-Type": ""}, b"<html>"),
        "busy": answer(503, {"Retry-After": "9"}),
        "hints": b"HTTP/1.1 100 Continue\r\n\r\n" + answer(503),
    }

    def behave(conversation: Conversation) -> None:
        while (request := conversation.request()) is not None:
            name = request.partition(b"&_n=")[2].partition(b"&")[0].decode()
            conversation.send(odd.get(name, answer(200, body=GIF)))

    sink = sink_for(serve(behave).url, max_in_flight=1)
    names = [each for name in odd for each in ("x", "y", name, "z")]
    outcomes = deliver(sink, *[Command("bob", 1262304000, name) for name in names])
    said = dict(zip(names, outcomes, strict=True))
    assert said["x"] == said["y"] == said["z"] == TAKEN
    assert said["refused"] == Outcome(Verdict.REJECTED, "answered-400", 400, said="no")
    assert said["portal"] == said["nameless"] == Outcome(Verdict.BLOCKED, "web-page", 200)
    assert said["busy"] == Outcome(Verdict.RETRY, "answered-503", 503, 9.0)
    # requests takes a 100 for nothing, as libcurl does.
    assert said["hints"] == Outcome(Verdict.RETRY, "answered-503", 503)
    assert outcomes.count(TAKEN) == 3 * len(odd)
