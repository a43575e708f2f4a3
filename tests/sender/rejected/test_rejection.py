"""The line of a rejected command: exact in both directions, readable, and harmless whoever wrote it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.rejected import New, Rejection
from sender.rejected.rejection import (
    MAX_FORM,
    Gone,
    at_text,
    cut,
    file_day,
    file_name,
    form,
    gone_form,
    parse,
    parse_id,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

P = "20261123T204501Z-4f2a91c3"
AT = 1_795_467_067.25
LINE = b'{"_p":"bob@bob.com","_t":1234567890,"_n":"Signed Up"}'

places = st.none() | st.integers(0, (1 << 63) - 1)
news = st.builds(
    New,
    reason=st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True),
    raw=st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode()),
    rule=st.text(max_size=50),
    partition=st.sampled_from([None, P]),
    offset=places,
    end=places,
    status=st.none() | st.integers(100, 999),
    said=st.text(max_size=600),
    size=st.none() | st.integers(0, 1 << 40),
)


def rejection(**changed: object) -> Rejection:
    """Return what is kept of a plain rejected command."""
    plain: Mapping[str, object] = {"reason": "answered-400", "raw": LINE}
    return cut(New(**{**plain, **changed}), "2026-11-23:17", AT, "sender")  # type: ignore[arg-type]  # by name


def line(**changed: object) -> bytes:
    """Return a line as another program might write it."""
    return json.dumps({**json.loads(form(rejection())), **changed}).encode()


@given(news, st.integers(0, 4_000_000_000_000))
def test_form_and_parse_are_inverse(new: New, at_ms: int) -> None:
    """Whatever bytes a line held are there again, to be sent or to be looked at."""
    kept = cut(new, "2026-11-23:17", at_ms / 1_000, "sender")
    formed = form(kept)
    assert parse(formed) == kept
    assert formed.endswith(b"\n")
    assert formed.count(b"\n") == 1
    formed.decode("utf-8")


def test_the_text_is_readable_and_what_is_no_utf8_is_escaped() -> None:
    """An operator reads the file with less, jq or Python."""
    raw = '{"_p":"zoë"}'.encode() + b"\xff\x00"
    formed = form(rejection(raw=raw)).decode()
    assert r'"text":"{\"_p\":\"zoë\"}\udcff\u0000"' in formed
    assert json.loads(formed)["text"].encode("utf-8", "surrogateescape") == raw


def test_a_line_holds_the_documented_keys() -> None:
    """When, why, where from, the answer, and the text."""
    kept = rejection(partition=P, offset=93, end=150, status=400, said="bad", rule="refused")
    assert json.loads(form(kept)) == {
        "id": "2026-11-23:17",
        "at": "2026-11-23T20:51:07.250Z",
        "reason": "answered-400",
        "rule": "refused",
        "partition": P,
        "offset": 93,
        "end": 150,
        "status": 400,
        "said": "bad",
        "size": 53,
        "program": "sender",
        "text": LINE.decode(),
    }


def test_only_the_head_of_an_oversized_line_is_kept_and_its_size_is_known() -> None:
    """A line of gigabytes must not become a file of gigabytes."""
    kept = rejection(raw=b"\xff" * 70_000, size=10_000_000)
    assert (len(kept.raw), kept.size, kept.is_whole) == (65_536, 10_000_000, False)
    assert len(form(kept)) < MAX_FORM
    assert rejection(raw=b"x" * 70_000).is_whole is False
    assert rejection().is_whole


def test_what_the_api_said_is_bounded() -> None:
    """An error page may be long, and its head says it."""
    assert rejection(said="x" * 9_999).said == "x" * 500


def test_a_reason_that_no_reader_would_accept_is_refused() -> None:
    """Else it would be written and never be listed."""
    with pytest.raises(ValueError, match="no such name"):
        New("Bad Request", b"")


def test_the_place_is_partition_and_offset_or_none() -> None:
    """What came over HTTP was at no place in the spool."""
    assert rejection(partition=P, offset=0).place == (P, 0)
    assert rejection(partition=P).place is None
    assert rejection(offset=7).place is None


def test_a_gone_line_is_told_from_a_rejected_one() -> None:
    """They stand in the same file."""
    assert parse(gone_form("2026-11-23:17", "dropped")) == Gone("2026-11-23:17", "dropped")
    assert parse(gone_form("2026-11-23:17", "delivered")) == Gone("2026-11-23:17", "delivered")


@pytest.mark.parametrize(
    "strange",
    [
        b"",
        b"\n",
        bytes(100),
        form(rejection())[:-9],
        b"[]",
        b"{}",
        b"[" * 100_000,
        b"\xff",
        b'{"gone":"x","how":"dropped"}',
        b'{"gone":"2026-11-23:17"}',
        b'{"gone":"2026-11-23:17","how":"eaten"}',
        b'{"gone":"2026-11-23:17","how":["dropped"]}',
        line(id="17"),
        line(id="2026-11-23:0"),
        line(id="2026-11-23:" + "9" * 16),
        line(id=17),
        line(at="yesterday"),
        line(at="2026-11-23T20:51:07"),
        line(at="0001-01-01T00:00:00+23:59"),
        line(at="9999-12-31T23:59:59-23:59"),
        line(at=1.5),
        line(reason="\x1b[2J"),
        line(program="../x"),
        line(partition="../x"),
        line(partition=3),
        line(offset=-1),
        line(offset=True),
        line(end=1 << 63),
        line(status="400"),
        line(size=None),
        line(said=None),
        line(rule=7),
        line(text=None),
        line(text="\ud800"),
    ],
)
def test_what_is_strange_is_a_value_error(strange: bytes) -> None:
    """The file is input from other programs: a reader passes such a line over, and counts it."""
    with pytest.raises(ValueError, match=r"\S"):
        parse(strange)


@given(st.binary(max_size=300) | st.text().map(lambda text: json.dumps({"gone": text}).encode()))
def test_parse_raises_nothing_but_value_error(data: bytes) -> None:
    """Whatever stands there."""
    with pytest.raises(ValueError, match=r"\S"):
        parse(data)


def test_names_of_files_and_ids() -> None:
    """Nothing else in the directory is read."""
    assert file_day(file_name("2026-11-23", "sender")) == "2026-11-23"
    assert file_day(file_name("2026-11-23", "sender", 12)) == "2026-11-23"
    assert [file_day(name) for name in ("lock", "2026-11-23-.jsonl", "2026-11-23-a.0.jsonl")] == [
        None
    ] * 3
    with pytest.raises(ValueError, match="small letters"):
        file_name("2026-11-23", "../x")
    assert parse_id("2026-11-23:17") == ("2026-11-23", 17)


def test_times_are_rounded_to_the_millisecond() -> None:
    """A float of seconds has more digits than anybody wrote."""
    assert at_text(1_795_467_067.1139999) == "2026-11-23T20:51:07.114Z"
