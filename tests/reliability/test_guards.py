"""The guards that keep one fault from becoming a loss for all: over HTTP, in a time that the test moves.

A command that can never be delivered, an API that refuses everything, and what stands in the spool and is no command.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from sender.dispatcher import GateState
from tests.support.misbehaving import MisbehavingServer, answer
from tests.support.oracle import kept_in, lag, person_of
from tests.support.simulated import Api, Simulation, operator, write
from tests.support.spools import Partition, make_spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kmq.spool import Spool

HOUR_S = 3_600.0
OTHER = "20261123T204502Z-90be12aa"
NO_MORE_S = 600.0
CROWD = [f"person {number}" for number in range(60)]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path / "spool")


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def server(api: Api) -> Iterator[MisbehavingServer]:
    with MisbehavingServer(api) as server:
        yield server


@pytest.fixture
def sender(spool: Spool, server: MisbehavingServer) -> Iterator[Simulation]:
    with Simulation(spool, server.url) as sender:
        yield sender


def people_kept(spool: Spool) -> set[str | None]:
    """Return the people of the commands that are on the list."""
    return {person_of(text) for text in kept_in(spool.path)}


# A command that can never be delivered


def test_what_fails_for_an_hour_beside_deliveries_is_stuck_and_can_be_resent(
    spool: Spool, api: Api, server: MisbehavingServer, sender: Simulation
) -> None:
    """Not before the hour, not before 50 failures; its person goes on, and nobody else has ever waited for it."""
    partition, names = Partition(spool), itertools.count()
    write(partition, api.oracle, "poison")
    write(partition, api.oracle, "later")
    api.say("poison", answer(500))

    def life_goes_on() -> None:
        write(partition, api.oracle, f"visitor {next(names)}")

    assert not sender.pass_time(
        HOUR_S - 5.0, until=lambda: bool(sender.reasons()), meanwhile=life_goes_on
    )
    assert api.asked.count("poison") >= 50
    assert sender.pass_time(60.0, until=lambda: bool(sender.reasons()), meanwhile=life_goes_on)
    sender.pass_time(60.0)
    assert sender.reasons() == ["stuck"]
    assert api.oracle.owed() == {"poison"}
    assert lag(spool.path) == 0
    api.oracle.judge(spool.path).check()

    api.heal()
    result = operator(spool, server.url, "rejected", "resend", "--all")
    assert (result.exit_code, result.stdout) == (0, "1 delivered\n")
    assert people_kept(spool) == set()
    assert api.oracle.owed() == set()


def test_fifty_failures_within_the_hour_are_no_reason(
    spool: Spool, api: Api, sender: Simulation
) -> None:
    """An API that fails for one person for a while is well again after it; nothing was put aside."""
    partition, names = Partition(spool), itertools.count()
    write(partition, api.oracle, "poison")
    api.say("poison", answer(500))
    sender.pass_time(
        HOUR_S - 60.0,
        until=lambda: api.asked.count("poison") > 60,
        meanwhile=lambda: write(partition, api.oracle, f"visitor {next(names)}"),
    )
    api.heal()
    sender.pass_time(60.0)
    assert sender.reasons() == []
    assert api.oracle.owed() == set()


def test_the_later_commands_of_a_person_wait_for_the_stuck_one_and_then_go(
    spool: Spool, api: Api, sender: Simulation
) -> None:
    """In their order: an event that overtook the one before it would show in nobody's funnel."""
    partition, names = Partition(spool), itertools.count()
    write(partition, api.oracle, "poison", "poison", "poison")
    api.say("poison", answer(500))

    def life_goes_on() -> None:
        write(partition, api.oracle, f"visitor {next(names)}")

    assert sender.pass_time(
        HOUR_S + 60.0, until=lambda: bool(sender.reasons()), meanwhile=life_goes_on
    )
    tried = api.asked.count("poison")
    api.heal()
    sender.pass_time(60.0)
    assert sender.reasons() == ["stuck"]
    assert api.asked.count("poison") == tried + 2
    assert lag(spool.path) == 0


