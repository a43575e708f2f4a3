"""Lines of what was proven before: the same bytes as the long way makes, or none."""

from __future__ import annotations

import enum
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmq import arguments
from kmq.command import encode
from kmq.errors import InvalidCommand
from kmq.lines import _KEPT, _PERSONS_KEPT, Lines
from tests.support.clock import MovableClock

NOW = 1_795_500_000.0
KEYS = [None, 'a "key"']


class Colour(enum.StrEnum):
    """A text that is more than text."""

    RED = "red"


class Shouting(str):
    """A text that would be written otherwise."""

    __slots__ = ()


class Odd(float):
    """A float that has another text."""

    def __repr__(self) -> str:
        return "odd"


def lines(key: str | None = None, clock: MovableClock | None = None) -> Lines:
    return Lines(key, lambda: "bob@bob.com", (clock or MovableClock(NOW)).quick)


def the_long_way(
    person: str,
    name: str | None,
    properties: dict[str, Any] | None,
    key: str | None = None,
    now: float = NOW,
) -> bytes | None:
    """Return the line that a call makes which holds something new; None where it raises or has a doubt."""
    try:
        who = arguments.person(person)
        command = (
            arguments.set_properties(who, properties, now, key)
            if name is None
            else arguments.record(who, name, {} if properties is None else properties, now, key)
        )
    except InvalidCommand:
        return None
    if command is None or list(arguments.doubts(command, now)):
        return None
    return encode(command)


TEXTS = st.text(max_size=30) | st.sampled_from(["x" * 513, "\ud800", '"', "\\", "\u2028", "\0"])
NUMBERS = (
    st.floats()
    | st.integers()
    | st.sampled_from([0.0, -0.0, 1e16, 1e15, 1e-5, 5e-324, 10**18, 10**400, -(10**18)])
)
VALUES = (
    TEXTS
    | NUMBERS
    | st.booleans()
    | st.none()
    | st.sampled_from([Colour.RED, Shouting("x"), Odd(1.5), Decimal("1.50"), b"x", [1]])
)
NAMES = st.text(max_size=12) | st.sampled_from(
    ["Plan", "a,b", "a:b", "_t", "_d", "_p", "n" * 255, "n" * 256, "\ud800"]
)
PERSONS = TEXTS | st.sampled_from(["bob", "Guest", "null", " ", "p" * 255, "p" * 256])


@given(
    person=PERSONS,
    name=st.none() | NAMES,
    properties=st.none() | st.dictionaries(NAMES, VALUES, max_size=5),
    key=st.sampled_from(KEYS),
)
def test_a_quick_line_is_what_the_long_way_makes(
    person: str, name: str | None, properties: dict[str, Any] | None, key: str | None
) -> None:
    """Byte for byte, and nothing that the long way refuses or warns of is quick, however much was learned."""
    made = lines(key)
    for proven in ("Plan", "n" * 255, "a,b", name, *(properties or {})):
        # Learned as after a call that held it: what is no name at all never gets there.
        taught = the_long_way("bob", proven, {proven: 1}) if proven else None
        if taught is not None:
            made.learn(arguments.record("bob", proven, {proven: 1}, NOW), NOW)
    made.learn(arguments.record("bob", "x", {}, NOW), NOW)
    quick = made.set(properties, person) if name is None else made.record(name, properties, person)
    if quick is not None:
        assert quick == the_long_way(person, name, properties, key)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "properties",
    [
        None,
        {},
        {"Plan": "Pro", "Amount": 99.95},
        {"Plan": 'a "b" \\ \n é', "Amount": -0.0, "Seats": -12, "Trial": True, "Old": False},
        {"Plan": None, "Amount": 0.0},
        {"Plan": "x" * 512, "Old": "y" * 512},
    ],
)
def test_what_was_proven_is_quick(properties: dict[str, Any] | None, key: str | None) -> None:
    """A line, and not None: the quick way is there for the usual call."""
    made = lines(key)
    learned = dict.fromkeys(["Plan", "Amount", "Seats", "Trial", "Old"], 1)
    made.learn(arguments.record("bob", "Signed Up", learned, NOW), NOW)
    for _ in range(2):  # the second time from the caches
        quick = made.record("Signed Up", properties, "alice")
        assert quick == the_long_way("alice", "Signed Up", properties, key)
    if properties:
        assert made.set(properties, None) == the_long_way("bob@bob.com", None, properties, key)


