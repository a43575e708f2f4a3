"""KISSmetrics' common methods, from the call to the request: what arrives is what the API's documentation asks for.

Each test calls the library, lets a real `kmq-sender run --drain` send the spool, and reads at a real collector what
came. Rows and golden URLs are those of the API's own pages (events, properties, aliases, common methods).
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest

from kmq import Client, NoPerson
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures
from tests.support.system import KEY, drain, environ, make_spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.collector import CollectorProcess

B = "bob@bob.com"
NOW = "now"

COMMON_METHODS = """
from kmq import KM
KM.identify('bob@bob.com');
KM.record('Viewed Homepage');
KM.record('Signed Up', {'Plan' : 'Pro', 'Amount' : 99.95});
KM.record('Signed Up', {'_d' : 1, '_t' : 1234567890});
KM.set({'gender' : 'male'});
KM.alias('bob', 'bob@bob.com');
"""


class Wire:
    """A spool, and what it becomes."""

    def __init__(self, spool: str, collector: CollectorProcess) -> None:  # noqa: F811 - not the fixture
        self.spool = spool
        self.collector = collector
        self.client = Client(spool)
        self.began = int(time.time())

    def sent(self, *, key: str = KEY) -> list[dict[str, Any]]:
        """Send all that is spooled and return the requests that came."""
        drain(self.spool, self.collector.url, key=key)
        return self.collector.requests()

    def requests(self) -> list[tuple[str, str, dict[str, str]]]:
        """Return method, path and parameters of each; a time at which a call was made here reads NOW."""
        return [(one["method"], one["path"], self._params(one)) for one in self.sent()]

    def _params(self, request: dict[str, Any]) -> dict[str, str]:
        pairs = parse_qsl(request["raw"], keep_blank_values=True, strict_parsing=True)
        params = dict(pairs)
        assert len(params) == len(pairs), f"a parameter is there twice: {request['raw']}"
        if self.began <= int(params.get("_t", 0)) <= time.time():
            params["_t"] = NOW
        return params


@pytest.fixture
def wire(tmp_path: Path, collector: CollectorProcess) -> Wire:  # noqa: F811 - the fixture
    """Give an empty spool, and the way from it to the collector."""
    return Wire(make_spool(tmp_path), collector)


def event(name: str, person: str = B, **properties: str) -> tuple[str, str, dict[str, str]]:
    """Return the request of a record, made now unless the properties say when."""
    params = {"_k": KEY, "_p": person, "_n": name, "_t": NOW, "_d": "1", **properties}
    return "GET", "/e", params


def setting(person: str = B, **properties: str) -> tuple[str, str, dict[str, str]]:
    """Return the request of a set, made now."""
    return "GET", "/s", {"_k": KEY, "_p": person, "_t": NOW, "_d": "1", **properties}


def aliasing(person: str, other: str) -> tuple[str, str, dict[str, str]]:
    """Return the request of an alias, which has no time on the wire."""
    return "GET", "/a", {"_k": KEY, "_p": person, "_n": other}


def test_the_lines_of_the_common_methods_run_word_for_word(wire: Wire) -> None:
    """Rows 1 to 5 and 7: six lines, five requests, nothing more."""
    command = [sys.executable, "-c", COMMON_METHODS]
    subprocess.run(command, check=True, env=environ(KMQ_SPOOL=wire.spool))
    came = wire.requests()
    assert [one for one in came if one[1] != "/a"] == [
        event("Viewed Homepage"),
        event("Signed Up", Plan="Pro", Amount="99.95"),
        event("Signed Up", _t="1234567890"),
        setting(gender="male"),
    ]
    assert [one for one in came if one[1] == "/a"] == [aliasing("bob", B)]


def _row_2(client: Client) -> None:
    client.record("Viewed Homepage")


def _row_3(client: Client) -> None:
    client.record("Signed Up", {"Plan": "Pro", "Amount": 99.95})


def _row_4(client: Client) -> None:
    client.record("Signed Up", {"_d": 1, "_t": 1234567890})


def _row_5(client: Client) -> None:
    client.set({"gender": "male"})


def _row_6(client: Client) -> None:
    client.set({"gender": "male", "Plan Name": "Pro"})


def _row_7(client: Client) -> None:
    client.alias("bob", B)


def _row_8(client: Client) -> None:
    client.record({"gender": "male"})


def _row_8_with_none(client: Client) -> None:
    client.record(None, {"gender": "male"})


def _pushed(client: Client) -> None:
    client.push(["record", "Signed Up", {"Plan": "Pro", "Amount": 99.95}])


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        (_row_2, event("Viewed Homepage")),
        (_row_3, event("Signed Up", Plan="Pro", Amount="99.95")),
        (_row_4, event("Signed Up", _t="1234567890")),
        (_row_5, setting(gender="male")),
        (_row_6, setting(**{"gender": "male", "Plan Name": "Pro"})),
        (_row_7, aliasing("bob", B)),
        (_row_8, setting(gender="male")),
        (_row_8_with_none, setting(gender="male")),
        (_pushed, event("Signed Up", Plan="Pro", Amount="99.95")),
    ],
)
def test_each_call_becomes_its_request(
    call: Callable[[Client], None], request_: tuple[str, str, dict[str, str]], wire: Wire
) -> None:
    """Rows 2 to 8 of the common methods, and the pushed form: one call, one request, exactly these parameters."""
    wire.client.identify(B)
    call(wire.client)
    assert wire.requests() == [request_]


def test_identify_sends_nothing(wire: Wire) -> None:
    """Row 1: it only says whom the next calls are about, in either form, as does forgetting."""
    wire.client.identify(B)
    wire.client.push(["identify", "bob"])
    wire.client.identify(None)
    assert wire.requests() == []


def test_a_person_given_with_a_call_does_not_disturb_the_current_one(wire: Wire) -> None:
    """Row 9: the explicit form, between two calls of somebody else."""
    wire.client.identify("ann")
    wire.client.record("First")
    wire.client.record("Signed Up", {"Plan": "Pro"}, person=B)
    wire.client.set({"gender": "male"}, person=B)
    wire.client.record("Second")
    came = wire.requests()
    assert [one for one in came if one[2]["_p"] == "ann"] == [
        event("First", "ann"),
        event("Second", "ann"),
    ]
    assert [one for one in came if one[2]["_p"] == B] == [
        event("Signed Up", Plan="Pro"),
        setting(gender="male"),
    ]


def test_each_event_is_of_whoever_was_identified_then(wire: Wire) -> None:
    """Identify, record, identify, record: though all are sent later, by another process."""
    for person in ("ann", B):
        wire.client.identify(person)
        wire.client.record(f"Seen {person}")
    assert sorted(wire.requests(), key=str) == sorted(
        [event("Seen ann", "ann"), event(f"Seen {B}")], key=str
    )


def test_record_before_identify_is_an_error_and_no_request(wire: Wire) -> None:
    """Nobody's event cannot be used; alias names both persons itself and needs none."""
    with pytest.raises(NoPerson):
        wire.client.record("Viewed Homepage")
    wire.client.alias("bob", B)
    assert wire.requests() == [aliasing("bob", B)]


