"""`kmq-sender replay`: what it sends, says and ends with, with real files, processes and sockets."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from kmq.command import Command, encode
from kmq.spool import Spool, segment_path
from sender.cli import root
from sender.cli.exits import Exit
from sender.cli.replay_course import Course
from sender.cli.replay_text import counted, result, shortfall
from sender.dispatcher import Window
from sender.flow import Outcome, Verdict
from sender.rejected import New
from sender.replay import Replay, ReplaySource
from sender.replay.filters import EVERYTHING
from sender.replay.source import Piece
from sender.replay.tally import Tally
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures, by name
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sender.flow import Delivery
    from tests.support.collector import CollectorProcess

P = "20261123T204501Z-4f2a91c3"
Q = "20261124T204501Z-90be12aa"
AT = 1_500_000_000  # 2017-07-14 03:40 in an hour east of UTC
COMMANDS = [
    Command("bob", AT, "Viewed Homepage"),
    Command("bob", AT + 1, "Signed Up", properties={"Plan": "Pro"}),
    Command("al", AT + 3_600, "viewed homepage"),
    Command("al", AT + 3_601, "Paid"),
    Command("al", AT + 3_602, properties={"gender": "male"}),
    Command("al", AT + 3_603, other="al@example.com"),
]
LINES = [encode(command) for command in COMMANDS]
OLD = 1_795_467_067.0  # 2026-11-23 21:51 in an hour east of UTC

pytestmark = pytest.mark.usefixtures("berlin")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Give a spool of two partitions where KMQ_SPOOL points."""
    spool = Spool(str(tmp_path / "spool"))
    os.mkdir(spool.path)
    put(spool, P, b"".join(LINES[:3]), b"".join(LINES[3:]))
    put(spool, Q, LINES[0])
    return spool


def put(spool: Spool, name: str, *segments: bytes) -> None:
    """Make a partition of segments that are a few days old."""
    os.mkdir(spool.partition(name))
    start = 0
    for content in segments:
        path = segment_path(spool.partition(name), start)
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, (OLD, OLD))
        start += len(content)


@pytest.fixture
def api(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CollectorProcess:
    """Give a running collector that has seen nothing and answers 200, and point everything there."""
    running: CollectorProcess = request.getfixturevalue("collector")
    monkeypatch.setenv("KMQ_URL", running.url)
    monkeypatch.setenv("KMQ_API_KEY", "the-key")
    return running


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(root, ["replay", *arguments])


def sent(api: CollectorProcess) -> list[tuple[str, str, str | None]]:
    """Return what arrived, sorted: path, person, name."""
    return sorted(
        (one["path"], one["params"]["_p"], one["params"].get("_n", "")) for one in api.requests()
    )


def started(*arguments: str, **streams: int) -> subprocess.Popen[bytes]:
    """Start the command as a process of its own."""
    command = [sys.executable, "-m", "sender.cli", "replay", *arguments]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, **{**pipes, **streams})  # type: ignore[call-overload,no-any-return]  # by name


# Sending


@pytest.mark.usefixtures("spool")
def test_the_whole_spool_is_sent_again(api: CollectorProcess) -> None:
    """Delivered or not; the result is on stdout, the course on stderr."""
    ended = run()
    assert ended.exit_code == Exit.OK
    assert ended.stdout.startswith("7 delivered, 0 rejected in ")
    assert "INFO replay ended: delivered=7 rejected=0 unsent=0" in ended.stderr
    assert sent(api) == [
        ("/a", "al", "al@example.com"),
        ("/e", "al", "Paid"),
        ("/e", "al", "viewed homepage"),
        ("/e", "bob", "Signed Up"),
        ("/e", "bob", "Viewed Homepage"),
        ("/e", "bob", "Viewed Homepage"),
        ("/s", "al", ""),
    ]
    assert {one["params"]["_k"] for one in api.requests()} == {"the-key"}


@pytest.mark.usefixtures("spool")
@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (["--person", "bob"], 3),
        (["--person", "bob", "--person", "al"], 7),
        (["--event", "VIEWED HOMEPAGE"], 3),
        (["--kind", "alias"], 1),
        (["--since", str(AT + 3_600)], 4),
        (["--until", "2017-07-14T02:40:01Z"], 2),
        (["--since", "2017-07-14", "--until", "2017-07-15", "--kind", "set"], 1),
        (["--since", "1h"], 0),
        (["--rate", "1000", "--max-in-flight", "2", "--transport", "requests"], 7),
    ],
)
def test_filters_choose(api: CollectorProcess, arguments: list[str], number: int) -> None:
    """Each of them, and together."""
    ended = run(*arguments)
    assert ended.exit_code == Exit.OK
    assert ended.stdout.startswith(f"{number} delivered, 0 rejected in ")
    assert api.summary()["total"] == number


