"""A command and its line: inverse of each other, and strict towards whatever else stands in a file."""

from __future__ import annotations

import contextlib
import decimal
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmq.command import MAX_LINE, Command, Number, Unreadable, decode, encode, plain, salvage
from kmq.rules import EARLIEST
from tests.support.commands import commands

WHOLE = b'{"_p":"bob","_t":1500000000,"_n":"x"}'


def code_of(line: bytes) -> str:
    """Return the code with which `line` is refused."""
    with pytest.raises(Unreadable) as caught:
        decode(line)
    assert str(caught.value) == f"{caught.value.code}: {caught.value.rule}"
    return caught.value.code


@given(commands)
def test_a_line_gives_back_its_command(command: Command) -> None:
    """`decode` undoes `encode`, and the kinds of values survive."""
    again = decode(encode(command))
    assert again == command
    assert [type(v) for v in again.properties.values()] == [
        type(v) for v in command.properties.values()
    ]
    assert encode(again) == encode(command)


@given(commands)
def test_a_line_is_one_line_of_json_that_begins_with_the_person(command: Command) -> None:
    """No newline but the last, no zero byte, `_p` first, and any JSON reader reads it."""
    line = encode(command)
    assert line.startswith(b'{"_p":')
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert b"\0" not in line
    assert json.loads(line)["_p"] == command.person


@given(commands, st.data())
def test_what_is_left_of_a_cut_line_is_no_command(command: Command, data: st.DataObject) -> None:
    """A crash can cut a line anywhere; strict JSON shows it."""
    line = encode(command)[:-1]
    cut = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(Unreadable):
        decode(line[:cut])


@given(st.binary(max_size=300))
@example(b"\xff\xfe{\x00")
def test_any_bytes_are_a_command_or_unreadable(line: bytes) -> None:
    """Whatever stands in a file, no other exception comes out."""
    with contextlib.suppress(Unreadable):
        decode(line)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
json_names = st.one_of(
    st.sampled_from(["_p", "_t", "_n", "_p2", "_k", "_d", "_x", "Plan"]), st.text(max_size=8)
)


