"""A server for HTTP's dark side: real sockets on loopback, and each connection goes as a test's function says.

It speaks no HTTP by itself. A behaviour reads requests and writes bytes, right ones or wrong ones, or none.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

__all__ = ["GIF", "Conversation", "MisbehavingServer", "answer", "answering"]

GIF = bytes.fromhex("47494638396101000100800000ffffff0000002c00000000010001000002024401003b")


class Conversation:
    """One connection, as the server has it."""

    def __init__(self, sock: socket.socket, server: MisbehavingServer) -> None:
        self._sock = sock
        self._server = server
        self._read = b""

    def request(self) -> bytes | None:
        """Return the next request, head and body, or None when there is none any more."""
        while b"\r\n\r\n" not in self._read:
            if not self._more():
                return None
        head, _, rest = self._read.partition(b"\r\n\r\n")
        length = next(
            (
                int(line[15:])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            ),
            0,
        )
        while len(rest) < length:
            if not self._more():
                return None
            rest = self._read.partition(b"\r\n\r\n")[2]
        self._read = rest[length:]
        whole = head + b"\r\n\r\n" + rest[:length]
        self._server.requests.append(whole)
        return whole

    def receive(self) -> bytes:
        """Return the next bytes, whatever they are; b"" when there are none any more."""
        return self._sock.recv(65536)

    def send(self, data: bytes) -> None:
        """Send `data`."""
        self._sock.sendall(data)

    def drip(self, data: bytes, every_s: float) -> None:
        """Send `data` a byte at a time, again and again, until the server stops or the other side goes."""
        while True:
            for at in range(len(data)):
                if self._server.stopping.wait(every_s):
                    return
                self.send(data[at : at + 1])

    def hang(self) -> None:
        """Do nothing until the server stops."""
        self._server.stopping.wait()

    def reset(self) -> None:
        """End the connection with a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Go on under TLS."""
        self._sock = context.wrap_socket(self._sock, server_side=True)

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def _more(self) -> bool:
        data = self._sock.recv(65536)
        self._read += data
        return bool(data)


class MisbehavingServer:
    """Listens on a free port of 127.0.0.1; a context manager. Each connection has a thread that runs `behave`.

    `requests` are the requests read, byte for byte; `connections` and `closed` count.
    """

    def __init__(
        self, behave: Callable[[Conversation], None], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.closed = 0
        self.stopping = threading.Event()
        self._behave = behave
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._conversations: list[Conversation] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its URL, without a path."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        """The request lines that it read, without method and version, of GETs and POSTs alike."""
        return [request.split(b" ", 2)[1].decode("latin-1") for request in self.requests]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for conversation in self._conversations:
            conversation.close()
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            conversation = Conversation(sock, self)
            self._conversations.append(conversation)
            thread = threading.Thread(target=self._converse, args=(conversation,))
            self._threads.append(thread)
            thread.start()

    def _converse(self, conversation: Conversation) -> None:
        # The other side may go at any moment: that is what it is all about.
        with contextlib.suppress(OSError, ValueError):
            if self._tls:
                conversation.start_tls(self._tls)
            self._behave(conversation)
        conversation.close()
        self.closed += 1


def answer(status: int = 200, headers: Mapping[str, str] | None = None, body: bytes = GIF) -> bytes:
    """Return a proper answer, as bytes."""
    fields = {"Content-Type": "image/gif", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"HTTP/1.1 {status} Said So\r\n{head}\r\n".encode("latin-1") + body


def answering(*answers: bytes) -> Callable[[Conversation], None]:
    """Return a behaviour that gives these answers on each connection, the last one for ever."""

    def behave(conversation: Conversation) -> None:
        left = list(answers)
        while conversation.request() is not None:
            conversation.send(left.pop(0) if len(left) > 1 else left[0])

    return behave