def test_without_deliveries_nothing_is_ever_stuck(
    spool: Spool, api: Api, sender: Simulation
) -> None:
    """An API that is down for three hours is down for all; each command waits as long as it takes."""
    write(Partition(spool), api.oracle, *CROWD[:3])
    api.otherwise = answer(500)
    sender.pass_time(3 * HOUR_S, step_s=10.0)
    assert len(api.asked) > 3 * 50
    assert sender.reasons() == []
    api.heal()
    sender.pass_time(60.0)
    assert api.oracle.owed() == set()


# An API that refuses everything


@pytest.mark.parametrize("statuses", [(400,), (422,), (400, 422), (405, 410, 413)])
def test_an_api_that_refuses_everything_blocks_and_costs_nothing(
    spool: Spool,
    api: Api,
    server: MisbehavingServer,
    sender: Simulation,
    statuses: tuple[int, ...],
) -> None:
    """After 20 refusals for several people, alike or not, nothing more is rejected; those before can be resent."""
    write(Partition(spool), api.oracle, *CROWD)
    for person, status in zip(CROWD, itertools.cycle(statuses), strict=False):
        api.say(person, answer(status, body=b"no"))
    sender.pass_time(HOUR_S, step_s=10.0)
    assert sender.state() is GateState.BLOCKED
    assert len(sender.reasons()) == 19
    assert sender.dispatcher.waiting == len(CROWD) - 19
    api.oracle.judge(spool.path).check()

    api.heal()
    sender.pass_time(60.0)
    assert sender.state() is GateState.OPEN
    assert len(sender.reasons()) == 19
    result = operator(spool, server.url, "rejected", "resend", "--all", "--since", "2026-01-01")
    assert (result.exit_code, result.stdout) == (0, "19 delivered\n")
    assert api.oracle.owed() == set()


@pytest.mark.parametrize("status", [401, 403, 404, 407, 301])
def test_wrong_settings_block_at_once(
    spool: Spool, api: Api, sender: Simulation, status: int
) -> None:
    """Not one command is rejected, and all goes on by itself when the settings are right."""
    write(Partition(spool), api.oracle, *CROWD)
    api.otherwise = answer(status, {"Location": "/login"})
    sender.pass_time(NO_MORE_S)
    assert sender.state() is GateState.BLOCKED
    assert (sender.reasons(), lag(spool.path)) == ([], len(CROWD))
    assert len(api.asked) < 60  # probes, one at a time
    api.heal()
    sender.pass_time(60.0)
    assert api.oracle.owed() == set()


def test_one_person_of_whom_everything_is_refused_does_not_block_the_others(
    spool: Spool, api: Api, sender: Simulation
) -> None:
    """A program that calls wrongly for one person; theirs are kept, the others' are delivered."""
    partition = Partition(spool)
    for number in range(40):
        api.oracle.tried("bad")
        write(partition, api.oracle, "bad", CROWD[number])
    api.say("bad", answer(400))
    sender.pass_time(NO_MORE_S)
    assert sender.reasons() == ["answered-400"] * 40
    assert sender.state() is GateState.OPEN
    assert api.oracle.owed() == {"bad"}
    assert lag(spool.path) == 0


def test_where_all_is_of_one_person_it_is_rejected_kept_and_resent(
    spool: Spool, api: Api, server: MisbehavingServer, sender: Simulation
) -> None:
    """One person's commands alone do not tell a fault of the API from one of theirs; none is lost either way."""
    write(Partition(spool), api.oracle, *["only one"] * 30)
    api.otherwise = answer(400)
    sender.pass_time(NO_MORE_S)
    assert sender.reasons() == ["answered-400"] * 30
    api.heal()
    result = operator(spool, server.url, "rejected", "resend", "--all")
    assert (result.exit_code, result.stdout) == (0, "30 delivered\n")
    assert people_kept(spool) == set()


# What stands in the spool, and what comes over the wire


