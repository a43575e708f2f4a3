"""The checks of a call, one row of KISSmetrics' questions after the other."""

from __future__ import annotations

import enum
import types
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmq import arguments
from kmq.command import Command, Number, decode, encode
from kmq.errors import InvalidCommand
from tests.support.commands import names, persons, texts

NOW = 1_795_500_000.75


def record(properties: object = None, name: object = "x") -> Command:
    """Return the record of bob with these properties."""
    return arguments.record("bob", name, {} if properties is None else properties, NOW)


def refusal(properties: object) -> InvalidCommand:
    """Return the error with which these properties are refused."""
    with pytest.raises(InvalidCommand) as caught:
        record(properties)
    error = caught.value
    assert str(error) == f"{error.what}: {error.rule}; {error.way_out}"
    return error


def abouts(command: Command | None) -> list[str]:
    """Return what is doubtful in a command."""
    assert command is not None
    return [doubt.about for doubt in arguments.doubts(command, NOW)]


class Plan(enum.StrEnum):
    """A kind of text."""

    PRO = "Pro"


class Level(enum.IntEnum):
    """A kind of number."""

    HIGH = 3


class Indexed:
    """What numpy's integers have in common with Python's."""

    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Pro", "Pro"),
        ("", ""),
        ("a\nb\0\u2028😀", "a\nb\0\u2028😀"),
        (Plan.PRO, "Pro"),
        (True, "true"),
        (False, "false"),
        (5, Number("5")),
        (-29, Number("-29")),
        (10**30, Number("1" + "0" * 30)),
        (Level.HIGH, Number("3")),
        (Indexed(), Number("7")),
        (99.95, Number("99.95")),
        (0.1, Number("0.1")),
        (1e-7, Number("0.0000001")),
        (1e22, Number("10000000000000000000000")),
        (Decimal("99.90"), Number("99.90")),
        (Decimal("1E+3"), Number("1000")),
        (datetime(2026, 11, 23, 20, 45, 1, 999_999, tzinfo=UTC), Number("1795466701")),
        (
            datetime(2026, 11, 23, 21, 45, 1, tzinfo=timezone(timedelta(hours=1))),
            Number("1795466701"),
        ),
        (datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC), Number("-1")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_are_taken(value: object, text: str) -> None:
    """Text as it is, booleans as words, numbers and moments as plain decimals."""
    taken = record({"a": value}).properties["a"]
    assert taken == text
    assert type(taken) is type(text)


