"""Options that commands share: their values, their variables, and where spool and key come from."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result

from kmq.errors import NoPermission
from sender.cli import options
from sender.cli.exits import Exit, Failure
from sender.cli.kinds import read_time
from sender.cli.options import (
    AGE,
    CAP,
    RATE,
    SIZE,
    TIME,
    Amount,
    resolve_key,
    resolve_spool,
    resolve_url,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "4f2a91c34f2a91c34f2a91c34f2a91c34f2a91c3"


@click.command(cls=options.HelpCommand, epilog="\nExamples:\n  try this   # and\n\n  that\n")
@options.spool_option
@options.api_options
@click.option("--cap", type=SIZE, default="4GiB", envvar="KMQ_CAP")
@click.option("--max-spool", type=CAP, default="4GiB")
@click.option("--share", type=Amount(most=1), default=0.5)
@click.option("--rate", type=RATE)
@click.option("--kept", type=AGE, default=7.5)
@click.option("--since", type=TIME)
@options.json_option
@options.yes_option
@options.log_options
def sample(**values: object) -> None:
    """Echo what it was given."""
    for name, value in sorted(values.items()):
        click.echo(f"{name}={value!r}")


def run(*arguments: str, env: dict[str, str | None] | None = None) -> Result:
    """Run the sample command."""
    return CliRunner().invoke(sample, arguments, env=env, terminal_width=88)


def values_of(*arguments: str, env: dict[str, str | None] | None = None) -> dict[str, str]:
    """Return what the sample command was given."""
    result = run(*arguments, env=env)
    assert result.exit_code == 0, result.output
    return dict(line.split("=", 1) for line in result.stdout.splitlines())


def test_the_defaults_are_the_documented_ones() -> None:
    """Nothing but this table and the help says what a setting is when nobody sets it."""
    assert values_of(env={"KMQ_SPOOL": ""}) == {
        "api_key_file": "None",
        "as_json": "False",
        "ca_file": "None",
        "cap": "4294967296",
        "kept": "7.5",
        "log_format": "'auto'",
        "log_level": "'info'",
        "max_in_flight": "32",
        "max_spool": "4294967296",
        "rate": "None",
        "share": "0.5",
        "since": "None",
        "spool": "None",
        "timeout": "20.0",
        "transport": "'auto'",
        "url": "'https://trk.kissmetrics.io'",
        "yes": "False",
    }


@pytest.mark.parametrize(
    ("variable", "text", "name", "value"),
    [
        ("KMQ_SPOOL", "/s", "spool", "'/s'"),
        ("KMQ_URL", "http://127.0.0.1:8035", "url", "'http://127.0.0.1:8035'"),
        ("KMQ_API_KEY_FILE", "/k", "api_key_file", "'/k'"),
        ("KMQ_TRANSPORT", "requests", "transport", "'requests'"),
        ("KMQ_MAX_IN_FLIGHT", "8", "max_in_flight", "8"),
        ("KMQ_TIMEOUT", "2.5", "timeout", "2.5"),
        ("KMQ_CA_FILE", "/c", "ca_file", "'/c'"),
        ("KMQ_LOG_FORMAT", "json", "log_format", "'json'"),
        ("KMQ_LOG_LEVEL", "debug", "log_level", "'debug'"),
        ("KMQ_LOG_FORMAT", "JSON", "log_format", "'json'"),
        ("KMQ_LOG_LEVEL", "Warning", "log_level", "'warning'"),
    ],
)
def test_each_setting_has_its_variable_and_the_option_goes_first(
    variable: str, text: str, name: str, value: str
) -> None:
    """Option, then variable, then default; an empty variable is none."""
    option = f"--{name.replace('_', '-')}"
    assert values_of(env={variable: text})[name] == value
    assert values_of(option, text, env={variable: "nonsense"})[name] == value
    assert values_of(env={variable: ""})[name] == values_of(env={variable: None})[name]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cap", "much"], "'much' is not a size such as 64MiB"),
        (["--kept", "long"], "'long' is not an age such as 30s"),
        (["--since", "yesterday"], "'yesterday' is not a time such as 2026-11-23T20:45Z"),
        (["--since", "2026-11-23T20:45"], "names no zone; end it with Z for UTC"),
        (["--max-in-flight", "0"], "'0' is not a whole number from 1 up"),
        (["--max-in-flight", "abc"], "'abc' is not a whole number from 1 up"),
        (["--max-in-flight", "1.5"], "'1.5' is not a whole number from 1 up"),
        (["--max-in-flight", "9" * 5000], "is not a whole number from 1 up"),
        (["--since", "2026"], "'2026' as epoch seconds is before 2009; give 2026-11-23T20:45Z"),
        (["--since", "1795466700000"], "is too large, as milliseconds are; give 2026-11-23T20:45Z"),
        (["--timeout", "0"], "'0' is not a number above 0, at most 3600"),
        (["--timeout", "nan"], "'nan' is not a number above 0, at most 3600"),
        (["--timeout", "abc"], "'abc' is not a number above 0, at most 3600"),
        (["--rate", "inf"], "'inf' is not a number above 0"),
        (["--rate", "-1"], "'-1' is not a number above 0"),
        (["--share", "1.5"], "'1.5' is not a number from 0 to 1"),
        (["--max-spool", "0"], "'0': it must be at least 64KiB; there is no unlimited spool"),
        (["--max-spool", "65535"], "'65535': it must be at least 64KiB"),
        (["--max-spool", "much"], "'much': it must be a size such as 64MiB"),
        (["--transport", "pigeon"], "'pigeon' is not one of"),
    ],
)
def test_a_value_that_cannot_be_is_a_wrong_usage(arguments: list[str], said: str) -> None:
    """The message names the option, what was given and what is allowed; exit 2."""
    result = run(*arguments)
    assert result.exit_code == Exit.USAGE
    assert arguments[0] in result.stderr
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-23T20:45Z", 1795466700.0),
        ("2026-11-23T21:45+01:00", 1795466700.0),
        ("2026-11-23 20:45:00.5Z", 1795466700.5),
        ("2026-11-23", 1795392000.0),
        ("2h", 1795466700.0 - 7200),
        (" 30m ", 1795466700.0 - 1800),
        ("1234567890", 1234567890.0),
        ("1234567890.25", 1234567890.25),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_a_time_has_four_forms(text: str, at: float) -> None:
    """With a zone, a date (UTC), an age that counts back, and the epoch's seconds."""
    assert read_time(text, 1795466700.0) == at


