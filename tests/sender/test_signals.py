"""Signals become flags, and the handlers before come back."""

from __future__ import annotations

import os
import signal

from sender.signals import Signals


def test_a_signal_to_stop_is_kept_with_its_number() -> None:
    """The loop looks at it; nothing else happens."""
    asked = Signals()
    with asked.caught():
        os.kill(os.getpid(), signal.SIGTERM)
    assert asked.stopped_by == signal.SIGTERM


def test_the_figures_are_asked_for_once_a_signal() -> None:
    """Each USR1 is answered by one line."""
    asked = Signals()
    with asked.caught(figures=True):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert asked.take_figures_asked()
    assert not asked.take_figures_asked()
    assert asked.stopped_by is None


def test_the_handlers_before_come_back() -> None:
    """Whoever runs a sender or a replay within a process of its own goes on as before."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    with Signals().caught(figures=True):
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before