@given(fields=st.dictionaries(json_names, json_values, max_size=6), ascii_only=st.booleans())
def test_any_json_is_a_command_that_can_be_written_or_unreadable(
    fields: dict[str, object], *, ascii_only: bool
) -> None:
    """What is accepted can be sent: it encodes to a line that is read the same."""
    try:
        text = json.dumps({"_p": "bob", "_t": EARLIEST} | fields, ensure_ascii=ascii_only)
        command = decode(text.encode())
    except (Unreadable, UnicodeEncodeError):
        return
    assert decode(encode(command)) == command


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", "not-json"),
        (b"\n", "not-json"),
        (b"[]", "not-json"),
        (b"null", "not-json"),
        (b'"text"', "not-json"),
        (WHOLE + b"x", "not-json"),
        (WHOLE + WHOLE, "not-json"),
        (WHOLE + bytes(8), "not-json"),
        (bytes(64), "not-json"),
        (b"\xef\xbb\xbf" + WHOLE, "not-json"),
        (WHOLE.decode().encode("utf-16"), "not-utf8"),
        (WHOLE.decode().encode("utf-16-le"), "not-json"),
        (WHOLE.replace(b"bob", b"b\xe9b"), "not-utf8"),
        (WHOLE.replace(b"bob", b"b\xed\xa0\x80b"), "not-utf8"),
        (WHOLE.replace(b"bob", b"b\nb"), "not-json"),
        (WHOLE.replace(b"bob", b"b\0b"), "not-json"),
        (b"[" * 60_000, "not-json"),
        (b'{"_p":' * 10_000, "not-json"),
        (b'{"_t":1500000000,"_n":"x"}', "no-person"),
        (b'{"_p":null,"_t":1500000000,"_n":"x"}', "no-person"),
        (b'{"_p":5,"_t":1500000000,"_n":"x"}', "no-person"),
        (b'{"_p":true,"_t":1500000000,"_n":"x"}', "no-person"),
        (b'{"_p":["bob"],"_t":1500000000,"_n":"x"}', "no-person"),
        (b'{"_p":"","_t":1500000000,"_n":"x"}', "no-person"),
        (b'{"_p":"null","_t":1500000000,"_n":"x"}', "no-person"),
        (b'{"_p":"\\ud800","_t":1500000000,"_n":"x"}', "no-person"),
        (b'{"_p":"' + b"x" * 256 + b'","_t":1500000000,"_n":"x"}', "person-too-long"),
        (b'{"_p":"bob","_n":"x"}', "no-time"),
        (b'{"_p":"bob","_t":"1500000000","_n":"x"}', "no-time"),
        (b'{"_p":"bob","_t":1500000000.5,"_n":"x"}', "no-time"),
        (b'{"_p":"bob","_t":true,"_n":"x"}', "no-time"),
        (b'{"_p":"bob","_t":1e400,"_n":"x"}', "not-a-number"),
        (b'{"_p":"bob","_t":1e99999999999999999999,"_n":"x"}', "not-a-number"),
        (b'{"_p":"bob","_t":' + b"1" * 5_000 + b',"_n":"x"}', "not-a-number"),
        (b'{"_p":"bob","_t":' + b"1" * 200 + b',"_n":"x"}', "no-time"),
        (b'{"_p":"bob","_t":NaN,"_n":"x"}', "not-a-number"),
        (b'{"_p":"bob","_t":1000000000,"_n":"x"}', "too-old"),
        (b'{"_p":"bob","_t":-1,"_n":"x"}', "too-old"),
        (b'{"_p":"bob","_t":1500000000000,"_n":"x"}', "milliseconds"),
        (b'{"_p":"bob","_t":1500000000,"_n":5}', "no-name"),
        (b'{"_p":"bob","_t":1500000000,"_n":""}', "no-name"),
        (b'{"_p":"bob","_t":1500000000,"_n":{}}', "no-name"),
        (b'{"_p":"bob","_t":1500000000,"_n":"' + b"x" * 256 + b'"}', "name-too-long"),
        (b'{"_p":"bob","_t":1500000000}', "nothing-to-set"),
        (b'{"_p":"bob","_t":1500000000,"_d":1}', "nothing-to-set"),
        (b'{"_p":"bob","_t":1500000000,"a":null}', "nothing-to-set"),
        (b'{"_p":"bob","_t":1500000000,"":"x"}', "no-name"),
        (b'{"_p":"bob","_t":1500000000,"a":[1]}', "nested"),
        (b'{"_p":"bob","_t":1500000000,"a":{"b":1}}', "nested"),
        (b'{"_p":"bob","_t":1500000000,"a":Infinity}', "not-a-number"),
        (b'{"_p":"bob","_t":1500000000,"a":-Infinity}', "not-a-number"),
        (b'{"_p":"bob","_t":1500000000,"a":1e400}', "not-a-number"),
        (b'{"_p":"bob","_t":1500000000,"a":"\\udfff"}', "not-utf8"),
        (b'{"_p":"bob","_t":1500000000,"a":"x","a":"y"}', "name-twice"),
        (b'{"_p":"bob","_p":"eve","_t":1500000000,"_n":"x"}', "name-twice"),
        (b'{"_p":"bob","_t":1500000000,"_p2":5}', "no-person"),
        (b'{"_p":"bob","_t":1500000000,"_p2":""}', "no-person"),
        (b'{"_p":"bob","_t":1500000000,"_p2":"b","_n":"x"}', "two-kinds"),
        (b'{"_p":"bob","_t":1500000000,"_p2":"b","a":"x"}', "two-kinds"),
        (b'{"_p":"bob","_t":1500000000,"_n":"x","_k":5}', "no-key"),
        (b'{"_p":"bob","_t":1500000000,"_n":"x","_k":""}', "no-key"),
        (b'{"_p":"bob","_t":1500000000,"_n":"x","_k":"\\ud800"}', "no-key"),
        (b'{"_p":"bob","_t":1500000000,"_n":"' + b"x" * MAX_LINE + b'"}', "too-long"),
    ],
    ids=lambda value: value[:40].decode("ascii", "replace") if isinstance(value, bytes) else value,
)
def test_the_nasty_ones_are_unreadable_for_their_own_reason(line: bytes, code: str) -> None:
    """Each trap that JSON, Python or a crash sets, by the code under which it is rejected."""
    assert code_of(line) == code


def test_the_rule_of_an_unreadable_line_shows_nothing_of_it() -> None:
    """It goes into logs, and a line holds people's addresses."""
    with pytest.raises(Unreadable) as caught:
        decode(b'{"_p":"bob@bob.com","_t":oops}')
    assert "bob" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("99.90", Number("99.90")),
        ("-0", Number("-0")),
        ("1E+3", Number("1000")),
        ("1.5e-3", Number("0.0015")),
        ("12345678901234567890123", Number("12345678901234567890123")),
        ("true", "true"),
        ("false", "false"),
        ('"5"', "5"),
        ('"a\\u2028b\\u0085"', "a\u2028b\u0085"),
    ],
)
def test_the_values_of_a_foreign_line(text: str, value: str) -> None:
    """Numbers keep their digits and lose their exponent; booleans become text."""
    command = decode(f'{{"_p":"bob","_t":1500000000,"a":{text}}}'.encode())
    assert command.properties == {"a": value}
    assert type(command.properties["a"]) is type(value)


