"""`kmq-sender rejected`: what it prints, what it hides, what it ends with; resend against a real collector."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sys
import time
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result

from kmq.command import Command, Number, encode
from kmq.locks import take
from kmq.spool import Spool
from sender.cli import rejected as cli
from sender.cli import root
from sender.cli.exits import Exit
from sender.cli.rejected_text import why_it_stays
from sender.flow import Outcome, Verdict
from sender.rejected import New, RejectedStore
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures, by name

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.collector import CollectorProcess

P = "20261123T204501Z-4f2a91c3"
Q = "20261122T085011Z-77aa0c1e"
AT = 1_795_467_067.0  # 2026-11-23 20:51:07 UTC
DAY_S = 86_400.0
SIGNED_UP = encode(
    Command("bob@bob.com", 1_500_000_000, "Signed Up", properties={"Amount": Number("99.90")})
)[:-1]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Give an empty spool where KMQ_SPOOL points."""
    path = tmp_path / "spool"
    path.mkdir()
    return Spool(str(path))


@pytest.fixture
def api(request: pytest.FixtureRequest) -> CollectorProcess:
    """Give a running collector that has seen nothing and answers 200."""
    running: CollectorProcess = request.getfixturevalue("collector")
    return running


def keep(spool: Spool, *news: New, at: float = AT, program: str = "sender") -> list[str]:
    """Put commands on the list as a program of that time did."""
    store = RejectedStore(spool, program, clock=lambda: at)
    ids = store.add(news)
    store.sync()
    return ids


def three(spool: Spool) -> None:
    """Put on the list what the documentation's example shows."""
    keep(
        spool,
        New("torn", b"x" * 57, partition=Q, offset=4_093),
        at=AT - DAY_S - 42_665,
    )
    keep(spool, New("answered-400", SIGNED_UP, partition=P, offset=16_781_002, status=400))
    keep(spool, New("no-person", b"/e?_k=k&_n=Signed+Up&gender=male"), program="gateway")


def run(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
    """Run `kmq-sender rejected` with arguments."""
    return CliRunner().invoke(
        root, ["rejected", *arguments], input=stdin, env=env, terminal_width=88
    )


def left(spool: Spool) -> list[str]:
    """Return the ids that are on the list."""
    return [one.id for one in RejectedStore(spool, "other").kept()]


# list


def test_the_list_is_newest_first_and_hides_values(spool: Spool) -> None:
    """Names and values of people are nobody's business who only looks how many there are."""
    three(spool)
    result = run("list")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ID            WHEN      REASON        FROM                                     WHAT",
        "2026-11-23:2  20:51:07  no-person     gateway                                  /e, 32 bytes",
        f"2026-11-23:1  20:51:07  answered-400  {P} at 16,781,002  record, 68 bytes",
        f"2026-11-22:1  09:00:02  torn          {Q} at 4,093       57 bytes",
    ]
    assert result.stderr == ""


def test_rejected_alone_is_the_list_also_with_its_options(spool: Spool) -> None:
    """The most frequent question is the shortest to ask."""
    three(spool)
    assert run().stdout == run("list").stdout
    assert run("--json", "--limit", "1").stdout == run("list", "--json", "--limit", "1").stdout


def test_help_of_the_group_names_its_commands() -> None:
    """And is not the list's."""
    text = run("--help").stdout
    assert re.findall(r"^  (\w+)  ", text, re.MULTILINE) == ["list", "show", "resend", "drop"]


def test_an_empty_list_says_so(spool: Spool) -> None:
    """Nothing was ever rejected."""
    assert run().stdout == "nothing is on the list\n"
    assert os.listdir(spool.path) == []


def test_a_list_is_cut_and_says_how_much_is_left_out(spool: Spool) -> None:
    """The newest are those of today's trouble."""
    keep(spool, *[New("torn", b"x")] * 12)
    result = run("list", "--limit", "2")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [
        "2026-11-23:12",
        "2026-11-23:11",
    ]
    assert result.stderr == "10 more; see them with --limit\n"


