"""The target *rejected*: lines of `rejected/`, whole files of them, the lock's numbers, and `status.json`."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kmq.spool import Spool
from sender.rejected.kept import Kept
from sender.rejected.numbers import RejectedLock
from sender.rejected.rejection import Gone, Rejection, form, gone_form, parse
from sender.rejected.resend import command_of
from sender.status import snapshot as status

from .mutations import mutated
from .target import LineLost, require
from .values import rejection, rejection_line

if TYPE_CHECKING:
    from random import Random

__all__ = ["Rejections"]

_STATUS = (
    b'{"form":1,"at":1.0,"pid":1,"started":1.0,"version":"1","url":"u","transport":"curl","state":"IDLE",'
    b'"in_flight":0,"totals":{"delivered":1,"retried":0,"rejected":0,"since":1.0},"rate":{"into":1.0,"out":1.0,'
    b'"window_s":60.0},"latency":{"p50_s":null,"p99_s":0.5},"blocked":null,"last_error":null,'
    b'"behind":{"20261123T204501Z-4f2a91c3":1.5},"rates_in":{},"ended":null}'
)
_NUMBERS = b'{"2026-11-22":3,"2026-11-23":17}'
_CLOSE_S = 0.002  # kmq itself writes milliseconds
_DAY = "2026-11-23"


class Rejections:
    """Nothing that stands there makes a reader fail, or hides what stands beside it."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="kmq-fuzz-")
        os.mkdir(f"{self._folder}/rejected")

    def make(self, rng: Random) -> bytes:
        """Return a line of one of the files, mostly spoilt."""
        valid = rng.choice(
            (rejection_line(rng), rejection_line(rng), rejection_line(rng), _STATUS, _NUMBERS)
        )
        return valid if rng.random() < 0.03 else mutated(rng, valid, lambda: rejection_line(rng))

    def check(self, data: bytes, rng: Random) -> None:
        """Read it as each of them."""
        said = _parsed(data)
        if isinstance(said, Rejection):
            _check_rejection(said)
        _check_status(data)
        if rng.random() < 0.05:
            self._check_files(data, rng)
            self._check_numbers(data)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder)

    def _check_files(self, data: bytes, rng: Random) -> None:
        whole = [rejection(rng) for _ in range(3)]
        path = Path(self._folder, "rejected", f"{_DAY}-sender.jsonl")
        pieces = [
            data,
            form(whole[0])[:-1],
            data,
            form(whole[1])[:-1],
            data,
            form(whole[2])[:-1],
            b"",
        ]
        path.write_bytes(b"\n".join(pieces))
        try:
            kept = Kept(f"{self._folder}/rejected")
            found = {one.id: one for one in kept.each()}
            for one in whole:
                if found.get(one.id) != one and gone_form(one.id, "dropped")[:-1] not in data:
                    raise LineLost(f"{one.id} stands in the file and not on the list")
            require(kept.count() == len(found), "the count is that of the list")
        finally:
            path.unlink()

    def _check_numbers(self, data: bytes) -> None:
        Path(self._folder, "rejected", "lock").write_bytes(data)
        lock = RejectedLock(Spool(self._folder))
        with lock.held() as fd:
            first = lock.take_numbers(fd, _DAY, 2, lambda _: 4)
            require(first >= 5, "no number is given twice")
            require(lock.take_numbers(fd, _DAY, 1, lambda _: 4) == first + 2, "numbers go on")


def _parsed(data: bytes) -> Rejection | Gone | None:
    try:
        return parse(data)
    except ValueError:
        return None


def _check_rejection(said: Rejection) -> None:
    again = parse(form(said))
    if not isinstance(again, Rejection):
        raise AssertionError("what was read is written and read again")  # noqa: TRY004 - what was found
    require(again == replace(said, at=again.at), "what was read is written and read again")
    require(abs(again.at - said.at) < _CLOSE_S, "and so is its time")
    command_of(said)


def _check_status(data: bytes) -> None:
    try:
        snapshot = status.parse(data)
    except ValueError:
        return
    require(
        status.parse(status.form(snapshot)) == snapshot, "what was read is written and read again"
    )
