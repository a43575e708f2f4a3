"""A replay: commands are sent again, from a source that has no checkpoint, until all of them are settled.

Owns the loop between such a source and the dispatcher. Knows nothing about what the source reads, how a sink delivers,
or how progress is shown. Retries as the sender does, without end; takes no lock, moves no checkpoint, writes no file.

Invariant: what is sent for a command is what was sent for it the first time, byte for byte, since both are made from
its line alone. Its time is part of that, so that what KISSmetrics already has counts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kmq.clock import CLOCK, Clock
from sender.dispatcher import Dispatcher, Window, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sender.flow import Sink
    from sender.rejected import New

    from .filters import Filter
    from .source import ReplaySource

__all__ = ["Replay"]

_AT_ONCE_LINES: Final = 2_000
"""Lines that are read between two looks at the answers, at most."""

_STREAM_PATIENCE_S: Final = 0.05


class Replay:
    """Sends what `wanted` takes of `source` through `sink`.

    `passed` is told of each line that is no command, and of each command that the API refused for what it says.
    `random` gives numbers in [0, 1).
    """

    def __init__(  # noqa: PLR0913 - its two seams, and what is handed in to be testable
        self,
        source: ReplaySource,
        sink: Sink,
        wanted: Filter,
        *,
        window: Window,
        passed: Callable[[New], None],
        random: Callable[[], float],
        clock: Clock = CLOCK,
    ) -> None:
        self._source = source
        self._wanted = wanted
        self._passed = passed
        self._clock = clock
        self.dispatcher = Dispatcher(
            sink, self._pass_over, window=window, random=random, clock=clock
        )

    @property
    def delivered(self) -> int:
        """Commands that the API took."""
        return self.dispatcher.figures.delivered

    @property
    def rejected(self) -> int:
        """Lines that are no command, and commands that the API refused for what they say."""
        return self.dispatcher.figures.rejected.total()

    @property
    def done(self) -> bool:
        """Whether all was read and settled."""
        return self._source.ended and self.dispatcher.waiting == 0

    def run(self, stopping: Callable[[], bool], look: Callable[[], None]) -> bool:
        """Send until all is settled, or until `stopping`; return whether all is. `look` is called after each turn.

        Told to stop, it reads no more and waits for what is in flight, 10 seconds at most.
        """
        while not self.done and not stopping():
            self.turn()
            look()
        if not self.done:
            turns.finish(self.dispatcher, self._clock, look)
        return self.done

    def turn(self) -> None:
        """Read ahead, send what may go, settle what was answered; waits a quarter of a second at most."""
        read = self._read_ahead()
        turns.turn(self.dispatcher, 0.0 if read or self.done else self._wait_s(), self._clock)

    def _read_ahead(self) -> int:
        if self.dispatcher.crowded():
            return 0
        max_lines, max_bytes = self.dispatcher.room()
        lines = self._source.read(min(max_lines, _AT_ONCE_LINES), max_bytes)
        self.dispatcher.offer(line for line in lines if self._wanted.takes(line))
        return len(lines)

    def _wait_s(self) -> float:
        longest_s = turns.PATIENCE_S if self._source.ended else _STREAM_PATIENCE_S
        return turns.patience_s(self.dispatcher, longest_s)

    def _pass_over(self, batch: Sequence[New]) -> None:
        for new in batch:
            self._passed(new)
