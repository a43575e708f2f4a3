"""`kmq-sender collector`: how it starts and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from http.client import RemoteDisconnected
from typing import TYPE_CHECKING

import pytest

from tests.support.collector import CollectorProcess, fetch
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVENT = "/e?_k=SECRETKEY&_p=bob%40bob.com&_n=Signed+Up"
REQUEST = f"GET {EVENT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def run(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with `before` done first in its interpreter."""
    code = f"{before}\nfrom sender.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "collector", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def is_open(pid: int) -> bool:
    """Say whether the process `pid` still runs."""
    return os.path.exists(f"/proc/{pid}/exe")


class TestEnding:
    """By signals, whoever is still connected."""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_with_0_also_with_open_connections(
        self, start_collector: Callable[..., CollectorProcess], number: int
    ) -> None:
        """A kept connection that is idle is closed, not waited for."""
        collector = start_collector()
        with socket.create_connection(("127.0.0.1", collector.port), timeout=30) as used:
            used.sendall(REQUEST)
            assert used.recv(12) == b"HTTP/1.1 200"
            with socket.create_connection(("127.0.0.1", collector.port), timeout=30):
                assert collector.stop(number) == 0

    def test_an_answer_that_is_being_delayed_is_given_at_the_end(
        self, start_collector: Callable[..., CollectorProcess]
    ) -> None:
        """It does not keep the process for its hour."""
        collector = start_collector("--latency", "3600")
        with socket.create_connection(("127.0.0.1", collector.port), timeout=30) as waiting:
            waiting.sendall(REQUEST)
            wait_until(lambda: collector.summary()["total"] == 1)
            assert collector.stop() == 0
            assert waiting.recv(12) == b"HTTP/1.1 200"

    def test_a_client_that_sends_half_a_request_does_not_keep_it(
        self, start_collector: Callable[..., CollectorProcess], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Its connection is closed after two seconds, which is no error of ours."""
        collector = start_collector()
        with socket.create_connection(("127.0.0.1", collector.port), timeout=30) as slow:
            slow.sendall(
                b"POST /e HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
            )
            assert slow.recv(12) == b"HTTP/1.1 100"
            assert collector.stop() == 0
            assert b"HTTP/1.1 500" not in b"".join(iter(lambda: slow.recv(4096), b""))
        assert "Traceback" not in capfd.readouterr().err

    def test_a_second_signal_ends_it_without_waiting(
        self, start_collector: Callable[..., CollectorProcess], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The exit code says so; the two seconds of grace, which end in an error line, are not used."""
        collector = start_collector()
        with socket.create_connection(("127.0.0.1", collector.port), timeout=30) as slow:
            slow.sendall(
                b"POST /e HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
            )
            assert slow.recv(12) == b"HTTP/1.1 100"
            os.kill(collector.pid, signal.SIGTERM)
            wait_until(lambda: not listens(collector.port), what="the first signal heeded")
            assert collector.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        assert capfd.readouterr().err == ""

    def test_stopping_twice_is_no_fault(self) -> None:
        """A test may stop what its fixture stops again."""
        with CollectorProcess() as collector:
            assert collector.stop() == 0
        assert not is_open(collector.pid)


def listens(port: int) -> bool:
    """Say whether someone accepts connections on `port`."""
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class TestStarting:
    """Where it cannot, it says why."""

    @pytest.mark.parametrize("missing", ["uvicorn", "httptools", "uvloop"])
    def test_without_the_extra_it_says_what_to_install(self, missing: str) -> None:
        """Exit code 78: a matter of the set-up."""
        ended = run(before=f"import sys; sys.modules[{missing!r}] = None")
        assert ended.returncode == 78
        assert f"needs {missing}" in ended.stderr
        assert "pip install 'kmq[web]'" in ended.stderr

    def test_a_fault_of_our_own_is_not_taken_for_a_missing_extra(self) -> None:
        """It would send people to install what they have."""
        ended = run(before="import sys; sys.modules['sender.collector.protocol'] = None")
        assert ended.returncode == 1
        assert "kmq[web]" not in ended.stderr

    def test_the_help_needs_no_extra(self) -> None:
        """It ends in examples."""
        ended = run("--help", before="import sys; sys.modules['uvicorn'] = None")
        assert ended.returncode == 0
        assert ended.stdout.startswith("Usage: kmq-sender collector [OPTIONS]")
        assert "pip install 'kmq[web]'" in " ".join(ended.stdout.split())
        assert "curl -s 127.0.0.1:8035/api/summary" in ended.stdout.rpartition("Examples:")[2]

    @pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:8035", "8035", ""])
    def test_an_address_that_it_does_not_listen_on_is_78(self, address: str) -> None:
        """It shows to anyone what it gets, so it stays on this machine."""
        ended = run("--listen", address)
        assert ended.returncode == 78
        assert f"--listen is {address!r}" in ended.stderr

    def test_a_port_that_is_taken_is_78(self) -> None:
        """And it says which one."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            ended = run("--listen", address)
        assert ended.returncode == 78
        assert f"cannot listen on {address}: Address already in use" in ended.stderr

    def test_a_socket_file_where_one_may_not_write_is_77(self) -> None:
        """Also for root: nobody may make files in /proc."""
        ended = run("--listen", "unix:/sys/kmq.sock")
        assert ended.returncode in {77, 78}  # read-only where it is so mounted
        assert "cannot listen on unix:/sys/kmq.sock" in ended.stderr

    def test_a_log_file_that_cannot_be_made_is_73(self, tmp_path: Path) -> None:
        """Before anything is answered."""
        ended = run("--listen", "127.0.0.1:0", "--log", str(tmp_path / "missing" / "file"))
        assert ended.returncode == 73
        assert "No such file or directory" in ended.stderr

    @pytest.mark.parametrize(
        "option", [("--fail", "1.1"), ("--fail", "-0.1"), ("--latency", "-1"), ("--keep", "0")]
    )
    def test_a_number_out_of_range_is_wrong_usage(self, option: tuple[str, str]) -> None:
        """Exit code 2, click's own."""
        ended = run(*option)
        assert ended.returncode == 2
        assert option[0] in ended.stderr


class TestFiles:
    """The socket file and the file of requests."""

    def test_over_a_socket_file_it_serves_and_removes_it_at_the_end(self, tmp_path: Path) -> None:
        """For a web server in front, or for curl --unix-socket."""
        path = tmp_path / "kmq.sock"
        command = [sys.executable, "-m", "sender.cli", "collector", "--listen", f"unix:{path}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline().decode() == f"collector listens on unix:{path}\n"
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
                    client.settimeout(30)
                    client.connect(str(path))
                    client.sendall(REQUEST)
                    assert client.recv(12) == b"HTTP/1.1 200"
                process.send_signal(signal.SIGTERM)
                assert process.wait(15) == 0
            finally:
                process.kill()
        assert not path.exists()

    def test_a_socket_file_that_someone_removed_is_not_missed(self, tmp_path: Path) -> None:
        """It would have been removed anyway."""
        path = tmp_path / "kmq.sock"
        command = [sys.executable, "-m", "sender.cli", "collector", "--listen", f"unix:{path}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()
                path.unlink()
                process.send_signal(signal.SIGTERM)
                assert process.wait(15) == 0
            finally:
                process.kill()

    def test_the_log_file_holds_every_request_before_its_answer(
        self, start_collector: Callable[..., CollectorProcess], tmp_path: Path
    ) -> None:
        """As the JSON API shows it."""
        path = tmp_path / "requests.jsonl"
        collector = start_collector("--log", str(path))
        for _ in range(2):
            fetch(collector.port, "GET", EVENT)
        assert [json.loads(line) for line in path.read_text().splitlines()] == collector.requests()

    def test_a_log_file_on_a_full_disk_is_one_warning_and_no_failure(
        self, start_collector: Callable[..., CollectorProcess], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The clients are answered."""
        collector = start_collector("--log", "/dev/full")
        assert [fetch(collector.port, "GET", EVENT).status for _ in range(3)] == [200] * 3
        collector.stop()
        said = capfd.readouterr().err
        assert said.count("requests are missing from /dev/full: No space left on device") == 1

    def test_nothing_that_was_sent_is_ever_logged(
        self, start_collector: Callable[..., CollectorProcess], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Neither URLs nor keys nor persons, at the most talkative level."""
        collector = start_collector("--log-level", "debug")
        fetch(collector.port, "GET", EVENT)
        fetch(collector.port, "POST", "/e", b"_k=SECRETKEY&_p=bob&_n=%ff")
        fetch(collector.port, "GET", "/nowhere?_p=bob")
        with socket.create_connection(("127.0.0.1", collector.port), timeout=30) as client:
            client.sendall(b"GET /e?_p=b\xffob HTTP/1.1\r\n\r\n")
            client.recv(4096)
        collector.stop()
        said = capfd.readouterr()
        assert not [
            word for word in ("SECRETKEY", "bob", "/e", "nowhere") if word in said.out + said.err
        ]

    def test_a_dropped_connection_is_no_error_of_ours(
        self, start_collector: Callable[..., CollectorProcess], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """It was asked for, so the server has nothing to complain of."""
        collector = start_collector()
        collector.answer(drop=True)
        for _ in range(3):
            with pytest.raises(RemoteDisconnected):
                fetch(collector.port, "GET", EVENT)
        assert collector.stop() == 0
        assert capfd.readouterr().err == ""