def test_a_time_of_an_option_counts_back_from_now() -> None:
    """`--since 2h` is two hours before the command was started, and a default may be a number."""
    assert options.Time(lambda: 10_000.0).convert("2h", None, None) == 2800.0
    assert options.TIME.convert(5, None, None) == 5.0
    assert values_of("--since", "1234567890")["since"] == "1234567890.0"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://trk.example.com", "must begin with http:// or https://"),
        ("foo", "must begin with http:// or https://"),
        ("https://", "must name a host"),
        ("https://:8035", "must name a host"),
        ("https://h:0", "must have a port from 1 to 65535, or none"),
        ("https://h:99999", "must have a port from 1 to 65535, or none"),
        ("https://h:http", "must have a port from 1 to 65535, or none"),
        ("https://[::1", "must name a valid host"),
        ("https://h/ x", "must hold no character that no URL has"),
        ("https://exämple.com", "must hold no character that no URL has"),
    ],
)
def test_a_url_that_cannot_be_is_a_wrong_setting(url: str, said: str) -> None:
    """Exit 78, with the setting's name, the value and the rule."""
    with failing(Exit.CONFIG) as told:
        resolve_url(url)
    assert told[0] == f"--url (KMQ_URL) is {url!r}: it {said}, e.g. https://trk.kissmetrics.io"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://bob:sesame@h", "must hold no user and no password"),
        ("bob:sesame@h", "must begin with http:// or https://"),
        ("https://h/?_k=sesame", "must hold no query and no fragment"),
        ("https://h/#sesame", "must hold no query and no fragment"),
    ],
)
def test_what_may_hold_a_secret_is_not_repeated(url: str, said: str) -> None:
    """A message ends up in a log, and in somebody's question on the web."""
    with failing(Exit.CONFIG) as told:
        resolve_url(url)
    assert told[0].startswith(f"--url (KMQ_URL) {said}")
    assert "sesame" not in told[0]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8035", "https://[::1]:8035", "https://proxy.example.com/km"]
)
def test_a_url_may_have_a_port_and_a_path(url: str) -> None:
    """A slash at its end is of no account."""
    assert resolve_url(f"{url}/") == url


def test_a_help_prints_its_examples_as_they_were_written() -> None:
    """Examples are copied from a terminal: none is joined with its neighbour, or wrapped."""
    assert run("--help").output.endswith("\n\n  Examples:\n    try this   # and\n\n    that\n")


def test_a_group_prints_its_examples_as_well_and_may_have_none() -> None:
    """What holds for a command holds for a group of them."""
    group = options.HelpGroup("many", epilog="Examples:\n  one", invoke_without_command=True)
    assert CliRunner().invoke(group, ["--help"]).output.endswith("\n\n  Examples:\n    one\n")
    assert isinstance(group.command("one")(lambda: None), options.HelpCommand)
    bare = options.HelpCommand("bare", callback=lambda: None)
    assert CliRunner().invoke(bare, ["--help"]).output.endswith("Show this message and exit.\n")


