"""How a sender ends and begins again: signals, a second sender, drains, missing keys, and an API that says no.

Real processes on a real spool, against a real collector.
"""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kmq import Client
from tests.support.collector import collector, shared_collector, start_collector  # noqa: F401 - fixtures
from tests.support.system import KEY, SenderProcess, came_as, drain, make_spool
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.collector import CollectorProcess

TRANSPORTS = ["requests", "curl"]

# A start in which finishing what is in flight takes half a second at most, and not ten.
IMPATIENT = (
    "-c",
    "import sender.daemon; sender.daemon._FINISH_S = 0.5; from sender.cli import main; main()",
)


def spooled(spool: str, count: int, *, people: int = 0, first: int = 0) -> list[str]:
    """Record so many commands, each with a number; return the numbers as text.

    With `people` they are about so many persons, so that each has a queue; else each has a person of its own.
    """
    client = Client(spool)
    numbers = [str(number) for number in range(first, first + count)]
    for number in numbers:
        person = f"person-{int(number) % people if people else number}"
        client.record("Did", {"Number": number}, person=person)
    return numbers


def numbers_at(collector: CollectorProcess) -> list[str]:  # noqa: F811 - not the fixture
    """Return the numbers of all commands that were answered 200, in the order of their arrival."""
    good = [one for one in collector.requests() if one["answer"] == 200]
    return [one["params"]["Number"] for one in good]


def wait_for_requests(collector: CollectorProcess, count: int) -> None:  # noqa: F811 - not the fixture
    """Wait until so many have arrived."""
    wait_until(lambda: collector.summary()["total"] >= count, what=f"{count} requests")


def checkpoint(spool: str) -> dict[str, int]:
    """Return the offsets of the newest checkpoint, none before the first."""
    try:
        partitions: dict[str, int] = json.loads(Path(spool, "checkpoint.json").read_bytes())[
            "partitions"
        ]
    except FileNotFoundError:
        return {}
    return partitions


def covered(spool: str) -> bool:
    """Say whether the checkpoint covers all that stands in the spool."""
    ends = {
        path.name: sum(segment.stat().st_size for segment in path.glob("*.jsonl"))
        for path in Path(spool).iterdir()
        if path.is_dir() and path.name != "rejected"
    }
    return checkpoint(spool) == ends


def refusing_url() -> str:
    """Return a URL of this machine at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_after_sigterm_not_one_command_is_sent_twice(
    transport: str,
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Stopped in mid-work again and again, with queues of few people: the next start goes on exactly there."""
    spool = make_spool(tmp_path)
    collector.answer(delay_s=0.01)
    written: list[str] = []
    for turn in range(3):
        written += spooled(spool, 120, people=7, first=120 * turn)
        with SenderProcess(spool, collector.url, "--transport", transport) as sender:
            wait_for_requests(collector, 120 * turn + 30)
            assert sender.stop(signal.SIGTERM) == 0, sender.text()
            stopped = sender.wait_for("sender-stopped")
            assert stopped["sent_again_at_next_start"] == 0
            assert stopped["in_flight"] == 0
    collector.answer()
    drain(spool, collector.url, "--transport", transport)
    assert sorted(numbers_at(collector), key=int) == written