def test_a_list_can_be_filtered(spool: Spool) -> None:
    """By reason and by time."""
    three(spool)
    assert len(run("list", "--reason", "torn").stdout.splitlines()) == 2
    assert len(run("list", "--since", "2026-11-23").stdout.splitlines()) == 3
    assert run("list", "--since", "2026-11-24").stdout == "nothing is on the list\n"


def test_the_list_for_programs(spool: Spool) -> None:
    """The keys are stable; no value is in it either."""
    three(spool)
    listed = json.loads(run("list", "--json", "--limit", "2").stdout)
    assert (listed["matching"], listed["unreadable"]) == (3, 0)
    assert listed["rejected"][1] == {
        "id": "2026-11-23:1",
        "at": "2026-11-23T20:51:07.000Z",
        "reason": "answered-400",
        "partition": P,
        "offset": 16_781_002,
        "status": 400,
        "kind": "record",
        "size": 68,
        "program": "sender",
    }
    assert "bob" not in run("list", "--json").stdout


def test_what_cannot_be_read_is_said_and_does_not_hide_the_rest(spool: Spool) -> None:
    """A torn line of a full disk."""
    keep(spool, New("torn", b"x"))
    with open(f"{spool.rejected}/2026-11-23-sender.jsonl", "ab") as file:
        file.write(b"\x1b[2J strange\n")
    result = run("list")
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == "1 unreadable in rejected/ (torn, or nothing of kmq's), left as it is\n"
    assert json.loads(run("--json").stdout)["unreadable"] == 1


def test_a_spool_that_is_not_there_is_no_input(tmp_path: Path) -> None:
    """An empty list would say that all is well."""
    result = run("--spool", str(tmp_path / "none"))
    assert result.exit_code == Exit.NO_INPUT
    assert "there is no spool at" in result.stderr


# show


def test_show_prints_one_command_whole(spool: Spool) -> None:
    """With the answer and the place; numbers keep their digits, so that it can be mended and appended."""
    keep(
        spool,
        New(
            "answered-400",
            SIGNED_UP,
            rule="refused by the API",
            partition=P,
            offset=93,
            end=169,
            status=400,
            said="bad",
        ),
    )
    result = run("show", "2026-11-23:1")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert list(shown) == [
        "id",
        "at",
        "reason",
        "partition",
        "offset",
        "status",
        "kind",
        "size",
        "program",
        "end",
        "rule",
        "said",
        "text",
        "command",
    ]
    assert shown["text"] == SIGNED_UP.decode()
    assert shown["command"]["_p"] == "bob@bob.com"
    assert (shown["said"], shown["rule"], shown["end"]) == ("bad", "refused by the API", 169)
    assert '"Amount":99.90' in result.stdout


@pytest.mark.parametrize(
    ("raw", "command"),
    [
        (b'{"_n":"no person"}', {"_n": "no person"}),
        (b"[1]", None),
        (b"{", None),
        (b'{"a":NaN}', None),
        (b"\xff", None),
        (b"[" * 60_000, None),
        (b'{"a":' + b"9" * 5_000 + b"}", ...),
    ],
)
def test_show_parses_whatever_is_an_object(spool: Spool, raw: bytes, command: object) -> None:
    """Also one that is no command: whoever mends it begins there."""
    keep(spool, New("not-json", raw))
    text = run("show", "2026-11-23:1").stdout
    if command is ...:
        assert f'"command": {raw.decode()}' in text
    else:
        assert json.loads(text)["command"] == command


def test_show_moves_no_cursor(spool: Spool) -> None:
    """The text is another program's, and the terminal is the operator's."""
    keep(spool, New("not-json", '{"_p":"\x7f\x9b2J zoë"}'.encode(), said="\x1b[2J"))
    text = run("show", "2026-11-23:1").stdout
    assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text) is None
    assert json.loads(text)["command"] == {"_p": "\x7f\x9b2J zoë"}


