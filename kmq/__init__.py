"""kmq: the KISSmetrics client that never loses an event and never makes an app wait.

    from kmq import KM

    KM.identify("bob@bob.com")
    KM.record("Signed Up", {"Plan": "Pro", "Amount": 99.95})

A call appends one line to a spool on disk and returns. `kmq-sender` sends the spool to KISSmetrics.
"""

from .client import Client
from .errors import (
    InvalidCommand,
    InvalidSetting,
    KmqError,
    LocksUnsupported,
    NoPermission,
    NoPerson,
    SpoolError,
    SpoolFull,
)

__all__ = [
    "KM",
    "Client",
    "InvalidCommand",
    "InvalidSetting",
    "KmqError",
    "LocksUnsupported",
    "NoPermission",
    "NoPerson",
    "SpoolError",
    "SpoolFull",
    "__version__",
]

__version__ = "1.0.0"

KM = Client()
"""The client on this host's default spool."""
