"""What the transports' tests share: the transports, certificates made for the occasion, and delivering to the end."""

from __future__ import annotations

import hashlib
import os
import ssl
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trustme
from cryptography import x509

from kmq.command import Command
from sender.flow import Delivery
from sender.transport.multi import MultiSink
from sender.transport.pooled import PooledSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sender.flow import Outcome, Sink

TRANSPORTS: dict[str, Callable[..., Sink]] = {
    "requests": PooledSink,
    "curl": MultiSink,
    "curl-many": partial(MultiSink, many=1),
}
"""`curl-many` waits for its sockets as `curl` does from some hundred commands in flight on."""

BOB = Command("bob", 1262304000, "Signed Up", properties={"gender": "male"})


@dataclass(frozen=True, slots=True)
class Identity:
    """A server's certificate with its key, and the certificate of the authority that signed it."""

    certificate: Path
    chain: Path

    def server(self) -> ssl.SSLContext:
        """Return the context of a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain)
        return context


def make_identity(directory: Path, *names: str) -> Identity:
    """Make an authority, and a certificate of it for `names`."""
    made = Identity(directory / "authority.pem", directory / "server.pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(made.certificate)
    authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(made.chain)
    return made


def deliver(sink: Sink, *commands: Command) -> list[Outcome]:
    """Hand over `commands` and return their outcomes, in the commands' order."""
    outcomes = dict(
        sink.exchange([Delivery(at, command) for at, command in enumerate(commands)], 1.0)
    )
    end = time.monotonic() + 30
    while len(outcomes) < len(commands):
        assert time.monotonic() < end, "no outcome came"
        for ticket, outcome in sink.exchange([], 1.0):
            assert ticket not in outcomes, "two outcomes for one delivery"
            outcomes[ticket] = outcome
    return [outcomes[at] for at in range(len(commands))]


def certificate_directory(identity: Identity, directory: Path) -> Path:
    """Return a directory of certificates in OpenSSL's form, with that of `identity` in it."""
    subject = x509.load_pem_x509_certificate(identity.certificate.read_bytes()).subject
    os.symlink(identity.certificate, directory / f"{_subject_hash(subject):08x}.0")
    return directory


def _subject_hash(subject: x509.Name) -> int:
    # OpenSSL's X509_NAME_hash: SHA-1 over the parts, as lower-case UTF8String, without the outer SEQUENCE.
    parts = b"".join(_der(0x31, _der(0x30, _oid(part) + _text(part))) for part in subject)
    digest = hashlib.sha1(parts, usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "little")


def _oid(part: x509.NameAttribute[str | bytes]) -> bytes:
    first, second, *rest = map(int, part.oid.dotted_string.split("."))
    return _der(0x06, bytes([40 * first + second, *rest]))


def _text(part: x509.NameAttribute[str | bytes]) -> bytes:
    return _der(0x0C, " ".join(str(part.value).lower().split()).encode())


def _der(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content
