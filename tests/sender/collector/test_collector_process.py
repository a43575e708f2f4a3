"""The running collector, asked over real connections."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, RemoteDisconnected
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import pytest

from sender.collector.beacon import GIF, MAX_BODY
from tests.support.collector import Answered, CollectorProcess, fetch
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

EVENT = "/e?_k=K&_p=bob%40bob.com&_n=Signed+Up&Plan=Pro&_t=1234567890&_d=1"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MEANT = {"X-KMQ": "1"}


def get(collector: CollectorProcess, target: str, **headers: str) -> Answered:
    """GET `target` over a new connection."""
    return fetch(collector.port, "GET", target, headers=headers)


def post(
    collector: CollectorProcess,
    target: str,
    body: bytes | str,
    headers: dict[str, str] | None = None,
) -> Answered:
    """POST `body`, as a form unless `headers` say otherwise."""
    data = body if isinstance(body, bytes) else body.encode()
    return fetch(collector.port, "POST", target, data, FORM if headers is None else headers)


def raw(collector: CollectorProcess, data: bytes) -> bytes:
    """Send `data` as it is and return all that comes until the collector closes."""
    with socket.create_connection(("127.0.0.1", collector.port), timeout=30) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


class TestTracking:
    """`/e`, `/s` and `/a`, as the API answers them."""

    @pytest.mark.parametrize("path", ["/e", "/s", "/a"])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_each_path_answers_the_gif(
        self, collector: CollectorProcess, path: str, method: str
    ) -> None:
        """43 bytes, never cached."""
        answered = fetch(collector.port, method, path)
        assert (answered.status, answered.body, len(GIF)) == (200, GIF, 43)
        assert answered.headers["content-type"] == "image/gif"
        assert answered.headers["cache-control"] == "no-store"
        assert "server" not in answered.headers

    def test_the_gif_is_one_transparent_pixel(self) -> None:
        """Browsers must be able to decode it: signature, 1x1, a palette of two, one frame, the end."""
        assert GIF[:6] == b"GIF89a"
        assert struct.unpack("<HH", GIF[6:10]) == (1, 1)
        assert GIF[-1:] == b";"

    def test_a_get_is_kept_with_its_query_as_it_came(self, collector: CollectorProcess) -> None:
        """`raw` is what a duplicate is told by; `params` is what it means."""
        before = time.time()
        get(collector, EVENT)
        (request,) = collector.requests()
        assert before - 1 <= request.pop("at") <= time.time()
        assert request.pop("seq") > 0
        assert request == {
            "method": "GET",
            "path": "/e",
            "params": {
                "_k": "K",
                "_p": "bob@bob.com",
                "_n": "Signed Up",
                "Plan": "Pro",
                "_t": "1234567890",
                "_d": "1",
            },
            "raw": EVENT.removeprefix("/e?"),
            "answer": 200,
            "bad": None,
        }

    def test_a_post_is_kept_with_its_body_as_it_came(self, collector: CollectorProcess) -> None:
        """Its parameters are those of the query and then those of the body."""
        post(collector, "/s?_k=K&a=1", "_p=bob&a=2&b=caf%C3%A9")
        (request,) = collector.requests()
        assert request["raw"] == "_p=bob&a=2&b=caf%C3%A9"
        assert request["params"] == {"_k": "K", "a": "2", "_p": "bob", "b": "café"}
        assert (request["method"], request["path"], request["bad"]) == ("POST", "/s", None)

    @pytest.mark.parametrize(
        "kind",
        [None, "text/plain", "text/plain;charset=UTF-8", "Application/X-WWW-Form-URLencoded"],
    )
    def test_a_body_is_urlencoded_plain_text_or_of_no_type(
        self, collector: CollectorProcess, kind: str | None
    ) -> None:
        """A browser's beacon of a string is text/plain."""
        post(collector, "/s", "_k=K&_p=bob&a=1", {} if kind is None else {"Content-Type": kind})
        assert collector.summary()["good"] == 1

    @pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
    def test_a_body_of_another_type_is_refused_and_counted(
        self, collector: CollectorProcess, kind: str
    ) -> None:
        """What the API makes of it nobody knows."""
        assert post(collector, "/s", '{"a":1}', {"Content-Type": kind}).status == 415
        (request,) = collector.requests(bad=1)
        assert (request["answer"], request["bad"]) == (415, "wrong-type")

    @pytest.mark.parametrize(
        ("target", "code"),
        [
            ("/e?_k=K&_n=x", "no-person"),
            ("/e?_k=K&_p=null&_n=x", "no-person"),
            ("/e?_k=K&_p=bob", "no-name"),
            ("/s?_k=K&_p=bob", "nothing-to-set"),
            ("/e?_p=bob&_n=x", "no-key"),
            ("/e?_k=&_p=bob&_n=x", "no-key"),
            ("/e?_k=K&_p=bob&_n=x&_t=1795513723000&_d=1", "milliseconds"),
            ("/e?_k=K&_p=bob&_n=%FF", "not-utf8"),
        ],
    )
    def test_what_the_api_would_drop_is_answered_200_and_counted_as_bad(
        self, collector: CollectorProcess, target: str, code: str
    ) -> None:
        """The API says nothing either; the counts do."""
        assert get(collector, target).body == GIF
        assert collector.summary() == {"total": 1, "good": 0, "bad": 1, "warnings": {}}
        assert [request["bad"] for request in collector.requests()] == [code]

    def test_bytes_that_are_no_utf8_are_shown_as_they_came(
        self, collector: CollectorProcess
    ) -> None:
        """As lone surrogates, which JSON escapes."""
        post(collector, "/e", b"_k=K&_p=\xff&_n=%fe")
        (request,) = collector.requests()
        assert request["raw"].encode(errors="surrogateescape") == b"_k=K&_p=\xff&_n=%fe"
        assert request["params"]["_n"].encode(errors="surrogateescape") == b"\xfe"

    def test_a_connection_is_kept_for_further_requests(self, collector: CollectorProcess) -> None:
        """Senders reuse it."""
        connection = HTTPConnection("127.0.0.1", collector.port, timeout=30)
        with contextlib.closing(connection):
            for _ in range(3):
                connection.request("GET", EVENT)
                connection.getresponse().read()
                assert connection.sock is not None
        assert collector.summary()["total"] == 3

    def test_http_1_0_without_a_host_is_served(self, collector: CollectorProcess) -> None:
        """Old clients speak so."""
        answer = raw(collector, f"GET {EVENT} HTTP/1.0\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(GIF)

    def test_a_full_line_of_the_spool_arrives_by_post(self, collector: CollectorProcess) -> None:
        """Each of its 64 KiB may take three bytes when percent-encoded."""
        value = "é" * 32_000
        body = urlencode(
            {"_k": "K", "_p": "bob", "_n": "x", "v": value, "_t": "1234567890", "_d": "1"}
        )
        assert post(collector, "/e", body).status == 200
        (request,) = collector.requests(bad=0)
        assert request["params"]["v"] == value

    def test_a_body_that_is_too_long_is_refused_and_counted(
        self, collector: CollectorProcess
    ) -> None:
        """Only its head is kept."""
        assert post(collector, "/e", b"x" * (MAX_BODY + 1)).status == 413
        (request,) = collector.requests()
        assert (request["answer"], request["bad"]) == (413, "body-too-long")
        assert len(request["raw"]) == 1024

    def test_a_body_of_exactly_the_limit_passes(self, collector: CollectorProcess) -> None:
        """It is read, whatever it then means."""
        assert post(collector, "/e", b"x" * MAX_BODY).status == 200

    def test_a_url_just_short_of_64_kib_is_served(self, collector: CollectorProcess) -> None:
        """One byte more is too long."""
        target = EVENT + "&v="
        longest = target + "y" * (65_534 - len(target))
        assert get(collector, longest).status == 200
        assert get(collector, longest + "y").status == 414
        assert [request["answer"] for request in collector.requests()] == [200, 414]

    @pytest.mark.parametrize("length", [65_535, 70_000, 500_000])
    def test_a_url_that_is_too_long_is_refused_and_counted(
        self, collector: CollectorProcess, length: int
    ) -> None:
        """However long it is; only its head is kept."""
        assert get(collector, EVENT + "&v=" + "y" * length).status == 414
        (request,) = collector.requests()
        assert (request["answer"], request["bad"]) == (414, "url-too-long")
        assert len(request["raw"]) == 1024

    def test_a_path_that_is_too_long_is_refused(self, collector: CollectorProcess) -> None:
        """It is no tracking request, so it is not counted."""
        assert get(collector, "/" + "y" * 100_000).status == 414
        assert collector.summary()["total"] == 0

    def test_what_is_no_http_is_answered_400(self, collector: CollectorProcess) -> None:
        """By the server; the next client is served."""
        assert raw(collector, b"hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert get(collector, EVENT).status == 200


class TestClientsThatClose:
    """km.php writes and closes at once, always."""

    @pytest.mark.parametrize(
        "data",
        [
            f"GET {EVENT} HTTP/1.1\r\nHost:127.0.0.1\r\n\r\n".encode(),
            b"POST /e HTTP/1.1\r\nHost:127.0.0.1\r\nContent-Length: 16\r\n\r\n|_k=K&_p=bob&_n=x",
            b"POST /e HTTP/1.1\r\nHost:127.0.0.1\r\nContent-Length: 16\r\n\r\n_k=K&_p=bob&_n=x",
        ],
        ids=["GET", "POST", "POST in one piece"],
    )
    def test_every_request_of_a_client_that_closes_at_once_arrives(
        self, collector: CollectorProcess, data: bytes
    ) -> None:
        """None of 300 is lost, although nobody reads the answer."""
        for _ in range(300):
            with socket.create_connection(("127.0.0.1", collector.port)) as connection:
                for piece in data.split(b"|"):
                    connection.sendall(piece)
        wait_until(lambda: collector.summary()["total"] >= 300, what="300 requests")
        assert collector.summary() == {"total": 300, "good": 300, "bad": 0, "warnings": {}}

    def test_half_a_body_is_no_request(self, collector: CollectorProcess) -> None:
        """Its client went away before it had said what it wanted."""
        with socket.create_connection(("127.0.0.1", collector.port)) as connection:
            connection.sendall(
                b"POST /e HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 16\r\n\r\n_k=K"
            )
        assert get(collector, EVENT).status == 200
        wait_until(lambda: collector.summary()["total"] == 1)


class TestAnsweringOtherwise:
    """`POST /api/answer`."""

    def test_a_count_of_failures(self, collector: CollectorProcess) -> None:
        """Failed requests have arrived too, and are told apart by their answer."""
        collector.answer(status=503, count=2, retry_after=7)
        answers = [get(collector, EVENT) for _ in range(3)]
        assert [answered.status for answered in answers] == [503, 503, 200]
        assert [answered.headers.get("retry-after") for answered in answers] == ["7", "7", None]
        assert [request["answer"] for request in collector.requests()] == [503, 503, 200]
        assert b"told to answer 503" in answers[0].body

    def test_for_a_time(self, collector: CollectorProcess) -> None:
        """It ends by itself."""
        collector.answer(status=503, for_s=0.2)
        assert get(collector, EVENT).status == 503
        wait_until(lambda: get(collector, EVENT).status == 200)

    def test_an_empty_form_goes_back_to_200(self, collector: CollectorProcess) -> None:
        """Whatever was asked for before."""
        collector.answer(status=401)
        assert get(collector, EVENT).status == 401
        collector.answer()
        assert get(collector, EVENT).body == GIF

    def test_a_dropped_connection_is_closed_without_a_byte(
        self, collector: CollectorProcess
    ) -> None:
        """And the request is kept, since it arrived."""
        collector.answer(drop=True, count=1)
        with pytest.raises(RemoteDisconnected):
            get(collector, EVENT)
        assert [request["answer"] for request in collector.requests()] == ["drop"]
        assert raw(collector, f"GET {EVENT} HTTP/1.0\r\n\r\n".encode()).startswith(b"HTTP/1.1 200")

    def test_a_dropped_post_is_closed_without_a_byte(self, collector: CollectorProcess) -> None:
        """Also over a connection that has served before."""
        connection = HTTPConnection("127.0.0.1", collector.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", "/e", b"_k=K&_p=bob&_n=x")
            assert connection.getresponse().read() == GIF
            collector.answer(drop=True, count=1)
            connection.request("POST", "/e", b"_k=K&_p=bob&_n=y")
            with pytest.raises(RemoteDisconnected):
                connection.getresponse()
        assert [request["answer"] for request in collector.requests()] == [200, "drop"]

    def test_of_two_requests_sent_together_a_drop_of_the_first_ends_both(
        self, collector: CollectorProcess
    ) -> None:
        """Nothing waits for ever, and the second is not answered in the first one's place."""
        collector.answer(drop=True, count=1, delay_s=0.1)
        assert (
            raw(collector, f"GET {EVENT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 2) == b""
        )
        assert [request["answer"] for request in collector.requests()] == ["drop"]

    def test_a_delay_comes_before_the_answer(self, collector: CollectorProcess) -> None:
        """The request is there before its answer is; a client that gives up changes nothing."""
        collector.answer(delay_s=60, count=1)
        with socket.create_connection(("127.0.0.1", collector.port)) as connection:
            connection.sendall(f"GET {EVENT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            wait_until(lambda: collector.summary()["total"] == 1)
            connection.settimeout(0)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
        assert get(collector, EVENT).status == 200

    def test_a_short_delay_ends_in_the_answer(self, collector: CollectorProcess) -> None:
        """What the answer is does not change by it."""
        collector.answer(delay_s=0.05)
        assert get(collector, EVENT).body == GIF

    def test_a_web_page_in_place_of_the_api(self, collector: CollectorProcess) -> None:
        """As a captive portal answers."""
        collector.answer(status=200, body="<html>é", content_type="text/html", count=1)
        answered = get(collector, EVENT)
        assert (answered.status, answered.body.decode()) == (200, "<html>é")
        assert answered.headers["content-type"] == "text/html"

    def test_a_redirect(self, collector: CollectorProcess) -> None:
        """Its target is what was asked for."""
        collector.answer(status=302, location="http://127.0.0.1/login")
        answered = get(collector, EVENT)
        assert (answered.status, answered.headers["location"]) == (302, "http://127.0.0.1/login")

    @pytest.mark.parametrize("status", [204, 304])
    def test_statuses_without_a_body_have_none(
        self, collector: CollectorProcess, status: int
    ) -> None:
        """And the connection serves on."""
        collector.answer(status=status, count=1)
        connection = HTTPConnection("127.0.0.1", collector.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", EVENT)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (status, b"")
            connection.request("GET", EVENT)
            assert connection.getresponse().read() == GIF

    def test_the_json_api_is_never_answered_otherwise(self, collector: CollectorProcess) -> None:
        """Else nobody could end it."""
        collector.answer(drop=True)
        assert collector.summary()["total"] == 0

    def test_the_form_is_given_back(self, collector: CollectorProcess) -> None:
        """So one sees what was understood."""
        answered = post(collector, "/api/answer", '{"status": 503, "count": 3}', MEANT)
        assert answered.json() == {"status": 503, "count": 3}

    @pytest.mark.parametrize(
        ("form", "says"),
        [
            (b'{"status": 99}', "status is 99: it must be a whole number from 200 to 599"),
            (b'{"stat": 503}', "'stat' is no field"),
            (b"[]", "must be an object"),
            (b"{", "no JSON: Expecting property name"),
            (b"\xff", "no UTF-8"),
            (b"[" * 100_000, "nested too deeply"),
            (b"", "no JSON"),
        ],
    )
    def test_a_wrong_form_is_400_and_changes_nothing(
        self, collector: CollectorProcess, form: bytes, says: str
    ) -> None:
        """It says what is wrong and what is allowed."""
        answered = post(collector, "/api/answer", form, MEANT)
        assert answered.status == 400
        assert says in answered.body.decode()
        assert get(collector, EVENT).status == 200

    def test_a_form_that_is_too_long_is_refused(self, collector: CollectorProcess) -> None:
        """It is bounded as everything is."""
        assert post(collector, "/api/answer", b" " * 300_000, MEANT).status == 413


class TestJsonApi:
    """Reading and forgetting."""

    def test_requests_are_found_by_kind_person_event_badness_and_number(
        self, collector: CollectorProcess
    ) -> None:
        """The filters can be combined."""
        for target in (
            "/e?_k=K&_p=bob&_n=A",
            "/s?_k=K&_p=bob&x=1",
            "/a?_k=K&_p=bob&_n=ann%40x.org",
            "/e?_k=K&_n=A",
        ):
            get(collector, target)
        assert len(collector.requests(kind="record")) == 2
        assert len(collector.requests(kind="record", bad=1)) == 1
        assert [request["path"] for request in collector.requests(person="ann@x.org")] == ["/a"]
        assert len(collector.requests(event="a", person="bob")) == 1
        page = collector.page()
        assert collector.requests(since=page["next"]) == []
        assert len(collector.requests(since=page["next"] - 1)) == 1

    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ("kind=event", "kind is 'event': it must be one of record, set, alias"),
            ("bad=yes", "bad is 'yes': it must be one of 1, 0"),
            ("since=-1", "since is '-1': it must be"),
            ("since=", "since is ''"),
            ("persons=bob", "'persons' is no parameter: there are kind, person, event, bad, since"),
            ("person=%FF", "no UTF-8"),
        ],
    )
    def test_a_wrong_parameter_is_400_and_named(
        self, collector: CollectorProcess, query: str, says: str
    ) -> None:
        """A misspelt filter must not silently find everything."""
        answered = get(collector, f"/api/requests?{query}")
        assert answered.status == 400
        assert says in answered.body.decode()

    def test_answers_are_json_and_not_cached(self, collector: CollectorProcess) -> None:
        """Nor readable for another site: there is no CORS header."""
        answered = get(collector, "/api/summary", Origin="http://evil.example")
        assert answered.headers["content-type"] == "application/json"
        assert answered.headers["cache-control"] == "no-store"
        assert not [name for name in answered.headers if name.startswith("access-control")]

    @pytest.mark.parametrize("path", ["/api/reset", "/api/answer"])
    @pytest.mark.parametrize("headers", [{}, {"X-KMQ": "0"}, {"X-KMQ": ""}])
    def test_what_changes_something_needs_the_header(
        self, collector: CollectorProcess, path: str, headers: dict[str, str]
    ) -> None:
        """A page of another site cannot send it; the answer says what is missing."""
        get(collector, EVENT)
        answered = post(collector, path, '{"status": 503}', headers)
        assert answered.status == 403
        assert b"X-KMQ: 1" in answered.body
        assert get(collector, EVENT).status == 200
        assert collector.summary()["total"] == 2

    def test_a_reset_forgets_the_requests(self, collector: CollectorProcess) -> None:
        """And gives the counts back, at 0."""
        get(collector, EVENT)
        assert post(collector, "/api/reset", b"", MEANT).json()["total"] == 0
        assert collector.requests() == []

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("HEAD", "/e", "GET, POST"),
            ("PUT", "/s", "GET, POST"),
            ("OPTIONS", "/a", "GET, POST"),
            ("POST", "/api/summary", "GET"),
            ("DELETE", "/api/requests", "GET"),
            ("GET", "/api/reset", "POST"),
            ("OPTIONS", "/api/answer", "POST"),
        ],
    )
    def test_other_methods_are_405_and_count_nothing(
        self, collector: CollectorProcess, method: str, path: str, allowed: str
    ) -> None:
        """A link checker's HEAD must not be an event."""
        answered = fetch(collector.port, method, path)
        assert (answered.status, answered.headers["allow"]) == (405, allowed)
        assert collector.summary()["total"] == 0

    @pytest.mark.parametrize(
        "path", ["/", "/e/", "/E", "/%65", "/ee", "//e", "/api", "/favicon.ico"]
    )
    def test_other_paths_are_404_in_one_line_that_tells_where_to_look(
        self, collector: CollectorProcess, path: str
    ) -> None:
        """The tracking API's paths are meant exactly."""
        answered = get(collector, path)
        assert answered.status == 404
        assert b"/api/summary" in answered.body
        assert answered.body.count(b"\n") == 1
        assert collector.summary()["total"] == 0


class TestHosts:
    """A page that makes its own name point here must not be served (DNS rebinding)."""

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "localhost:80", "LOCALHOST", "[::1]", "[::1]:8035", "127.0.0.1:1"]
    )
    def test_names_of_the_loopback_interface_are_served(
        self, collector: CollectorProcess, host: str
    ) -> None:
        """With any port: a forwarded one differs."""
        assert get(collector, EVENT, Host=host).status == 200

    @pytest.mark.parametrize(
        "host",
        ["evil.example", "evil.example:8035", "127.0.0.1.evil.example", "", ":80", "127.0.0.1:x"],
    )
    @pytest.mark.parametrize("target", [EVENT, "/api/requests", "/"])
    def test_any_other_name_is_403(
        self, collector: CollectorProcess, host: str, target: str
    ) -> None:
        """On every path, before anything is kept."""
        data = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        assert raw(collector, data).startswith(b"HTTP/1.1 403 ")
        assert collector.summary()["total"] == 0


