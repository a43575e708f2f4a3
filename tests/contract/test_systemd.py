"""The unit files: what a host's administrator gets without writing any."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from kmq.spool import GROUP, MODE_SPOOL, SYSTEM_SPOOL
from sender.cli.exits import Exit

SYSTEMD = Path(__file__).parents[2] / "systemd"


def words(name: str) -> list[list[str]]:
    """Return the words of each line of a sysusers or tmpfiles file that is no comment."""
    lines = (SYSTEMD / name).read_text("utf-8").splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


@pytest.fixture
def unit() -> dict[str, list[str]]:
    """Return all settings of the service, each with its values in order."""
    settings: dict[str, list[str]] = defaultdict(list)
    for line in (SYSTEMD / "kmq-sender.service").read_text("utf-8").splitlines():
        if line and not line.startswith(("#", "[")):
            name, value = line.split("=", 1)
            settings[name].append(value)
    return settings


def test_the_sender_runs_as_its_own_user(unit: dict[str, list[str]]) -> None:
    """Neither as root nor as an app: it reads every app's commands and holds the key."""
    assert (unit["User"], unit["Group"], unit["UMask"]) == (["kmq"], [GROUP], ["0007"])
    assert unit["ExecStart"] == ["kmq-sender run"]
    assert unit["Type"] == ["exec"]


def test_it_never_gives_up_but_on_what_only_a_person_can_mend(unit: dict[str, list[str]]) -> None:
    """73 and 75 are tried again for ever; 77 and 78 are not tried again at all."""
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartSec"] == ["5"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    assert unit["RestartPreventExitStatus"] == [f"{Exit.NO_PERMISSION:d} {Exit.CONFIG:d}"]


def test_stopping_leaves_time_to_finish_what_is_in_flight(unit: dict[str, list[str]]) -> None:
    """TERM, then twice the ten seconds that the sender allows itself, then KILL."""
    assert unit["KillSignal"] == ["SIGTERM"]
    assert unit["TimeoutStopSec"] == ["20"]


def test_settings_and_key_need_no_change_of_the_unit(unit: dict[str, list[str]]) -> None:
    """Both files may be missing; the blank default lets the sender itself say that there is no key."""
    assert unit["EnvironmentFile"] == ["-/etc/default/kmq-sender"]
    assert unit["LoadCredential"] == ["api-key:/etc/kmq/api-key"]
    assert unit["SetCredential"] == ["api-key:\\n"]
    assert unit["Environment"] == [f"KMQ_SPOOL={SYSTEM_SPOOL}"]


def test_the_spool_is_all_that_it_can_write(unit: dict[str, list[str]]) -> None:
    """The rest of the system is read-only to it."""
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["ReadWritePaths"] == [f"-{SYSTEM_SPOOL}"]
    for protection in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome"):
        assert unit[protection] == ["yes"]
    assert unit["CapabilityBoundingSet"] == [""]


def test_hardening_spares_what_the_spool_needs(unit: dict[str, list[str]]) -> None:
    """The set-group-ID bit of its directories, and the boot id and the lock table under /proc."""
    assert unit["RestrictSUIDSGID"] == ["no"]
    assert "ProcSubset" not in unit


def test_the_group_and_the_spool_are_made_at_installation() -> None:
    """The spool as the library would make it: 2770, of root, for the group."""
    assert words("kmq.sysusers.conf")[0][:2] == ["u", "kmq"]
    assert words("kmq.tmpfiles.conf") == [
        ["d", SYSTEM_SPOOL, f"{MODE_SPOOL:o}", "root", GROUP, "-"]
    ]
