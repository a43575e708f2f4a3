"""How thoroughly a run asks: for the published figures, for two minutes, or for a test of the benchmarks themselves.

Owns the sizes. Knows nothing about what is measured with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["SCALES", "Scale"]


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes of a run; times in seconds.

    Rounds of a few milliseconds compare calls; windows compare processes, which run in turns; `lines` and `partitions`
    are the large backlog and the many partitions.
    """

    name: str
    rounds: int
    round_s: float
    windows: int
    window_s: float
    warm_s: float
    idle_s: float
    lines: int
    partitions: int


SCALES: Final = {
    scale.name: scale
    for scale in (
        Scale("tiny", 2, 0.001, 1, 0.05, 0.05, 0.1, 1_000, 3),
        Scale("quick", 60, 0.004, 3, 0.5, 0.8, 4.0, 1_000_000, 300),
        Scale("full", 400, 0.005, 15, 1.0, 2.0, 20.0, 10_000_000, 1_000),
    )
}