@pytest.mark.parametrize(
    ("value", "rule", "way_out"),
    [
        (float("nan"), "plain decimal", "leave it out"),
        (float("inf"), "plain decimal", "leave it out"),
        (Decimal("NaN"), "plain decimal", "leave it out"),
        (Decimal("1E+500"), "plain decimal", "leave it out"),
        (10**500, "plain decimal", "leave it out"),
        (10**5_000, "plain decimal", "leave it out"),
        ([1, 2], "text and numbers only, not list", "one property for each part"),
        ((1, 2), "text and numbers only, not tuple", "one property for each part"),
        ({"b": 1}, "text and numbers only, not dict", "one property for each part"),
        ({1}, "text and numbers only, not set", "one property for each part"),
        (b"bytes", "bytes are no text", "decode them"),
        (bytearray(b"x"), "bytes are no text", "decode them"),
        (datetime(2026, 11, 23), "without a time zone", "tzinfo"),  # noqa: DTZ001 - that is the fault
        (date(2026, 11, 23), "names no moment", "isoformat"),
        (Fraction(1, 3), "text and numbers only, not Fraction", "str(value)"),
        (object, "text and numbers only, not type", "str(value)"),
        ("a\ud800", "lone surrogates", "decode"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_values_that_are_refused(value: object, rule: str, way_out: str) -> None:
    """Each with the property's name, the rule, and the way out."""
    error = refusal({"Price": value})
    assert "'Price'" in error.what
    assert rule in error.rule
    assert way_out in error.way_out


def test_none_is_left_out() -> None:
    """As the PHP, mobile and Segment clients do."""
    assert record({"a": None, "b": "c"}).properties == {"b": "c"}


@pytest.mark.parametrize("name", ["_k", "_p", "_n", "_p2"])
def test_data_never_replaces_a_parameter(name: str) -> None:
    """A property can take over neither key, nor person, nor event."""
    assert "would replace a parameter" in refusal({name: "eve"}).rule


@pytest.mark.parametrize("name", ["_x", "_", "_ip", "_T", "__t"])
def test_other_underscore_names_are_reserved(name: str) -> None:
    """There is no opt-in."""
    assert "begin with an underscore" in refusal({name: "x"}).rule


@pytest.mark.parametrize("name", ["", "  ", 5, None, b"a", "x" * 256, "a\udc80"])
def test_property_names_that_are_none(name: object) -> None:
    """Text, not empty, at most 255 characters."""
    assert refusal({name: "x"}).what.startswith("property")


@pytest.mark.parametrize("name", ["", " ", 5, None, b"Signed Up", "x" * 256, "a\udc80", ["x"]])
def test_event_names_that_are_none(name: object) -> None:
    """Text, not empty, at most 255 characters."""
    with pytest.raises(InvalidCommand, match="event name"):
        record(name=name)


@pytest.mark.parametrize("given", ["text", ["a"], 5, [("a", "b")]])
def test_properties_that_are_no_mapping(given: object) -> None:
    """A list of pairs is none either."""
    assert "must be a mapping" in refusal(given).rule
    with pytest.raises(InvalidCommand, match="must be a mapping"):
        arguments.set_properties("bob", given, NOW)


@pytest.mark.parametrize("value", [5, None, b"bob", ["bob"], "", "null", "x" * 256, "a\udc80"])
def test_persons_that_are_none(value: object) -> None:
    """A number is no identity, and the error says how to make one of it."""
    with pytest.raises(InvalidCommand, match="person"):
        arguments.person(value)


def test_a_person_of_another_kind_of_text_becomes_plain_text() -> None:
    """What other code made of a str must not come back when the line is written."""
    assert type(arguments.person(Plan.PRO)) is str
    assert type(record(name=Plan.PRO).name) is str


def test_the_time_of_a_call_is_its_whole_second() -> None:
    """A fraction is cut, as the API takes whole seconds."""
    assert record().time == 1_795_500_000


@pytest.mark.parametrize(
    "given",
    [
        {"_t": 1234567890},
        {"_t": 1234567890, "_d": 1},
        {"_t": 1234567890, "_d": 0},
        {"_t": 1234567890.9, "_d": None},
        {"_t": datetime(2009, 2, 13, 23, 31, 30, tzinfo=UTC)},
    ],
)
def test_a_given_time_is_meant(given: dict[str, object]) -> None:
    """Whatever `_d` says: who gives a time means it, and neither becomes a property."""
    command = record(given)
    assert command.time == 1_234_567_890
    assert command.properties == {}


@pytest.mark.parametrize("given", [{"_d": 0}, {"_d": 1}, {"_t": None}, {"_t": None, "_d": "x"}])
def test_without_a_time_the_call_has_its_own(given: dict[str, object]) -> None:
    """`_d` alone is replaced by the time of the call."""
    assert record(given) == Command("bob", 1_795_500_000, "x")


@pytest.mark.parametrize(
    ("time", "rule"),
    [
        (0, "before 2009"),
        (1230767999, "before 2009"),
        (-1, "before 2009"),
        (1500000000000, "milliseconds"),
        (10**5_000, "milliseconds"),
        (float("nan"), "seconds since 1970"),
        (float("inf"), "seconds since 1970"),
        (True, "seconds since 1970"),
        ("1234567890", "seconds since 1970"),
        ([], "seconds since 1970"),
        (datetime(2026, 11, 23), "seconds since 1970"),  # noqa: DTZ001 - that is the fault
        (date(2026, 11, 23), "seconds since 1970"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_times_that_are_refused(time: object, rule: str) -> None:
    """Zero does not vanish, as it does elsewhere: it is an error."""
    assert rule in refusal({"_t": time}).rule


def test_a_clock_before_2009_is_told() -> None:
    """A host without a clock must not spool what KISSmetrics will not store."""
    with pytest.raises(InvalidCommand, match="set the clock"):
        arguments.record("bob", "x", {}, 12.0)
    with pytest.raises(InvalidCommand, match="set the clock"):
        arguments.alias("bob", "b", 12.0)


def test_the_callers_mapping_is_left_alone() -> None:
    """Other clients changed it, or kept it."""
    given: dict[str, object] = {"_t": 1234567890, "_d": 0, "a": None, "b": True}
    command = record(given)
    assert given == {"_t": 1234567890, "_d": 0, "a": None, "b": True}
    given["b"] = "changed"
    assert command.properties == {"b": "true"}


def test_any_mapping_will_do() -> None:
    """Not only dict itself, and its order is kept."""
    proxy = types.MappingProxyType({"a": "1"})
    assert record(proxy).properties == {"a": "1"}
    assert list(record(OrderedDict([("z", "1"), ("a", "2")])).properties) == ["z", "a"]


def test_a_set_needs_something_to_set() -> None:
    """Nothing, or a time alone, is a mistake; only Nones is nothing left to write."""
    with pytest.raises(InvalidCommand, match="nothing to set"):
        arguments.set_properties("bob", {}, NOW)
    with pytest.raises(InvalidCommand, match="a time alone sets nothing"):
        arguments.set_properties("bob", {"_t": 1234567890}, NOW)
    assert arguments.set_properties("bob", {"a": None}, NOW) is None
    command = arguments.set_properties("bob", {"gender": "male"}, NOW)
    assert command == Command("bob", 1_795_500_000, properties={"gender": "male"})


def test_both_sides_of_an_alias_are_identities() -> None:
    """And nothing else is checked: the same pair again, or either order, is fine."""
    assert arguments.alias("bob", "bob@bob.com", NOW) == Command(
        "bob", 1_795_500_000, other="bob@bob.com"
    )
    for one, other in (("", "b"), ("b", ""), (None, "b"), ("b", "null"), (5, "b")):
        with pytest.raises(InvalidCommand, match="person"):
            arguments.alias(one, other, NOW)


@pytest.mark.parametrize("value", ["", "  ", None, 5, "a\nb", "schlüssel"])
def test_an_api_key_is_never_shown(value: object) -> None:
    """Not even where it is refused."""
    with pytest.raises(InvalidCommand) as caught:
        arguments.api_key(value)
    assert "schl" not in str(caught.value)


def test_an_api_key_loses_the_newline_of_its_file() -> None:
    """Keys are often read from one."""
    assert arguments.api_key(" K1\n") == "K1"


def test_a_value_over_512_characters_is_doubtful() -> None:
    """The newer page says 512; what becomes of more is not said, so nothing is cut."""
    assert abouts(record({"a": "x" * 512})) == []
    command = record({"a": "x" * 513})
    assert abouts(command) == ["long value of a"]
    assert len(command.properties["a"]) == 513


@pytest.mark.parametrize("name", ["a,b", "a:b"])
def test_a_folded_name_is_doubtful_and_sent_unchanged(name: str) -> None:
    """KISSmetrics makes each comma and colon a space."""
    command = record({name: "x"}, name=name)
    assert abouts(command) == [f"folded {name}"] * 2
    assert command.name == name


def test_a_name_of_exactly_255_characters_is_doubtful() -> None:
    """Some pages say under 255."""
    assert abouts(record(name="x" * 255)) == ["longest " + "x" * 255]
    assert abouts(record(name="x" * 254)) == []


def test_a_time_more_than_a_day_ahead_is_doubtful() -> None:
    """What KISSmetrics does with it is not documented."""
    assert abouts(record({"_t": NOW + 86_400})) == []
    assert abouts(record({"_t": NOW + 86_402})) == ["time ahead"]


@pytest.mark.parametrize("who", ["guest", "Anonymous", "admin"])
def test_a_shared_identity_is_doubtful(who: str) -> None:
    """On either side of an alias everybody would become one person."""
    assert abouts(arguments.record(who, "x", {}, NOW)) == ["shared identity"]
    assert abouts(arguments.alias("bob", who, NOW)) == ["shared identity"]


def test_an_alias_to_itself_is_doubtful() -> None:
    """It says nothing."""
    assert abouts(arguments.alias("bob", "bob", NOW)) == ["alias to itself"]


def test_a_plain_call_is_not_doubtful() -> None:
    """No warning for what everybody does."""
    assert abouts(record({"Plan": "Pro", "Amount": 99.95}, name="Signed Up")) == []


values = st.one_of(
    texts, st.booleans(), st.integers(), st.none(), st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=5),
    st.datetimes(timezones=st.just(UTC)),
)  # fmt: skip


@given(persons, names, st.dictionaries(names, values, max_size=6))
def test_what_a_call_accepts_can_be_read_again(
    who: str, name: str, given_: dict[str, object]
) -> None:
    """No command leaves a call that the sender would reject as unreadable."""
    command = arguments.record(who, name, given_, NOW)
    assert decode(encode(command)) == command


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_the_same_float_again(value: float) -> None:
    """Shortest, without an exponent, and exact."""
    text = record({"a": value}).properties["a"]
    assert "e" not in text.lower()
    assert float(text) == value