def test_files_directories_and_standard_input(api: CollectorProcess, tmp_path: Path) -> None:
    """In KISSmetrics' import format; a spool is not even looked for."""
    (tmp_path / "a.jsonl").write_bytes(LINES[0])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.json").write_bytes(LINES[1].rstrip())
    arguments = [str(tmp_path / "a.jsonl"), str(tmp_path / "folder"), "-"]
    with started(*arguments) as process:
        said, told = process.communicate(LINES[4] + LINES[5])
    assert process.returncode == Exit.OK, told
    assert said.startswith(b"4 delivered, 0 rejected in ")
    assert [path for path, *_ in sent(api)] == ["/a", "/e", "/e", "/s"]


def test_what_is_no_command_is_named_without_its_values(
    api: CollectorProcess, tmp_path: Path
) -> None:
    """And makes the end 1, since not all was delivered."""
    (tmp_path / "x.jsonl").write_bytes(LINES[0] + b'{"_p":"secret@example.com"}\n' + LINES[1])
    ended = run(str(tmp_path / "x.jsonl"))
    assert ended.exit_code == Exit.INCOMPLETE
    assert ended.stdout.startswith("2 delivered, 1 rejected in ")
    assert f"not sent: {tmp_path}/x.jsonl at {len(LINES[0])}: no-time" in ended.stderr
    assert "Error: not all was delivered: 1 line was refused or is no command" in ended.stderr
    assert "secret" not in ended.output
    assert "bob" not in ended.output
    assert api.summary()["total"] == 2


@pytest.mark.usefixtures("spool")
def test_what_the_api_refuses_is_named(api: CollectorProcess) -> None:
    """With its answer's code, and the others are sent."""
    api.answer(status=400, count=1)
    ended = run("--transport", "requests", "--log-format", "json")
    assert ended.exit_code == Exit.INCOMPLETE
    assert ended.stdout.startswith("6 delivered, 1 rejected in ")
    logged = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    refused = [one for one in logged if one["event"] == "replay-passed"]
    assert [one["reason"] for one in refused] == ["answered-400"]
    assert refused[0]["source"] in {P, Q}  # whichever came first