@pytest.mark.parametrize(
    ("name", "properties", "person"),
    [
        ("New", None, "bob"),
        (None, None, "bob"),
        ({"Plan": 1}, None, "bob"),
        ("Signed Up", {"New": 1}, "bob"),
        ("Signed Up", [("Plan", 1)], "bob"),
        ("Signed Up", {"Plan": Shouting("x")}, "bob"),
        ("Signed Up", {"Plan": Odd(1.5)}, "bob"),
        ("Signed Up", {"Plan": math.inf}, "bob"),
        ("Signed Up", {"Plan": math.nan}, "bob"),
        ("Signed Up", {"Plan": 1e22}, "bob"),
        ("Signed Up", {"Plan": 10**18}, "bob"),
        ("Signed Up", {"Plan": "x" * 513}, "bob"),
        ("Signed Up", {"Plan": "\ud800"}, "bob"),
        ("Signed Up", {"_t": 1}, "bob"),
        ("Signed Up", None, "guest"),
        ("Signed Up", None, "null"),
        ("Signed Up", None, ""),
        ("Signed Up", None, 5),
        ("Signed Up", None, ["bob"]),
        ("Signed Up", None, "p" * 256),
    ],
)
def test_what_has_to_be_looked_at_is_never_quick(
    name: object,
    properties: object,
    person: Any,  # noqa: ANN401 - what a call may be given
) -> None:
    """New, doubtful or wrong: the long way says what it is."""
    made = lines()
    made.learn(arguments.record("bob", "Signed Up", {"Plan": "Pro"}, NOW), NOW)
    assert made.record("Signed Up", {"Plan": "Pro"}, "bob") is not None
    assert made.record(name, properties, person) is None
    if name == "Signed Up":
        assert made.set(properties, person) is None


def test_zeros_keep_their_sign() -> None:
    """They are equal, and what is known of one says nothing of the other."""
    made = lines()
    made.learn(arguments.record("bob", "x", {"Plan": 1}, NOW), NOW)
    texts = [made.record("x", {"Plan": zero}, "bob") for zero in (0.0, -0.0, 0.0)]
    assert texts == [the_long_way("bob", "x", {"Plan": zero}) for zero in (0.0, -0.0, 0.0)]
    assert texts[0] != texts[1]


def test_nobody_identified_is_not_quick() -> None:
    """Then there is an error to be told."""
    made = Lines(None, lambda: None, MovableClock(NOW).quick)
    made.learn(arguments.record("bob", "Signed Up", {}, NOW), NOW)
    assert made.record("Signed Up", None, None) is None


@pytest.mark.parametrize("seconds", [1.0, 3600.0, -0.001, -3600.0])
def test_a_new_second_goes_the_long_way_first(seconds: float) -> None:
    """Also where the clock was set back: the line has the time of its call."""
    clock = MovableClock(NOW)
    made = lines(clock=clock)
    made.learn(arguments.record("bob", "Signed Up", {}, NOW), NOW)
    clock.advance(0.5)
    assert made.record("Signed Up", None, "bob") == the_long_way("bob", "Signed Up", None)
    clock.advance(seconds - 0.5)
    assert made.record("Signed Up", None, "bob") is None
    made.learn(arguments.record("bob", "Signed Up", {}, clock.wall()), clock.wall())
    assert made.record("Signed Up", None, "bob") == the_long_way(
        "bob", "Signed Up", None, now=clock.wall()
    )


def test_a_given_time_is_not_taken_for_the_second_of_the_call() -> None:
    """An event of last year teaches its names, and nothing about now."""
    made = lines()
    made.learn(arguments.record("bob", "Signed Up", {"_t": 1_500_000_000}, NOW), NOW)
    assert made.record("Signed Up", None, "bob") == the_long_way("bob", "Signed Up", None)


def test_a_clock_before_2009_is_never_quick() -> None:
    """The long way says so."""
    made = lines(clock=MovableClock(5.0))
    made.learn(arguments.record("bob", "Signed Up", {"_t": 1_500_000_000}, 5.0), 5.0)
    assert made.record("Signed Up", None, "bob") is None


def test_the_caches_are_bounded() -> None:
    """What never repeats is forgotten again, and everything still comes out right."""
    made = lines()
    for number in range(2 * _KEPT):
        name = f"n{number}"
        made.learn(arguments.record("bob", name, {name: 1}, NOW), NOW)
        assert made.record(name, {name: number / 8}, None) is not None
    for number in range(2 * _PERSONS_KEPT):
        assert made.record(f"n{2 * _KEPT - 1}", None, f"p{number}") is not None
    for cache in (made._names, made._properties, made._floats):
        assert len(cache) <= _KEPT
    assert len(made._persons) <= _PERSONS_KEPT
