"""How an input is spoilt: bits, bytes, ranges, tokens that are known to hurt, and the grammar of JSON objects.

Owns the ways, and knows nothing about what reads the result. All chance comes from the generator handed in, so that a
number gives the same input for ever.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

__all__ = ["TOKENS", "mutated", "spoilt_object"]

TOKENS: tuple[bytes, ...] = (
    *(bytes([byte]) for byte in b'"{}[],:\\\n\r\t\0\x0b\x0c\x1b\x1c\x7f\x85\xff%&=;+ '),
    *(b"\r\n", b"\n\n", b"\r\n\r\n", b"\\u0000", b"\\ud800", b"\\udc80", b"\\udfff\\ud800"),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"{\0", b"\0{"),
    *(
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x80\xa8",
        b"\xc2\x85",
        b"\xc2\x9b2J",
    ),
    *(b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e-400", b"1E999999999999999999"),
    *(b"-0", b"0x10", b"01", b".5", b"1_000", b"1e399", b"9" * 20, b"9" * 401, b"9" * 5000),
    *(b"9223372036854775807", b"9223372036854775808", b"1.0", b"1262304000.0", b"1262304000000"),
    *(b"true", b"false", b"null", b"{}", b"[]", b'""', b'"\\u0000"', b'{"_p":', b'"_p":', b'"_t":'),
    *(
        b'"_n":',
        b'"_p2":',
        b'"_k":',
        b'"_d":',
        b"_k=",
        b"_p=",
        b"_d=1",
        b"_p2=",
        b"%00",
        b"%ff",
        b"%ED%A0%80",
    ),
    *(b"../", b"/etc/passwd", b"/dev/zero", b"*.jsonl", b"'null'", b"undefined", b"\x1b]0;x\x07"),
    *(b"HTTP/1.1 ", b"HTTP/0.9 ", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\n\r\n"),
    *(
        b"Content-Length: ",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Retry-After: ",
    ),
    *(
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"-1\r\n",
        b"1;" + b"x" * 300 + b"\r\n",
        b"\xd9\xa3",
        b"\xc2\xb2",
    ),
)

_BLOCKS = (1, 3, 7, 16, 511, 512, 4096, 4099, 65_535, 65_536)
_NASTY: tuple[bytes, ...] = (
    *(
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e400",
        b"1e399",
        b"-0",
        b"0",
        b"-1",
        b"1.5",
        b"9" * 4301,
    ),
    *(
        b"9223372036854775808",
        b"1e5",
        b"[]",
        b"{}",
        b'[1,{"a":[]}]',
        b'""',
        b'"\\ud800"',
        b'"\\u0000"',
    ),
    *(
        b'"../../x"',
        b'"\xe2\x80\xa8"',
        b'"1"',
        b'"0001-01-01T00:00:00+23:59"',
        b'"9999-12-31T23:59:59Z"',
    ),
    *(
        b"[" * 2_000 + b"]" * 2_000,
        b'{"a":' * 1_500 + b"1" + b"}" * 1_500,
        b'"' + b"x" * 300 + b'"',
    ),
)


def mutated(rng: Random, data: bytes, other: Callable[[], bytes]) -> bytes:
    """Return `data` spoilt in one to four ways; `other` gives another valid input to splice with."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        data = rng.choice(_WAYS)(rng, data, other)
    return data


def spoilt_object(rng: Random, data: bytes) -> bytes:
    """Return a JSON object spoilt as such: members renamed, doubled, dropped, moved, given values of another kind.

    Values stay as they stand, since Python could not write a number of 5,000 digits, or NaN. What is no object comes
    back as it is.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(document, dict):
        return data
    members = [(_dumped(name), _dumped(value)) for name, value in document.items()]
    for _ in range(rng.randint(1, 3)):
        _spoil(rng, members)
    space = rng.choice((b"", b"", b" ", b"\t", b"\r", b"\xc2\xa0"))
    return b"{" + b",".join(b"%b:%b%b" % (name, space, value) for name, value in members) + b"}"


def _dumped(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _spoil(rng: Random, members: list[tuple[bytes, bytes]]) -> None:
    at = rng.randrange(len(members)) if members else 0
    name, value = members[at] if members else (b'"_p"', b'"bob"')
    way = rng.randrange(6)
    if way == 0:
        members.insert(at, (name, value))
    elif way == 1:
        members[at : at + 1] = [
            (rng.choice((b'"_p"', b'"_t"', b'"_p2"', b'""', b'"_d"', b"1")), value)
        ]
    elif way == 2:
        del members[at : at + 1]
    elif way == 3:
        rng.shuffle(members)
    else:
        members[at : at + 1] = [(name, rng.choice(_NASTY))]


def _flip(rng: Random, data: bytes, _other: Callable[[], bytes]) -> bytes:
    if not data:
        return b"\x01"
    spoilt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def _cut(rng: Random, data: bytes, _other: Callable[[], bytes]) -> bytes:
    return (
        data[: rng.randint(0, len(data))]
        if rng.random() < 0.7
        else data[rng.randint(0, len(data)) :]
    )


def _drop(rng: Random, data: bytes, _other: Callable[[], bytes]) -> bytes:
    start, end = _range(rng, data)
    return data[:start] + data[end:]


def _repeat(rng: Random, data: bytes, _other: Callable[[], bytes]) -> bytes:
    start, end = _range(rng, data)
    times = rng.choice((2, 2, 3, 10, 1_000))
    return data[:end] + data[start:end] * min(times, 70_000 // (end - start + 1)) + data[end:]


def _insert(rng: Random, data: bytes, _other: Callable[[], bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(TOKENS) + data[at:]


def _replace(rng: Random, data: bytes, _other: Callable[[], bytes]) -> bytes:
    start, end = _range(rng, data)
    return data[:start] + rng.choice(TOKENS) + data[end:]


def _zero(rng: Random, data: bytes, _other: Callable[[], bytes]) -> bytes:
    start, end = _range(rng, data)
    if rng.random() < 0.7:
        return data[:start] + bytes(end - start) + data[end:]
    return data[:start] + bytes(rng.choice(_BLOCKS)) + data[start:]


def _splice(rng: Random, data: bytes, other: Callable[[], bytes]) -> bytes:
    theirs = other()
    return data[: rng.randint(0, len(data))] + theirs[rng.randint(0, len(theirs)) :]


def _noise(rng: Random, data: bytes, _other: Callable[[], bytes]) -> bytes:
    start, end = _range(rng, data)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _as_object(rng: Random, data: bytes, _other: Callable[[], bytes]) -> bytes:
    return spoilt_object(rng, data)


def _recoded(rng: Random, data: bytes, _other: Callable[[], bytes]) -> bytes:
    way = rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1"))
    return data.decode("utf-8", "replace").encode(way, "replace")


def _range(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(len(data), start + rng.choice((1, 1, 2, 4, 8, 16, 64)))


_WAYS = (
    *(_flip, _flip, _cut, _drop, _repeat, _insert, _insert, _replace, _replace),
    *(_zero, _splice, _noise, _as_object, _as_object, _recoded),
)
