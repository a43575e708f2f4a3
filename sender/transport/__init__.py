"""Transports: sinks that hand commands to the tracking API over HTTP.

A transport is a `sender.flow.Sink`: `exchange` takes deliveries and returns the outcomes that came, `close` lets go.
There are two, with the same requests and the same outcomes: `pooled` (requests, a thread for each command in flight)
and `multi` (libcurl, one thread for all, and HTTP/2 where the server offers it). `choose.make_sink` picks one by name.
What a request holds and what an answer means is `sender.api`'s; where requests go (proxy, certificates) is `route`'s,
once for both.
"""

from __future__ import annotations

from .choose import make_sink
from .settings import TransportSettings

__all__ = ["TransportSettings", "make_sink"]