def test_what_was_spooled_in_order_for_one_person_arrives_in_order(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Across an end and a new start, too."""
    spool = make_spool(tmp_path)
    collector.answer(delay_s=0.02)
    written = spooled(spool, 60, people=1)
    with SenderProcess(spool, collector.url) as sender:
        wait_for_requests(collector, 6)
        assert sender.stop(signal.SIGTERM) == 0
    collector.answer()
    drain(spool, collector.url)
    assert numbers_at(collector) == written


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_sigterm_ends_though_the_api_hangs(
    transport: str,
    tmp_path: Path,
    start_collector: Callable[..., CollectorProcess],  # noqa: F811 - the fixture
) -> None:
    """What is in flight is given its time and no more; it is sent again at the next start, since nobody answered."""
    spool, collector = make_spool(tmp_path), start_collector()  # noqa: F811 - one of its own: it hangs
    collector.answer(delay_s=3_600)
    written = spooled(spool, 20)
    options = ("--transport", transport)
    with SenderProcess(spool, collector.url, *options, program=IMPATIENT) as sender:
        wait_for_requests(collector, len(written))
        assert sender.stop(signal.SIGTERM) == 0, sender.text()
        assert sender.wait_for("sender-stopped")["delivered"] == 0
    assert not any(checkpoint(spool).values())
    collector.answer()
    collector.reset()
    drain(spool, collector.url, *options)
    assert sorted(numbers_at(collector), key=int) == written


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once(
    number: int,
    code: int,
    tmp_path: Path,
    start_collector: Callable[..., CollectorProcess],  # noqa: F811 - the fixture
) -> None:
    """Whoever asks twice does not want to wait for what is in flight."""
    spool, collector = make_spool(tmp_path), start_collector()  # noqa: F811 - one of its own: it hangs
    collector.answer(delay_s=3_600)
    spooled(spool, 3)
    with SenderProcess(spool, collector.url) as sender:
        wait_for_requests(collector, 3)
        sender.send(number)
        sender.wait_for("sender-stopping")
        assert sender.running()
        assert sender.stop(number) == code
    assert sender.log("sender-stopped") == []


def test_sigint_finishes_as_sigterm_does(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Ctrl-C is an orderly end: exit 0, and a checkpoint of all that was delivered."""
    spool = make_spool(tmp_path)
    spooled(spool, 5)
    with SenderProcess(spool, collector.url) as sender:
        wait_for_requests(collector, 5)
        assert sender.stop(signal.SIGINT) == 0, sender.text()
    assert covered(spool)


def test_sigusr1_logs_the_figures(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """A look into a running sender that needs nothing but its number, and that does not stop it."""
    spool = make_spool(tmp_path)
    spooled(spool, 5)
    with SenderProcess(spool, collector.url) as sender:
        wait_until(lambda: covered(spool))
        sender.send(signal.SIGUSR1)
        line = sender.wait_for("status-logged")
        assert (line["delivered"], line["rejected"], line["in_flight"]) == (5, 0, 0)
        assert sender.running()
        sender.stop()


def test_after_sigkill_at_most_what_no_checkpoint_covers_is_sent_again(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """What the last checkpoint covers stays sent; what lies behind it is sent again, byte for byte the same."""
    spool = make_spool(tmp_path)
    before = spooled(spool, 30)
    with SenderProcess(spool, collector.url) as sender:
        wait_until(lambda: covered(spool))
        collector.answer(delay_s=3_600, count=10)
        behind = spooled(spool, 10, first=30)
        wait_for_requests(collector, 40)
        sender.stop(signal.SIGKILL)
    collector.answer()
    drain(spool, collector.url)
    arrived = [one["params"]["Number"] for one in collector.requests()]
    assert sorted(arrived, key=int) == sorted([*before, *behind, *behind], key=int)
    forms = {(one["params"]["Number"], came_as(one)) for one in collector.requests()}
    assert len(forms) == 40


def test_a_second_sender_names_the_first_and_ends(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """One spool has one sender; the other exits 75 and says whom to look at, whatever signal ended the one before."""
    spool = make_spool(tmp_path)
    with SenderProcess(spool, collector.url) as first:
        first.wait_for("sender-started")
        with SenderProcess(spool, collector.url) as second:
            assert second.wait() == 75
        assert f"[{first.pid}]" in second.text()
        assert first.running()
        first.stop(signal.SIGKILL)
    spooled(spool, 1)
    drain(spool, collector.url)
    assert numbers_at(collector) == ["0"]


def test_drain_ends_once_all_is_delivered_and_sends_nothing_twice(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Exit 0 with everything delivered and covered; a second drain has nothing to do."""
    spool = make_spool(tmp_path)
    written = spooled(spool, 200)
    drain(spool, collector.url)
    assert covered(spool)
    drain(spool, collector.url)
    assert sorted(numbers_at(collector), key=int) == written


def test_a_drain_gives_up_after_its_time_and_loses_nothing(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """Exit 75, and what is left is delivered the next time."""
    spool = make_spool(tmp_path)
    written = spooled(spool, 20)
    collector.answer(status=503)
    with SenderProcess(spool, collector.url, "--drain", "--drain-timeout", "0.5") as sender:
        assert sender.wait() == 75, sender.text()
    collector.answer()
    drain(spool, collector.url)
    assert sorted(numbers_at(collector), key=int) == written


def test_without_a_key_it_says_where_it_looked(tmp_path: Path) -> None:
    """Exit 78 before anything is touched: there is not even a spool yet."""
    spool = str(tmp_path / "spool")
    with SenderProcess(spool, "http://127.0.0.1:9", key=None) as sender:
        assert sender.wait() == 78
    for place in ("--api-key-file", "KMQ_API_KEY_FILE", "KMQ_API_KEY", "api-key"):
        assert place in sender.text()
    assert not Path(spool).exists()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_unreachable_api_costs_nothing(
    transport: str,
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """It says so, tries on, keeps everything, and ends well when asked to."""
    spool = make_spool(tmp_path)
    written = spooled(spool, 10)
    with SenderProcess(spool, refusing_url(), "--transport", transport) as sender:
        assert sender.wait_for("api-retrying")["waiting"] == len(written)
        assert sender.stop() == 0, sender.text()
    assert not Path(spool, "rejected").exists()
    drain(spool, collector.url, "--transport", transport)
    assert sorted(numbers_at(collector), key=int) == written


def test_a_wrong_key_blocks_and_rejects_nothing(
    tmp_path: Path,
    collector: CollectorProcess,  # noqa: F811 - the fixture
) -> None:
    """A 403 says that the settings are wrong, not the data: all waits, and goes once the API takes it."""
    spool = make_spool(tmp_path)
    written = spooled(spool, 40)
    collector.answer(status=403)
    with SenderProcess(spool, collector.url) as sender:
        blocked = sender.wait_for("api-blocked")
        assert blocked["status"] == 403
        assert KEY not in sender.text()
        collector.answer()
        sender.wait_for("api-recovered")
        wait_until(lambda: covered(spool))
        assert sender.stop() == 0
        assert sender.wait_for("sender-stopped")["rejected"] == 0
    assert sorted(numbers_at(collector), key=int) == written
