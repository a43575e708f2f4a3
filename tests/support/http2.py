"""The server's side of HTTP/2, as far as a test needs it: frames on a connection of the misbehaving server.

It reads no header, since those come compressed; a request is known by its body, so tests send commands that are posted.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from tests.support.misbehaving import GIF

if TYPE_CHECKING:
    from tests.support.misbehaving import Conversation

__all__ = ["Frames", "Posted"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
MAX_CONCURRENT_STREAMS = 3
NO_ERROR = 0

# HPACK: ":status: 200" is entry 8 of the static table, other statuses name it; "content-type" is entry 31.
STATUS_200, STATUS, CONTENT_TYPE = b"\x88", b"\x08", b"\x0f\x10"


class Posted(NamedTuple):
    """A request that was read to its end."""

    stream: int
    body: bytes


class Frames:
    """Speaks HTTP/2 over `conversation`, and allows a thousand streams side by side."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._read = b""
        self._bodies: dict[int, bytes] = {}
        self._take(len(PREFACE))
        self._send(SETTINGS, 0, 0, struct.pack(">HI", MAX_CONCURRENT_STREAMS, 1000))

    def request(self) -> Posted | None:
        """Return the next request that is complete; None when the other side has gone."""
        while (frame := self._frame()) is not None:
            kind, flags, stream, payload = frame
            if kind == SETTINGS and not flags & ACK:
                self._send(SETTINGS, ACK, 0)
            elif kind == PING and not flags & ACK:
                self._send(PING, ACK, 0, payload)
            elif kind == HEADERS:
                self._bodies[stream] = b""
            elif kind == DATA:
                self._bodies[stream] += payload
                if payload:
                    self._send(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload)))
            if kind in {DATA, HEADERS} and flags & END_STREAM:
                return Posted(stream, self._bodies.pop(stream))
        return None

    def answer(self, stream: int, status: int = 200, body: bytes = GIF) -> None:
        """Answer the request of `stream`."""
        self.begin_answer(stream, status)
        self._send(DATA, END_STREAM, stream, body)

    def begin_answer(self, stream: int, status: int) -> None:
        """Send the headers of an answer to the request of `stream`."""
        says = STATUS_200 if status == 200 else STATUS + _text(str(status).encode())
        self._send(HEADERS, END_HEADERS, stream, says + CONTENT_TYPE + _text(b"image/gif"))

    def flood(self, stream: int, status: int) -> None:
        """Answer the request of `stream` with more than anybody wants, as far as the other side lets it."""
        self.begin_answer(stream, status)
        for _ in range(5):
            self._send(DATA, 0, stream, b"x" * 16_000)

    def refuse(self, stream: int, error: int) -> None:
        """End `stream` with an error."""
        self._send(RST_STREAM, 0, stream, struct.pack(">I", error))

    def go_away(self, last_stream: int) -> None:
        """Say that nothing after `last_stream` was or will be looked at here, as nginx does after 1,000 requests."""
        self._send(GOAWAY, 0, 0, struct.pack(">II", last_stream, NO_ERROR))

    def _frame(self) -> tuple[int, int, int, bytes] | None:
        head = self._take(9)
        if head is None:
            return None
        length, kind, flags, stream = int.from_bytes(head[:3]), head[3], head[4], head[5:9]
        payload = self._take(length)
        return None if payload is None else (kind, flags, int.from_bytes(stream), payload)

    def _take(self, size: int) -> bytes | None:
        while len(self._read) < size:
            more = self._conversation.receive()
            if not more:
                return None
            self._read += more
        taken, self._read = self._read[:size], self._read[size:]
        return taken

    def _send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        head = len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4)
        self._conversation.send(head + payload)


def _text(text: bytes) -> bytes:
    return bytes([len(text)]) + text
