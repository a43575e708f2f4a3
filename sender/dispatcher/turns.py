"""A dispatcher driven by a clock: its turns with their waits, and its end.

Owns how long a loop waits where a sink does not, and how long it waits for what is in flight at the end. Knows nothing
about where lines come from. The daemon and the replay, which each have a loop of their own, take their turns here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from kmq.clock import Clock

    from .dispatcher import Dispatcher

__all__ = ["FINISH_S", "PATIENCE_S", "finish", "patience_s", "turn"]

FINISH_S: Final = 10.0
PATIENCE_S: Final = 0.25
_SHORTEST_S: Final = 0.001


def turn(dispatcher: Dispatcher, wait_s: float, clock: Clock) -> None:
    """Send what may go, settle what was answered, and wait at most `wait_s` seconds for it."""
    began = clock.monotonic()
    answers = dispatcher.turn(wait_s)
    if not answers and not dispatcher.in_flight:
        # A sink with nothing in flight returns at once; the time is waited here.
        rest_s = wait_s - (clock.monotonic() - began)
        if rest_s > 0:
            clock.wait(rest_s)


def patience_s(dispatcher: Dispatcher, longest_s: float = PATIENCE_S) -> float:
    """Return how long a turn may wait, `longest_s` at most: until something can be sent or kept."""
    due_s = dispatcher.next_due_s()
    return longest_s if due_s is None else min(longest_s, max(due_s, _SHORTEST_S))


def finish(dispatcher: Dispatcher, clock: Clock, look: Callable[[], object] = lambda: None) -> None:
    """Begin nothing new, and wait for what is in flight, 10 seconds at most; `look` is called after each turn."""
    dispatcher.stop()
    until = clock.monotonic() + FINISH_S
    while not dispatcher.settled() and clock.monotonic() < until:
        turn(dispatcher, patience_s(dispatcher), clock)
        look()