@pytest.mark.parametrize("given", [{"_t": 1262304000}, {"_t": 1262304000, "_d": 0}])
def test_a_time_of_the_callers_own_always_counts(given: dict[str, int], wire: Wire) -> None:
    """Without _d=1 the API would take the moment of arrival; whoever gives a time means it."""
    wire.client.record("Signed Up", given, person=B)
    assert wire.requests() == [event("Signed Up", _t="1262304000")]


def test_properties_cannot_replace_who_what_and_for_whom(wire: Wire) -> None:
    """What would be _k, _p or _n is refused at the call; nothing of it is sent."""
    for name in ("_k", "_p", "_n"):
        with pytest.raises(ValueError, match=name):
            wire.client.record("Signed Up", {name: "other"}, person=B)
    assert wire.requests() == []


def test_the_callers_own_dict_stays_as_it_was(wire: Wire) -> None:
    """It may be used for the next call."""
    given = {"Plan": "Pro", "_t": 1262304000, "_d": 1}
    wire.client.record("Signed Up", given, person=B)
    wire.client.set(given, person=B)
    assert given == {"Plan": "Pro", "_t": 1262304000, "_d": 1}
    assert len(wire.requests()) == 2


def test_what_needs_it_is_percent_encoded(wire: Wire) -> None:
    """No raw @, + or space, and what is not ASCII as the percent-encoded bytes of its UTF-8."""
    wire.client.record(
        "Zahlung f\u00fcr B\u00fccher", {"a&b=c": "1+1 @ \u20ac \U0001f600"}, person=B
    )
    (request,) = wire.sent()
    assert request["raw"].isascii()
    assert not set('@ "<>') & set(request["raw"])
    assert "%C3%BCr" in request["raw"]
    assert "%F0%9F%98%80" in request["raw"]
    assert "a%26b%3Dc=1%2B1" in request["raw"]
    assert request["params"]["a&b=c"] == "1+1 @ \u20ac \U0001f600"
    assert request["params"]["_n"] == "Zahlung f\u00fcr B\u00fccher"


def test_the_golden_urls_come_out_to_the_byte(wire: Wire) -> None:
    """The examples of the API's own page, made by calls."""
    wire.client.record("Signed Up", {"gender": "male", "_t": 1262304000}, person="bob")
    wire.client.set({"gender": "male", "_t": 1262304000}, person="bob")
    wire.client.alias("User 12345", B)
    came = {f"{one['path']}?{one['raw']}" for one in wire.sent(key="api-key")}
    assert came == {
        "/e?_k=api-key&_p=bob&_n=Signed+Up&gender=male&_t=1262304000&_d=1",
        "/s?_k=api-key&_p=bob&gender=male&_t=1262304000&_d=1",
        "/a?_k=api-key&_p=User+12345&_n=bob%40bob.com",
    }


def test_a_request_too_long_for_a_url_is_posted_whole(wire: Wire) -> None:
    """Beyond 2,000 characters the same parameters go as a body."""
    text = "\u00e9" * 500
    wire.client.set({"Notes": text}, person=B)
    assert wire.requests() == [("POST", "/s", {**setting(Notes=text)[2]})]


def test_a_command_is_sent_again_byte_for_byte(wire: Wire) -> None:
    """Refused twice, then taken: the same request each time, with the time of the call."""
    wire.client.record("Signed Up", {"Plan": "Pro", "Amount": 99.95}, person=B)
    wire.collector.answer(status=503, count=2)
    came = wire.sent()
    assert [one["answer"] for one in came] == [503, 503, 200]
    assert len({(one["method"], one["path"], one["raw"]) for one in came}) == 1


def test_an_app_sends_nothing_itself(wire: Wire) -> None:
    """Until a sender runs, no request comes: the call reaches the disk and no further."""
    wire.client.record("Viewed Homepage", person=B)
    assert wire.collector.requests() == []
    assert wire.requests() == [event("Viewed Homepage")]
