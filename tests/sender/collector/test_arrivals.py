"""What the collector remembers."""

from __future__ import annotations

from typing import Any

import pytest

from sender.collector.arrivals import Arrival, Arrivals, Wanted

ALL = Wanted()


def arrive(
    arrivals: Arrivals, path: str = "/e", *, bad: str | None = None, raw: str = "q", **params: str
) -> None:
    """Let one more request come."""
    arrivals.add(
        Arrival(
            seq=arrivals.next_number(),
            at=1.5,
            method="GET",
            path=path,
            params={f"_{name}": value for name, value in params.items()},
            raw=raw,
            answer=200,
            bad=bad,
        )
    )


def seqs(page: dict[str, Any]) -> list[int]:
    """Return the numbers of the requests on `page`."""
    return [request["seq"] for request in page["requests"]]


def test_requests_are_numbered_from_1_and_counted() -> None:
    """The counts tell the good from the bad."""
    arrivals = Arrivals(10)
    assert arrivals.summary() == {"total": 0, "good": 0, "bad": 0, "warnings": {}}
    arrive(arrivals)
    arrive(arrivals, bad="no-person")
    arrive(arrivals)
    assert seqs(arrivals.since(0, ALL)) == [1, 2, 3]
    assert arrivals.summary() == {"total": 3, "good": 2, "bad": 1, "warnings": {}}


def test_since_gives_what_came_later_and_where_to_go_on() -> None:
    """Asking again with `next` gives nothing until something comes."""
    arrivals = Arrivals(10)
    for _ in range(5):
        arrive(arrivals)
    page = arrivals.since(3, ALL)
    assert (seqs(page), page["next"], page["dropped"]) == ([4, 5], 5, 0)
    assert arrivals.since(5, ALL) == {"requests": [], "next": 5, "dropped": 0}
    assert arrivals.since(99, ALL) == {"requests": [], "next": 5, "dropped": 0}


def test_next_goes_past_what_a_filter_leaves_out() -> None:
    """Else a reader would be given the same requests to skip again and again."""
    arrivals = Arrivals(10)
    arrive(arrivals, "/e")
    arrive(arrivals, "/s")
    page = arrivals.since(0, Wanted(kind="record"))
    assert (seqs(page), page["next"]) == ([1], 2)


def test_beyond_keep_the_oldest_are_pushed_out_but_counted() -> None:
    """A reader who comes too late learns how many are gone."""
    arrivals = Arrivals(3)
    for _ in range(10):
        arrive(arrivals, bad="no-key")
    assert arrivals.summary()["bad"] == 10
    page = arrivals.since(0, ALL)
    assert (seqs(page), page["dropped"]) == ([8, 9, 10], 7)
    assert [arrivals.since(number, ALL)["dropped"] for number in (6, 7, 8, 10)] == [1, 0, 0, 0]


def test_text_beyond_the_bound_pushes_out_the_oldest() -> None:
    """Whatever the number that may be kept."""
    arrivals = Arrivals(100, max_bytes=10)
    for raw in ("1234", "1234", "1234"):
        arrive(arrivals, raw=raw)
    page = arrivals.since(0, ALL)
    assert (seqs(page), page["dropped"]) == ([2, 3], 1)
    arrive(arrivals, raw="x" * 11)
    assert arrivals.since(0, ALL) == {"requests": [], "next": 4, "dropped": 4}
    arrive(arrivals, raw="1234567890")
    assert seqs(arrivals.since(0, ALL)) == [5]


def test_a_reset_forgets_and_goes_on_numbering() -> None:
    """A reader who holds a number does not go back, and what was forgotten on purpose is not missed."""
    arrivals = Arrivals(2)
    for _ in range(5):
        arrive(arrivals, bad="no-key")
    arrivals.reset()
    assert arrivals.summary() == {"total": 0, "good": 0, "bad": 0, "warnings": {}}
    assert arrivals.since(0, ALL) == {"requests": [], "next": 5, "dropped": 0}
    for _ in range(3):
        arrive(arrivals)
    page = arrivals.since(0, ALL)
    assert (seqs(page), page["dropped"], arrivals.summary()["total"]) == ([7, 8], 1, 3)


def test_a_reset_frees_the_room_for_text() -> None:
    """The bound counts what is kept, not what was."""
    arrivals = Arrivals(10, max_bytes=10)
    arrive(arrivals, raw="1234567890")
    arrivals.reset()
    arrive(arrivals, raw="1234567890")
    assert seqs(arrivals.since(0, ALL)) == [2]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), [1, 2, 3, 4, 5]),
        (Wanted(kind="record"), [1, 4, 5]),
        (Wanted(kind="set"), [2]),
        (Wanted(kind="alias"), [3]),
        (Wanted(person="bob"), [1, 2, 3]),
        (Wanted(person="ann"), [3, 4]),
        (Wanted(event="signed up"), [1, 4]),
        (Wanted(event="SIGNED UP", person="ann"), [4]),
        (Wanted(bad=True), [5]),
        (Wanted(bad=False), [1, 2, 3, 4]),
        (Wanted(kind="set", event="Signed Up"), []),
    ],
)
def test_filters_find_kinds_persons_events_and_what_is_bad(
    wanted: Wanted, expected: list[int]
) -> None:
    """Both sides of an alias count as persons, its second one never as an event."""
    arrivals = Arrivals(10)
    arrive(arrivals, "/e", p="bob", n="Signed Up")
    arrive(arrivals, "/s", p="bob", n="Signed Up")
    arrive(arrivals, "/a", p="bob", n="ann")
    arrive(arrivals, "/e", p="ann", n="Signed up")
    arrive(arrivals, "/e", bad="no-person")
    assert seqs(arrivals.since(0, wanted)) == expected


def test_a_request_is_shown_with_all_that_is_known_of_it() -> None:
    """These names are the JSON API's."""
    arrivals = Arrivals(10)
    arrive(arrivals, p="bob")
    assert arrivals.since(0, ALL)["requests"] == [
        {
            "seq": 1,
            "at": 1.5,
            "method": "GET",
            "path": "/e",
            "params": {"_p": "bob"},
            "raw": "q",
            "answer": 200,
            "bad": None,
        }
    ]
