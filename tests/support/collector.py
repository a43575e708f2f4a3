"""A real collector as a process of its own, for tests that send to it.

    with CollectorProcess() as collector:
        ... send to collector.url ...
        collector.answer(status=503, count=3)
        assert [r["params"]["_n"] for r in collector.requests(kind="record")] == ["Signed Up"]

Or by fixtures, which a conftest.py imports: `collector` (nothing seen, answers 200) and `start_collector` (a process
with options of the test's own, which the test may stop).

    from tests.support.collector import collector, shared_collector, start_collector  # noqa: F401 - fixtures
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "Answered",
    "Collector",
    "CollectorProcess",
    "as_line",
    "collector",
    "fetch",
    "port_in",
    "shared_collector",
    "start_collector",
]

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
ANSWER_TIMEOUT_S = 30.0

_FIRST_LINE = re.compile(r"collector listens on http://(\S+):(\d+)\n")


class Answered:
    """An answer: `status`, `headers` (names in lower case), `body`."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Return the body's value."""
        return json.loads(self.body)


def fetch(
    port: int,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answered:
    """Send one request to a port of 127.0.0.1 over a connection of its own; no proxy, no redirect."""
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request(method, target, body, dict(headers or {}))
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Answered(answer.status, named, answer.read())


class Collector:
    """A collector that listens on `port` of this machine: what it saw, and how it is to answer."""

    port: int

    @property
    def url(self) -> str:
        """What KMQ_URL is set to."""
        return f"http://127.0.0.1:{self.port}"

    def requests(self, **filters: object) -> list[dict[str, Any]]:
        """Return the tracking requests that came, oldest first: kind=, person=, event=, bad=1, since=SEQ.

        Fails if some of those asked for were pushed out: start the collector with a larger `--keep`, or ask more often.
        """
        page = self.page(**filters)
        assert page["dropped"] == 0, (
            f"{page['dropped']} requests are gone from the collector's memory"
        )
        found: list[dict[str, Any]] = page["requests"]
        return found

    def page(self, **filters: object) -> dict[str, Any]:
        """Return the whole answer: `requests`, `next`, `dropped`."""
        return self._api("GET", f"/api/requests?{urlencode(filters)}")

    def summary(self) -> dict[str, Any]:
        """Return the counts: total, good, bad, warnings."""
        return self._api("GET", "/api/summary")

    def answer(self, **form: object) -> None:
        """Answer otherwise from now on: status=, drop=True, delay_s=, count=, for_s=, retry_after=, ...; none: 200."""
        self._api("POST", "/api/answer", json.dumps(form).encode())

    def reset(self) -> None:
        """Forget all requests; how it answers stays."""
        self._api("POST", "/api/reset")

    def _api(self, method: str, target: str, body: bytes | None = None) -> dict[str, Any]:
        answered = fetch(
            self.port, method, target, body, {"X-KMQ": "1"} if method == "POST" else None
        )
        assert answered.status == 200, answered.body.decode()
        value: dict[str, Any] = answered.json()
        return value


class CollectorProcess(Collector):
    """`kmq-sender collector` on a free port, with further `options`; it ends when the `with` does."""

    def __init__(self, *options: str) -> None:
        command = [
            sys.executable,
            "-m",
            "sender.cli",
            "collector",
            "--listen",
            "127.0.0.1:0",
            *options,
        ]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("KMQ_")}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environ)
        try:
            self.port = self._wait_for_port()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the process by its own id, with SIGKILL if it does not go; return its exit code."""
        with self._process as process:
            process.send_signal(number)  # does nothing once the process has been waited for
            try:
                return process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_for_port(self) -> int:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], START_TIMEOUT_S)
        line = self._process.stdout.readline().decode() if readable else ""
        port = port_in(line)
        assert port is not None, f"the collector did not start: {line!r}"
        return port


def as_line(request: Mapping[str, Any]) -> str:
    """Return the line of the spool that a request was made of, by its parameters alone; not for an alias."""
    params: dict[str, str] = request["params"]
    named = {"_n": params["_n"]} if request["path"] == "/e" else {}
    own = {name: value for name, value in params.items() if not name.startswith("_")}
    fields = {"_p": params["_p"], "_t": int(params["_t"]), **named, **own}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)


def port_in(said: str) -> int | None:
    """Return the port that a collector says it listens on, None where it has not said so."""
    match = _FIRST_LINE.match(said)
    return None if match is None else int(match[2])


@pytest.fixture(scope="session")
def shared_collector() -> Iterator[CollectorProcess]:
    """Run one collector for all tests of this worker; tests ask for `collector`."""
    with CollectorProcess() as process:
        yield process


@pytest.fixture
def collector(shared_collector: CollectorProcess) -> CollectorProcess:
    """Give this test a running collector that has seen nothing and answers 200. Do not stop it."""
    shared_collector.answer()
    shared_collector.reset()
    return shared_collector


@pytest.fixture
def start_collector() -> Iterator[Callable[..., CollectorProcess]]:
    """Start collectors with options of the test's own; what the test does not stop ends with it."""
    with contextlib.ExitStack() as stack:
        yield lambda *options: stack.enter_context(CollectorProcess(*options))
