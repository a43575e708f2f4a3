"""`decode` is quick, and agrees with the plain rules about every line, whatever it has read before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmq import command as module
from kmq.command import Command, Number, Unreadable, decode, encode
from kmq.rules import EARLIEST
from tests.support.commands import commands
from tests.support.plain_rules import decode_plainly

if TYPE_CHECKING:
    from collections.abc import Callable

Read = tuple[Command, list[type]] | str

names = st.one_of(
    st.sampled_from(["_p", "_t", "_n", "_p2", "_k", "_d", "_x", "Plan", "Signed Up", "", " "]),
    st.text(max_size=4),
    st.sampled_from(["\ud800", "x" * 255, "x" * 256]),
)
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["bob", "null", "\udfff", "x" * 256, " "]),
    st.sampled_from([EARLIEST, EARLIEST - 1, 10**11, 10**18, -(10**17), 10**401, 1.5, [], {}]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
)
pairs = st.lists(st.tuples(names, values), max_size=5)
_USUAL = [("_p", "bob"), ("_t", EARLIEST)]


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """JSON of one object, mostly nearly a command: names stand twice, are out of order, are escaped or spaced."""
    members = [*draw(st.sampled_from([_USUAL, _USUAL[:1], []])), *draw(pairs)]
    members = draw(st.permutations(members)) if draw(st.booleans()) else members
    ascii_only = draw(st.booleans())
    comma, colon, before, after = draw(
        st.sampled_from([(",", ":", "", ""), (", ", ": ", "", ""), (",", ":", " ", "\n")])
    )
    text = comma.join(
        json.dumps(name, ensure_ascii=ascii_only)
        + colon
        + json.dumps(value, ensure_ascii=ascii_only)
        for name, value in members
    )
    return f"{before}{{{text}}}{after}".encode("utf-8", "surrogatepass")


def read(by: Callable[[bytes], Command], line: bytes) -> Read:
    """Return the command with the kinds of its values, or the code of the refusal."""
    try:
        command = by(line)
    except Unreadable as unreadable:
        return unreadable.code
    return command, [type(value) for value in command.properties.values()]


@given(lines())
def test_every_line_is_read_as_the_plain_rules_say(line: bytes) -> None:
    """The same command, with values of the same kinds, or the same refusal."""
    assert read(decode, line) == read(decode_plainly, line)


@given(st.one_of(lines(), commands.map(encode)), st.data())
def test_a_spoilt_line_is_read_as_the_plain_rules_say(line: bytes, data: st.DataObject) -> None:
    """Also one that a crash or a bad block has changed anywhere."""
    at = data.draw(st.integers(0, len(line) - 1))
    spoilt = (
        line[:at] + data.draw(st.binary(max_size=2)) + line[at + data.draw(st.integers(0, 3)) :]
    )
    assert read(decode, spoilt) == read(decode_plainly, spoilt)


@pytest.mark.parametrize(
    ("before", "line"),
    [
        ({"_n": "_d"}, b'{"_p":"bob","_t":1500000000,"_n":"x","_d":"1"}'),
        ({"_n": "x", "a": "b"}, b'{"_p":"bob","_t":1500000000,"_n":"x","a":"\\ud800"}'),
        ({"_n": "x", "a": "b"}, b'{"_p":"bob","_t":1500000000,"_n":"x","a":null}'),
        ({"_n": "x", "a": "b"}, b'{"_p":"bob","_t":1500000000,"_n":"x","a":true}'),
        ({"_n": "x", "a": "b"}, b'{"_p":"bob","_t":1500000000,"_n":"x","a":["b"]}'),
        ({"_n": "x"}, b'{"_p":"bob","_t":1500000000,"_n":"x","_p2":"eve"}'),
        ({"_n": "x"}, b'{"_p":"bob","_t":1500000000,"_n":"x","_k":""}'),
        ({"a": "b"}, b'{"_p":"bob","_t":1500000000,"_n":"a","_k":"\\ud800"}'),
    ],
)
def test_what_was_proven_before_changes_nothing(before: dict[str, str], line: bytes) -> None:
    """A name that is known spares a look at the name, and at nothing else."""
    decode(json.dumps({"_p": "ann", "_t": EARLIEST, **before}).encode())
    assert read(decode, line) == read(decode_plainly, line)


def test_names_that_were_proven_are_bounded() -> None:
    """Names that are made up anew for each event do not fill the memory."""
    for n in range(2 * module._MAX_PROVEN):
        line = encode(Command("bob", EARLIEST, f"event {n}", properties={f"name {n}": Number("1")}))
        assert decode(line).properties == {f"name {n}": "1"}
    assert len(module._PROVEN_EVENTS) <= module._MAX_PROVEN
    assert len(module._PROVEN_PROPERTIES) <= module._MAX_PROVEN