def test_an_id_that_is_not_on_the_list_is_no_input(spool: Spool) -> None:
    """It was resent meanwhile, or mistyped."""
    keep(spool, New("torn", b"x"))
    result = run("show", "2026-11-23:7")
    assert (result.exit_code, result.stdout) == (Exit.NO_INPUT, "")
    assert "not on the list: 2026-11-23:7" in result.stderr


def test_what_is_no_id_is_wrong_usage(spool: Spool) -> None:
    """And its form is said."""
    assert spool.path
    result = run("show", "17")
    assert result.exit_code == Exit.USAGE
    assert "such as 2026-11-23:17" in result.stderr


# resend


def resend(api: CollectorProcess, *arguments: str) -> Result:
    """Run `rejected resend` towards a collector."""
    return run("resend", "--url", api.url, *arguments, env={"KMQ_API_KEY": "a-key"})


def test_resend_sends_with_the_time_of_the_call_and_takes_off_the_list(
    spool: Spool,
    api: CollectorProcess,
) -> None:
    """The command goes out as the sender would have sent it."""
    keep(spool, New("answered-400", SIGNED_UP), New("answered-400", SIGNED_UP))
    result = resend(api, "2026-11-23:2")
    assert (result.exit_code, result.stdout) == (0, "1 delivered\n")
    (request,) = api.requests()
    assert request["raw"] == (
        "_k=a-key&_p=bob%40bob.com&_n=Signed+Up&Amount=99.90&_t=1500000000&_d=1"
    )
    assert left(spool) == ["2026-11-23:1"]


def test_resend_all_goes_by_the_filters(
    spool: Spool,
    api: CollectorProcess,
) -> None:
    """A reason and a time; the others stay."""
    keep(spool, New("answered-400", SIGNED_UP), New("answered-413", SIGNED_UP), at=AT - DAY_S)
    keep(spool, New("answered-400", SIGNED_UP))
    result = resend(api, "--all", "--reason", "answered-400", "--since", "2026-11-23")
    assert (result.exit_code, result.stdout) == (0, "1 delivered\n")
    assert left(spool) == ["2026-11-22:1", "2026-11-22:2"]
    assert resend(api, "--all").exit_code == 0
    assert left(spool) == []


def test_resend_of_what_is_refused_again_leaves_it(
    spool: Spool,
    api: CollectorProcess,
) -> None:
    """Said by its id and the answer; no value of it is shown."""
    keep(spool, New("answered-400", SIGNED_UP))
    api.answer(status=400)
    result = resend(api, "--all")
    assert (result.exit_code, result.stdout) == (Exit.INCOMPLETE, "0 delivered, 1 not delivered\n")
    assert result.stderr == (
        "2026-11-23:1 stays: the API answers 400: it refuses the command for what it says\n"
    )
    assert left(spool) == ["2026-11-23:1"]


