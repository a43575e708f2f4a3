"""The tracking API as pure functions: what is sent, and what an answer means."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmq.command import Command, Number
from sender.api import (
    MAX_QUERY,
    MAX_RETRY_AFTER_S,
    MAX_SAID,
    Answer,
    delay_s,
    outcome_of,
    outcome_of_failure,
    outcome_of_tunnel,
    request_for,
)
from sender.flow import Outcome, Verdict

if TYPE_CHECKING:
    from sender.api import Failure

AT = 1262304000
NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
NAMES = TEXT.filter(lambda name: name not in {"_k", "_p", "_n", "_t", "_d"})
VALUES = TEXT | st.decimals(allow_nan=False, allow_infinity=False, places=2).map(
    lambda d: Number(f"{d:f}")
)
KEYS = st.none() | TEXT
TIMES = st.integers(1230768000, 10**11 - 1)
COMMANDS = st.one_of(
    st.builds(Command, TEXT, TIMES, TEXT, properties=st.dictionaries(NAMES, VALUES), key=KEYS),
    st.builds(Command, TEXT, TIMES, properties=st.dictionaries(NAMES, TEXT, min_size=1)),
    st.builds(Command, TEXT, TIMES, other=TEXT),
)


def said(
    status: int, head: bytes = b"", kind: str = "image/gif", retry_after: str | None = None
) -> Outcome:
    """Return the outcome of an answer."""
    return outcome_of(Answer(status, kind, retry_after, head), NOW)


def form_of(command: Command) -> tuple[str, str, str]:
    """Return method, path and query of the request for `command`."""
    request = request_for(command, "api-key")
    return request.method, request.path, request.query


def test_a_record_is_the_golden_request() -> None:
    """A record with a property gives the URL of the API's page, parameter for parameter."""
    command = Command("bob", AT, "Signed Up", properties={"gender": "male"})
    assert form_of(command) == (
        "GET",
        "/e",
        "_k=api-key&_p=bob&_n=Signed+Up&gender=male&_t=1262304000&_d=1",
    )


def test_a_set_is_the_golden_request() -> None:
    """A set goes to /s, without a name."""
    command = Command("bob", AT, properties={"gender": "male"})
    assert form_of(command) == ("GET", "/s", "_k=api-key&_p=bob&gender=male&_t=1262304000&_d=1")


def test_an_alias_is_the_golden_request() -> None:
    """An alias goes to /a with both identities and no time."""
    assert form_of(Command("User 12345", AT, other="bob@bob.com")) == (
        "GET",
        "/a",
        "_k=api-key&_p=User+12345&_n=bob%40bob.com",
    )


def test_a_number_goes_out_as_its_digits() -> None:
    """No digit of a number is lost or added."""
    command = Command("bob", AT, "Paid", properties={"Amount": Number("99.90")})
    assert "&Amount=99.90&" in request_for(command, "k").query


def test_a_key_of_the_command_beats_the_senders() -> None:
    """A line with a key of its own goes out under that; an empty one is none."""
    assert request_for(Command("bob", AT, "x", key="own"), "api-key").query.startswith("_k=own&")
    assert request_for(Command("bob", AT, "x", key=""), "api-key").query.startswith("_k=api-key&")


def test_properties_replace_no_parameter() -> None:
    """Whatever built the command, key, person, name and time are the command's."""
    command = Command(
        "bob",
        AT,
        "x",
        properties={"_k": "1", "_p": "2", "_n": "3", "_t": "4", "_d": "0", "plan": "5"},
    )
    assert request_for(command, "api-key").query == f"_k=api-key&_p=bob&_n=x&plan=5&_t={AT}&_d=1"


def test_text_is_encoded_as_utf_8_with_plus_and_bare_tilde() -> None:
    """A space is +, a ~ stays, all else that is not plain is a percent-encoded byte in capitals."""
    command = Command("a b~c+d", AT, "é/&=#%7e\n")
    assert (
        request_for(command, "k").query
        == f"_k=k&_p=a+b~c%2Bd&_n=%C3%A9%2F%26%3D%23%257e%0A&_t={AT}&_d=1"
    )


