"""Programs of kmq as functions, for a zygote to run: `kmq-sender` itself, and a sender in a hurry."""

from __future__ import annotations

import sender.daemon
import sender.transport.multi
import sender.transport.pooled  # what a sender loads when it begins: the zygote has it already
from sender import cli
from sender.cli import rejected, replay, run, verify

__all__ = ["LOADED", "hurried_sender", "kmq_sender"]

LOADED = (rejected, replay, run, verify, sender.transport.multi, sender.transport.pooled)


def kmq_sender(*arguments: str) -> None:
    """Run `kmq-sender` with `arguments`."""
    cli.main(arguments)


def hurried_sender(commit_every_s: str, *arguments: str) -> None:
    """Run `kmq-sender` with a checkpoint every so many seconds: only what is covered can be removed."""
    sender.daemon._COMMIT_EVERY_S = float(commit_every_s)  # type: ignore[misc]  # Final for all but a soak
    cli.main(arguments)
