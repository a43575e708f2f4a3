"""What the transports' tests share: the transports, certificates made for the occasion, and delivering to the end."""

from __future__ import annotations

import os
import ssl
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmq.command import Command
from sender.flow import Delivery
from sender.transport.multi import MultiSink
from sender.transport.pooled import PooledSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sender.flow import Outcome, Sink

TRANSPORTS: dict[str, Callable[..., Sink]] = {"requests": PooledSink, "curl": MultiSink}

BOB = Command("bob", 1262304000, "Signed Up", properties={"gender": "male"})


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate that signs itself, and is its own authority."""

    certificate: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        """Return the context of a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def make_identity(directory: Path, names: str) -> Identity:
    """Make a certificate for `names` with the openssl command."""
    made = Identity(directory / "certificate.pem", directory / "key.pem")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=kmq-test "
        f"-addext subjectAltName={names} -addext keyUsage=critical,digitalSignature,keyCertSign "
        f"-keyout {made.key} -out {made.certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
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
    command = ["openssl", "x509", "-hash", "-noout", "-in", str(identity.certificate)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    os.symlink(identity.certificate, directory / f"{name}.0")
    return directory
