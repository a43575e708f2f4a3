"""The sender's log lines: three forms, one line an event, a table that the docs repeat."""

from __future__ import annotations

import ast
import io
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.logs import EVENTS, FORMS, LEVELS, Level, Log, Outage, under_journal

ROOT = Path(__file__).parents[2]
AT = 1795507982.114999  # 2026-11-24T08:13:02.114Z


def line_of(form: str, event: str, message: str, /, **fields: object) -> str:
    """Return the line that an event becomes, without its newline."""
    stream = io.StringIO()
    Log(form, "debug", stream=stream, clock=lambda: AT).report(event, message, **fields)
    written = stream.getvalue()
    assert written.endswith("\n")
    return written[:-1]


def test_text_is_a_time_a_level_a_message_and_its_figures() -> None:
    """The example of the contract, word for word: a field that the message names is not repeated."""
    line = line_of(
        "text",
        "api-retrying",
        "api answers {status}, retrying",
        status=503,
        waiting=1204,
        retry_in_s=2.1,
    )
    assert (
        line == "2026-11-24T08:13:02Z WARNING api answers 503, retrying: waiting=1204 retry_in=2.1s"
    )


def test_journal_leaves_the_time_to_the_journal() -> None:
    """The priority stands in front, as systemd reads it."""
    line = line_of(
        "journal",
        "api-retrying",
        "api answers {status}, retrying",
        status=503,
        waiting=1204,
        retry_in_s=2.1,
    )
    assert line == "<4>api answers 503, retrying: waiting=1204 retry_in=2.1s"


def test_json_is_the_code_and_all_fields() -> None:
    """Programs get every field under its own name, seconds as a number, and no sentence to parse."""
    line = line_of(
        "json",
        "api-retrying",
        "api answers {status}, retrying",
        status=503,
        waiting=1204,
        retry_in_s=2.1,
    )
    assert line == (
        '{"at":"2026-11-24T08:13:02.114Z","level":"warning","event":"api-retrying",'
        '"status":503,"waiting":1204,"retry_in_s":2.1}'
    )


@pytest.mark.parametrize(
    ("level", "number"), [("error", 3), ("warning", 4), ("info", 6), ("debug", 7)]
)
def test_each_level_has_its_method_and_syslog_number(level: str, number: int) -> None:
    """The four methods say at which level they write."""
    stream = io.StringIO()
    getattr(Log("journal", "debug", stream=stream), level)("gap", "bytes are missing")
    assert stream.getvalue() == f"<{number}>bytes are missing\n"


@pytest.mark.parametrize("threshold", LEVELS)
def test_what_does_not_reach_the_level_is_not_written(threshold: str) -> None:
    """`--log-level` lets through its own level and whatever matters more."""
    stream = io.StringIO()
    log = Log("text", threshold, stream=stream)
    for method in (log.debug, log.info, log.warning, log.error):
        method("gap", "x")
    assert stream.getvalue().count("\n") == len(LEVELS) - LEVELS.index(threshold)


@pytest.mark.parametrize("level", LEVELS)
def test_an_unknown_event_is_a_mistake_even_if_it_would_not_be_written(level: str) -> None:
    """A code that is not in the table, and so not in the docs, never gets out."""
    with pytest.raises(KeyError, match="no-such-event"):
        Log("text", level, stream=io.StringIO()).debug("no-such-event", "x")


def test_an_event_without_fields_ends_with_its_message() -> None:
    """No colon without figures behind it; a field that is None is no figure."""
    assert line_of("journal", "sender-stopping", "stopping", left=None) == "<6>stopping"
    assert json.loads(line_of("json", "sender-stopping", "stopping", left=None)).keys() == {
        "at",
        "level",
        "event",
    }


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2.0, "2"),
        (0.0, "0"),
        (0.0481, "0.048"),
        (1204.5, "1204.5"),
        (7, "7"),
        ("plain", "plain"),
        ("/a/b.jsonl", "/a/b.jsonl"),
        ("two words", '"two words"'),
        ("", '""'),
        ('say "so"', '"say \\"so\\""'),
        ("a=b", '"a=b"'),
        ("a\nb", '"a\\nb"'),
        ("\u2028", '"\\u2028"'),
        ("\udcff", '"\\udcff"'),
        ("Zoë", "Zoë"),
    ],
)
def test_a_value_is_bare_or_quoted(value: object, shown: str) -> None:
    """A value that could be taken for something else stands in quotes, with what no terminal shows escaped."""
    assert line_of("journal", "gap", "x", value=value) == f"<3>x: value={shown}"


def test_braces_that_name_no_field_stay() -> None:
    """A path or a system's text may hold braces of its own."""
    line = line_of("journal", "open-failed", "cannot open /{spool}/{0}/{}: {reason}", reason="a\nb")
    assert line == "<4>cannot open /{spool}/{0}/{}: a\\nb"


@pytest.mark.parametrize("form", [form for form in FORMS if form != "auto"])
@given(message=st.text(), value=st.text() | st.floats() | st.integers() | st.none() | st.booleans())
def test_an_event_is_one_line_whatever_it_holds(form: str, message: str, value: object) -> None:
    """No field and no message can end a line early, or forge one."""
    line = line_of(form, "gap", message, value=value)
    assert line.splitlines() == [line]
    if form == "json":
        assert json.loads(line)["event"] == "gap"


