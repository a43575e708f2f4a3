"""What is known of the sender and its spool, for people and programs to see.

Owns the sender's own snapshot (`status.json`) and the survey of a spool, which needs no running
sender. Knows nothing about how figures are shown.
"""

from __future__ import annotations

from .snapshot import Behind, Blocked, LastError, Latency, Rate, Snapshot, State, Totals, load, save

__all__ = [
    "Behind",
    "Blocked",
    "LastError",
    "Latency",
    "Rate",
    "Snapshot",
    "State",
    "Totals",
    "load",
    "save",
]