def test_resend_outlasts_a_short_failure(
    spool: Spool,
    api: CollectorProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three tries, with delays."""
    monkeypatch.setattr("random.random", lambda: 0.0)
    keep(spool, New("answered-400", SIGNED_UP))
    api.answer(status=503, count=2)
    result = resend(api, "2026-11-23:1")
    assert (result.exit_code, result.stdout) == (0, "1 delivered\n")


def test_what_cannot_be_sent_is_counted_and_stays(
    spool: Spool,
    api: CollectorProcess,
) -> None:
    """A torn line is no command; a wrong key would not make it one."""
    keep(spool, New("torn", b"x"), New("answered-400", SIGNED_UP))
    result = resend(api, "--all")
    assert (result.exit_code, result.stdout) == (Exit.INCOMPLETE, "1 delivered, 1 cannot be sent\n")
    assert left(spool) == ["2026-11-23:1"]


@pytest.mark.parametrize(
    ("one", "outcome", "said"),
    [
        (
            New("answered-400", SIGNED_UP),
            Outcome(Verdict.BLOCKED, "answered-403", 403),
            "the API answers 403: the API key is refused; put the right key into /etc/kmq/api-key",
        ),
        (
            New("answered-400", SIGNED_UP),
            Outcome(Verdict.BLOCKED, "tls"),
            "no answer (tls): its certificate is not trusted, or TLS fails; check the host's clock",
        ),
        (
            New("answered-400", SIGNED_UP),
            Outcome(Verdict.RETRY, "timeout"),
            "no answer (timeout), also when asked again; try later",
        ),
        (New("torn", SIGNED_UP), None, "its line is torn, and no call had acknowledged it"),
        (New("not-json", b"{not"), None, "it is no command: no JSON at character 2"),
        (
            New("too-long", b"x" * 1024, size=70_000),
            None,
            "its line has 70,000 bytes, more than a line may have, and only its head is kept",
        ),
    ],
)
def test_why_a_command_stays_is_said_in_words(
    spool: Spool, one: New, outcome: Outcome | None, said: str
) -> None:
    """With the way out, where there is one."""
    keep(spool, one)
    kept = RejectedStore(spool, "operator").find("2026-11-23:1")
    assert kept is not None
    assert said in why_it_stays(kept, outcome)


def test_an_api_that_is_not_there_is_unavailable(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing leaves, and a script knows that it is worth another try."""
    monkeypatch.setattr("random.random", lambda: 0.0)
    keep(spool, *[New("answered-400", SIGNED_UP)] * 40)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = run("resend", "--all", "--url", url, env={"KMQ_API_KEY": "a-key"})
    assert result.exit_code == Exit.UNAVAILABLE
    assert result.stdout == "0 delivered, 32 not delivered, 8 not tried\n"
    assert "the API cannot be reached" in result.stderr
    assert len(left(spool)) == 40


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--reason", "torn"],
        ["2026-11-23:1", "--all"],
        ["2026-11-23:1", "--reason", "torn"],
        ["2026-11-23:1", "--since", "2h"],
    ],
)
def test_resend_must_know_what_is_meant(spool: Spool, arguments: list[str]) -> None:
    """Neither nothing nor both."""
    keep(spool, New("torn", b"x"))
    assert run("resend", *arguments).exit_code == Exit.USAGE


def test_resend_of_one_unknown_id_sends_nothing(
    spool: Spool,
    api: CollectorProcess,
) -> None:
    """A typing mistake is found before anything is done."""
    keep(spool, New("answered-400", SIGNED_UP))
    result = resend(api, "2026-11-23:1", "2026-11-23:9")
    assert result.exit_code == Exit.NO_INPUT
    assert api.requests() == []


def test_resend_without_a_key_says_where_it_looked(spool: Spool) -> None:
    """As `run` does."""
    keep(spool, New("answered-400", SIGNED_UP))
    result = run("resend", "--all")
    assert result.exit_code == Exit.CONFIG
    assert "no API key" in result.stderr


# drop


def test_drop_removes_what_is_named(spool: Spool) -> None:
    """And nothing else."""
    keep(spool, New("torn", b"x"), New("torn", b"y"))
    result = run("drop", "-y", "2026-11-23:1")
    assert (result.exit_code, result.stdout) == (0, "1 dropped\n")
    assert left(spool) == ["2026-11-23:2"]


def test_an_id_given_twice_is_one_command(spool: Spool, api: CollectorProcess) -> None:
    """Sent once, counted once, dropped once."""
    keep(spool, New("answered-400", SIGNED_UP), New("answered-400", SIGNED_UP))
    assert resend(api, "2026-11-23:1", "2026-11-23:1").stdout == "1 delivered\n"
    assert len(api.requests()) == 1
    assert run("drop", "-y", "2026-11-23:2", "2026-11-23:2").stdout == "1 dropped\n"
    assert left(spool) == []


def test_every_id_that_is_not_on_the_list_is_named_once(spool: Spool) -> None:
    """In the order in which they were given."""
    keep(spool, New("torn", b"x"))
    result = run("drop", "-y", "2026-11-23:9", "2026-11-23:1", "2026-11-22:3", "2026-11-23:9")
    assert result.exit_code == Exit.NO_INPUT
    assert "not on the list: 2026-11-23:9, 2026-11-22:3;" in result.stderr


