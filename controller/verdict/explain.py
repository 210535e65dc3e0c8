"""A judgement for people: as text for a terminal, as JSON, and as a small model of a chart."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, cast

from controller.core.events import Label
from controller.verdict.chart import chart, figure, odds
from controller.verdict.question import Judgement, Signal
from controller.verdict.sentences import HEADLINES
from controller.verdict.sparkline import sparkline

__all__ = ["chart", "contradiction", "document", "leading", "name_of", "text"]

Json = dict[str, Any]

_NAMES: Final = {
    "errors": "errors",
    "latency_p50": "p50",
    "latency_p90": "p90",
    "latency_p99": "p99",
    "latency_limit": "latency limit",
    "silence": "its share of traffic",
    "probes": "our own requests",
}
_SUSPICIOUS: Final = 5.0  # `Gate.suspicious` unless configured otherwise
_MOST_SIGNALS: Final = 5
_WIDTH: Final = 88
_ODDS: Final = " : 1"
_UNBROKEN: Final = "\N{NO-BREAK SPACE}"


def text(judgement: Judgement) -> str:
    """Return what a tired person wants to read, for a terminal; lines of no more than 88 columns.

    Only figures in the table may make a line longer. It ends without a line break.
    """
    blocks = [
        f"{_heading(judgement.label)}: {HEADLINES[judgement.label]}",
        _wrapped(judgement.reason),
        "\n".join(_summary(judgement)),
        "\n".join(_table(judgement)),
        f"Judged by {judgement.judge}. Intervals hold at every look with 95 %.",
    ]
    return "\n\n".join(block for block in blocks if block)


def document(judgement: Judgement) -> Json:
    """Return the judgement as JSON values; docs/api.md describes them.

    Keys are stable, numbers are finite. `controller.verdict.records.judgement_from` reads it.
    """
    plain = asdict(judgement) | {
        "evidence": {
            "now": _now(judgement),
            "peak": _peak(judgement),
            "needed": judgement.course.threshold,
        },
        "health": {"now": _health(judgement), "needed": judgement.course.health_threshold},
        "leading": [signal.name for signal in leading(judgement)],
        "contradiction": contradiction(judgement),
    }
    shown: Json = _plain(plain)
    return shown


def leading(judgement: Judgement) -> list[Signal]:
    """Return the signals that say anything, those first that weigh most against the build."""
    telling = [s for s in judgement.signals if _tells(s)]
    return sorted(telling, key=lambda s: (-_finite(s.weight) * _finite(s.evidence), -s.weight))


def contradiction(judgement: Judgement) -> str:
    """Return which signals disagree; empty where none do."""
    needed = judgement.course.health_threshold
    against = [s for s in leading(judgement) if s.weight > 0 and s.evidence >= _SUSPICIOUS]
    good = [s for s in judgement.signals if s.health is not None and s.health >= needed]
    good = [s for s in good if s not in against]
    if not against or not good:
        return ""
    blamed = ", ".join(f"{name_of(s)} {odds(s.evidence)}" for s in against)
    praised = ", ".join(f"{name_of(s)} {odds(s.health)}" for s in good)
    return f"against it {blamed}; yet acceptable {praised}"


def name_of(signal: Signal) -> str:
    """Return what people call a signal."""
    return _NAMES.get(signal.name, f"metric {signal.name}")


def _heading(label: Label) -> str:
    return str(label.value).replace("_", " ").upper()


def _wrapped(said: str, *, first: str = "  ") -> str:
    """Return *said* in lines that start below each other and break no odds."""
    whole = said.replace(_ODDS, _ODDS.replace(" ", _UNBROKEN))
    lines = textwrap.fill(
        whole,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
    )
    return lines.replace(_UNBROKEN, " ")


def _tells(signal: Signal) -> bool:
    known = (signal.canary, signal.stable) != (None, None)
    return known or signal.evidence != 1.0 or signal.health not in {None, 1.0} or bool(signal.note)


def _summary(judgement: Judgement) -> Iterator[str]:
    course = judgement.course
    now, peak, health = _now(judgement), _peak(judgement), _health(judgement)
    before = f", {odds(peak)} at most" if odds(peak) != odds(now) else ""
    rows = [
        (
            "Against it",
            f"evidence {odds(now)} (takes back at {odds(course.threshold)}){before}",
            sparkline(course.evidence, full=course.threshold),
        )
    ]
    if health is not None:
        shown = f"evidence {odds(health)} (needs {odds(course.health_threshold)})"
        bar = sparkline(course.health, full=course.health_threshold)
        rows.append(("That it is good", shown, bar))
    width = max(len(said) for _, said, _ in rows)
    for name, said, bar in rows:
        yield f"{name:<17}{said:<{width}}  {bar}".rstrip()
    if not_ruled_out := _not_ruled_out(judgement):
        yield f"{'Not ruled out':<17}{not_ruled_out}"
    if opposed := contradiction(judgement):
        yield _wrapped(opposed, first=f"{'They disagree':<17}")


def _not_ruled_out(judgement: Judgement) -> str:
    """Return how bad the build may still be, by what was seen so far."""
    errors = next((s for s in judgement.signals if s.name == "errors"), None)
    if judgement.label is Label.REGRESSED or errors is None or errors.canary_interval is None:
        return ""
    return f"an error rate of up to {figure(errors.canary_interval[1], 'rate')}"


def _table(judgement: Judgement) -> Iterator[str]:
    telling = leading(judgement)
    rows = [("Signal", "New build", "Stable build", "Against it", "That it is good")]
    rows += [_row(signal) for signal in telling[:_MOST_SIGNALS]]
    if len(rows) == 1:
        return
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
    for signal in telling[:_MOST_SIGNALS]:
        if signal.note:
            yield f"{name_of(signal)}: {signal.note}"
    if rest := telling[_MOST_SIGNALS:]:
        yield f"Less telling: {', '.join(name_of(signal) for signal in rest)}"


def _row(signal: Signal) -> tuple[str, str, str, str, str]:
    against = odds(signal.evidence)
    return (
        name_of(signal),
        _ranged(signal.canary, signal.canary_interval, signal.unit),
        _ranged(signal.stable, signal.stable_interval, signal.unit),
        against if signal.weight > 0 else f"{against}, shown only",
        odds(signal.health),
    )


def _ranged(value: float | None, interval: tuple[float, float] | None, unit: str) -> str:
    if value is None or interval is None:
        return figure(value, unit)
    low, high = interval
    return f"{figure(value, unit)} ({figure(low, unit)} to {figure(high, unit)})"


def _now(judgement: Judgement) -> float:
    course = judgement.course.evidence
    return course[-1] if course else _peak(judgement)


def _peak(judgement: Judgement) -> float:
    """Return the strongest that the evidence ever was: what the decision goes by."""
    told = judgement.numbers.get("evidence")
    if isinstance(told, int | float):
        return float(told)
    return max(judgement.course.evidence, default=1.0)


def _health(judgement: Judgement) -> float | None:
    told = judgement.numbers.get("health")
    if isinstance(told, int | float):
        return float(told)
    return judgement.course.health[-1] if judgement.course.health else None


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _plain(value: object) -> Any:
    """Return JSON values only: no time objects, and no number that JSON lacks."""
    match value:
        case Mapping():
            pairs = cast("Mapping[str, object]", value).items()
            return {key: _plain(each) for key, each in pairs}
        case list() | tuple():
            return [_plain(each) for each in cast("Sequence[object]", value)]
        case datetime():
            return value.isoformat()
        case float():
            return value if math.isfinite(value) else None
        case Label():
            return value.value
        case _:
            return value