def test_a_segment_that_is_gone_is_named_and_not_fatal(
    api: CollectorProcess, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention removed it between the listing and the reading."""
    gone = segment_path(spool.partition(P), 0)
    listed = ReplaySource.__init__

    def removing(self: ReplaySource, *arguments: object, **named: object) -> None:
        os.unlink(gone)
        listed(self, *arguments, **named)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(ReplaySource, "__init__", removing)
    ended = run()
    assert ended.exit_code == Exit.INCOMPLETE
    assert f"cannot read {gone}: it is gone: retention removed it, or somebody did" in ended.stderr
    assert "Error: not all was delivered: 1 file could not be read" in ended.stderr
    assert api.summary()["total"] == 4


@pytest.mark.usefixtures("spool")
def test_an_outage_is_told_and_survived(api: CollectorProcess) -> None:
    """One line at its start; that it is over is told after a while, or by the replay's own end."""
    api.answer(status=503, count=2)
    ended = run("--max-in-flight", "1")
    assert ended.exit_code == Exit.OK
    assert ended.stdout.startswith("7 delivered")
    assert ended.stderr.count("WARNING api answers 503, retrying") == 1
    assert ended.stderr.count("INFO replay ended: delivered=7") == 1


# Ending early


@pytest.mark.usefixtures("spool")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_it_says_what_was_sent(api: CollectorProcess, number: int) -> None:
    """What is blocked is left; the end is 1."""
    api.answer(status=403)
    with started("--transport", "requests") as process:
        assert process.stderr is not None
        assert b"ERROR api answers 403: the API key is refused" in process.stderr.readline()
        process.send_signal(number)
        said, told = process.communicate()
    assert process.returncode == Exit.INCOMPLETE
    assert said.startswith(b"0 delivered, 0 rejected in ")
    assert f"stopped by {signal.Signals(number).name[3:]} before the end".encode() in told
    assert b"unsent=7" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(
    api: CollectorProcess, tmp_path: Path, number: signal.Signals
) -> None:
    """While it waits for an answer that does not come."""
    (tmp_path / "x.jsonl").write_bytes(LINES[0])
    api.answer(delay_s=30)
    with started(str(tmp_path / "x.jsonl")) as process:
        wait_until(lambda: reached(api), what="the request")

        def ended_by_now() -> bool:
            # Two that come too close together may be taken for one.
            process.send_signal(number)
            return process.poll() is not None

        wait_until(ended_by_now, what="its end")
        process.communicate()
    assert process.returncode == 128 + number


def reached(api: CollectorProcess) -> bool:
    """Say whether somebody is connected to the collector."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file]
    return any(row[2].endswith(f":{api.port:04X}") and row[3] == "01" for row in rows[1:])


# Before sending


@pytest.mark.usefixtures("spool")
def test_a_dry_run_counts_and_sends_nothing(api: CollectorProcess) -> None:
    """By kind, event and hour; it needs neither key nor API."""
    ended = CliRunner(env={"KMQ_API_KEY": None}).invoke(root, ["replay", "--dry-run"])
    assert ended.exit_code == Exit.OK
    assert ended.stdout == (
        """\
7 commands in 2 partitions and 3 segments (retention reaches back to 23 Nov 21:45 CET)
  record  5   Viewed Homepage 3, Signed Up 1, 1 more
  set     1
  alias   1
by hour
  2017-07-14 03:00 CET  3
  2017-07-14 04:00 CET  4
nothing was sent
"""
    )
    assert api.summary()["total"] == 0


def test_a_dry_run_loads_no_transport(spool: Spool) -> None:
    """Only what sends pays for requests or curl."""
    code = (
        "import sys; from sender.cli import root;"
        "root(['replay', '--dry-run'], standalone_mode=False); print(*sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "7 commands" in ended.stdout
    assert not {"requests", "pycurl", "uvicorn"} & set(ended.stdout.split())
    assert sorted(os.listdir(spool.path)) == [P, Q]


def test_a_dry_run_of_files(tmp_path: Path) -> None:
    """Counts files, and what is no command."""
    (tmp_path / "x.jsonl").write_bytes(b"".join(LINES) + b"nonsense\n")
    ended = run("--dry-run", "--kind", "set", str(tmp_path / "x.jsonl"))
    assert ended.stdout == (
        """\
1 command in 1 file
  set     1
by hour
  2017-07-14 04:00 CET  1
1 line besides that is no command
nothing was sent
"""
    )
    assert run("--dry-run", "--person", "x", str(tmp_path / "x.jsonl")).stdout == (
        "0 commands\n1 line besides that is no command\nnothing was sent\n"
    )


@pytest.mark.usefixtures("spool")
def test_without_a_key_nothing_is_sent() -> None:
    """It says where it looked."""
    ended = run()
    assert ended.exit_code == Exit.CONFIG
    assert "no API key" in ended.stderr


def test_a_source_or_a_spool_that_does_not_exist_ends_with_66(tmp_path: Path) -> None:
    """Named, before anything is sent."""
    ended = run(str(tmp_path / "nothing.jsonl"))
    assert ended.exit_code == Exit.NO_INPUT
    assert f"Error: there is no {tmp_path}/nothing.jsonl" in ended.stderr
    assert run("--spool", str(tmp_path / "no-spool")).exit_code == Exit.NO_INPUT


def test_a_directory_that_may_not_be_listed_ends_with_77(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root lists everything, so the system's answer is given here."""

    def refuse(path: str) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr("sender.replay.source.os.listdir", refuse)
        ended = run("--dry-run", str(tmp_path))
    assert ended.exit_code == Exit.NO_PERMISSION
    assert str(tmp_path) in ended.stderr


def test_a_source_that_may_not_be_read_ends_with_77(
    api: CollectorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root reads everything, so the system's answer is given here; what can be read is sent, or counted."""
    (tmp_path / "x").write_bytes(LINES[0])
    (tmp_path / "y").write_bytes(LINES[1])
    opened = ReplaySource._descriptor

    def refuse(self: ReplaySource, piece: Piece) -> int:
        if piece.path.endswith("x"):
            raise PermissionError(errno.EACCES, "Permission denied", piece.path)
        return opened(self, piece)

    monkeypatch.setattr(ReplaySource, "_descriptor", refuse)
    for options, done in ((["--dry-run"], "counted"), ([], "delivered")):
        ended = run(*options, str(tmp_path / "x"), str(tmp_path / "y"))
        assert ended.exit_code == Exit.NO_PERMISSION
        assert f"cannot read {tmp_path}/x: Permission denied" in ended.stderr
        assert f"Error: not all was {done}: 1 file could not be read" in ended.stderr
        assert ended.stdout.startswith("1 ")
    assert api.summary()["total"] == 1


@pytest.mark.usefixtures("spool")
def test_a_dry_run_does_not_fail_for_a_url() -> None:
    """It sends nothing anywhere; what sends does fail."""
    assert run("--dry-run", "--url", "foo").exit_code == Exit.OK
    ended = run("--url", "foo")
    assert ended.exit_code == Exit.CONFIG
    assert "--url (KMQ_URL) is 'foo'" in ended.stderr


@pytest.mark.usefixtures("spool")
def test_a_time_from_which_nothing_is_left_is_a_wrong_usage() -> None:
    """Swapped ends would send nothing, and look like a spool that holds nothing."""
    for until in ("2026-11-23", "2026-11-22"):
        ended = run("--dry-run", "--since", "2026-11-23", "--until", until)
        assert ended.exit_code == Exit.USAGE
        assert "--since must be before --until" in ended.stderr


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\x1f\x8b\x08", "it is compressed: zcat FILE | kmq-sender replay -"),
        (b"\xef\xbb\xbf", "byte order mark: tail -c +4 FILE | kmq-sender replay -"),
        (b"\xff\xfe", "it is UTF-16: iconv -f UTF-16 -t UTF-8 FILE | kmq-sender replay -"),
    ],
)
@pytest.mark.usefixtures("api")
def test_a_file_of_another_form_is_told_with_what_makes_lines_of_it(
    tmp_path: Path, head: bytes, said: str
) -> None:
    """Once for each file, whether it is sent or counted."""
    (tmp_path / "x").write_bytes(head + LINES[0] + LINES[1])
    for options in (["--dry-run"], []):
        ended = run(*options, str(tmp_path / "x"))
        assert ended.stderr.count(f"{tmp_path}/x: ") >= 1
        assert ended.stderr.count(said) == 1


