"""The course of a replay as it is told: a bar on a terminal, else a log line every ten seconds.

Owns what is shown while it runs, on stderr, and what was named. Knows nothing about how commands are sent. No value of
a command is ever shown: a line is named by where it lies.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Final, cast

import click

from sender.announcer import GateAnnouncer
from sender.logs import Log
from sender.replay.heads import hint
from sender.replay.source import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from sender.rejected import New
    from sender.replay import Replay
    from sender.replay.source import Piece

__all__ = ["Course"]

_EVERY_S: Final = 10.0
_MOST_NAMED: Final = 100


class Course:
    """Tells how a replay goes. `failures` counts what could not be read, `forbidden` what of it this user may not.

    `clock` gives seconds that never step.
    """

    def __init__(
        self, log_format: str, log_level: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.on_terminal = sys.stderr.isatty()
        self.failures = 0
        self.forbidden = 0
        self._log = Log(log_format, log_level, stream=_stderr(over_bar=self.on_terminal))
        self._clock = clock
        self._named = 0
        self._gate = GateAnnouncer(self._log)
        self._replay: Replay | None = None
        self._total: int | None = None
        self._show: Callable[[Replay], None] = self._log_progress
        self._began = self._said = clock()

    @contextlib.contextmanager
    def shown(self, replay: Replay, total: int | None) -> Iterator[None]:
        """Show how `replay` goes, as often as `look` is called, until the block ends."""
        self._replay, self._total = replay, total
        self._began = self._said = self._clock()
        if total is None:
            yield
            return
        with click.progressbar(
            length=total,
            label="Replaying",
            file=sys.stderr,
            show_pos=True,
            show_percent=True,
            item_show_func=lambda rate: rate,
        ) as bar:
            self._show = lambda replay: bar.update(
                self._settled(replay) - bar.pos, f"{self._rate(replay):,.0f}/s"
            )
            yield

    def look(self) -> None:
        """Show what is new."""
        if self._replay is not None:
            dispatcher = self._replay.dispatcher
            self._gate.look(dispatcher.gate, dispatcher.waiting, self._clock())
            self._show(self._replay)

    def passed(self, new: New) -> None:
        """Name a line that is no command, or a command that the API refused for what it says."""
        words = hint(new.raw) if new.offset == 0 else None
        if words is not None:
            self._log.warning("replay-form", "{source}: {hint}", source=new.partition, hint=words)
        if self._may_name():
            self._log.warning(
                "replay-passed",
                "not sent: {source} at {offset}: {reason}",
                source=new.partition,
                offset=new.offset,
                reason=new.reason,
                rule=new.rule,
            )

    def failed(self, piece: Piece, error: OSError) -> None:
        """Name a piece that cannot be read."""
        self.failures += 1
        self.forbidden += isinstance(error, PermissionError)
        if self._may_name():
            self._log.error(
                "replay-unreadable",
                "cannot read {source}: {why}",
                source=piece.path,
                why=describe(error),
                offset=piece.start,
            )

    def ended(self, replay: Replay) -> None:
        """Say that it ended, and how much was not named."""
        if self._named > _MOST_NAMED:
            self._log.warning(
                "replay-passed", "{count} more were not named", count=self._named - _MOST_NAMED
            )
        if not self.on_terminal:
            self._log.info(
                "replay-done",
                "replay ended",
                delivered=replay.delivered,
                rejected=replay.rejected,
                unsent=0 if replay.done else replay.dispatcher.waiting,
            )

    def _may_name(self) -> bool:
        self._named += 1
        return self._named <= _MOST_NAMED

    def _log_progress(self, replay: Replay) -> None:
        now = self._clock()
        if now - self._said < _EVERY_S:
            return
        self._said = now
        self._log.info(
            "replay-progress",
            "replaying",
            delivered=replay.delivered,
            rejected=replay.rejected,
            per_second=round(self._rate(replay), 1),
        )

    def _rate(self, replay: Replay) -> float:
        return self._settled(replay) / max(0.001, self._clock() - self._began)

    @staticmethod
    def _settled(replay: Replay) -> int:
        return replay.delivered + replay.rejected


def _stderr(*, over_bar: bool) -> TextIO:
    # The log writes, flushes and asks for the descriptor; it needs no more of a stream.
    return cast("TextIO", _OverBar(sys.stderr)) if over_bar else sys.stderr


class _OverBar:
    """stderr with a bar on its last line: what is written replaces it, and the bar comes again below."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(f"\r\x1b[K{text}")

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()
