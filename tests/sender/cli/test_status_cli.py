"""`kmq-sender status`: what it prints for people and for programs, and with what it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from kmq import __version__
from kmq.errors import NoPermission
from kmq.spool import SYSTEM_SPOOL, Spool
from sender.cli import root
from sender.cli.exits import Exit
from sender.cli.status_json import as_json
from sender.cli.status_text import Shown, page
from sender.status import Blocked, LastError, Latency, Rate, Snapshot, Totals, save
from sender.status.holders import Holder
from sender.status.survey import Lag, PartitionSurvey, SenderSurvey, Survey
from tests.support.collector import collector, shared_collector  # noqa: F401 - fixtures, by name
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.collector import CollectorProcess

NOW = 1_795_508_000.0
GiB = 1 << 30
P = "20261123T204501Z-4f2a91c3"
Q = "20261123T204501Z-90be12aa"
R = "20261123T204733Z-c07d55e1"
SNAPSHOT = Snapshot(
    at=NOW - 0.5,
    pid=1423,
    started=NOW - 273_600,
    version="1.0.0",
    url="https://trk.kissmetrics.io",
    transport="curl",
    state="SENDING",
    in_flight=32,
    totals=Totals(1_048_576, 17, 3, NOW - 273_600),
    rate=Rate(412.0, 415.2, 10.0),
    latency=Latency(0.048, 0.21),
    last_error=LastError(NOW - 130, "answered-503", 503, "503 from the API"),
)
BLOCKED = replace(
    SNAPSHOT,
    state="BLOCKED",
    blocked=Blocked(NOW - 724, 403, "the API key is refused", "put the right key there", 21.5),
)
PARTITIONS = [
    PartitionSurvey(
        P, Holder(1188, "gunicorn"), 3, 37_853_594, 5, 9, Lag(1_102, 123_085, 3.2), 310.0
    ),
    PartitionSurvey(Q, None, 2, 1_992_294, 9, 9, Lag(), None),
    PartitionSurvey(R, Holder(1502, "kmq-sender"), 1, 4_194_304, 7, 9, Lag(5, 614, 0.4), 4.2),
]


def sender_of(
    *, running: bool, holder: Holder | None, snapshot: Snapshot | None, current: bool
) -> SenderSurvey:
    """Return what was found about the sender."""
    return SenderSurvey(running, holder, snapshot, current)


SURVEY = Survey(
    at=NOW,
    path=SYSTEM_SPOOL,
    id="fe00-21233e",
    bytes=64_906_854,
    free_bytes=87_187_836_109,
    sender=sender_of(
        running=True, holder=Holder(1423, "kmq-sender"), snapshot=SNAPSHOT, current=True
    ),
    partitions=PARTITIONS,
    lag=Lag(1_107, 123_699, 3.2),
    rejected_kept=3,
)
STOPPED = replace(
    SURVEY, sender=sender_of(running=False, holder=None, snapshot=SNAPSHOT, current=False)
)

pytestmark = pytest.mark.usefixtures("berlin")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Give an empty spool where KMQ_SPOOL points."""
    (tmp_path / "spool").mkdir()
    return Spool(str(tmp_path / "spool"))


def run(*arguments: str, color: bool = False) -> Result:
    """Run the command."""
    return CliRunner().invoke(root, ["status", *arguments], color=color)


def printed(found: Survey, shown: Shown | None = None) -> str:
    """Return the page without colours."""
    text = page(found, shown or Shown(4 * GiB))
    for code in (0, 31, 32, 33):
        text = text.replace(f"\x1b[{code}m", "")
    return text


def with_snapshot(snapshot: Snapshot, found: Survey = SURVEY) -> Survey:
    """Return a survey of a sender that said this."""
    return replace(found, sender=replace(found.sender, snapshot=snapshot))


