"""The documents: what they show exists, runs, and gives what stands beside it."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import click
import pytest

from kmq.command import decode
from sender import checkpoint
from sender.api import request_for
from sender.cli import root
from sender.cli.exits import MEANINGS
from sender.rejected import rejection

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
}
README = PAGES["README.md"]
OPERATING = PAGES["docs/operating.md"]
FORMAT = PAGES["docs/spool-format.md"]
ARCHITECTURE = PAGES["docs/architecture.md"]

# A path of somebody's machine, a host that packages come from, a loopback address with a port of chance.
PRIVATE = re.compile(
    r"/home/|/root\b|/tmp/\w|/work/|/Users/|pypi\.|pythonhosted|127\.0\.0\.1:(?!8035\b)\d"
)


def code_in(text: str) -> Iterator[str]:
    """Yield what stands as code: each line of a block, and each span of a sentence."""
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line
        else:
            yield from re.findall(r"`([^`]+)`", line)


def block(text: str, language: str) -> str:
    """Return the only fenced block of a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return str(found)


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of all table rows below a heading, without the tables' heads."""
    section = re.split(r"^#+ ", text.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    heads = {before for before, line in pairwise(lines) if line.startswith("|---")}
    body = [line for line in lines if line not in heads and not line.startswith("|---")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in body]


def anchors(text: str) -> set[str]:
    """Return the names that the headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def calls(text: str) -> Iterator[list[str]]:
    """Yield the words behind each `kmq-sender` that stands in code, up to the end of that command."""
    for code in code_in(text):
        for tail in re.findall(r"(?:^|[\s(])kmq-sender ([^|;&#>)]+)", code):
            try:
                yield shlex.split(tail)
            except ValueError:  # the quotes of a sentence around it
                yield tail.split()


def command_for(words: list[str]) -> click.Command:
    """Return the command that these words call; fails where there is none."""
    command: click.Command = root
    for word in words:
        if not isinstance(command, click.Group) or not re.fullmatch(r"[a-z]+[,.:]?", word):
            break
        found = command.get_command(click.Context(command), word.rstrip(",.:"))
        assert found is not None, words
        command = found
    return command


def every_command(group: click.Group = root) -> Iterator[click.Command]:
    """Yield all commands, also those of groups."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from every_command(command)


def options_of(command: click.Command) -> set[str]:
    """Return every spelling of the options that a command takes."""
    return {spelling for param in command.params for spelling in param.opts}


def variables_in_code() -> set[str]:
    """Return the `KMQ_` variables that the two packages name."""
    found = set()
    for path in (*(ROOT / "kmq").rglob("*.py"), *(ROOT / "sender").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if re.fullmatch(r"KMQ_[A-Z_]+", node.value) else set()
    return found


def without_time(text: str) -> list[str]:
    """Return the lines with every present second replaced, since a second run has another one."""
    return [re.sub(r"(_t\"?[:=])\d{10}", r"\1NOW", line) for line in text.splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_every_local_link_resolves(page: str) -> None:
    """A link leads to a file of this tree, and its anchor to a heading there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / page).parent / path if path else ROOT / page
        assert there.is_file(), target
        assert not anchor or anchor in anchors(there.read_text("utf-8")), target


@pytest.mark.parametrize("page", PAGES)
def test_every_command_shown_exists_with_its_options(page: str) -> None:
    """What is shown can be typed."""
    for words in calls(PAGES[page]):
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given <= options_of(command_for(words)), words


@pytest.mark.parametrize("page", PAGES)
def test_every_option_named_in_a_sentence_exists(page: str) -> None:
    """An option that is named alone belongs to some command."""
    known = {spelling for command in every_command() for spelling in options_of(command)}
    named = {code.split()[0] for code in code_in(PAGES[page]) if code.startswith("--")}
    assert named - known == set()


def test_the_settings_are_those_of_the_code() -> None:
    """Every variable that the code reads stands in the page about operating, and no other anywhere."""
    assert set(re.findall(r"KMQ_[A-Z_]+[A-Z]", OPERATING)) - {"KMQ_NAME"} == variables_in_code()
    for page, text in PAGES.items():
        unknown = set(re.findall(r"KMQ_[A-Z_]+[A-Z]", text)) - variables_in_code()
        assert unknown <= {"KMQ_NAME"}, page


def test_each_setting_stands_beside_its_own_option() -> None:
    """The table says the same as the help: which option, which variable, which default."""
    params = {
        spelling: param
        for name in ("collector", "run")
        for param in command_for([name]).params
        for spelling in param.opts
    }
    told = [row for row in rows(OPERATING, "## Settings") if row[1].startswith("`--")]
    assert {row[1].strip("`") for row in told} >= {
        spelling for spelling, param in params.items() if param.envvar
    } - {"KMQ_API_KEY"}
    for variable, option, default, _ in told:
        param = params[option.strip("`")]
        assert param.envvar == variable.strip("`")
        if isinstance(param.default, str | int | float):
            assert default.strip("`") == str(param.default).removesuffix(".0"), option


def test_the_exit_codes_are_the_table_of_the_code() -> None:
    """Scripts are written by this table."""
    table = {int(row[0]): row[1] for row in rows(OPERATING, "## Exit codes")}
    assert table == {int(code): meaning for code, meaning in MEANINGS.items()}


def test_the_five_lines_run_and_give_the_lines_and_requests_beside_them(tmp_path: Path) -> None:
    """The README's code is run as it stands; the spool then holds the README's lines, which make its requests."""
    spool = tmp_path / "spool"
    spool.mkdir(mode=0o770)
    subprocess.run([sys.executable, "-c", block(README, "python")], check=True, cwd=tmp_path)
    (segment,) = spool.glob("*/*.jsonl")
    assert without_time(segment.read_text("utf-8")) == without_time(block(README, "json"))
    requests = [request_for(decode(line), "KEY") for line in segment.read_bytes().splitlines()]
    shown = [f"{one.method} {one.path}?{one.query}" for one in requests]
    assert without_time("\n".join(shown)) == without_time(block(README, "http"))


def test_all_code_in_the_documents_is_python_that_compiles() -> None:
    """No block has a slip of the pen."""
    for text in PAGES.values():
        for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            compile(code, "a document", "exec")


def test_the_worked_example_adds_up() -> None:
    """Each line begins where the one before ended, and is as long as it says."""
    table = rows(FORMAT, "## A worked example")
    assert table[0][0] == "0"
    for before, after in pairwise(table):
        assert int(before[0]) + int(before[1]) == int(after[0])
    for _offset, size, what in table:
        text = re.findall(r"`([^`]+)`", what)[0].encode()
        torn = "torn" in what
        assert len(text) + (not torn) == int(size)
        if not torn:
            decode(text)


def test_the_checkpoints_shown_are_believed() -> None:
    """Their checks are right: they are what the code reads."""
    shown = re.findall(r'^    (\{"version":1,.*\})$', FORMAT, re.MULTILINE)
    assert [sum(checkpoint.parse(line.encode()).values()) for line in shown] == [331, 331, 0]


def test_the_rejected_lines_shown_are_read() -> None:
    """Their form is the one that the code reads."""
    shown = re.findall(r'^    (\{"(?:id|gone)":.*\})$', FORMAT, re.MULTILINE)
    kinds = [type(rejection.parse(line.encode())) for line in shown]
    assert kinds == [rejection.Rejection, rejection.Gone]
    fields = {
        name for row in rows(FORMAT, "## Rejected") for name in re.findall(r"`(\w+)`", row[0])
    }
    assert fields == set(json.loads(shown[0]))


def test_the_architecture_names_every_module() -> None:
    """A module that nobody placed is one that nobody understands."""
    named = {
        name for row in rows(ARCHITECTURE, "## Modules") for name in re.findall(r"`(\w+)`", row[0])
    }
    there = {
        entry.stem
        for package in ("kmq", "sender")
        for entry in (ROOT / package).iterdir()
        if (entry.suffix == ".py" or (entry / "__init__.py").exists()) and entry.stem != "__init__"
    }
    assert named == there | {"kmq", "sender"} & named


@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_one_machine_is_in_the_documents(page: str) -> None:
    """They hold on every host: no path of somebody's machine, no package registry, no port of chance."""
    assert PRIVATE.findall(PAGES[page]) == []


@pytest.mark.parametrize("picture", sorted(ROOT.glob("docs/*.svg")), ids=lambda path: path.name)
def test_a_picture_is_well_formed_and_can_be_read_by_night_and_by_ear(picture: Path) -> None:
    """It has colours for a dark page, words for who cannot see it, and is shown somewhere."""
    text = picture.read_text("utf-8")
    drawing = ET.fromstring(text)  # noqa: S314 - a file of this tree
    names = {element.tag.rpartition("}")[2] for element in drawing.iter()}
    assert {"title", "desc"} <= names
    assert "prefers-color-scheme: dark" in text
    assert any(picture.name in page for page in PAGES.values())
