"""One of the show's writers, a process of its own: an app that records, and notes what was acknowledged.

    python -m sender.demo.writer ACKS WRITER COUNT SECONDS

Owns the pace and the notes. The spool comes from KMQ_SPOOL, as in any app. A command is noted after its call has
returned and never before, so that what stands in ACKS was promised. At its end the process waits until its standard
input is closed: it keeps its partition for as long as the show lasts, and goes with the show if that dies.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from kmq import Client

from .account import visitor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str]) -> None:
    """Record COUNT commands, evenly over SECONDS."""
    acks, writer, count, seconds = arguments
    notes = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    client = Client()
    began = time.monotonic()
    for number in range(1, int(count) + 1):
        time.sleep(max(0.0, began + float(seconds) * number / int(count) - time.monotonic()))
        person = visitor(int(writer), number)
        _call(client, person, number)
        os.write(notes, f"{person}\n".encode())
    sys.stdin.read()


def _call(client: Client, person: str, number: int) -> None:
    # Mostly events, as in any app; the two other kinds take the same way.
    if number % 10 == 0:
        client.set({"Plan": "Pro", "Visits": number}, person=person)
    elif number % 25 == 1:
        client.alias(person, f"{person}@example.com")
    else:
        client.record("Viewed Homepage", {"Number": number}, person=person)


if __name__ == "__main__":
    main(sys.argv[1:])
