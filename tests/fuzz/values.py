"""Valid inputs, made by chance: commands and their lines, checkpoints, answers, rejections, requests.

Owns what intact looks like; knows nothing about how it is spoilt or read. All chance comes from the generator that is
handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmq.command import Command, Number, encode
from sender import checkpoint
from sender.api import request_for
from sender.rejected.rejection import Rejection, form, gone_form

if TYPE_CHECKING:
    from random import Random

__all__ = [
    "answer",
    "checkpoint_of",
    "command",
    "intact",
    "partition",
    "query",
    "rejection",
    "rejection_line",
    "text",
]

_LETTERS = "abcdefgh XYZ019.,-_@/+%&=\\\"'<>é\u00df\u20ac\U0001f600\u2028\u0085\x7f\ufeff\t\n"
_CODES = ("torn", "too-long", "zeros", "not-utf8", "not-json", "answered-400", "stuck")
_HEADERS = (
    "Content-Type: image/gif",
    "Content-Type: text/html; charset=utf-8",
    "Retry-After: 17",
    "Retry-After: Tue, 14 Nov 2023 22:14:00 GMT",
    "Set-Cookie: a=1",
    "Location: http://127.0.0.1:9/e",
    "Content-Encoding: gzip",
    "Connection: keep-alive",
)
_SIZES = (b"-1", b"-0", b"0x5", b"ffffffffff", b"5;x=y", b"1_0", b"")
_STATUSES = (200, 200, 200, 204, 302, 304, 400, 401, 404, 407, 413, 429, 500, 503)


def text(rng: Random, most: int = 20) -> str:
    """Return some text, with whatever texts may hold."""
    return "".join(rng.choices(_LETTERS, k=rng.randint(0, most)))


def _name(rng: Random) -> str:
    return f"n{text(rng, 12)}"


def _properties(rng: Random) -> dict[str, str]:
    return {
        _name(rng): text(rng)
        if rng.random() < 0.7
        else Number(f"{rng.randint(-(10**9), 10**9)}.{rng.randint(0, 99):02}")
        for _ in range(rng.randint(0, 4))
    }


def command(rng: Random) -> Command:
    """Return a command of one of the three kinds, of a person whom nobody else is."""
    person = f"p{rng.getrandbits(64):016x}{text(rng, 6)}"
    time = rng.randint(1_230_768_000, 4_102_444_800)
    key = None if rng.random() < 0.9 else f"k{rng.getrandbits(32):x}"
    kind = rng.random()
    if kind < 0.6:
        return Command(person, time, _name(rng), properties=_properties(rng), key=key)
    if kind < 0.8:
        return Command(person, time, properties={"a": "b", **_properties(rng)}, key=key)
    return Command(person, time, other=f"o{text(rng)}", key=key)


def intact(rng: Random) -> bytes:
    """Return the line of a command, without its newline."""
    return encode(command(rng))[:-1]


def partition(rng: Random) -> str:
    """Return the name of a partition that nobody else names."""
    return f"20261123T{rng.randint(0, 235959):06}Z-{rng.getrandbits(32):08x}"


def checkpoint_of(rng: Random) -> bytes:
    """Return a checkpoint as the sender writes it."""
    return checkpoint.form(
        {partition(rng): rng.getrandbits(rng.randint(0, 62)) for _ in range(rng.randint(0, 5))}
    )


def answer(rng: Random) -> bytes:
    """Return an answer of an HTTP server, as bytes."""
    status = rng.choice(_STATUSES)
    headers = rng.sample(_HEADERS, rng.randint(0, 4))
    body = rng.choice((b"", b"GIF89a", b"<!DOCTYPE html><p>", b'{"error":"_k=s3cret"}'))
    if rng.random() < 0.3:
        headers.append("Transfer-Encoding: chunked")
        size = rng.choice(_SIZES) if rng.random() < 0.2 else b"%x" % len(body)
        body = b"%b\r\n%b\r\n0\r\n\r\n" % (size, body) if body else b"0\r\n\r\n"
    elif rng.random() < 0.9:
        headers.append(f"Content-Length: {len(body)}")
    head = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status} Said So\r\n{head}\r\n".encode() + body


def rejection(rng: Random) -> Rejection:
    """Return a rejected command, at a place where nothing else lay."""
    raw = intact(rng) if rng.random() < 0.6 else rng.randbytes(rng.randint(0, 60))
    at = rng.random() < 0.8
    start = rng.getrandbits(40)
    return Rejection(
        id=f"2026-11-23:{rng.randint(1, 10**12)}",
        at=round(rng.uniform(0, 4e9), 3),
        reason=rng.choice(_CODES),
        rule=text(rng),
        partition=partition(rng) if at else None,
        offset=start if at else None,
        end=start + len(raw) + 1 if at else None,
        raw=raw,
        status=rng.choice((None, 400, 413)),
        said=text(rng),
        size=len(raw) + rng.choice((0, 0, 100_000)),
        program=rng.choice(("sender", "gateway")),
    )


def rejection_line(rng: Random) -> bytes:
    """Return a line as it stands in `rejected/`, without its newline."""
    if rng.random() < 0.15:
        return gone_form(f"2026-11-23:{rng.randint(1, 10**12)}", "dropped")[:-1]
    return form(rejection(rng))[:-1]


def query(rng: Random) -> bytes:
    """Return the parameters of a request as some client sends them."""
    made = request_for(command(rng), "s3cret").query
    if rng.random() < 0.3:
        made = made.replace("&_d=1", "")
    if rng.random() < 0.1:
        made += f"&_t={rng.randint(10**9, 10**13)}"
    return made.encode()
