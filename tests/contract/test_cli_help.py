"""The help: what it promises, that it promises everything, and what it costs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

import kmq
from sender.cli import main, root
from sender.cli.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
COMMANDS = ["run", "replay", "status", "rejected", "verify", "collector", "demo"]
WIDTH = 88

# Read by the library in apps, or a value rather than an option; the help of no command can name them.
NO_OPTION = {"KMQ_SYNC", "KMQ_DISABLED", "KMQ_ON_ERROR"}


def help_of(*path: str, width: int = 200) -> str:
    """Return the help of a command, on a terminal of that width."""
    result = CliRunner(env={"COLUMNS": str(width)}).invoke(
        root, [*path, "--help"], prog_name="kmq-sender"
    )
    assert result.exit_code == 0, result.output
    return result.output


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below `group` with its path, groups included."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


def python(code: str) -> str:
    """Return what `code` prints in an interpreter of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_the_root_lists_the_commands_in_their_order() -> None:
    """What is used every day stands first."""
    text = help_of()
    assert text.startswith("Usage: kmq-sender [OPTIONS] COMMAND [ARGS]...\n")
    listed = text.split("Commands:\n")[1].split("\n\n")[0]
    assert re.findall(r"^  (\w+) ", listed, re.MULTILINE) == COMMANDS


def test_every_listed_command_is_there_under_its_name() -> None:
    """The root lists commands without loading them; what it lists can be called."""
    assert {path[0]: command.name for path, command in commands(root) if len(path) == 1} == {
        name: name for name in COMMANDS
    }


def test_the_root_ends_with_the_exit_codes() -> None:
    """Whoever writes a script finds them without the docs."""
    ending = " ".join(help_of().split("\n\n")[-1].split())
    assert ending.startswith("Exit codes: 0 done; 1 ended with something left undone;")
    assert ending.endswith("78 wrong settings (no API key, bad URL).")


def test_no_line_of_any_help_is_longer_than_88_columns() -> None:
    """It is read on terminals and quoted in docs; examples, which are copied, may be longer."""
    for path, _ in commands(root):
        above = help_of(*path).split("\n  Example")[0]
        assert [line for line in above.splitlines() if len(line) > WIDTH] == [], path


def test_what_stands_below_the_options_of_run_fits_80_columns() -> None:
    """It is read on the smallest terminals there are, over a serial line."""
    ending = help_of("run", width=80).split("\n  Examples:")[1]
    assert [line for line in ending.splitlines() if len(line) > 80] == []


def test_no_number_may_be_none() -> None:
    """`nan` compares with nothing, so that whatever range it is held against lets it through."""
    for path, command in commands(root):
        for param in command.params:
            if param.name in {"rate", "timeout", "drain_timeout", "fail", "latency", "seconds"}:
                for text in ("nan", "inf", "-inf", "abc"):
                    with pytest.raises(click.BadParameter, match="is not a number"):
                        param.type.convert(text, param, None)
            assert not isinstance(param.type, click.FloatRange), (path, param.name)


def test_every_option_says_what_it_does() -> None:
    """An option without a sentence is one that somebody has to try out on live data."""
    for path, command in commands(root):
        options = [param for param in command.params if isinstance(param, click.Option)]
        assert [option.name for option in options if not option.help] == [], path


def test_every_command_answers_to_both_forms_of_help() -> None:
    """-h is what fingers type first."""
    for path, _ in commands(root):
        assert (
            CliRunner(env={"COLUMNS": "200"}).invoke(root, [*path, "-h"]).output.split("\n", 1)[1]
            == (help_of(*path).split("\n", 1)[1])
        )


def test_every_variable_of_the_code_is_named_in_a_help() -> None:
    """A setting that only the source knows is none."""
    named = "\n".join(help_of(*path) for path, _ in commands(root))
    read = set()
    for path in (*(ROOT / "kmq").rglob("*.py"), *(ROOT / "sender").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                read |= {node.value} if re.fullmatch(r"KMQ_[A-Z_]+", node.value) else set()
    assert read - NO_OPTION - set(re.findall(r"KMQ_[A-Z_]+", named)) == set()


def test_what_sends_or_reads_takes_the_same_spool_option() -> None:
    """One word for the spool, everywhere."""
    for path, command in commands(root):
        if path[0] in {"collector", "demo"} or isinstance(command, click.Group):
            continue
        assert "KMQ_SPOOL" in help_of(*path), path


def test_help_loads_no_command_and_not_requests() -> None:
    """It is there at once; only what sends pays for requests, and importing the CLI costs no more."""
    loaded = json.loads(
        python(
            "import contextlib, io, json, sys\n"
            "from sender.cli import main\n"
            "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
            "    main(['--help'])\n"
            "print(json.dumps(sorted(sys.modules)))\n"
        )
    )
    foreign = {"requests", "urllib3", "uvicorn", "pycurl"} | {
        f"sender.cli.{name}" for name in COMMANDS
    }
    assert foreign & set(loaded) == set()


def test_the_version_is_the_packages() -> None:
    """One line, for bug reports."""
    result = CliRunner().invoke(root, ["--version"], prog_name="kmq-sender")
    assert result.output == f"kmq-sender {kmq.__version__}\n"


def test_an_unknown_command_is_a_wrong_usage() -> None:
    """Exit 2, with the word that was not understood."""
    result = CliRunner().invoke(root, ["sned"])
    assert result.exit_code == Exit.USAGE
    assert "No such command 'sned'" in result.stderr


def test_main_ends_the_process_with_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    """What the entry point of the installation calls."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"kmq-sender {kmq.__version__}\n"


def test_the_interpreter_can_start_it_as_a_module() -> None:
    """`python -m sender.cli` is `kmq-sender`, where scripts are not on the path."""
    command = [sys.executable, "-m", "sender.cli", "--version"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == f"kmq-sender {kmq.__version__}\n"


@pytest.mark.parametrize(
    ("environ", "decided"),
    [({}, None), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, None), ({"TERM": "dumb"}, False)],
)
def test_colours_are_left_out_where_they_are_not_wanted(
    environ: dict[str, str], decided: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR and a dumb terminal forbid them; else click asks whether it writes to a terminal."""
    seen = []
    command = click.Command(
        "verify", callback=lambda: seen.append(click.get_current_context().color)
    )
    monkeypatch.setattr(root, "get_command", lambda _ctx, _name: command)
    monkeypatch.setenv("TERM", "xterm")
    result = CliRunner().invoke(root, ["verify"], env=environ)
    assert result.exit_code == 0, result.output
    assert seen == [decided]  # a command's context takes over what the root decided