def test_the_help_ends_in_examples() -> None:
    """A newcomer starts there."""
    assert run("--help").stdout.rstrip().endswith("zcat events.jsonl.gz | kmq-sender replay -")


# On a terminal


class Terminal:
    """A terminal whose screen is always read: a command that writes more than it holds would wait for ever."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        self._seen = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the last one who had it open has closed it
            while data := os.read(self.ours, 65_536):
                self._seen += data

    def shown(self, until: bytes) -> bytes:
        """Wait until some text has appeared; return all that has."""
        wait_until(lambda: until in self._seen, what=f"{until!r} on the terminal")
        return bytes(self._seen)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.theirs)
        self._reader.join()
        os.close(self.ours)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """Give a terminal."""
    made = Terminal()
    yield made
    made.close()


@pytest.fixture
def many(tmp_path: Path) -> str:
    """Give a file of more commands than are sent unasked."""
    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join(encode(Command(f"p{n}", AT, "x")) for n in range(1_001)))
    return str(path)


@pytest.mark.parametrize("answer", [b"y\n", b"n\n"])
def test_on_a_terminal_it_asks_before_sending_much(
    api: CollectorProcess, many: str, terminal: Terminal, answer: bytes
) -> None:
    """Counted first; whoever says no has sent nothing."""
    with started(many, stdin=terminal.theirs, stderr=terminal.theirs) as process:
        asked = terminal.shown(b"[y/N]:")
        assert (
            f"Send 1,001 commands again to {api.url}? What it already has counts once.".encode()
            in asked
        )
        os.write(terminal.ours, answer)
        said, _ = process.communicate()
    yes = answer == b"y\n"
    assert process.returncode == (Exit.OK if yes else Exit.INCOMPLETE)
    assert said.startswith(b"1,001 delivered, 0 rejected" if yes else b"nothing was sent\n")
    assert api.summary()["total"] == (1_001 if yes else 0)
    if yes:
        assert (
            b"Replaying  [####################################]  1001/1001  100%"
            in terminal.shown(b"100%")
        )


def test_with_yes_it_does_not_ask(api: CollectorProcess, many: str, terminal: Terminal) -> None:
    """And shows the bar all the same; what is named stands above it on a line of its own."""
    with open(many, "ab") as file:
        file.write(b"nonsense\n")
    with started("-y", many, stdin=terminal.theirs, stderr=terminal.theirs) as process:
        seen = terminal.shown(b"no command")
        said, _ = process.communicate()
    assert b"[y/N]" not in seen
    assert b"\r\x1b[K" in seen
    assert b"not sent: " in seen
    assert b"replay ended" not in seen
    assert said.startswith(b"1,001 delivered, 1 rejected")
    assert api.summary()["total"] == 1_001


def test_what_cannot_be_counted_first_is_sent_unasked(
    api: CollectorProcess, terminal: Terminal
) -> None:
    """Standard input can be read once, and holds no answer."""
    with started("-", stderr=terminal.theirs) as process:
        said, _ = process.communicate(LINES[0])
    assert said.startswith(b"1 delivered")
    assert api.summary()["total"] == 1


# What is said on the way


class Refusing:
    """A sink that answers everything alike."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def exchange(self, deliveries: Sequence[Delivery], _wait_s: float) -> list[tuple[int, Outcome]]:
        """Answer."""
        return [(delivery.ticket, self.outcome) for delivery in deliveries]

    def close(self) -> None:
        """Nothing is open."""


