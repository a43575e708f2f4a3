"""What a call of `record` costs, against the bare `os.write` of the same line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .calls import PROPERTIES, bare_write, line_of, make_spool, recording
from .harness import interleave, ratio
from .values import Row, at_most

if TYPE_CHECKING:
    from .context import Context

__all__ = ["run"]

_BOUNDS: Final = {0: at_most(2.1), 2: at_most(2.9), 6: at_most(3.8)}


def run(context: Context) -> list[Row]:
    """Measure `record` with no, two and six properties."""
    return [_row(context, count) for count in _BOUNDS]


def _row(context: Context, count: int) -> Row:
    with context.room(f"append-{count}") as folder:
        spool = folder / "spool"
        record = recording(make_spool(spool), PROPERTIES[count])
        line = line_of(spool)
        samples = interleave(
            {"record": record, "write": bare_write(folder / "bare", line)},
            rounds=context.scale.rounds,
            round_s=context.scale.round_s,
        )
    ours, bare = samples["record"].cpu, samples["write"].cpu
    found = ratio(ours, bare)
    return Row(
        f"append-{count}",
        f"`record`, {count} properties, against a bare write of its line",
        found.value,
        "x",
        found.spread,
        {"record, us of CPU": min(ours) * 1e6, "bare write, us of CPU": min(bare) * 1e6},
        {"properties": count, "line_bytes": len(line)},
        _BOUNDS[count],
    )
