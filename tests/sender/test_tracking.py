"""What requests of other clients mean, and which are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmq.command import MAX_LINE, Command, decode, encode
from kmq.rules import EARLIEST, LATEST
from sender.tracking import (
    KINDS,
    MAX_PARAMETERS,
    RESEND_WINDOW_S,
    Refused,
    Tracked,
    command_of,
    pairs_of,
)

NOW = 1_795_513_723.7
SECOND = 1_795_513_723


def tracked(path: str, query: str, now: float = NOW) -> Tracked:
    """Return what the request says."""
    return command_of(path, pairs_of(query.encode()), now)


def refusal(path: str, query: str) -> str:
    """Return the code with which the request is refused."""
    with pytest.raises(Refused) as caught:
        tracked(path, query)
    assert caught.value.rule in str(caught.value)
    return caught.value.code


def test_an_event_with_properties_is_a_record() -> None:
    """`/e` takes a person, a name and properties."""
    found = tracked(
        "/e", "_k=K&_p=bob%40bob.com&_n=Signed+Up&Plan=Pro&Amount=99.95&_t=1234567890&_d=1"
    )
    properties = {"Plan": "Pro", "Amount": "99.95"}
    assert found.command == Command(
        "bob@bob.com", 1_234_567_890, "Signed Up", properties=properties
    )
    assert found.key == "K"


def test_a_set_ignores_an_event_name() -> None:
    """`/s` has no `_n`; one that is there is not a property either."""
    assert tracked("/s", "_p=bob&_n=x&gender=male").command == Command(
        "bob", SECOND, properties={"gender": "male"}
    )


def test_an_alias_takes_its_other_side_from_n() -> None:
    """`/a` joins `_p` and `_n`, and what stands beside them means nothing to the API."""
    assert tracked("/a", "_p=bob&_n=bob%40bob.com&_t=1&Plan=Pro").command == Command(
        "bob", SECOND, other="bob@bob.com"
    )


@pytest.mark.parametrize("query", ["_p=bob&_n=x", "_k=&_p=bob&_n=x"])
def test_a_key_that_is_absent_or_empty_is_none(query: str) -> None:
    """Whose key then counts is for the caller to know."""
    assert tracked("/e", query).key is None


def test_the_command_never_carries_the_key() -> None:
    """Whether the key is the sender's own, and so stays out of the line, is for the caller to know."""
    assert tracked("/e", "_k=K&_p=bob&_n=x").command.key is None


def test_spaces_empty_pairs_and_raw_characters_are_read_as_clients_send_them() -> None:
    """`+`, `%20`, `&&` and raw UTF-8 all occur."""
    assert pairs_of("_n=a+b&&x%20y=é&z=%C3%A9&nil=&flag".encode()) == [
        ("_n", "a b"),
        ("x y", "é"),
        ("z", "é"),
        ("nil", ""),
        ("flag", ""),
    ]


@pytest.mark.parametrize("query", [b"_p=%ff", b"_p=\xff", b"%c3=x"])
def test_what_is_no_utf8_is_refused(query: bytes) -> None:
    """Percent-encoded or raw, in a name or a value."""
    with pytest.raises(Refused) as caught:
        pairs_of(query)
    assert caught.value.code == "not-utf8"


def test_of_a_repeated_name_the_last_value_counts() -> None:
    """Android and iOS send the caller's `_t` after their own."""
    found = tracked("/e", "_p=bob&_n=x&a=1&_t=1795513000&_d=1&a=2&_t=1234567890&_d=1")
    assert (found.command.time, found.command.properties) == (1_234_567_890, {"a": "2"})


@pytest.mark.parametrize("name", ["_p", "_n", "_k"])
def test_a_second_person_name_or_key_that_differs_is_refused(name: str) -> None:
    """Nobody can say which one is meant, and a wrong person cannot be taken back."""
    query = "_k=K&_p=bob&_n=x"
    assert refusal("/e", f"{query}&{name}=other") == "name-twice"


def test_a_second_person_that_is_the_same_is_no_fault() -> None:
    """The same said twice is the same."""
    assert tracked("/e", "_p=bob&_n=x&_p=bob").command == tracked("/e", "_p=bob&_n=x").command


@pytest.mark.parametrize(
    "person",
    ["", "+", "null", "nil", "'null'", "'nil'", '"null"', '"nil"', "''", '""', "None", "undefined"],
)
def test_a_person_that_is_no_identity_is_refused_on_both_sides(person: str) -> None:
    """Everybody would become one person, for ever."""
    assert refusal("/e", f"_p={person}&_n=x") == "no-person"
    assert refusal("/a", f"_p={person}&_n=bob") == "no-person"
    assert refusal("/a", f"_p=bob&_n={person}") == "no-person"


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/e", "_n=x", "no-person"),
        ("/a", "_p=bob", "no-person"),
        ("/a", "_n=bob", "no-person"),
        ("/e", "_p=bob", "no-name"),
        ("/e", "_p=bob&_n=", "no-name"),
        ("/s", "_p=bob", "nothing-to-set"),
        ("/s", "_p=bob&_k=K&_n=x&_t=1&_d=0", "nothing-to-set"),
        ("/e", "_p=bob&_n=x&_p2=ann", "two-kinds"),
        ("/e", "_p=bob&_n=x&=1", "no-name"),
        ("/x", "_p=bob&_n=x", "no-such-path"),
        ("/e", f"_p={'b' * 256}&_n=x", "person-too-long"),
        ("/e", f"_p=bob&_n={'x' * 256}", "name-too-long"),
        ("/e", f"_p=bob&_n=x&{'y' * 256}=1", "name-too-long"),
        ("/e", "_p=bob&_n=x&_t=1795513723000&_d=1", "milliseconds"),
        ("/e", f"_p=bob&_n=x&_t={LATEST}&_d=1", "milliseconds"),
        ("/e", f"_p=bob&_n=x&_t={EARLIEST - 1}&_d=1", "too-old"),
        ("/e", "_p=bob&_n=x&_t=-1&_d=1", "too-old"),
        ("/e", "_p=bob&_n=x&_t=1234567890.5&_d=1", "no-time"),
        ("/e", "_p=bob&_n=x&_t=%D9%A1%D9%A2&_d=1", "no-time"),
        ("/e", f"_p=bob&_n=x&_t={'9' * 5000}&_d=1", "no-time"),
        ("/e", "_p=bob&_n=x&_d=1", "no-time"),
    ],
)
def test_what_the_api_could_not_use_is_refused(path: str, query: str, code: str) -> None:
    """It answers 200 even to that, so it must be found here."""
    assert refusal(path, query) == code