def test_progress_is_a_line_every_ten_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And an outage is told again when it changes its kind."""
    (tmp_path / "x").write_bytes(b"".join(LINES))
    now = 100.0
    course = Course("json", "info", clock=lambda: now)
    sink = Refusing(Outcome(Verdict.DELIVERED, "answered-200", 200))
    piece = Piece("x", str(tmp_path / "x"), "file")
    replay = Replay(
        ReplaySource([piece], course.failed),
        sink,
        EVERYTHING,
        window=Window(1),
        passed=course.passed,
        random=lambda: 0.0,
    )
    with course.shown(replay, None):
        for seconds in (5, 5, 5):
            replay.turn()
            now += seconds
            course.look()
        sink.outcome = Outcome(Verdict.RETRY, "timeout")
        for _ in range(3):
            replay.turn()
            course.look()
        sink.outcome = Outcome(Verdict.BLOCKED, "answered-403", 403)
        replay.turn()
        course.look()
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    progress = [one for one in logged if one["event"] == "replay-progress"]
    assert [one["delivered"] for one in progress] == [2]
    assert [one["per_second"] for one in progress] == [0.2]
    outages = [one["event"] for one in logged if one["event"].startswith("api-")]
    assert outages == ["api-retrying", "api-blocked"]


def test_looking_before_anything_is_shown_is_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is known yet."""
    Course("text", "info").look()
    assert capsys.readouterr().err == ""


def test_a_flood_of_rejected_lines_is_named_in_part(tmp_path: Path, api: CollectorProcess) -> None:
    """A hundred of them, and how many more there were."""
    (tmp_path / "x").write_bytes(b"nonsense\n" * 250)
    ended = run(str(tmp_path / "x"))
    assert ended.stderr.count("not sent: ") == 100
    assert "150 more were not named" in ended.stderr
    assert "250 lines were refused or are no command" in ended.stderr
    assert api.summary()["total"] == 0


def test_names_in_the_count_move_no_cursor() -> None:
    """They come from other programs, and may be long."""
    counts = Tally()
    counts.add(Command("bob", AT, "\x1b[2J" + "x" * 200))
    counts.others = 3
    text = counted(counts, [], of_spool=False)
    assert "?[2J" + "x" * 56 + "... 1, 3 of yet others" in text
    assert "\x1b" not in text


def test_of_many_hours_the_last_are_listed() -> None:
    """A month is no page."""
    counts = Tally()
    for hour in range(60):
        counts.add(Command("bob", AT + hour * 3_600, "x"))
    lines = counted(counts, [], of_spool=True).splitlines()
    assert lines[3] == "  before                12"
    assert len(lines) == 3 + 1 + 48 + 1


def test_an_empty_spool_has_nothing_to_send() -> None:
    """And says no more than that."""
    assert counted(Tally(), [], of_spool=True) == "0 commands\nnothing was sent"


def test_the_words_of_the_end() -> None:
    """Short where all is well, and each reason where not."""
    assert result(12_408, 0, 31) == "12,408 delivered, 0 rejected in 31 s"
    assert shortfall(0, 0, None, done=True) is None
    assert shortfall(2, 2, 15, done=False) == (
        "not all was delivered: stopped by TERM before the end (run it again: it begins anew, and what was sent counts "
        "once); 2 lines were refused or are no command; 2 files could not be read"
    )


def test_nothing_of_a_command_is_in_what_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Only its place and the reason."""
    course = Course("text", "debug")
    course.passed(
        New("answered-400", b"secret", rule="refused", partition=P, offset=7, said="secret")
    )
    assert capsys.readouterr().err.endswith(
        f"WARNING not sent: {P} at 7: answered-400: rule=refused\n"
    )