def test_the_spool_is_the_options_else_the_hosts(tmp_path: Path) -> None:
    """The path is made absolute at once, so that a later change of directory moves nothing."""
    assert resolve_spool("there").path == os.path.abspath("there")
    assert resolve_spool(None, {"KMQ_SPOOL": str(tmp_path)}).path == str(tmp_path)
    assert resolve_spool("", {"KMQ_SPOOL": str(tmp_path)}).path == str(tmp_path)


def test_a_spool_that_must_exist_and_does_not_ends_with_66(tmp_path: Path) -> None:
    """Commands that only look never make a spool, and say which one they looked for."""
    with pytest.raises(Failure, match=r"there is no spool at .*/none") as caught:
        resolve_spool(str(tmp_path / "none"), must_exist=True)
    assert caught.value.exit_code == Exit.NO_INPUT
    assert resolve_spool(str(tmp_path), must_exist=True).path == str(tmp_path)


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Return the two places where a key may lie as a file: one of its own, and systemd's."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    return {
        "file": tmp_path / "key",
        "directory": credentials,
        "credential": credentials / "api-key",
    }


def test_a_key_comes_from_its_file_then_the_variable_then_the_credential(
    places: dict[str, Path],
) -> None:
    """The order of the help: what is nearer to the person who starts the command goes first."""
    places["file"].write_text("from-file\n")
    places["credential"].write_text("from-credential\n")
    environ = {"KMQ_API_KEY": " from-variable ", "CREDENTIALS_DIRECTORY": str(places["directory"])}
    assert resolve_key(environ, str(places["file"])) == "from-file"
    assert resolve_key(environ, None) == "from-variable"
    assert resolve_key(environ | {"KMQ_API_KEY": " "}, None) == "from-credential"


@contextlib.contextmanager
def failing(code: Exit) -> Iterator[list[str]]:
    """Expect a failure with `code`; give its message, in which no key stands."""
    said: list[str] = []
    with pytest.raises(Failure) as caught:
        yield said
    said.append(caught.value.message)
    assert caught.value.exit_code == code
    assert KEY not in said[0]


def test_no_key_anywhere_ends_with_78_and_says_where_it_looked(places: dict[str, Path]) -> None:
    """The one message that everybody meets once: it names each place, and which of them were there."""
    with failing(Exit.CONFIG) as said:
        resolve_key({}, None)
    for place in (
        "--api-key-file",
        "KMQ_API_KEY_FILE",
        "KMQ_API_KEY,",
        "credential api-key of systemd",
    ):
        assert place in said[0]
    with failing(Exit.CONFIG) as said:
        resolve_key({"CREDENTIALS_DIRECTORY": str(places["directory"])}, None)
    assert f"{places['credential']}, missing or blank" in said[0]


def test_a_blank_credential_is_none(places: dict[str, Path]) -> None:
    """The unit hands over a blank one where /etc/kmq/api-key is missing, so that this message can be said."""
    places["credential"].write_text("\n")
    with failing(Exit.CONFIG) as said:
        resolve_key({"CREDENTIALS_DIRECTORY": str(places["directory"])}, None)
    assert "missing or blank" in said[0]


@pytest.mark.parametrize("content", [f"{KEY} {KEY}", f"{KEY}\n{KEY}", f"{KEY}\x00", f"{KEY}é"])
def test_a_key_of_a_wrong_form_is_refused_unseen(content: str, places: dict[str, Path]) -> None:
    """A file with a comment or a second key in it must not be sent as a key, nor shown."""
    places["file"].write_text(content, encoding="utf-8")
    with failing(Exit.CONFIG) as said:
        resolve_key({}, str(places["file"]))
    assert "is not one word" in said[0]


def test_an_empty_or_missing_key_file_is_not_passed_over(places: dict[str, Path]) -> None:
    """Who names a file means that file: no other place is tried in its stead."""
    environ = {"KMQ_API_KEY": KEY}
    with failing(Exit.CONFIG) as said:
        resolve_key(environ, str(places["file"]))
    assert f"{places['file']}: No such file or directory" in said[0]
    places["file"].write_text("\n")
    with failing(Exit.CONFIG) as said:
        resolve_key(environ, str(places["file"]))
    assert f"{places['file']} is empty" in said[0]


def test_a_key_file_that_may_not_be_read_ends_with_77(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A permission is missing, not a setting; the refusal is a made one, as root may read every file."""

    def refuse(*_args: object) -> None:
        raise PermissionError(13, "Permission denied", str(places["file"]))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(NoPermission) as caught:
        resolve_key({}, str(places["file"]))
    file = places["file"]
    assert str(caught.value) == (
        f"cannot read the API key's file {file}: Permission denied; chgrp kmq {file}; chmod 640 {file}"
    )