@pytest.mark.parametrize(
    "hostile",
    [
        b"\n",
        b"\0" * 4_096 + b"\n",
        b"[" * 60_000 + b"\n",
        b'{"_p":"x","_t":1e999,"_n":"y"}\n',
        b'{"_p":"x","_t":' + b"9" * 5_000 + b"}\n",
        b"x" * (10 << 20) + b"\n",
        b'{"_p":"\\ud800","_t":1795500000,"_n":"x"}\n',
    ],
    ids=["empty", "zeros", "nested", "infinite", "long number", "10 MB", "surrogate"],
)
def test_a_hostile_first_line_holds_up_nobody(
    spool: Spool, api: Api, sender: Simulation, hostile: bytes
) -> None:
    """Not its own partition either: it is kept, or passed where it says nothing, and the mark moves on."""
    partition = Partition(spool)
    partition.append(hostile)
    write(partition, api.oracle, *CROWD[:5])
    write(Partition(spool, OTHER), api.oracle, *CROWD[5:10])
    sender.pass_time(30.0)
    assert api.oracle.owed() == set()
    assert len(sender.reasons()) == (hostile != b"\n")
    assert sender.store.unreadable == 0


def test_a_torn_first_line_is_kept_and_its_successors_go(
    spool: Spool, api: Api, sender: Simulation
) -> None:
    """As the next segment says that nobody will finish it."""
    partition = Partition(spool)
    partition.append(b'{"_p":"half')
    partition.rotate()
    write(partition, api.oracle, *CROWD[:5])
    sender.pass_time(30.0)
    assert sender.reasons() == ["torn"]
    assert api.oracle.owed() == set()


def test_a_megabyte_of_answer_is_an_answer(spool: Spool, api: Api, sender: Simulation) -> None:
    """Its head is kept with a rejected command, and a delivery is a delivery."""
    write(Partition(spool), api.oracle, *CROWD[:3])
    api.otherwise = answer(body=b"x" * (1 << 20))
    api.say(CROWD[0], answer(400, {"Content-Type": "text/plain"}, body=b"no " * (1 << 18)))
    sender.pass_time(30.0)
    (kept,) = sender.store.kept()
    assert len(kept.said) <= 500
    assert api.oracle.owed() == {CROWD[0]}
    api.oracle.judge(spool.path).check()


def test_a_partition_that_cannot_be_read_holds_up_no_other(
    spool: Spool, api: Api, sender: Simulation
) -> None:
    """A link where its segment should be: it is told of, its mark stays, all others go on; mended, it goes too."""
    broken = Partition(spool)
    write(broken, api.oracle, *CROWD[:2])
    os.rename(broken.segment(), f"{spool.path}/aside")
    os.symlink(f"{spool.path}/aside", broken.segment())
    write(Partition(spool, OTHER), api.oracle, *CROWD[2:5])
    sender.pass_time(60.0)
    assert api.oracle.owed() == set(CROWD[:2])
    assert sender.reports.codes()
    os.rename(f"{spool.path}/aside", broken.segment())
    sender.pass_time(60.0)
    assert api.oracle.owed() == set()


# One person's flood

AHEAD = 20_000


def test_a_flood_of_one_person_holds_up_only_what_stands_far_behind_it_in_its_partition(
    spool: Spool, api: Api, sender: Simulation
) -> None:
    """Within what is read ahead others pass it, in other partitions always; beyond that they wait for it."""
    flooded = Partition(spool)
    write(flooded, api.oracle, "near")
    lines = b'{"_p":"flood","_t":1795500000,"_n":"x"}\n' * (AHEAD + 1_000)
    api.oracle.tried("flood")
    flooded.append(lines)
    write(flooded, api.oracle, "far")
    write(Partition(spool, OTHER), api.oracle, *CROWD[:20])
    api.say("flood", answer(500))
    sender.pass_time(30.0)
    assert api.oracle.owed() == {"far"}
    assert sender.dispatcher.waiting <= AHEAD + 1_000
