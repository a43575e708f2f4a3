"""The plots of docs/performance.md, each drawn from the rows of a result.

Owns which rows make which picture, and what it says to whom cannot see it. A picture whose rows were not measured is
not drawn: the one that is there stays.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from .plots import Axis, Bar, Curve, Panel, bars, curves

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .values import Result, Row

__all__ = ["PICTURES", "drawn"]


def drawn(result: Result) -> dict[str, str]:
    """Return each picture that can be drawn, by the name of its file."""
    made = {name: draw(result) for name, draw in PICTURES.items()}
    return {name: text for name, text in made.items() if text is not None}


def _append(result: Result) -> str | None:
    ours, others = _measured(result, "append"), _measured(result, "peers")
    if not ours:
        return None
    items = [Bar("bare write of the line", ours[0].parts["bare write, us of CPU"], "limit")]
    items += [
        Bar(f"kmq, {row.at['properties']} properties", row.parts["record, us of CPU"], "ours")
        for row in ours
    ]
    peers = [Bar(_plain(row), row.parts["us of CPU"]) for row in others if "us of CPU" in row.parts]
    items += sorted(peers, key=lambda bar: bar.value)
    return bars(
        "A call: microseconds of CPU (two properties, where nothing else is said)",
        "Bars on a logarithmic scale: the bare write, kmq with no, two and six properties, and what others cost.",
        _axis("us of CPU a call, logarithmic", [bar.value for bar in items]),
        items,
    )


def _sending(result: Result) -> str | None:
    rows = _measured(result, "sending")
    if not rows:
        return None
    pairs = {"sending-curl-plain": "kmq, curl", "sending-requests-plain": "kmq, requests"}
    items = [
        Bar(pairs[row.id], row.parts["sender, us of CPU an event"], "ours")
        for row in rows
        if row.id in pairs
    ]
    items += [
        Bar(_plain(row), row.value, "limit" if row.id == "sending-by-pycurl" else "other")
        for row in rows
        if row.id.startswith("sending-by-") and row.value is not None
    ]
    items.sort(key=lambda bar: bar.value)
    return bars(
        "Sending: microseconds of CPU an event, over plain HTTP",
        "Bars on a logarithmic scale: bare loops on HTTP libraries, and the sender on curl and on requests.",
        _axis("us of CPU an event, logarithmic", [bar.value for bar in items]),
        items,
    )


def _latency(result: Result) -> str | None:
    rows = [row for row in _measured(result, "latency") if row.at["kind"] == "plain"]
    if not rows:
        return None
    delays = sorted({float(row.at["delay_ms"]) for row in rows})
    lines = []
    for colour, delay in enumerate(delays):
        points = sorted(
            (float(row.at["in_flight"]), row.parts["events a second"])
            for row in rows
            if row.at["delay_ms"] == delay
        )
        limit = [(one, one / (delay / 1000)) for one, _ in points]
        lines.append(Curve(f"answers after {delay:.0f} ms", points, colour))
        lines.append(Curve("", limit, 3, dashed=True))
    flights = sorted({point[0] for line in lines for point in line.points})
    highest = [point[1] for line in lines for point in line.points]
    panel = Panel(
        "dashed: what in flight and latency allow",
        Axis("in flight (--max-in-flight), logarithmic", flights),
        _axis("events a second, logarithmic", highest),
        lines,
    )
    return curves(
        "Throughput against latency and what is in flight (curl, plain HTTP)",
        "Curves of events a second over commands in flight, for each latency, close below the limit that both set.",
        [panel],
    )


def _backlog(result: Result) -> str | None:
    rows = [row for row in _measured(result, "backlog") if "axis" in row.at]
    if not rows:
        return None
    panels = [
        _cost_panel([row for row in rows if row.at["axis"] == axis], axis, title)
        for axis, title in (("lines", "lines of backlog"), ("partitions", "partitions"))
    ]
    return curves(
        "The sender's cost against the backlog and the number of partitions (curl, plain HTTP)",
        "Two curves of CPU an event: over the size of the backlog, and over the number of partitions.",
        panels,
    )


def _cost_panel(rows: Sequence[Row], axis: str, title: str) -> Panel:
    points = [(float(row.at[axis]), row.value) for row in rows if row.value is not None]
    most = max(value for _, value in points)
    return Panel(
        f"against the number of {title}",
        Axis(f"{title}, logarithmic", [point[0] for point in points]),
        Axis("us of CPU an event", _steps(most * 1.2), linear=True),
        [Curve("", points)],
    )


def _commit(result: Result) -> str | None:
    rows = _measured(result, "commit")
    if not rows:
        return None
    ours = [(float(row.at["threads"]), row.parts["events a second"]) for row in rows]
    bare = [(float(row.at["threads"]), row.parts["bare syncs a second"]) for row in rows]
    ticks = _steps(max(value for _, value in ours + bare))
    panel = Panel(
        "threads that wait at the same time share one sync",
        Axis("threads, logarithmic", [one for one, _ in ours]),
        Axis("durable events a second", ticks, linear=True),
        [Curve("sync=True", ours), Curve("bare, one thread", bare, 3, dashed=True)],
    )
    return curves(
        "Durable calls: group commit against the number of threads",
        "A curve of durable events a second over threads, and the line of one thread that writes and syncs by itself.",
        [panel],
    )


PICTURES: Final[dict[str, Callable[[Result], str | None]]] = {
    "perf-append.svg": _append,
    "perf-commit.svg": _commit,
    "perf-sending.svg": _sending,
    "perf-latency.svg": _latency,
    "perf-backlog.svg": _backlog,
}


def _measured(result: Result, group: str) -> list[Row]:
    return [row for row in result.groups.get(group, ()) if row.value is not None]


def _plain(row: Row) -> str:
    return row.what.replace("`", "")


def _axis(name: str, values: Sequence[float]) -> Axis:
    """Return a logarithmic axis of whole decades around these values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return Axis(name, [10.0**power for power in range(low, max(high, low + 1) + 1)])


def _steps(most: float) -> list[float]:
    """Return six round numbers from nothing to at least `most`."""
    power = 10.0 ** math.floor(math.log10(most / 5))
    step = next(one * power for one in (1, 2, 5, 10) if one * power * 5 >= most)
    return [step * number for number in range(6)]