def test_a_foreign_line_may_order_and_space_its_keys_otherwise() -> None:
    """KISSmetrics' import format knows no order; `_d` says nothing, since each `_t` is meant."""
    line = b' { "_n" : "x", "_ip":"10.0.0.1", "_d":0, "_t" : 1.5e9, "_p" : "bob" } \r\n'
    assert decode(line) == Command("bob", 1_500_000_000, "x", properties={"_ip": "10.0.0.1"})


def test_the_lines_of_the_format_page() -> None:
    """A record, a set and an alias, byte for byte."""
    bob = "bob@bob.com"
    assert (
        encode(
            Command(
                bob,
                1_234_567_890,
                "Signed Up",
                properties={"Plan": "Pro", "Amount": Number("99.95")},
            )
        )
        == b'{"_p":"bob@bob.com","_t":1234567890,"_n":"Signed Up","Plan":"Pro","Amount":99.95}\n'
    )
    assert encode(Command(bob, 1_234_567_891, properties={"gender": "male"})) == (
        b'{"_p":"bob@bob.com","_t":1234567891,"gender":"male"}\n'
    )
    assert encode(Command("bob", 1_234_567_892, other=bob, key="K")) == (
        b'{"_p":"bob","_t":1234567892,"_p2":"bob@bob.com","_k":"K"}\n'
    )


def test_the_kinds() -> None:
    """An alias has another identity, a record a name, a set neither."""
    assert Command("b", 1, "n").kind == "record"
    assert Command("b", 1, properties={"a": "b"}).kind == "set"
    assert Command("b", 1, other="c").kind == "alias"


@pytest.mark.parametrize(
    ("line", "start"),
    [
        (b'{"_p":"a' + bytes(8) + WHOLE, 16),
        (bytes(4096) + WHOLE + b"\n", 4096),
        (bytes(3) + b"rest of a torn one" + WHOLE, 21),
        (bytes(2) + b'{"_p":"a' + bytes(2) + WHOLE, 12),
        (WHOLE, None),
        (bytes(8), None),
        (bytes(8) + WHOLE[:-4], None),
        (bytes(8) + b'{"_p":"bob"}', None),
        (WHOLE + bytes(8), None),
        (b"", None),
    ],
)
def test_an_intact_command_behind_zeros_is_given_back(line: bytes, start: int | None) -> None:
    """What a power cut zeroed does not take the next process's line along."""
    assert salvage(line) == start


@given(commands, commands, st.integers(1, 20), st.data())
def test_a_zeroed_line_never_takes_its_neighbour_along(
    torn: Command, whole: Command, zeros: int, data: st.DataObject
) -> None:
    """Cut one line anywhere, zero what follows, append another: the other is found exactly."""
    cut = data.draw(st.integers(0, len(encode(torn)) - 2))
    line = encode(torn)[:cut] + bytes(zeros) + encode(whole)
    start = salvage(line)
    assert start is not None
    assert decode(line[start:]) == whole


@given(st.binary(max_size=200))
def test_salvage_never_raises(line: bytes) -> None:
    """Any bytes."""
    salvage(line)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1.5E+3", "1500"),
        ("1E-7", "0.0000001"),
        ("0", "0"),
        ("-29.99", "-29.99"),
        ("9" * 400, "9" * 400),
        ("9" * 401, None),
        ("1E-400", None),
        ("1E-398", "0." + "0" * 397 + "1"),
        ("-1E-398", None),
        ("1E+999999", None),
        ("NaN", None),
        ("sNaN", None),
        ("-Infinity", None),
    ],
)
def test_a_plain_decimal_has_no_exponent_and_an_end(number: str, text: str | None) -> None:
    """At most 400 characters, which every float fits into."""
    assert plain(decimal.Decimal(number)) == text


def test_an_apps_own_decimal_context_changes_nothing() -> None:
    """Some apps trap inexact results, or trap nothing."""
    with decimal.localcontext(decimal.Context(prec=3, traps=[])):
        command = decode(b'{"_p":"bob","_t":1500000000,"a":1.23456e1}')
        assert command.properties == {"a": "12.3456"}
        assert code_of(b'{"_p":"bob","_t":1500000000,"a":1e99999999999999999999}') == "not-a-number"