class TestOptions:
    """What the command's options change."""

    def test_strict_answers_400_with_the_reason(
        self, start_collector: Callable[..., CollectorProcess]
    ) -> None:
        """For tests, which should fail where the API is silent."""
        collector = start_collector("--strict")
        answered = get(collector, "/e?_k=K&_n=x")
        assert (answered.status, answered.body) == (400, b"no-person: it has no _p\n")
        assert answered.headers["content-type"].startswith("text/plain")
        assert get(collector, EVENT).status == 200
        assert [request["answer"] for request in collector.requests()] == [400, 200]

    def test_under_strict_a_delay_alone_leaves_400(
        self, start_collector: Callable[..., CollectorProcess]
    ) -> None:
        """A mood that says nothing about the answer leaves it as it is."""
        collector = start_collector("--strict")
        collector.answer(delay_s=0.01)
        assert get(collector, "/e?_k=K&_n=x").status == 400

    def test_fail_answers_its_share_with_503(
        self, start_collector: Callable[..., CollectorProcess]
    ) -> None:
        """All of them at 1; what someone asked for comes first."""
        collector = start_collector("--fail", "1")
        assert [get(collector, EVENT).status for _ in range(5)] == [503] * 5
        collector.answer(status=200)
        assert get(collector, EVENT).status == 200

    def test_latency_delays_until_a_mood_says_otherwise(
        self, start_collector: Callable[..., CollectorProcess]
    ) -> None:
        """Its own delay takes the place of the option's."""
        collector = start_collector("--latency", "3600")
        collector.answer(delay_s=0)
        assert get(collector, EVENT).status == 200
        collector.answer()
        with socket.create_connection(("127.0.0.1", collector.port)) as connection:
            connection.sendall(f"GET {EVENT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            wait_until(lambda: collector.summary()["total"] == 2)
            connection.settimeout(0)
            with pytest.raises(BlockingIOError):
                connection.recv(1)

    def test_keep_bounds_what_is_kept_and_not_the_counts(
        self, start_collector: Callable[..., CollectorProcess]
    ) -> None:
        """Who asks too late is told."""
        collector = start_collector("--keep", "2")
        for _ in range(5):
            get(collector, EVENT)
        page = collector.page()
        assert (len(page["requests"]), page["dropped"]) == (2, 3)
        assert collector.summary()["total"] == 5
        with pytest.raises(AssertionError, match="3 requests are gone"):
            collector.requests()


def test_many_clients_at_once_lose_nothing(collector: CollectorProcess) -> None:
    """Each request is kept once, with a number of its own."""

    def send(person: int) -> None:
        connection = HTTPConnection("127.0.0.1", collector.port, timeout=60)
        with contextlib.closing(connection):
            for number in range(100):
                connection.request("GET", f"/e?_k=K&_p={person}&_n={quote(f'event {number}')}")
                assert connection.getresponse().read() == GIF

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(8)))
    requests = collector.requests()
    assert len({(request["params"]["_p"], request["params"]["_n"]) for request in requests}) == 800
    assert len({request["seq"] for request in requests}) == len(requests) == 800
    assert json.loads(json.dumps(requests)) == requests