def test_a_query_past_2000_characters_is_posted() -> None:
    """2,000 characters still go by GET, one more is a POST of the same text to the same path."""
    short = len(request_for(Command("bob", AT, "x", properties={"v": ""}), "k").query)
    longest = Command("bob", AT, "x", properties={"v": "y" * (MAX_QUERY - short)})
    longer = Command("bob", AT, "x", properties={"v": "y" * (MAX_QUERY - short + 1)})
    assert request_for(longest, "k").method == "GET"
    assert request_for(longer, "k").method == "POST"
    assert request_for(longer, "k").path == "/e"
    assert len(request_for(longer, "k").query) == MAX_QUERY + 1


def plainly(command: Command, key: str) -> str:
    """Return the query of `command` as the API's page has it, each text quoted on its own."""
    pairs = [("_k", command.key or key), ("_p", command.person)]
    if command.other is not None:
        pairs += [("_n", command.other)]
    else:
        pairs += [("_n", command.name)] if command.name is not None else []
        pairs += [*command.properties.items(), ("_t", str(command.time)), ("_d", "1")]
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)


@given(st.lists(COMMANDS))
def test_a_request_is_byte_for_byte_the_plain_form(commands: list[Command]) -> None:
    """Whatever went before it: what is remembered of other commands changes none."""
    for command in commands:
        assert request_for(command, "api key").query == plainly(command, "api key")


@given(COMMANDS)
def test_a_request_says_what_the_command_says(command: Command) -> None:
    """Decoded, the parameters are the command's, each once; and the same command gives the same request."""
    request = request_for(command, "api-key")
    pairs = parse_qsl(request.query, keep_blank_values=True, strict_parsing=True, errors="strict")
    expected = {"_k": command.key or "api-key", "_p": command.person}
    if command.kind == "alias":
        expected |= {"_n": command.other or ""}
    else:
        expected |= {"_n": command.name} if command.name is not None else {}
        expected |= {**command.properties, "_t": str(command.time), "_d": "1"}
    assert len(pairs) == len(expected)
    assert dict(pairs) == expected
    assert request.query.isascii()
    assert "@" not in request.query
    assert request_for(command, "api-key") == request


@pytest.mark.parametrize("status", [200, 201, 204, 206, 299, 304])
def test_success_delivers(status: int) -> None:
    """2xx and 304 deliver."""
    assert said(status) == Outcome(Verdict.DELIVERED, f"answered-{status}", status)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 401, 403, 404, 407])
def test_answers_about_the_settings_block(status: int) -> None:
    """Redirects and the answers to a wrong key or address block, and keep no word of the answer."""
    assert said(status, b"no", retry_after="7") == Outcome(
        Verdict.BLOCKED, f"answered-{status}", status
    )


@pytest.mark.parametrize(
    "status", [100, 101, 103, 408, 425, 429, 500, 502, 503, 504, 599, 600, 999]
)
def test_answers_about_the_moment_are_retried(status: int) -> None:
    """408, 425, 429, 5xx and statuses that HTTP does not know are retried."""
    assert said(status) == Outcome(Verdict.RETRY, f"answered-{status}", status)


@pytest.mark.parametrize(
    "status", [400, 402, 405, 406, 409, 410, 411, 413, 414, 422, 431, 451, 499]
)
def test_other_answers_about_the_request_reject(status: int) -> None:
    """Any other 4xx rejects, with what the answer said."""
    assert said(status, b"bad name") == Outcome(
        Verdict.REJECTED, f"answered-{status}", status, said="bad name"
    )


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("text/html", b""),
        ("Text/HTML; charset=utf-8", b"GIF89a"),
        ("application/xhtml+xml", b"<x/>"),
        ("", b"<!DOCTYPE html><title>Log in</title>"),
        ("", b"\xef\xbb\xbf\r\n  <HTML>"),
        (" ; charset=x", b"<!-- portal --><p>"),
    ],
)
def test_a_success_that_is_a_web_page_blocks(kind: str, head: bytes) -> None:
    """A captive portal answers 200 with a page, which the API never does."""
    assert said(200, head, kind) == Outcome(Verdict.BLOCKED, "web-page", 200)


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("", b""),
        ("", b"GIF89a"),
        ("image/gif", b"<html>"),
        ("text/plain", b"OK"),
        ("application/json", b"{}"),
    ],
)
def test_a_success_that_is_no_web_page_delivers(kind: str, head: bytes) -> None:
    """The API's image, nothing at all, and what other trackers answer are no pages."""
    assert said(200, head, kind).verdict is Verdict.DELIVERED


