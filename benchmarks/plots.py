"""Charts as SVG, plain enough to be read in light and in dark: bars, and curves.

Owns scales, axes and colours. Knows nothing about what is drawn; `pictures` does. No library: a chart is a few dozen
lines of text that a browser lays out, and nothing has to be installed to draw it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from .report import figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Axis", "Bar", "Curve", "Panel", "bars", "curves"]

_WIDTH: Final = 880
_BAR: Final = 24
_NAMES: Final = 300
_STYLE: Final = """
  <style>
    .paper { fill: #ffffff } .grid { stroke: #d8dee4; stroke-width: 1 } .axis { stroke: #8c959f; stroke-width: 1 }
    .ours { fill: #1a7f5a } .limit { fill: #8c959f } .other { fill: #7aa7d9 }
    .line { fill: none; stroke-width: 2 } .dashed { stroke-dasharray: 5 4; stroke-width: 1.4 }
    .c0 { stroke: #1a7f5a; fill: #1a7f5a } .c1 { stroke: #2f6fb3; fill: #2f6fb3 } .c2 { stroke: #b3261e; fill: #b3261e }
    .c3 { stroke: #8c959f; fill: #8c959f }
    text { font-family: system-ui, sans-serif; font-size: 12px; fill: #1f2328; stroke: none }
    .head { font-size: 14px } .s { fill: #59636e } .end { text-anchor: end } .middle { text-anchor: middle }
    .line.c0, .line.c1, .line.c2, .line.c3 { fill: none }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #0d1117 } .grid { stroke: #2a313a } .axis { stroke: #6e7681 }
      .ours { fill: #3fb68b } .limit { fill: #6e7681 } .other { fill: #4a79ad }
      .c0 { stroke: #3fb68b; fill: #3fb68b } .c1 { stroke: #6ca9e8; fill: #6ca9e8 }
      .c2 { stroke: #f28b82; fill: #f28b82 } .c3 { stroke: #6e7681; fill: #6e7681 }
      text { fill: #e6edf3 } .s { fill: #9aa5b1 }
    }
  </style>"""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: its name, its value, and its kind (`ours`, `limit` or `other`), which is its colour."""

    name: str
    value: float
    kind: str = "other"


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of (x, y) under a name; a dashed curve is a limit. `colour` is a number from 0 to 3."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """What is counted along it, and the numbers that are written there; logarithmic unless `linear`."""

    name: str
    ticks: Sequence[float]
    linear: bool = False

    def place(self, first: float, last: float) -> Callable[[float], float]:
        """Return how a number becomes a place between `first` and `last`."""
        low, high = self._scaled(self.ticks[0]), self._scaled(self.ticks[-1])
        return lambda value: first + (last - first) * (self._scaled(value) - low) / (high - low)

    def _scaled(self, value: float) -> float:
        return value if self.linear else math.log10(value)


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves over two axes."""

    title: str
    x: Axis
    y: Axis
    curves: Sequence[Curve]


def bars(title: str, desc: str, axis: Axis, items: Sequence[Bar]) -> str:
    """Return a chart of one bar below another."""
    place = axis.place(_NAMES, _WIDTH - 90)
    top, bottom = 48, 48 + _BAR * len(items)
    drawn = [_text(24, 28, title, "head")]
    for tick in axis.ticks:
        drawn.append(_line(place(tick), top, place(tick), bottom, "grid"))
        drawn.append(_text(place(tick), bottom + 18, figure(tick), "s middle"))
    drawn.append(_text((_NAMES + _WIDTH - 90) / 2, bottom + 38, axis.name, "s middle"))
    for number, item in enumerate(items):
        y = top + _BAR * number + 3
        end = place(item.value)
        drawn.append(_text(_NAMES - 10, y + 13, item.name, "end"))
        size = f'width="{max(1.0, end - _NAMES):.1f}" height="{_BAR - 7}"'
        drawn.append(f'<rect class="{item.kind}" x="{_NAMES}" y="{y}" {size} rx="2"/>')
        drawn.append(_text(end + 8, y + 13, figure(item.value)))
    return _page(title, desc, bottom + 52, drawn)


def curves(title: str, desc: str, panels: Sequence[Panel]) -> str:
    """Return one chart, or several side by side."""
    width = _WIDTH / len(panels)
    drawn = [_text(24, 28, title, "head")]
    for number, panel in enumerate(panels):
        drawn += _panel(panel, number * width, width)
    return _page(title, desc, 400, drawn)


def _panel(panel: Panel, left: float, width: float) -> list[str]:
    # Room for the curves' names, where they have any.
    right = left + width - (150 if any(curve.name for curve in panel.curves) else 30)
    x = panel.x.place(left + 78, right)
    y = panel.y.place(330, 66)
    drawn = [_text(left + 78, 54, panel.title, "s")]
    for tick in panel.x.ticks:
        drawn.append(_line(x(tick), 66, x(tick), 330, "grid"))
        drawn.append(_text(x(tick), 348, figure(tick), "s middle"))
    for tick in panel.y.ticks:
        drawn.append(_line(left + 78, y(tick), right, y(tick), "grid"))
        drawn.append(_text(left + 70, y(tick) + 4, figure(tick), "s end"))
    drawn.append(_text((left + 78 + right) / 2, 372, panel.x.name, "s middle"))
    turned = f'transform="rotate(-90 {left + 20:.0f} 198)"'
    drawn.append(_text(left + 20, 198, panel.y.name, "s middle", turned))
    labels: list[float] = []
    for curve in panel.curves:
        drawn += _curve(curve, x, y, labels)
    return drawn


def _curve(
    curve: Curve, x: Callable[[float], float], y: Callable[[float], float], labels: list[float]
) -> list[str]:
    places = [(x(one), y(other)) for one, other in curve.points]
    path = "M" + "L".join(f"{one:.1f} {other:.1f}" for one, other in places)
    kind = f"c{curve.colour}" + (" dashed" if curve.dashed else "")
    drawn = [f'<path class="line {kind}" d="{path}"/>']
    if not curve.dashed:
        drawn += [
            f'<circle class="c{curve.colour}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in places
        ]
    at = places[-1][1] + 4
    while any(abs(at - other) < 14 for other in labels):  # noqa: PLR2004 - the height of a line of text
        at += 2
    labels.append(at)
    drawn.append(_text(places[-1][0] + 9, at, curve.name))
    return drawn


def _page(title: str, desc: str, height: int, drawn: Sequence[str]) -> str:
    body = "\n  ".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        'aria-labelledby="t d">\n'
        f'  <title id="t">{escape(title)}</title>\n  <desc id="d">{escape(desc)}</desc>{_STYLE}\n'
        f'  <rect class="paper" width="{_WIDTH}" height="{height}" rx="8"/>\n  {body}\n</svg>\n'
    )


def _text(x: float, y: float, text: str, kind: str = "", more: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    moved = f" {more}" if more else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}"{moved}>{escape(text)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"/>'
