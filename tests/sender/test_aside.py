"""Steps that run beside the loop: one at a time, each asked for when the one before is over."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from sender.aside import Inline, Run, Step, Threaded
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_step_runs_on_a_thread_of_its_own_and_is_waited_for() -> None:
    """All of them on the same one."""
    ran_on: list[str] = []
    aside = Threaded()
    for _ in range(2):
        step = Step(lambda: ran_on.append(threading.current_thread().name))
        aside.begin(step)
        step.wait()
        assert step.over
    assert ran_on == ["kmq-disk"] * 2


@pytest.mark.parametrize("failure", [OSError(5, "no"), ValueError("a fault in the code")])
def test_whatever_a_step_raises_is_raised_where_it_is_asked_for(failure: Exception) -> None:
    """Taken for success, a checkpoint that was never written would count as durable."""

    def work() -> None:
        raise failure

    step = Step(work)
    Threaded().begin(step)
    step.wait()
    with pytest.raises(type(failure)):
        step.check()


def test_the_next_step_is_asked_for_when_the_one_before_is_over() -> None:
    """Meanwhile whoever asks is not held up."""
    may_end = threading.Event()
    seen: list[str] = []

    def steps() -> Iterator[Step]:
        yield Step(may_end.wait)
        seen.append("the first is over")
        yield Step(lambda: None)
        seen.append("the second is over")

    run = Run(Threaded(), lambda: True)
    run.begin(steps(), 7.0)
    assert not run.go_on()
    assert not run.go_on()
    assert (run.since, seen) == (7.0, [])
    may_end.set()
    wait_until(run.go_on, what="all steps are over")
    assert (run.since, seen) == (None, ["the first is over", "the second is over"])
    assert not run.go_on()


def test_with_waiting_it_goes_to_the_end() -> None:
    """As a sender that ends does."""
    may_end = threading.Event()
    run = Run(Threaded(), lambda: True)
    run.begin(iter([Step(may_end.wait), Step(lambda: None)]), 0.0)
    assert not run.go_on()
    threading.Timer(0.01, may_end.set).start()
    assert run.go_on(wait=True)


def test_steps_that_may_not_go_on_are_given_up() -> None:
    """No further one is asked for."""
    asked: list[int] = []

    def steps() -> Iterator[Step]:
        for number in range(3):
            asked.append(number)
            yield Step(lambda: None)

    run = Run(Inline(), lambda: len(asked) < 2)
    run.begin(steps(), 0.0)
    assert not run.go_on()
    assert (run.since, asked) == (None, [0, 1])


def test_steps_that_fail_are_over() -> None:
    """The next ones can be taken up."""

    def failing() -> Iterator[Step]:
        yield Step(lambda: None)
        raise OSError(5, "no")

    run = Run(Inline(), lambda: True)
    run.begin(failing(), 0.0)
    with pytest.raises(OSError, match="no"):
        run.go_on()
    assert run.since is None
    run.begin(iter([Step(lambda: None)]), 1.0)
    assert run.go_on()
