"""The place of a scenario: a spool, an API, and a writer and a sender that do as they are told, in this process.

Owns what is recorded for whom, and how it is noted. Knows nothing about failpoints or kills. A person is `WHO-NUMBER`,
and its line follows from that.
"""

from __future__ import annotations

import grp
import json
import os
from typing import Final

from kmq import Client
from kmq import spool as places
from kmq import writer as writers
from kmq.locks import boot_id
from kmq.partition import Place, Rotation
from kmq.spool import Spool, partitions, segment_path, segment_starts
from tests.support.programs import kmq_sender

__all__ = ["LARGE", "Scene", "line_of"]

TIME: Final = 1_795_500_000
LARGE: Final = 9  # the number of whoever has a line of more than 1,500 bytes


def line_of(person: str) -> bytes:
    """Return the line of `person`, whoever called for it."""
    fields = {"_p": person, "_t": TIME, "_n": "Did", **_properties(person)}
    return json.dumps(fields, separators=(",", ":")).encode()


def _properties(person: str) -> dict[str, str]:
    return {"Size": "x" * (1_500 if person.endswith(f"-{LARGE}") else 20)}


class Scene:
    """Where a scenario runs."""

    def __init__(self, spool: str, url: str, folder: str) -> None:
        self.spool = spool
        self.url = url
        if os.geteuid() == 0:
            # The spool is given to the group kmq, which this machine need not have.
            places.GROUP = grp.getgrgid(os.getgid()).gr_name  # type: ignore[misc]  # Final for all but a test
        self._clients: dict[bool, Client] = {}
        self._acks = os.open(f"{folder}/acks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def record(self, who: str, *numbers: int, sync: bool = False) -> None:
        """Record for these persons and note each."""
        for number in numbers:
            self.call(f"{who}-{number}", sync=sync)
            self.note(f"{who}-{number}")

    def call(self, person: str, *, sync: bool = False) -> None:
        """Record for a person."""
        properties = {**_properties(person), "_t": TIME}
        self.client(sync=sync).record("Did", properties, person=person)

    def client(self, *, sync: bool) -> Client:
        """Return the client of this process."""
        return self._clients.setdefault(sync, Client(self.spool, sync=sync))

    def note(self, *persons: str) -> None:
        """Note that calls have returned."""
        os.write(self._acks, "".join(f"{person}\n" for person in persons).encode())

    def rotate_after(self, lines: int) -> None:
        """Let segments hold so many lines in this process."""
        rotation = Rotation(lines * len(line_of("left-1")))
        place = Place(Spool(self.spool), boot_id(), rotation)
        writers._shared[place.spool] = writers.Writer(place, 1 << 30)

    def segments(self) -> list[str]:
        """Return the paths of all segments."""
        paths = [f"{self.spool}/{name}" for name in partitions(Spool(self.spool))]
        return [segment_path(path, start) for path in paths for start in segment_starts(path)]

    def send(self, *options: str) -> None:
        """Run `kmq-sender run`."""
        where = ["--spool", self.spool, "--url", self.url, "--max-in-flight", "4"]
        kmq_sender("run", *where, *options)

    def drain(self, *options: str) -> None:
        """Send until nothing is left."""
        self.send("--drain", *options)

    def resend(self, *options: str) -> None:
        """Send again what was rejected."""
        kmq_sender("rejected", "resend", "--spool", self.spool, "--url", self.url, *options)
