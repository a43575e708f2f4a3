"""The client: from a call to a line, and what it says when there is none."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import kmq
from kmq import Client, InvalidCommand, InvalidSetting, NoPerson, SpoolError, SpoolFull
from kmq import client as client_module
from kmq import writer as writer_module
from kmq.spool import SYSTEM_SPOOL
from tests.support.clock import MovableClock
from tests.support.spooled import commands_in, lines_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_795_500_000
BOB = "bob@bob.com"


@pytest.fixture(autouse=True)
def _fresh_writers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test writers of its own, and close what they held."""
    shared: dict[Any, Any] = {}
    monkeypatch.setattr(writer_module, "_shared", shared)
    yield
    for writer in shared.values():
        writer._process.forget()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Return an empty spool directory."""
    path = tmp_path / "own-spool"
    path.mkdir(mode=0o770)
    return path


@pytest.fixture
def clock() -> MovableClock:
    """Return a clock that stands still."""
    return MovableClock()


@pytest.fixture
def client(spool: Path, clock: MovableClock) -> Client:
    """Return a client of that spool."""
    return Client(spool, clock=clock)


COMMON_METHODS = """
from kmq import KM
KM.identify('bob@bob.com');
KM.record('Viewed Homepage');
KM.record('Signed Up', {'Plan' : 'Pro', 'Amount' : 99.95});
KM.record('Signed Up', {'_d' : 1, '_t' : 1234567890});
KM.set({'gender' : 'male'});
KM.alias('bob', 'bob@bob.com');
"""


def test_the_common_methods_run_word_for_word(spool: Path) -> None:
    """Semicolons included, in a process of its own, into the spool that the environment names."""
    code = f"import time\ntime.time = lambda: {NOW}.5\n{COMMON_METHODS}"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "KMQ_SPOOL": str(spool)}
    )
    assert lines_in(spool) == [
        b'{"_p":"bob@bob.com","_t":1795500000,"_n":"Viewed Homepage"}',
        b'{"_p":"bob@bob.com","_t":1795500000,"_n":"Signed Up","Plan":"Pro","Amount":99.95}',
        b'{"_p":"bob@bob.com","_t":1234567890,"_n":"Signed Up"}',
        b'{"_p":"bob@bob.com","_t":1795500000,"gender":"male"}',
        b'{"_p":"bob","_t":1795500000,"_p2":"bob@bob.com"}',
    ]


@pytest.mark.parametrize("form", [({"gender": "male"},), (None, {"gender": "male"})])
def test_a_record_without_a_name_is_a_set(
    client: Client, spool: Path, form: tuple[Any, ...]
) -> None:
    """Both ways of leaving the name out give one line without a name."""
    client.record(*form, person=BOB)
    assert commands_in(spool) == [{"_p": BOB, "_t": NOW, "gender": "male"}]


def test_a_record_of_nothing_is_an_error(client: Client) -> None:
    """Neither a name nor a property; nor two mappings."""
    with pytest.raises(InvalidCommand, match="nothing to set"):
        client.record(person=BOB)
    with pytest.raises(InvalidCommand, match="two mappings"):
        client.record({"a": "b"}, {"c": "d"}, person=BOB)


def test_a_call_needs_a_person_and_an_alias_does_not(client: Client, spool: Path) -> None:
    """Record before identify is an error, not a line; alias before identify works."""
    with pytest.raises(NoPerson, match="call identify"):
        client.record("x")
    with pytest.raises(NoPerson):
        client.set({"a": "b"})
    client.alias("bob", BOB)
    client.alias("bob", BOB)
    client.alias(BOB, "bob")
    assert [c["_p2"] for c in commands_in(spool)] == [BOB, BOB, "bob"]


def test_each_command_carries_the_person_it_was_called_for(client: Client, spool: Path) -> None:
    """Identify writes nothing; `person=` leaves the current one alone."""
    client.identify("a")
    client.record("1")
    client.record("2", person="other")
    client.record("3")
    client.identify("b")
    client.record("4")
    assert [c["_p"] for c in commands_in(spool)] == ["a", "other", "a", "b"]


@pytest.mark.parametrize("nobody", [None, ""])
def test_identify_can_forget(client: Client, nobody: str | None) -> None:
    """None and the empty text forget the person."""
    client.identify(BOB)
    client.identify(nobody)
    with pytest.raises(NoPerson):
        client.record("x")


def test_a_wrong_identity_is_refused_and_changes_nothing(client: Client, spool: Path) -> None:
    """The person before stays."""
    client.identify(BOB)
    for wrong in ("null", "x" * 256, 5):
        with pytest.raises(InvalidCommand):
            client.identify(wrong)  # type: ignore[arg-type]  # that is the test
    client.record("x")
    assert commands_in(spool)[0]["_p"] == BOB
    with pytest.raises(InvalidCommand):
        client.record("x", person="")


def test_threads_never_see_each_others_person(client: Client, spool: Path) -> None:
    """A new thread begins with nobody, and what it identifies stays its own."""
    client.identify("main")
    barrier = threading.Barrier(4)
    faults: list[BaseException] = []

    def work(who: str) -> None:
        try:
            with pytest.raises(NoPerson):
                client.record("before")
            client.identify(who)
            barrier.wait(20)
            client.record(who)
        except BaseException as fault:  # noqa: BLE001 - told in the test's own thread
            faults.append(fault)

    threads = [
        threading.Thread(target=contextvars.Context().run, args=(work, f"t{n}")) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.record("main")
    assert faults == []
    assert all(c["_p"] == c["_n"] for c in commands_in(spool))
    assert len(commands_in(spool)) == 5


def test_tasks_never_see_each_others_person(client: Client, spool: Path) -> None:
    """A task begins with its maker's person and changes only its own."""

    async def work(who: str) -> None:
        client.record("inherited")
        client.identify(who)
        await asyncio.sleep(0)
        client.record(who)

    async def main() -> None:
        client.identify("main")
        await asyncio.gather(*(work(f"t{n}") for n in range(10)))
        client.record("main")

    asyncio.run(main())
    named = [(c["_p"], c["_n"]) for c in commands_in(spool)]
    assert sorted(named) == sorted(
        [("main", "inherited")] * 10 + [(f"t{n}", f"t{n}") for n in range(10)] + [("main",) * 2]
    )


