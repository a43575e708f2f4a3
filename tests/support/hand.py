"""A writer for the soak, a process of its own: records without end and notes each call that has returned.

    main(SPOOL, ACKS, "threads", "signals", "forks", "sync", "small")

    threads   eight threads call at once
    signals   a timer's handler records too, in the middle of other calls
    forks     children record in their turn, and end as they like: by os._exit, or by a SIGKILL of their own
    sync      each call returns only when a power cut would not lose it
    small     segments of a few lines, so that one is started every moment

Each process notes into a file of its own in ACKS, and holds a lock on it until it dies, so that whoever reads the notes
knows when they are complete. SIGTERM ends it after the call that it is in.

What is recorded for a person follows from the person alone (`line_of`), so that whoever meets it anywhere knows what
it must be. Every second command is given its time in the call, too; the others take it from the clock.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import random
import signal
import threading
import time
import zlib

from kmq import Client, SpoolFull
from kmq import writer as writers
from kmq.locks import boot_id
from kmq.partition import Place, Rotation
from kmq.spool import Spool

__all__ = ["MAX_SPOOL", "began_at", "given_time", "line_of", "main"]

MAX_SPOOL = 64 << 20
PAUSE_S = 0.05  # a sender that shares the machine must be able to keep up
THREADS = 8
DEPTH = 2


def began_at(person: str) -> int:
    """Return when the process began that recorded for `person`, in seconds since the epoch."""
    return int(person.partition("-")[0], 16)


def given_time(person: str) -> int | None:
    """Return the time that the call for `person` gives, None where it gives none."""
    return began_at(person) if _number(person) % 2 else None


def line_of(person: str, at: int) -> str:
    """Return the line of `person`, whose call took the time `at`, as it must stand in the spool."""
    named = {} if _is_set(person) else {"_n": "Did"}
    fields = {"_p": person, "_t": at, **named, **_properties(person)}
    return json.dumps(fields, separators=(",", ":"))


def _number(person: str) -> int:
    return int(person.rpartition("-")[2])


def _is_set(person: str) -> bool:
    return _number(person) % 5 == 0


def _properties(person: str) -> dict[str, str]:
    return {"Size": "x" * (zlib.crc32(person.encode()) % 60)}


class Hand:
    """Records, from whichever thread or handler calls, and notes it."""

    def __init__(self, spool: str, acks: str, *, sync: bool) -> None:
        self.client = Client(spool, sync=sync)
        self.acks = acks
        self.stopping = False
        self.depth = 0
        self.pause_s = PAUSE_S
        self.notes = -1
        self.begin()

    def begin(self) -> None:
        """Begin as a process: with a name and notes of its own."""
        inherited = self.notes
        self.pid = os.getpid()
        self.name = f"{int(time.time()):x}-{os.urandom(5).hex()}"
        self.numbers = itertools.count(1)
        # Seen by whoever reads notes only once it is locked.
        beside = f"{self.acks}/.{self.name}"
        self.notes = os.open(beside, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        fcntl.flock(self.notes, fcntl.LOCK_EX)
        os.rename(beside, f"{self.acks}/{self.name}")
        if inherited >= 0:
            os.close(inherited)

    def write(self) -> None:
        """Record one command for a person of its own, and note it afterwards."""
        if self.pid != os.getpid():  # a handler that was due when its process forked
            self.begin()
        person = f"{self.name}-{next(self.numbers)}"
        try:
            self._record(person)
        except SpoolFull:  # refused, and so not owed
            time.sleep(0.1)  # the sender has to make room first
            return
        os.write(self.notes, f"{person}\n".encode())

    def _record(self, person: str) -> None:
        at = given_time(person)
        properties = {**_properties(person), **({} if at is None else {"_t": at})}
        if _is_set(person):
            self.client.set(properties, person=person)
        else:
            self.client.record("Did", properties, person=person)

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
            time.sleep(self.pause_s)  # the writer's pace, no wait for something


def main(spool: str, acks: str, *ways: str) -> None:
    """Record in the ways that were asked for."""
    if "small" in ways:
        rotate_soon(spool)
    hand = Hand(spool, acks, sync="sync" in ways)
    signal.signal(signal.SIGTERM, lambda *_: setattr(hand, "stopping", True))
    if "signals" in ways:
        signal.signal(signal.SIGALRM, lambda *_: hand.interrupt())
        signal.setitimer(signal.ITIMER_REAL, 0.003, 0.04)
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


def rotate_soon(spool: str) -> None:
    """Let this process start a new segment after some lines, or after a moment."""
    rotation = Rotation(random.randrange(500, 20_000), random.uniform(0.1, 2.0))
    place = Place(Spool(spool), boot_id(), rotation)
    writers._shared[place.spool] = writers.Writer(place, MAX_SPOOL)


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
    hand.write()
    # A rest, in which the sender finds all of a partition delivered that is still held; shorter than the second after
    # which a writer looks for itself whether it lost its place.
    time.sleep(random.choice((0.0, 0.6)))  # chance is the point: nobody waits for it
    # A timer is not inherited; its handler is.
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.02)
    hand.write_on(time.monotonic() + random.random() / 5)
    if random.random() < 0.5:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)