def test_the_page() -> None:
    """All at a glance: the spool, the sender, what waits, how fast, and each partition."""
    assert printed(SURVEY) == (
        """\
spool      /var/spool/kmq   61.9 MiB of 4 GiB, 81.2 GiB free
sender     running, kmq-sender[1423], 3 d 4 h, curl to https://trk.kissmetrics.io
state      SENDING
waiting    1,107 commands, 120.8 KiB, the oldest for 3.2 s
rate       412/s in, 415/s out, 32 in flight, answer 48 ms median, 210 ms p99
totals     1,048,576 delivered, 17 retried, 3 rejected (since 21 Nov 05:13 CET)
last error 2 min ago: 503 from the API

PARTITION                  WRITER            SEGMENTS      SIZE  WAITING      BYTES  OLDEST     IN
20261123T204501Z-4f2a91c3  gunicorn[1188]           3  36.1 MiB    1,102  120.2 KiB   3.2 s  310/s
20261123T204733Z-c07d55e1  kmq-sender[1502]         1     4 MiB        5      614 B   0.4 s  4.2/s
1 idle                                              2   1.9 MiB        0        0 B

3 rejected: kmq-sender rejected list"""
    )


def test_blocked_says_why_that_nothing_is_lost_and_how_to_mend_it() -> None:
    """Whoever reads it knows what to do."""
    assert """\
state      BLOCKED for 12 min: 403 from https://trk.kissmetrics.io, the API key is refused
           nothing is lost: 1,107 commands wait; next probe in 21 s
           mend: put the right key there
""" in printed(with_snapshot(BLOCKED))


def test_a_long_remedy_is_broken_to_fit_a_terminal() -> None:
    """Not by the terminal itself, in the middle of a word."""
    assert BLOCKED.blocked is not None
    advice = "put the right key into /etc/kmq/api-key (or where the sender has it from), then restart the sender"
    blocked = replace(BLOCKED.blocked, advice=advice)
    assert (
        "           mend: put the right key into /etc/kmq/api-key (or where the sender\n"
        "                 has it from), then restart the sender\n"
    ) in printed(with_snapshot(replace(BLOCKED, blocked=blocked)))


UNREADABLE = replace(
    SURVEY,
    partitions=[PARTITIONS[0]],
    unreadable={Q: NoPermission("cannot read it: chmod", path="/spool/q")},
)


def test_an_unreadable_partition_has_a_row_that_says_so() -> None:
    """Beside the others, which are counted."""
    rows = printed(UNREADABLE).split("\n\n")[1].splitlines()
    assert rows[1].startswith(f"{P}  gunicorn[1188] ")
    assert rows[2] == f"{Q}  unreadable"


def test_an_unreadable_partition_has_its_keys_in_the_json() -> None:
    """Each is null: nothing is known of it."""
    found = json.loads(as_json(UNREADABLE, 4 * GiB))["partitions"]
    assert set(found[0]) == set(found[1])
    by_name = {one["name"]: one for one in found}
    assert by_name[P]["bytes"] == 37_853_594
    assert set(leaves(by_name[Q])) == set(leaves({**by_name[P], "writer": None}))
    assert by_name[Q]["lag"] == dict.fromkeys(("commands", "bytes", "seconds", "exact"))
    assert by_name[Q]["segments"] is None


