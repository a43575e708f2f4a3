"""Which commands a filter means."""

from __future__ import annotations

import pytest

from kmq.command import Command, encode
from sender.flow import Line, Position
from sender.replay import Filter
from sender.replay.filters import EVERYTHING, command_in, fold

RECORD = Command("bob", 1_500_000_000, "Signed Up")
SET = Command("bob", 1_500_000_000, properties={"gender": "male"})
ALIAS = Command("bob", 1_500_000_000, other="bob@bob.com")


def line(raw: bytes, fault: str | None = None) -> Line:
    """Return a line of a file."""
    return Line(Position("file", 0, len(raw)), raw, fault)


@pytest.mark.parametrize(
    ("chosen", "matching"),
    [
        (EVERYTHING, [RECORD, SET, ALIAS]),
        (Filter(persons=frozenset({"bob", "al"})), [RECORD, SET, ALIAS]),
        (Filter(persons=frozenset({"bob@bob.com"})), [ALIAS]),
        (Filter(persons=frozenset({"BOB"})), []),
        (Filter(event="Signed Up"), [RECORD]),
        (Filter(event="sIGNED uP"), [RECORD]),
        (Filter(event="Signed"), []),
        (Filter(kind="set"), [SET]),
        (Filter(kind="alias"), [ALIAS]),
        (Filter(since=1_500_000_000), [RECORD, SET, ALIAS]),
        (Filter(since=1_500_000_000.5), []),
        (Filter(until=1_500_000_000), []),
        (Filter(until=1_500_000_000.5), [RECORD, SET, ALIAS]),
        (Filter(event="signed up", kind="set"), []),
    ],
)
def test_each_part_of_a_filter_must_match(chosen: Filter, matching: list[Command]) -> None:
    """An event's case is ignored, an identity's is not; `until` itself is excluded."""
    commands = [RECORD, SET, ALIAS]
    assert [one for one in commands if chosen.matches(one)] == matching
    assert [one for one in commands if chosen.takes(line(encode(one)[:-1]))] == matching


def test_case_is_folded_beyond_ascii() -> None:
    """As far as Unicode says that two letters are one."""
    assert fold("STRA\N{LATIN CAPITAL LETTER SHARP S}E") == fold("strasse")


@pytest.mark.parametrize("one", [line(b"{"), line(b'{"_p":"al"', "torn"), line(b"", "too-long")])
def test_what_is_no_command_is_always_meant(one: Line) -> None:
    """Nobody can say that it is not, and it has to be named."""
    assert Filter(kind="set").takes(one)
    assert command_in(one) is None


def test_a_command_behind_zeros_is_judged_for_itself() -> None:
    """What a power cut left before it does not hide it."""
    salvaged = line(b'{"_p":"a' + bytes(20) + encode(RECORD)[:-1])
    assert command_in(salvaged) == RECORD
    assert Filter(kind="record").takes(salvaged)
    assert not Filter(kind="set").takes(salvaged)
