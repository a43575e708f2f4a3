"""A writer for tortures, a process of its own: records without end and notes each call that has returned.

    python -m tests.support.hand SPOOL ACKS [threads] [signals] [forks]

    threads   eight threads call at once
    signals   a timer's handler records too, in the middle of other calls
    forks     children record in their turn, and end as they like: by os._exit, or by a SIGKILL of their own

Each process notes into a file of its own in ACKS. SIGTERM ends it after the call that it is in.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from kmq import Client

if TYPE_CHECKING:
    from collections.abc import Sequence

PAUSE_S = 0.01
THREADS = 8
DEPTH = 2


class Hand:
    """Records, from whichever thread or handler calls, and notes it."""

    def __init__(self, spool: str, acks: str) -> None:
        self.client = Client(spool)
        self.acks = acks
        self.stopping = False
        self.depth = 0
        self.pause_s = PAUSE_S
        self.begin()

    def begin(self) -> None:
        """Begin as a process: with a name and notes of its own."""
        self.name = os.urandom(5).hex()
        self.numbers = itertools.count(1)
        self.notes = os.open(f"{self.acks}/{self.name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self) -> None:
        """Record one command for a person of its own, and note it afterwards."""
        person = f"{self.name}-{next(self.numbers)}"
        self.client.record("Did", {"Size": "x" * random.randrange(60)}, person=person)
        os.write(self.notes, f"{person}\n".encode())

    def interrupt(self) -> None:
        """Record from a signal handler, which further signals may interrupt in turn."""
        if self.depth < DEPTH:  # a call that takes longer than the timer would never end
            self.depth += 1
            self.write()
            self.depth -= 1

    def write_on(self, until: float = float("inf")) -> None:
        """Record until told to stop, or until that moment."""
        while not self.stopping and time.monotonic() < until:
            self.write()
            time.sleep(self.pause_s)


def main(arguments: Sequence[str]) -> None:
    """Record in the ways that were asked for."""
    spool, acks, *ways = arguments
    hand = Hand(spool, acks)
    signal.signal(signal.SIGTERM, lambda *_: setattr(hand, "stopping", True))
    if "signals" in ways:
        signal.signal(signal.SIGALRM, lambda *_: hand.interrupt())
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.007)
    threads = []
    if "threads" in ways:
        hand.pause_s *= THREADS
        threads = [threading.Thread(target=hand.write_on) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    while not hand.stopping:
        hand.write_on(time.monotonic() + 0.05)
        if "forks" in ways:
            fork(hand)
    signal.setitimer(signal.ITIMER_REAL, 0)
    for thread in threads:
        thread.join()


def fork(hand: Hand) -> None:
    """Let a child live for a moment; its end is its own."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    if os.fork() == 0:
        child(hand)


def child(hand: Hand) -> None:
    """Record as another process, then die."""
    hand.begin()
    # A rest, in which the sender finds all of a partition delivered that is still held; shorter than the second after
    # which a writer looks for itself whether it lost its place.
    hand.write()
    time.sleep(random.choice((0.0, 0.6)))
    # A timer is not inherited; its handler is.
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.005)
    hand.write_on(time.monotonic() + random.random() / 5)
    if random.random() < 0.5:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
