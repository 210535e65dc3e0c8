"""A chart as one SVG document: no script, no font or picture from elsewhere, light and dark."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from controller.verdict.chart import Axis, Chart, Panel, Series

_WIDTH: Final = 760
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 130, 74, 46
_PANEL, _GAP = 130, 52
_LINE: Final = 14  # between labels that would touch
_LETTERS: Final = 108  # of the description that fit a line
_STYLE: Final = """
  .page { fill: #ffffff } text { font: 12px system-ui, sans-serif; fill: #24292f }
  .title { font-size: 16px; font-weight: 600 } .panel { font-weight: 600 }
  .quiet { fill: #57606a; font-size: 11px }
  .frame { fill: none; stroke: #d0d7de } .grid { stroke: #eaeef2 }
  .threshold { stroke: #57606a; stroke-dasharray: 5 4 }
  .line { fill: none; stroke-width: 2; stroke-linejoin: round } .band { stroke: none; opacity: .18 }
  .line.against { stroke: #b42318 } .line.good { stroke: #1a7f37 }
  .line.canary { stroke: #bc4c00 } .line.stable { stroke: #0969da; stroke-dasharray: 7 3 }
  .band.canary { fill: #bc4c00 } .band.stable { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .frame { stroke: #3d444d } .grid { stroke: #21262d } .threshold { stroke: #9198a1 }
    .line.against { stroke: #ff7b72 } .line.good { stroke: #3fb950 }
    .line.canary { stroke: #f0883e } .line.stable { stroke: #58a6ff }
    .band { opacity: .25 } .band.canary { fill: #f0883e } .band.stable { fill: #58a6ff }
  }
"""


def svg(chart: Chart) -> str:
    """Return *chart* as an SVG document. Its title and description are read to who cannot see."""
    lines = _wrapped(chart.description)
    top = _TOP + (len(lines) - 1) * _LINE
    panels = len(chart.panels)
    height = top + panels * _PANEL + max(panels - 1, 0) * _GAP + _BOTTOM
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
        f'<title id="title">{_clean(chart.title)}</title>',
        f'<desc id="desc">{_clean(_in_words(chart))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{_WIDTH}" height="{height}"/>',
        _text(16, 26, chart.title, "title"),
        *(_text(16, 44 + _LINE * row, line, "quiet") for row, line in enumerate(lines)),
    ]
    for number, panel in enumerate(chart.panels):
        parts += _panel(panel, chart.x, top + number * (_PANEL + _GAP))
    if panels:
        bottom = height - _BOTTOM
        parts += [
            _text(_across(x, chart.x), bottom + 16, said, "quiet", "middle")
            for x, said in chart.x.ticks
        ]
        parts.append(_text(_LEFT, bottom + 34, chart.x.label, "quiet"))
    else:
        parts.append(_text(16, top, "Nothing was seen yet.", "quiet"))
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, x: Axis, top: float) -> Iterator[str]:
    right, bottom = _WIDTH - _RIGHT, top + _PANEL
    yield _text(_LEFT, top - 8, panel.title, "panel")
    yield _text(right, top - 8, panel.y.label, "quiet", "end")
    for value, said in panel.y.ticks:
        y = _down(value, panel.y, top)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
        yield _text(_LEFT - 6, y + 4, said, "quiet", "end")
    yield f'<rect class="frame" x="{_LEFT}" y="{top}" width="{right - _LEFT}" height="{_PANEL}"/>'
    labels: list[tuple[float, str, str]] = []
    if panel.threshold is not None:
        y = _down(panel.threshold, panel.y, top)
        yield f'<path class="threshold" d="M{_LEFT} {y:.1f}H{right}"/>'
        labels.append((y, panel.threshold_name, "quiet"))
    for series in panel.series:
        yield from _drawn(series, x, panel.y, top)
        if series.points:
            y = _down(series.points[-1][1], panel.y, top)
            labels.append((y, f"{series.name} {series.newest}", ""))
    for y, said, style in _apart(labels, bottom):
        yield _text(right + 6, y + 4, said, style)


def _drawn(series: Series, x: Axis, y: Axis, top: float) -> Iterator[str]:
    if series.band:
        upper = [(at, high) for at, _, high in series.band]
        lower = [(at, low) for at, low, _ in reversed(series.band)]
        yield f'<path class="band {series.role}" d="{_path([*upper, *lower], x, y, top)}Z"/>'
    if len(series.points) == 1:  # a line of no length shows nothing
        at, value = series.points[0]
        yield (
            f'<circle class="line {series.role}" cx="{_across(at, x):.1f}" '
            f'cy="{_down(value, y, top):.1f}" r="3"/>'
        )
    elif series.points:
        yield f'<path class="line {series.role}" d="{_path(series.points, x, y, top)}"/>'


def _path(points: Sequence[tuple[float, float]], x: Axis, y: Axis, top: float) -> str:
    places = (f"{_across(at, x):.1f} {_down(value, y, top):.1f}" for at, value in points)
    return "M" + "L".join(places)


def _across(value: float, axis: Axis) -> float:
    width = _WIDTH - _RIGHT - _LEFT
    return _LEFT + width * _share(value, axis)


def _down(value: float, axis: Axis, top: float) -> float:
    return top + _PANEL * (1 - _share(value, axis))


def _share(value: float, axis: Axis) -> float:
    """Return how far along the axis *value* lies, 0..1; what is beyond an end lies on it."""
    inside = min(max(value, axis.low), axis.high)
    if axis.is_logarithmic:
        return math.log(inside / axis.low) / math.log(axis.high / axis.low)
    return (inside - axis.low) / (axis.high - axis.low)


def _apart(labels: Sequence[tuple[float, str, str]], bottom: float) -> list[tuple[float, str, str]]:
    """Return the labels from top to bottom, none on another and none below the panel."""
    placed: list[tuple[float, str, str]] = []
    limit = bottom
    for y, said, style in sorted(labels, reverse=True):
        placed.append((min(y, limit), said, style))
        limit = placed[-1][0] - _LINE
    return placed[::-1]


def _in_words(chart: Chart) -> str:
    said = [
        f"{panel.title}: "
        + ", ".join(f"{series.name} {series.newest}".rstrip() for series in panel.series)
        + (f" ({panel.threshold_name})" if panel.threshold_name else "")
        for panel in chart.panels
    ]
    return ". ".join([chart.description, *said])


def _wrapped(said: str) -> list[str]:
    return textwrap.wrap(said, _LETTERS) or [""]


def _text(x: float, y: float, said: str, style: str = "", anchor: str = "start") -> str:
    where = f' text-anchor="{anchor}"' if anchor != "start" else ""
    named = f" class={quoteattr(style)}" if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}{where}>{_clean(said)}</text>'


def _clean(said: str) -> str:
    """Return *said* as XML can hold it."""
    return escape("".join(letter if letter.isprintable() else " " for letter in said))