def test_names_of_255_decoded_characters_pass() -> None:
    """The limit counts characters, not bytes on the wire."""
    name = "é" * 255
    assert tracked("/e", f"_p={name}&_n={name}&{name}=1").command.name == name


def test_vendor_parameters_with_an_underscore_pass_as_properties() -> None:
    """Official SDKs send `_c`, `_u`, `_ip`, `_ua` and `_x`."""
    assert tracked("/e", "_p=bob&_n=x&_c=mobile_app&_u=agent").command.properties == {
        "_c": "mobile_app",
        "_u": "agent",
    }


@pytest.mark.parametrize("d", ["", "&_d=0", "&_d=true", "&_d="])
@pytest.mark.parametrize(
    ("t", "expected"),
    [
        (SECOND - RESEND_WINDOW_S + 1, SECOND - RESEND_WINDOW_S + 1),
        (SECOND - RESEND_WINDOW_S - 1, SECOND),
        (SECOND + RESEND_WINDOW_S, SECOND + RESEND_WINDOW_S),
        (SECOND + RESEND_WINDOW_S + 2, SECOND),
        (SECOND * 1000, SECOND),
        (f"{SECOND}.5", SECOND),
        ("soon", SECOND),
        ("", SECOND),
    ],
)
def test_without_d_the_receive_time_counts_unless_t_lies_near(
    t: object, expected: int, d: str
) -> None:
    """So a client's own resend keeps its second, and a clock that is off does no harm."""
    assert tracked("/e", f"_p=bob&_n=x&_t={t}{d}").command.time == expected


def test_without_any_time_the_receive_time_counts() -> None:
    """Most clients send neither `_t` nor `_d`."""
    assert tracked("/e", "_p=bob&_n=x").command.time == SECOND


def test_more_parameters_than_anyone_sends_are_refused() -> None:
    """One more than the limit, and not the limit itself."""
    pairs = [("_p", "bob"), *((f"p{number}", "1") for number in range(MAX_PARAMETERS - 1))]
    assert len(command_of("/s", pairs, NOW).command.properties) == MAX_PARAMETERS - 1
    with pytest.raises(Refused) as caught:
        command_of("/s", [*pairs, ("q", "1")], NOW)
    assert caught.value.code == "too-many"


def test_a_command_that_fits_no_line_is_refused() -> None:
    """Its line may have 64 KiB with the newline, as one of kmq's own calls."""
    room = MAX_LINE - len(encode(Command("bob", SECOND, "x", properties={"long": ""})))
    assert len(encode(tracked("/e", f"_p=bob&_n=x&long={'y' * room}").command)) == MAX_LINE
    assert refusal("/e", f"_p=bob&_n=x&long={'y' * (room + 1)}") == "too-long"


def test_lone_surrogates_are_refused_wherever_they_stand() -> None:
    """Pairs may come from elsewhere than `pairs_of`; no UTF-8 can carry these."""
    for pairs in (
        [("_p", "\udc80"), ("_n", "x")],
        [("_p", "bob"), ("_n", "x"), ("a", "\udc80")],
        [("_p", "bob"), ("_n", "x"), ("\udc80", "a")],
    ):
        with pytest.raises(Refused):
            command_of("/e", pairs, NOW)


@given(
    path=st.sampled_from(sorted(KINDS)),
    pairs=st.lists(
        st.tuples(
            st.sampled_from(["_k", "_p", "_n", "_t", "_d", "_p2", "Plan", "_x"])
            | st.text(max_size=9),
            st.sampled_from(["", "1", "bob", "null", str(SECOND), f"{SECOND}000"])
            | st.text(max_size=9),
        ),
        max_size=9,
    ),
)
def test_any_parameters_are_a_command_or_refused_and_a_command_is_a_valid_line(
    path: str, pairs: list[tuple[str, str]]
) -> None:
    """Nothing else is ever raised, and what passes can be spooled and read back."""
    try:
        command = command_of(path, pairs, NOW).command
    except Refused:
        return
    assert decode(encode(command)) == command


@given(st.binary(max_size=60))
def test_any_bytes_are_pairs_or_refused(encoded: bytes) -> None:
    """A query is input from anybody."""
    try:
        pairs = pairs_of(encoded)
    except Refused:
        return
    assert "\udc80" not in "".join(name + value for name, value in pairs)