def test_a_lock_that_stays_held_ends_with_75(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again is the way out, once its holder goes on; nothing was dropped."""
    keep(spool, New("torn", b"x"), New("torn", b"y"))
    monkeypatch.setattr("sender.rejected.numbers._TRIES", 2)
    held = take(spool.rejected_lock)
    assert isinstance(held, int)
    result = run("drop", "-y", "2026-11-23:1")
    os.close(held)
    assert result.exit_code == Exit.TEMPORARY
    assert "another process holds it; if it is stopped, let it go on" in result.stderr
    assert len(left(spool)) == 2


def test_a_file_that_may_not_be_read_ends_with_77_and_says_whose_it_is(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root reads everything, so the refusal is given here; a list without that file would say too little."""
    keep(spool, New("torn", b"x"))

    def refused(path: str, _flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("sender.rejected.kept.open_regular", refused)
    for arguments in (["list"], ["show", "2026-11-23:1"], ["drop", "-y", "2026-11-23:1"]):
        result = run(*arguments)
        assert result.exit_code == Exit.NO_PERMISSION
        assert "2026-11-23-sender.jsonl: Permission denied" in result.stderr


def test_drop_removes_what_is_older(spool: Spool) -> None:
    """By when it was rejected."""
    now = time.time()
    keep(spool, New("torn", b"x"), at=now - 8 * DAY_S)
    young = keep(spool, New("torn", b"y"), at=now - 6 * DAY_S)
    assert run("drop", "--older-than", "7d", "-y").stdout == "1 dropped\n"
    assert left(spool) == young
    assert run("drop", "--older-than", "7d", "-y").stdout == "nothing to drop\n"


def test_drop_without_a_terminal_and_without_yes_drops_nothing(spool: Spool) -> None:
    """Nobody can be asked, and what is dropped is gone."""
    keep(spool, New("torn", b"x"))
    result = run("drop", "2026-11-23:1")
    assert result.exit_code == Exit.USAGE
    assert "add -y" in result.stderr
    assert left(spool) == ["2026-11-23:1"]


@pytest.mark.parametrize(
    ("said", "code", "gone"), [("y", 0, True), ("n", 1, False), ("", 1, False)]
)
def test_drop_asks_on_a_terminal(
    spool: Spool,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    code: int,
    gone: bool,  # noqa: FBT001 - a parameter of pytest's
) -> None:
    """On stderr, and no is the default."""
    keep(spool, New("torn", b"x"))
    monkeypatch.setattr(cli, "_is_terminal", lambda: True)
    result = run("drop", "2026-11-23:1", stdin=f"{said}\n")
    assert result.exit_code == code
    assert "Drop 1 rejected command for good?" in result.stderr
    assert result.stdout == ("1 dropped\n" if gone else "")
    assert (left(spool) == []) is gone


@pytest.mark.parametrize("arguments", [[], ["2026-11-23:1", "--older-than", "7d"]])
def test_drop_must_know_what_is_meant(spool: Spool, arguments: list[str]) -> None:
    """All is never meant by saying nothing."""
    keep(spool, New("torn", b"x"))
    assert run("drop", "-y", *arguments).exit_code == Exit.USAGE
    assert left(spool) == ["2026-11-23:1"]


def test_drop_of_one_unknown_id_drops_nothing(spool: Spool) -> None:
    """A typing mistake is found before anything is done."""
    keep(spool, New("torn", b"x"))
    assert run("drop", "-y", "2026-11-23:1", "2026-11-23:9").exit_code == Exit.NO_INPUT
    assert left(spool) == ["2026-11-23:1"]


def test_a_terminal_is_asked_for_where_the_answer_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Standard input, not output, which may well be a file."""
    with open("/dev/null", encoding="ascii") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(click.UsageError):
            cli._agreed(1)