def test_two_clients_have_a_person_each_and_share_a_partition(spool: Path) -> None:
    """Clients on one spool share the process's writer, not the person."""
    one, two = Client(spool), Client(str(spool))
    one.identify("one")
    two.identify("two")
    one.record("x")
    two.record("x")
    assert [c["_p"] for c in commands_in(spool)] == ["one", "two"]
    assert len(list(spool.iterdir())) == 1


def test_an_apps_own_key_stands_in_its_lines(spool: Path, clock: MovableClock) -> None:
    """Only there; data cannot set it."""
    Client(spool, api_key="K1\n", clock=clock).alias("bob", BOB)
    assert lines_in(spool) == [b'{"_p":"bob","_t":1795500000,"_p2":"bob@bob.com","_k":"K1"}']
    with pytest.raises(InvalidCommand, match="api_key"):
        Client(spool, api_key="")


def test_a_set_of_nothing_but_none_writes_nothing_and_says_so_once(
    client: Client, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is left of it, which is worth one warning."""
    client.set({"a": None}, person=BOB)
    client.set({"a": None}, person=BOB)
    assert list(spool.iterdir()) == []
    assert [r.message for r in caplog.records] == [
        "every property of a set was None: there was nothing to write"
    ]


def test_a_line_has_at_most_64_kib(client: Client, spool: Path) -> None:
    """To the byte, newline included; a longer one is refused, since the reader would refuse it."""
    room = 65_536 - len(b'{"_p":"bob","_t":1795500000,"_n":"x","a":""}\n')
    client.record("x", {"a": "y" * room}, person="bob")
    with pytest.raises(InvalidCommand, match="a command of 65,537 bytes"):
        client.record("x", {"a": "y" * (room + 1)}, person="bob")
    assert [len(line) + 1 for line in lines_in(spool)] == [65_536]


def test_push_takes_the_forms_of_the_javascript_library(client: Client, spool: Path) -> None:
    """Lists or tuples, several at once, in order."""
    client.push(["identify", BOB], ["record", "a"], ["record", "b", {"c": "d"}])
    client.push(("set", {"e": "f"}))
    client.push(["record", {"g": "h"}])
    client.push(["alias", "bob", BOB])
    assert [{k: v for k, v in c.items() if k != "_t"} for c in commands_in(spool)] == [
        {"_p": BOB, "_n": "a"},
        {"_p": BOB, "_n": "b", "c": "d"},
        {"_p": BOB, "e": "f"},
        {"_p": BOB, "g": "h"},
        {"_p": "bob", "_p2": BOB},
    ]
    client.push(["clearIdentity"])
    with pytest.raises(NoPerson):
        client.push(["record", "a"])
    client.push(["identify", BOB], ["identify", None])
    with pytest.raises(NoPerson):
        client.push(["record", "a"])


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (["trackClick", "#a", "Clicked"], "only a browser can do that"),
        (["trackSubmit", "#a", "x"], "only a browser can do that"),
        (["push", ["record", "x"]], "only a browser can do that"),
        (["__init__"], "only a browser can do that"),
        ([5, "x"], "only a browser can do that"),
        ([["record"], "x"], "only a browser can do that"),
        (["record", "x", {}, print], "takes 1 or 2 arguments"),
        (["record"], "takes 1 or 2 arguments"),
        (["set", {"a": "b"}, print], "takes 1 arguments"),
        (["alias", "a"], "takes 2 arguments"),
        (["clearIdentity", None], "takes 0 arguments"),
        ("record", "it is no command"),
        ([], "it is no command"),
        (print, "it is no command"),
        (None, "it is no command"),
    ],
)
def test_push_refuses_what_only_a_browser_can_do(client: Client, command: Any, rule: str) -> None:  # noqa: ANN401 - any value at all
    """Callbacks, clicks and forms; nothing is silently left out."""
    client.identify(BOB)
    with pytest.raises(InvalidCommand, match=rule):
        client.push(command)


def test_what_is_doubtful_is_warned_of_once_and_written(
    client: Client, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a name, with neither person nor value in the log."""
    for _ in range(3):
        client.record("a,b", {"Plan": "secret-" * 100}, person="guest")
    assert len(commands_in(spool)) == 3
    said = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 3
    assert not any("secret" in text or "guest" in text for text in said)


def test_warnings_are_bounded(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names made of data must not fill the memory or the log."""
    monkeypatch.setattr(client_module, "_DOUBTS_REMEMBERED", 3)
    for number in range(10):
        client.record(f"a,{number}", person=BOB)
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 3


def test_the_log_names_the_spool_and_no_person_or_value(
    client: Client, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One INFO line, whatever is recorded, at any level."""
    caplog.set_level(logging.DEBUG)
    client.identify(BOB)
    client.record("Signed Up", {"Plan": "Pro"})
    client.alias("bob", BOB)
    assert [r.message for r in caplog.records if r.name == "kmq"] == [
        f"commands go to the spool {spool}"
    ]


def test_a_relative_spool_is_made_absolute_when_the_client_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app that changes its directory later still writes where it was told."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "spool").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    client = Client("spool")
    monkeypatch.chdir(tmp_path / "there")
    client.record("x", person=BOB)
    assert len(commands_in(tmp_path / "here" / "spool")) == 1


@pytest.mark.parametrize("path", ["", b"", "a\0b"])
def test_a_spool_that_is_no_path_is_refused(path: Any) -> None:  # noqa: ANN401 - any value at all
    """The empty text would be whatever directory the app stands in."""
    with pytest.raises(InvalidSetting, match="spool"):
        Client(path)


def test_a_wrong_on_error_is_refused_when_the_client_is_built(spool: Path) -> None:
    """Not at the first failure, which may be years away."""
    with pytest.raises(InvalidSetting, match="raise or log"):
        Client(spool, on_error="ignore")  # type: ignore[arg-type]  # that is the test


def test_the_environment_is_read_at_the_first_use_and_once(
    spool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when the client is built nor again later."""
    client = Client()
    monkeypatch.setenv("KMQ_SPOOL", str(spool))
    client.identify(BOB)
    client.record("x")
    monkeypatch.setenv("KMQ_SPOOL", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("KMQ_DISABLED", "1")
    client.record("y")
    assert [c["_n"] for c in commands_in(spool)] == ["x", "y"]


def test_a_wrong_variable_raises_at_each_call_even_where_errors_are_logged(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the variable; on_error covers only what the spool refuses."""
    monkeypatch.setenv("KMQ_SYNC", "perhaps")
    client = Client(spool, on_error="log")
    for _ in range(2):
        with pytest.raises(InvalidSetting, match="KMQ_SYNC is 'perhaps'"):
            client.record("x", person=BOB)


def test_kmq_disabled_checks_and_writes_nothing(
    client: Client, spool: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Bad calls raise, good ones leave no trace, and the log says so once."""
    monkeypatch.setenv("KMQ_DISABLED", "1")
    client.identify(BOB)
    client.record("x")
    client.record("y")
    client.close()
    with pytest.raises(InvalidCommand):
        client.record("")
    assert list(spool.iterdir()) == []
    assert [r.message for r in caplog.records] == [
        "KMQ_DISABLED is set: calls are checked and nothing is written"
    ]


@pytest.mark.parametrize("given", [{"sync": "maybe"}, {"sync": 1}, {"spool": 5}, {"spool": ""}])
def test_an_argument_that_cannot_be_is_an_invalid_setting(given: dict[str, Any]) -> None:
    """At once, and not at the first call, by which time whoever made the client is gone."""
    (name,) = given
    with pytest.raises(InvalidSetting, match=f"^{name} is "):
        Client(**given)


def test_a_spool_that_could_not_be_opened_gets_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no command could be put, none can be missed later."""
    monkeypatch.delenv("KMQ_SPOOL")
    real = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path != SYSTEM_SPOOL and real(path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(SpoolError):
        Client().record("x", person=BOB)
    assert caplog.records == []


def test_the_own_spool_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A sender that later finds /var/spool/kmq would not look there."""
    monkeypatch.delenv("KMQ_SPOOL")
    real = os.path.isdir
    monkeypatch.setattr(os.path, "isdir", lambda path: path != SYSTEM_SPOOL and real(path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    Client().record("x", person=BOB)
    assert len(commands_in(tmp_path / "state" / "kmq" / "spool")) == 1
    assert any("set KMQ_SPOOL=" in r.message for r in caplog.records)


def test_a_spool_that_cannot_be_made_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost in silence: the call raises and says what to do, and nothing else is said of that place."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SpoolError, match=r"cannot make the spool .*make it first: install -d"):
        Client(tmp_path / "missing" / "spool").record("x", person=BOB)


def test_on_error_log_counts_and_logs_once_in_five_minutes(
    tmp_path: Path,
    clock: MovableClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first at once, then a count; the call returns."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    client = Client(tmp_path / "missing" / "spool", on_error="log", clock=clock)
    for _ in range(5):
        client.record("x", person=BOB)
    clock.advance(299)
    client.record("x", person=BOB)
    clock.advance(1)
    client.record("x", person=BOB)
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert [text.rpartition(": ")[2] for text in said] == ["1)", "6)"]
    assert all("cannot make the spool" in text and BOB not in text for text in said)
    assert client.refused == 7


@pytest.mark.parametrize("sync", [False, True])
def test_a_line_that_is_too_long_is_refused_also_where_each_part_is_known(
    spool: Path, clock: MovableClock, *, sync: bool
) -> None:
    """The reader would refuse it."""
    client = Client(spool, sync=sync, clock=clock)
    names = [f"property {number}" for number in range(200)]
    for _ in range(2):
        client.record("x", dict.fromkeys(names, "short"), person=BOB)
    with pytest.raises(InvalidCommand, match="at most 65,536 bytes"):
        client.record("x", dict.fromkeys(names, "x" * 400), person=BOB)
    assert len(lines_in(spool)) == 2


def test_on_error_log_covers_no_wrong_argument_and_no_missing_person(spool: Path) -> None:
    """Those are the app's own mistakes."""
    client = Client(spool, on_error="log")
    with pytest.raises(NoPerson):
        client.record("x")
    with pytest.raises(InvalidCommand):
        client.record("", person=BOB)
    assert client.refused == 0


def test_kmq_on_error_is_the_default(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment can ask for it; the argument goes before it."""
    monkeypatch.setenv("KMQ_ON_ERROR", "log")
    monkeypatch.setenv("KMQ_MAX_SPOOL", "64KiB")
    (spool / "rejected").mkdir()
    (spool / "rejected" / "x").write_bytes(b"x" * 65_536)
    logging_client = Client(spool)
    logging_client.record("x", person=BOB)
    assert logging_client.refused == 1
    with pytest.raises(SpoolFull):
        Client(spool, on_error="raise").record("x", person=BOB)


def test_close_flushes_nothing_and_closes_nothing(client: Client, spool: Path) -> None:
    """Before the first call, after it, and with calls behind it."""
    client.close()
    client.record("x", person=BOB)
    client.close()
    client.record("y", person=BOB)
    assert [c["_n"] for c in commands_in(spool)] == ["x", "y"]


@pytest.mark.parametrize("how", ["raise", "log"])
def test_close_says_where_it_cannot_save_what_was_removed(
    spool: Path,
    tmp_path: Path,
    how: Any,  # noqa: ANN401 - any value at all
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody removed the spool, and its parent with it."""
    parent = tmp_path / "parent"
    parent.mkdir()
    spool.rename(parent / "spool")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    client = Client(parent / "spool", on_error=how)
    client.record("x", person=BOB)
    parent.rename(tmp_path / "moved")
    if how == "raise":
        with pytest.raises(SpoolError, match="cannot make the spool"):
            client.close()
    else:
        client.close()
    (tmp_path / "moved").rename(parent)
    client.close()
    assert [c["_n"] for c in commands_in(parent / "spool")] == ["x"]


def test_elsewhere_than_on_linux_the_first_append_raises(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the gateway, WSL and KMQ_DISABLED."""
    monkeypatch.setattr(sys, "platform", "darwin")
    client = Client(spool)
    client.identify(BOB)
    with pytest.raises(
        SpoolError, match=r"Linux only, and this is darwin: .*gateway.*WSL.*KMQ_DISABLED"
    ):
        client.record("x")


def test_kmq_imports_where_it_cannot_write() -> None:
    """On Windows the import succeeds, KMQ_DISABLED works, and a call says what to do."""
    code = """
import os, sys, filelock
sys.platform = "win32"
for name in ("O_NOFOLLOW", "O_CLOEXEC", "fdatasync", "fchmod", "register_at_fork", "geteuid"):
    delattr(os, name)
sys.modules["grp"] = sys.modules["pwd"] = None
import kmq
kmq.KM.identify("bob")
try:
    kmq.KM.record("x")
except kmq.SpoolError as error:
    print(error)
os.environ["KMQ_DISABLED"] = "1"
kmq.Client().record("x", person="bob")
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "this is win32" in done.stdout


def test_importing_kmq_reads_no_environment(tmp_path: Path) -> None:
    """Settings of the moment of import must not decide; and nothing is made."""
    code = """
import os
class Watched(dict):
    def __getitem__(self, name):
        seen.append(name); return super().__getitem__(name)
    def get(self, name, default=None):
        seen.append(name); return super().get(name, default)
seen = []
import filelock, logging, json, decimal
os.environ = Watched(os.environ)
import kmq
print([name for name in seen if "KMQ" in name or "XDG" in name or name == "HOME"])
"""
    env = {**os.environ, "KMQ_SPOOL": str(tmp_path / "no"), "KMQ_SYNC": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env
    )
    assert done.stdout.strip() == "[]"
    assert not (tmp_path / "no").exists()


def test_km_is_a_client_on_the_default_spool(tmp_path: Path) -> None:
    """The one that the first line of the documentation uses."""
    assert isinstance(kmq.KM, Client)
    assert not (tmp_path / "spool").exists()