def test_with_an_unreadable_partition_it_ends_with_77(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the page; root reads everything, so the refusal is given here."""
    os.mkdir(spool.partition(P))

    def refuse(path: str) -> list[int]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("sender.status.survey.segment_starts", refuse)
    for arguments in ([], ["--json"]):
        ended = run(*arguments)
        assert ended.exit_code == Exit.NO_PERMISSION
        assert P in ended.stdout
        assert (
            f"Error: 1 partition counted nowhere above: cannot read {spool.path}/{P}"
            in ended.stderr
        )


def test_blocked_without_an_answer_and_with_a_probe_under_way() -> None:
    """TLS that fails has no status, and a probe may be due by now."""
    blocked = Blocked(NOW - 724, None, "TLS fails", "look at the clock", 0.1)
    text = printed(with_snapshot(replace(BLOCKED, blocked=blocked)))
    assert "state      BLOCKED for 12 min: TLS fails\n" in text
    assert "wait; a probe is on its way\n" in text
    blocked = replace(blocked, next_probe_s=None)
    text = printed(with_snapshot(replace(BLOCKED, blocked=blocked)))
    assert "commands wait\n" in text


def test_retrying_says_that_nothing_is_lost() -> None:
    """An outage is no loss."""
    text = printed(with_snapshot(replace(SNAPSHOT, state="RETRYING")))
    assert "state      RETRYING\n           nothing is lost: 1,107 commands wait\n" in text


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (None, "killed, ended at once by a second signal, or a power cut"),
        ("signal 15", "stopped by TERM"),
        ("signal 2", "stopped by INT"),
        ("drain timed out", "ended: drain timed out"),
        ("drained", "ended: drained"),
    ],
)
def test_not_running_says_how_it_ended_and_how_to_start_it(ended: str | None, said: str) -> None:
    """One that left no word was killed."""
    text = printed(with_snapshot(replace(SNAPSHOT, ended=ended), STOPPED))
    assert text.startswith(
        f"""\
spool      /var/spool/kmq   61.9 MiB of 4 GiB, 81.2 GiB free
sender     NOT RUNNING; last seen 24 Nov 09:13 CET as kmq-sender[1423], {said}
           nothing is lost: 1,107 commands wait; start: systemctl start kmq-sender
state      STOPPED
waiting    1,107 commands, 120.8 KiB, the oldest for 3.2 s
totals     1,048,576 delivered"""
    )


def test_where_no_sender_ever_ran() -> None:
    """There is nothing to tell but the spool itself."""
    nobody = sender_of(running=False, holder=None, snapshot=None, current=False)
    never = replace(STOPPED, sender=nobody, partitions=[], rejected_kept=0)
    one = replace(never, lag=Lag(1, 80, 1.0))
    assert printed(replace(never, lag=Lag())) == (
        """\
spool      /var/spool/kmq   61.9 MiB of 4 GiB, 81.2 GiB free
sender     NOT RUNNING; none ever ran here
           nothing waits; start: systemctl start kmq-sender
state      STOPPED
waiting    nothing"""
    )
    assert "nothing is lost: 1 command waits;" in printed(one)


def test_proposed_commands_name_a_spool_that_is_not_the_default() -> None:
    """They can be pasted as they stand."""
    text = printed(replace(STOPPED, path="/srv/my spool"), Shown(4 * GiB, named=True))
    assert "start: kmq-sender run --spool '/srv/my spool'\n" in text
    assert text.endswith("kmq-sender rejected list --spool '/srv/my spool'")


def test_a_sender_without_figures_yet() -> None:
    """In its first second, or after one that left figures of its own."""
    holder = Holder(7, "kmq-sender")
    text = printed(
        replace(
            SURVEY, sender=sender_of(running=True, holder=holder, snapshot=SNAPSHOT, current=False)
        )
    )
    assert "sender     running, kmq-sender[7], no figures of it yet\nstate      SENDING\n" in text
    assert "rate " not in text
    idle = replace(
        SURVEY, sender=sender_of(running=True, holder=None, snapshot=None, current=False), lag=Lag()
    )
    assert (
        "running, its process cannot be told, no figures of it yet\nstate      IDLE\n"
        in printed(idle)
    )


def test_a_sender_in_another_container_is_named_by_its_own_number() -> None:
    """Its process cannot be seen from here."""
    text = printed(
        replace(
            SURVEY, sender=sender_of(running=True, holder=None, snapshot=SNAPSHOT, current=True)
        )
    )
    assert "running, process 1423, 3 d 4 h" in text


def test_old_figures_say_so() -> None:
    """A sender that is stopped or stuck still holds its lock."""
    text = printed(with_snapshot(replace(SNAPSHOT, at=NOW - 300)))
    assert "state      SENDING (as of 5 min ago)\n" in text
    text = printed(with_snapshot(replace(BLOCKED, at=NOW - 300)))
    assert "the API key is refused (as of 5 min ago)\n" in text


def test_estimates_have_a_tilde() -> None:
    """What was not counted does not look as if it were."""
    lag = Lag(1_204_318, 400 << 20, 3.2, exact=False)
    partitions = [replace(PARTITIONS[0], lag=lag)]
    text = printed(replace(STOPPED, lag=lag, partitions=partitions))
    assert text.count("~1,204,318") == 3


def test_before_the_first_answer_there_is_no_latency() -> None:
    """Nothing is made up."""
    snapshot = replace(SNAPSHOT, latency=Latency(), last_error=None, rate=Rate(0.0, 0.4, 10.0))
    text = printed(with_snapshot(snapshot))
    assert "rate       0/s in, 0.4/s out, 32 in flight\n" in text
    assert "last error" not in text


def test_all_partitions_have_a_row_when_asked_for() -> None:
    """Also the idle ones."""
    text = printed(SURVEY, Shown(4 * GiB, all_partitions=True))
    assert Q in text
    assert "idle" not in text


def test_a_thousand_partitions_do_not_fill_the_screen() -> None:
    """Those with the most have a row, the others share one."""
    many = [
        replace(PARTITIONS[0], name=f"{P[:-4]}{number:04x}", lag=Lag(number, number, 1.0))
        for number in range(1, 101)
    ]
    rows = printed(replace(SURVEY, partitions=many, rejected_kept=0)).splitlines()[9:]
    assert len(rows) == 41
    assert rows[0].startswith(many[60].name)
    assert rows[-1].split()[:2] == ["60", "more"]


def test_the_json_has_its_stable_keys() -> None:
    """Scripts rely on them, and on their units."""
    assert json.loads(as_json(with_snapshot(BLOCKED), 4 * GiB)) == {
        "version": __version__,
        "spool": {
            "path": "/var/spool/kmq",
            "id": "fe00-21233e",
            "bytes": 64_906_854,
            "max_bytes": 4 * GiB,
            "free_bytes": 87_187_836_109,
        },
        "sender": {
            "running": True,
            "pid": 1423,
            "started": "2026-11-21T04:13:20.000Z",
            "url": "https://trk.kissmetrics.io",
            "transport": "curl",
            "version": "1.0.0",
        },
        "state": "BLOCKED",
        "blocked": {
            "since": "2026-11-24T08:01:16.000Z",
            "status": 403,
            "reason": "the API key is refused",
            "advice": "put the right key there",
            "next_probe_s": 21.0,
        },
        "lag": {"commands": 1_107, "bytes": 123_699, "seconds": 3.2, "exact": True},
        "rate": {"in": 412.0, "out": 415.2, "window_s": 10.0},
        "in_flight": 32,
        "latency": {"p50_s": 0.048, "p99_s": 0.21},
        "totals": {
            "delivered": 1_048_576,
            "retried": 17,
            "rejected": 3,
            "since": "2026-11-21T04:13:20.000Z",
        },
        "last_error": {
            "at": "2026-11-24T08:11:10.000Z",
            "kind": "answered-503",
            "status": 503,
            "message": "503 from the API",
        },
        "rejected_kept": 3,
        "partitions": [
            {
                "name": P,
                "writer": {"pid": 1188, "command": "gunicorn"},
                "segments": 3,
                "bytes": 37_853_594,
                "checkpoint": 5,
                "end": 9,
                "lag": {"commands": 1_102, "bytes": 123_085, "seconds": 3.2, "exact": True},
                "rate_in": 310.0,
            },
            {
                "name": Q,
                "writer": None,
                "segments": 2,
                "bytes": 1_992_294,
                "checkpoint": 9,
                "end": 9,
                "lag": {"commands": 0, "bytes": 0, "seconds": 0.0, "exact": True},
                "rate_in": None,
            },
            {
                "name": R,
                "writer": {"pid": 1502, "command": "kmq-sender"},
                "segments": 1,
                "bytes": 4_194_304,
                "checkpoint": 7,
                "end": 9,
                "lag": {"commands": 5, "bytes": 614, "seconds": 0.4, "exact": True},
                "rate_in": 4.2,
            },
        ],
        "gateway": None,
        "at": "2026-11-24T08:13:20.000Z",
    }


def leaves(value: object, path: str = "") -> Iterator[str]:
    """Yield the path of every key of an object."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}"
            yield from leaves(inner, f"{path}.{name}")


def test_where_no_sender_ran_its_figures_are_null(spool: Spool) -> None:
    """Every key is there all the same."""
    result = run("--json")
    assert result.exit_code == Exit.OK
    empty = json.loads(result.stdout)
    assert empty["sender"] == dict.fromkeys(empty["sender"]) | {"running": False}
    assert (empty["state"], empty["in_flight"], empty["blocked"]) == ("STOPPED", None, None)
    assert empty["rate"] == {"in": None, "out": None, "window_s": None}
    save(spool, SNAPSHOT)
    full = json.loads(run("--json").stdout)
    missing = set(leaves(full)) - set(leaves(empty))
    assert missing == {f".last_error.{name}" for name in ("at", "kind", "status", "message")}


def test_a_sender_that_stopped_sends_nothing(spool: Spool) -> None:
    """Its last figures stay, except for those that are of the moment."""
    save(spool, replace(SNAPSHOT, ended="signal 15"))
    found = json.loads(run("--json").stdout)
    assert (found["state"], found["in_flight"], found["sender"]["pid"]) == ("STOPPED", 0, None)
    assert found["rate"] == {"in": None, "out": 0.0, "window_s": 10.0}
    assert found["totals"]["delivered"] == 1_048_576


def test_the_cap_is_that_of_the_apps(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read where they read it."""
    assert "of 4 GiB," in run("--spool", spool.path).stdout
    monkeypatch.setenv("KMQ_MAX_SPOOL", "64MiB")
    assert "of 64 MiB," in run("--spool", spool.path).stdout
    monkeypatch.setenv("KMQ_MAX_SPOOL", "much")
    assert run("--spool", spool.path).exit_code == Exit.CONFIG


@pytest.mark.usefixtures("spool")
def test_colours_are_for_terminals() -> None:
    """A pipe gets none."""
    assert "\x1b" not in run().stdout
    assert "\x1b[31mSTOPPED\x1b[0m" in run(color=True).stdout


def test_a_spool_that_is_not_there_ends_with_66() -> None:
    """And is not made."""
    result = run()
    assert result.exit_code == Exit.NO_INPUT
    assert "there is no spool at" in result.stderr


def test_a_spool_that_may_not_be_read_ends_with_77(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root reads everything, so the system's answer is given here."""

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("sender.status.survey.partitions", lambda one: refuse(one.path))
    result = run()
    assert result.exit_code == Exit.NO_PERMISSION
    assert spool.path in result.stderr


def test_the_help_ends_in_examples() -> None:
    """A newcomer starts there."""
    text = run("--help").stdout
    assert "--partitions" in text
    assert text.rstrip().endswith("kmq-sender status --json | jq .lag.seconds")


@pytest.mark.usefixtures("spool")
def test_looking_loads_no_transport() -> None:
    """Only what sends pays for requests or curl."""
    code = "import sys; from sender.cli import root; root(['status'], standalone_mode=False); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"requests", "pycurl", "uvicorn"} & set(ended.stdout.split())


def test_a_running_sender_is_seen_and_its_end_too(
    spool: Spool, request: pytest.FixtureRequest
) -> None:
    """With real processes: it runs, it is killed, and both show at once."""
    api: CollectorProcess = request.getfixturevalue("collector")
    environ = {**os.environ, "KMQ_URL": api.url, "KMQ_API_KEY": "key", "KMQ_SPOOL": spool.path}
    command = [sys.executable, "-m", "sender.cli", "run", "--transport", "requests"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as sender:

        def seen() -> dict[str, object]:
            about: dict[str, object] = json.loads(run("--json").stdout)["sender"]
            return about if about["running"] and about["url"] else {}

        about = wait_until(seen, what="the sender's figures")
        assert (about["pid"], about["url"], about["transport"]) == (sender.pid, api.url, "requests")
        assert f"[{sender.pid}], " in run().stdout
        sender.send_signal(signal.SIGKILL)
        sender.wait()
        killed = run().stdout
        assert "NOT RUNNING; last seen" in killed
        assert f"[{sender.pid}], killed, ended at once by a second signal, or a power cut" in killed