def test_a_field_cannot_take_the_place_of_the_code() -> None:
    """Fields may be called as they like; at, level and event stay the event's own."""
    fields: dict[str, object] = {"event": "x", "level": "x", "at": "x", "message": "kept"}
    said = json.loads(line_of("json", "gap", "m", **fields))
    assert said == {
        "at": "2026-11-24T08:13:02.114Z",
        "level": "error",
        "event": "gap",
        "message": "kept",
    }


def test_numbers_in_json_are_numbers() -> None:
    """Booleans and figures keep their type, figures are rounded, the rest is text; no NaN, which is no JSON."""
    said = json.loads(
        line_of("json", "gap", "m", yes=True, n=3, x=1.23456, odd=float("nan"), path=Path("/a"))
    )
    assert [said[name] for name in ("yes", "n", "x", "odd", "path")] == [
        True,
        3,
        1.235,
        "nan",
        "/a",
    ]


class _Closed(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    """A full disk behind stderr, or a closed one, is no reason to end the sending."""
    Log("text", "info", stream=_Closed()).error("disk-full", "x")
    gone = io.StringIO()
    gone.close()
    Log("text", "info", stream=gone).error("disk-full", "x")


def test_without_a_stream_it_writes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Log lines never mix with results, which go to stdout."""
    Log("text").info("sender-started", "sending")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(" INFO sending\n")


def test_auto_is_journal_only_if_the_stream_is_the_journals(tmp_path: Path) -> None:
    """JOURNAL_STREAM is inherited by whatever a service starts; only device and inode tell whose stderr it names."""
    with (tmp_path / "stderr").open("w+") as stream:
        about = os.fstat(stream.fileno())
        ours = {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}
        foreign = {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino + 1}"}
        assert under_journal(ours, stream)
        assert not under_journal(foreign, stream)
        assert not under_journal({}, stream)
        Log("auto", stream=stream, environ=ours).info("sender-started", "sending")
        Log("auto", stream=stream, clock=lambda: AT, environ=foreign).info("sender-started", "x")
        stream.seek(0)
        assert stream.read() == "<6>sending\n2026-11-24T08:13:02Z INFO x\n"


def test_a_stream_without_a_descriptor_is_not_the_journal() -> None:
    """An embedded caller may hand in any stream."""
    assert not under_journal({"JOURNAL_STREAM": "1:2"}, io.StringIO())


def test_the_docs_list_every_event_as_the_table_has_it() -> None:
    """docs/logs.md and `EVENTS` say the same, in the same order."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (\w+) \| (.+) \|$",
        (ROOT / "docs" / "logs.md").read_text("utf-8"),
        re.MULTILINE,
    )
    assert rows == [(code, kind.level.name.lower(), kind.meaning) for code, kind in EVENTS.items()]


def _codes() -> list[tuple[str, str, str]]:
    """Return place, name of the function called, and first argument, of each call in the sender with a text first."""
    calls = []
    for path in sorted((ROOT / "sender").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr=name) | ast.Name(id=name),
                    args=[ast.Constant(value=str(text)), *_],
                ):
                    calls.append((f"{path.name}:{node.lineno}", name, text))
    return calls


def test_every_event_is_logged_at_the_level_of_the_table() -> None:
    """Whoever filters by level gets what the docs promise, wherever in the sender the line is written."""
    logged = [(place, name, code) for place, name, code in _codes() if name in LEVELS]
    wrong = [
        (place, name, code)
        for place, name, code in logged
        if code not in EVENTS or EVENTS[code].level != Level[name.upper()]
    ]
    assert wrong == []


def test_what_comes_from_below_is_in_the_table() -> None:
    """Readers and retention report facts by code, long before one of them is logged for the first time."""
    reporting = {"Event", "fact", "met", "report", "_pass_by"}
    unknown = [
        (place, code) for place, name, code in _codes() if name in reporting and code not in EVENTS
    ]
    assert unknown == []


def test_an_outage_is_a_line_at_its_start_one_every_five_minutes_and_one_at_its_end() -> None:
    """However many requests fail meanwhile."""
    outage = Outage()
    said = [second for second in range(700) if outage.failed(1000.0 + second)]
    assert said == [0, 300, 600]
    assert outage.since == 1000.0
    assert outage.failures == 700
    assert outage.recovered(1700.0) == 700.0


def test_a_recovery_without_an_outage_is_no_line() -> None:
    """Every delivery asks; only the first after an outage is news."""
    outage = Outage()
    assert outage.recovered(5.0) is None
    outage.failed(6.0)
    assert outage.recovered(7.0) == 1.0
    assert outage.recovered(8.0) is None


def test_the_next_outage_is_said_at_once() -> None:
    """An outage that begins soon after another is a new one."""
    outage = Outage()
    outage.failed(1.0)
    outage.recovered(2.0)
    assert outage.failed(3.0)
    assert outage.failures == 1
