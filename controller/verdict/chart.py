"""A small model of a chart of one judgement: what to draw, and nothing of how."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controller.verdict.question import Course, Judgement
from controller.verdict.sentences import HEADLINES, percent, ratio

_FLOOR: Final = 0.1  # weaker evidence is drawn as this weak
_CEILING: Final = 1e4  # times the threshold; stronger evidence is drawn as this strong
_STEPS: Final = (15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400, 432000)
_MOST_TICKS: Final = 7
_LEAST_RATE: Final = 0.001
_HOUR: Final = 3600
_LONG: Final = 2 * _HOUR  # from here on, labels are hours
_ROUND: Final = (1, 2, 5, 10)
_MANY_MS: Final = 1e6  # from which milliseconds are shown as a power of ten
_NONE: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One direction: its words, its ends, and where numbers stand."""

    label: str
    low: float
    high: float
    is_logarithmic: bool = False
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line. ``points`` are (seconds, value); ``band`` is (seconds, low, high)."""

    name: str
    role: str  # against | good | canary | stable
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()
    newest: str = ""  # the last value in words


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Lines that share a scale, and the value that matters on it."""

    title: str
    y: Axis
    series: tuple[Series, ...]
    threshold: float | None = None
    threshold_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Panels above each other that share time. ``description`` says all of it in words."""

    title: str
    description: str
    x: Axis
    panels: tuple[Panel, ...]


def chart(judgement: Judgement) -> Chart:
    """Return how the judgement came to be: evidence against thresholds, both builds' rates.

    What was not kept has no panel; rates are there if it was judged with its course.
    """
    course = judgement.course
    seconds = [(start - course.starts[0]).total_seconds() for start in course.starts]
    panels = [
        _evidence(
            "Evidence against the new build",
            ("against", "taken back at"),
            _points(seconds, course.evidence),
            course.threshold,
        ),
        _evidence(
            "Evidence that it is acceptable",
            ("good", "passes at"),
            _points(seconds, course.health),
            course.health_threshold,
        ),
        _rates(seconds, course),
    ]
    label = str(judgement.label.value).replace("_", " ")
    return Chart(
        title=f"{label.capitalize()}: {HEADLINES[judgement.label]}",
        description=judgement.reason,
        x=_time(seconds),
        panels=tuple(panel for panel in panels if any(s.points for s in panel.series)),
    )


def odds(value: float | None) -> str:
    """Return evidence as people read it."""
    return _NONE if value is None or not math.isfinite(value) else ratio(value)


def figure(value: float | None, unit: str) -> str:
    """Return a signal's figure as people read it."""
    if value is None or not math.isfinite(value):
        return _NONE
    if unit == "ms":
        return f"{value:.0f} ms" if abs(value) < _MANY_MS else f"{value:.0e} ms"
    return percent(value)


def _points(
    seconds: Sequence[float], values: Sequence[float | None]
) -> tuple[tuple[float, float], ...]:
    """Return what is known; a judgement that was kept without a course has none."""
    return tuple(
        (x, y) for x, y in zip(seconds, values, strict=False) if y is not None and not math.isnan(y)
    )


def _evidence(
    title: str,
    names: tuple[str, str],
    points: tuple[tuple[float, float], ...],
    threshold: float,
) -> Panel:
    role, reached = names
    strongest = max((y for _, y in points), default=1.0)
    most = min(max(strongest, threshold * 2), threshold * _CEILING)
    top = math.ceil(math.log10(most))
    decades = range(-1, top + 1, 1 + top // 4)
    return Panel(
        title=title,
        y=Axis(
            label="odds (E : 1)",
            low=_FLOOR,
            high=10.0**top,
            is_logarithmic=True,
            ticks=tuple((10.0**power, f"{10.0**power:,g}") for power in decades),
        ),
        series=(
            Series(
                name="now",
                role=role,
                points=points,
                newest=odds(points[-1][1]) if points else "",
            ),
        ),
        threshold=threshold,
        threshold_name=f"{reached} {odds(threshold)}",
    )


def _rates(seconds: Sequence[float], course: Course) -> Panel:
    arms = (
        ("new", "canary", course.canary_rate, course.canary_low, course.canary_high),
        ("stable", "stable", course.stable_rate, course.stable_low, course.stable_high),
    )
    lines = tuple(
        Series(
            name=name,
            role=role,
            points=_points(seconds, rates),
            band=_band(seconds, lows, highs),
            newest=figure(rates[-1] if rates else None, "rate"),
        )
        for name, role, rates, lows, highs in arms
    )
    lines = tuple(line for line in lines if line.points)
    known = [y for line in lines for _, y in line.points]
    known += [line.band[-1][2] for line in lines if line.band]  # the first are wide and say little
    top = _rounded(min(max([*known, _LEAST_RATE]) * 1.1, 1.0))
    return Panel(
        title="Error rate since the first users; the band holds at every look (95 %)",
        y=Axis(
            label="failed requests",
            low=0.0,
            high=top,
            ticks=tuple((value, f"{value * 100:g}%") for value in (0.0, top / 2, top)),
        ),
        series=lines,
    )


def _band(
    seconds: Sequence[float], lows: Sequence[float | None], highs: Sequence[float | None]
) -> tuple[tuple[float, float, float], ...]:
    return tuple(
        (x, low, high)
        for x, low, high in zip(seconds, lows, highs, strict=False)
        if low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    )


def _rounded(value: float) -> float:
    """Return the next 1, 2 or 5 of a power of ten, at most 1."""
    unit = 10.0 ** math.floor(math.log10(value))
    return min(next((unit * step for step in _ROUND if unit * step >= value), unit * 10), 1.0)


def _time(seconds: Sequence[float]) -> Axis:
    end = max(seconds[-1] if seconds else 0.0, float(_STEPS[0]))
    step = next((s for s in _STEPS if end / s <= _MOST_TICKS), end / _MOST_TICKS)
    places = [step * index for index in range(int(end // step) + 1)]
    unit = "h" if end >= _LONG else "min:s"
    return Axis(
        label=f"time since the first users ({unit})",
        low=0.0,
        high=end,
        ticks=tuple((place, _moment(place, end)) for place in places),
    )


def _moment(seconds: float, end: float) -> str:
    if end >= _LONG:
        return f"{seconds / _HOUR:.3g}"
    return f"{int(seconds // 60)}:{int(seconds % 60):02}"