def test_an_error_that_is_a_web_page_is_what_its_status_says() -> None:
    """Only success has to be doubted: error pages are HTML everywhere."""
    assert said(503, b"<html>", "text/html").verdict is Verdict.RETRY
    assert said(400, b"<html>", "text/html").verdict is Verdict.REJECTED


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("300", 300.0),
        ("301", MAX_RETRY_AFTER_S),
        ("999999999", MAX_RETRY_AFTER_S),
        ("9" * 5000, None),
        ("-5", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("", None),
        ("soon", None),
        ("Tue, 14 Nov 2023 22:14:00 GMT", 40.0),
        ("Tue, 14 Nov 2023 22:14:00 -0000", 40.0),
        ("Tue, 14 Nov 2023 23:14:00 +0100", 40.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("Wed, 15 Nov 2023 22:14:00 GMT", MAX_RETRY_AFTER_S),
        ("Tue, 14 Nov 99999 22:14:00 GMT", None),
        ("Tue, 14 Nov 2023 22:14:00 +9999", None),
        ("Tue, 32 Nov 2023 22:14:00 GMT", None),
    ],
)
def test_retry_after_is_understood_capped_or_ignored(
    text: str | None, seconds: float | None
) -> None:
    """Seconds or a date count, up to five minutes; anything else is as if it were not there."""
    assert said(503, retry_after=text).retry_after_s == seconds


@given(st.text())
def test_no_retry_after_breaks_anything(text: str) -> None:
    """Whatever a server writes, the wait is within its bounds or unknown."""
    seconds = said(429, retry_after=text).retry_after_s
    assert seconds is None or 0.0 <= seconds <= MAX_RETRY_AFTER_S


def test_what_was_said_is_cut_and_harmless() -> None:
    """At most 500 characters are kept, with nothing that acts on a terminal."""
    outcome = said(400, b"\x1b[31m" + b"x" * 600)
    assert outcome.said == "[31m" + "x" * (MAX_SAID - 5)
    assert said(400, b"a\r\nb\xff").said == "a  b\ufffd"


@pytest.mark.parametrize(
    "form", ["_k={}", "_k%3D{}", "_k%3d{}", "/e?_k={}&_p=bob", 'href="/e?_k={}"', "_k={};"]
)
def test_what_was_said_holds_no_key(form: str) -> None:
    """An error page that quotes the request does not carry the key into rejected/."""
    assert "s3cret" not in said(400, form.format("s3cret").encode()).said
    assert "***" in said(400, form.format("s3cret").encode()).said


@pytest.mark.parametrize(
    "kind", ["no-address", "refused", "unreachable", "closed", "timeout", "not-http", "no-answer"]
)
def test_no_answer_is_retried(kind: Failure) -> None:
    """Whatever the network does, the command stays."""
    assert outcome_of_failure(kind) == Outcome(Verdict.RETRY, kind)


def test_a_failed_tls_blocks() -> None:
    """A certificate that is not trusted is a matter of settings."""
    assert outcome_of_failure("tls") == Outcome(Verdict.BLOCKED, "tls")


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 407, 418])
def test_a_proxy_that_refuses_the_tunnel_blocks(status: int) -> None:
    """Not even a 400 rejects here: the proxy has not seen the command."""
    assert outcome_of_tunnel(status) == Outcome(Verdict.BLOCKED, "proxy-refused", status)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_proxy_that_fails_is_retried(status: int) -> None:
    """A proxy may have its own bad moment."""
    assert outcome_of_tunnel(status) == Outcome(Verdict.RETRY, "proxy-failed", status)


def test_the_delay_doubles_up_to_its_cap() -> None:
    """At full jitter's upper end: half a second, doubled with each failure, never past 30 s."""
    nearly = 1.0 - 2.0**-53
    assert [round(delay_s(n, nearly), 6) for n in range(1, 9)] == [
        0.5,
        1.0,
        2.0,
        4.0,
        8.0,
        16.0,
        30.0,
        30.0,
    ]
    assert delay_s(10**9, nearly) <= 30.0


def test_the_delay_is_spread_down_to_nothing() -> None:
    """Full jitter: chance alone says where between nothing and the bound."""
    assert delay_s(5, 0.0) == 0.0
    assert delay_s(5, 0.25) == 2.0
