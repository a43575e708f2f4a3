"""Attempts that may fail: said once until it is over, and only what the system refuses."""

from __future__ import annotations

import errno

import pytest

from sender.flow import Event
from sender.retention.attempts import Attempts

P = "20261123T204501Z-4f2a91c3"


def test_a_failure_is_reported_once_until_it_is_over() -> None:
    """With what was tried, where and why."""
    events: list[Event] = []
    attempts = Attempts("removal-failed", events.append)
    for error in (
        OSError(errno.EIO, "bad disk"),
        OSError(errno.EROFS, "read-only"),
        None,
        OSError("odd"),
    ):
        with attempts.of("remove", "/spool/x", P, 7):
            if error is not None:
                raise error
    assert events == [
        Event("removal-failed", P, 7, "cannot remove /spool/x: bad disk"),
        Event("works-again", P, 7, "removal-failed"),
        Event("removal-failed", P, 7, "cannot remove /spool/x: odd"),
    ]


def test_what_vanished_is_no_failure() -> None:
    """Nor is it a success: a failure before stays known."""
    events: list[Event] = []
    attempts = Attempts("removal-failed", events.append)
    for error in (
        OSError(errno.EIO, "bad disk"),
        FileNotFoundError(),
        OSError(errno.EIO, "bad disk"),
    ):
        with attempts.of("remove", "/spool/x"):
            raise error
    assert len(events) == 1


def test_a_mistake_in_the_code_is_not_swallowed() -> None:
    """Only the system's errors are expected."""
    events: list[Event] = []
    attempts = Attempts("removal-failed", events.append)
    with pytest.raises(ZeroDivisionError), attempts.of("remove", "x"):
        1 / 0  # noqa: B018 - the mistake
    assert events == []
