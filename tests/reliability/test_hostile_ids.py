"""Names that try to be a path: an id of the list is looked up, never opened; nor is what a line says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from sender.cli import root
from sender.rejected import New, RejectedStore
from tests.support.spools import make_spool

if TYPE_CHECKING:
    from kmq.spool import Spool

IDS = [
    "../x",
    "../../etc/passwd",
    "/etc/passwd",
    "2026-11-24:1/../../x",
    "2026-11-24-sender.jsonl",
    "lock",
    "%2e%2e/x",
    "2026-11-24:01",
    "2026-11-24:1\n",
    "\u0662026-11-24:1",
    "2026-11-24:" + "9" * 5_000,
    "\x1b[2J",
]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Return a spool with one rejected command, and a file beside it that no id leads to."""
    made = make_spool(tmp_path / "spool")
    store = RejectedStore(made, "sender")
    store.add([New("not-json", b"nonsense")])
    store.sync()
    store.close()
    (tmp_path / "x").write_text("not for you", "ascii")
    return made


@pytest.mark.parametrize("command", ["show", "drop"])
@pytest.mark.parametrize("rejection_id", IDS)
def test_an_id_is_never_a_path(spool: Spool, command: str, rejection_id: str) -> None:
    """What is no id of the list is refused in words; nothing is shown, removed or left half-done."""
    arguments = ["rejected", command, rejection_id, "--spool", spool.path]
    ended = CliRunner().invoke(root, arguments + ["--yes"] * (command == "drop"))
    assert ended.exit_code not in {0, 1}
    assert ended.exception is None or isinstance(ended.exception, SystemExit)
    assert "not for you" not in ended.output
    assert "\x1b" not in ended.output
    assert RejectedStore(spool, "test").count() == 1


@pytest.mark.parametrize(
    "strange",
    [
        {"partition": "../../etc"},
        {"program": "../x"},
        {"id": "../x"},
        {"id": "2026-11-24:1/x"},
        {"reason": "a/b"},
        {"partition": "20261123T204501Z-4f2a91c3/.."},
        {"gone": "../x"},
        {"at": "9999-12-31T23:59:59.999Z"},
        {"offset": -1},
        {"offset": 1 << 70},
        {"size": 1e400},
        {"text": "\ud800"},
    ],
    ids=str,
)
def test_a_line_of_the_list_that_says_something_strange_is_counted(
    spool: Spool, strange: dict[str, object]
) -> None:
    """It is not listed, its neighbours are, and its file is never removed."""
    (path,) = Path(spool.rejected).glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    fields = {**json.loads(lines[0]), "id": "2026-11-24:77", **strange}
    path.write_bytes(json.dumps(fields).encode() + b"\n" + lines[0])
    store = RejectedStore(spool, "test")
    assert [one.raw for one in store.kept()] == [b"nonsense"]
    assert store.unreadable == 1
    store.leave([store.kept()[0].id], "dropped")
    assert path.exists()
