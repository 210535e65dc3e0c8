"""The goals of the judge, held against the results of a run."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from bench.judge.cells import LITERATURE, LOADED, OURS, PEERS, Row

_WORST_FALSE, _MEAN_FALSE = 0.005, 0.0005
_FOUND, _FOUND_CELLS = 0.95, 85
_USABLE = 0.02  # a rule that is false more often is no rule to be faster than
_EARLIER = 2.0


@dataclass(frozen=True)
class Verdict:
    """One goal. ``met`` is None where the run has no cell for it."""

    goal: str
    measured: str
    met: bool | None
    exceptions: tuple[str, ...] = ()


class Results:
    """Rows by rule and cell."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows = list(rows)
        self._by_key = {(row.rule, row.cell): row for row in self.rows}

    def of(self, rule: str, kind: str) -> list[Row]:
        """Return the rows of *rule* in cells of *kind*."""
        return [row for row in self.rows if row.rule == rule and row.kind == kind]

    def at(self, rule: str, cell: str) -> Row | None:
        """Return one row."""
        return self._by_key.get((rule, cell))

    def worst_false(self, rule: str) -> float:
        """Return the share of false rollbacks in the worst healthy cell."""
        return max((row.detected for row in self.of(rule, "healthy")), default=math.nan)

    def mean_false(self, rule: str) -> float:
        """Return the share of false rollbacks over all healthy cells."""
        rows = self.of(rule, "healthy")
        return sum(row.detected for row in rows) / len(rows) if rows else math.nan


def check(rows: Iterable[Row]) -> list[Verdict]:
    """Return every goal and whether it is met."""
    results = Results(rows)
    found = [*_false(results), _found(results), *_fastest(results)]
    found += [_earlier(results, peer) for peer in ("Flagger", "Argo", "alarm 2 of 3", "Kayenta")]
    found += [*_seconds(results), _outage(results), *_promotion(results)]
    return found


def shown(verdicts: list[Verdict]) -> str:
    """Return the goals as lines of text."""
    words = {True: "met   ", False: "MISSED", None: "listed"}
    lines = []
    for verdict in verdicts:
        lines.append(f"{words[verdict.met]}  {verdict.goal}: {verdict.measured}")
        lines += [f"          {each}" for each in verdict.exceptions]
    return "\n".join(lines)


def seconds(value: float) -> str:
    """Return a time as text."""
    return "never" if math.isinf(value) else f"{value:.0f} s"


def _false(results: Results) -> list[Verdict]:
    found = []
    for rule in (OURS, LOADED):
        rows = results.of(rule, "healthy")
        if not rows:
            continue
        worst = max(rows, key=lambda row: row.detected)
        mean = results.mean_false(rule)
        found += [
            Verdict(
                f"false rollbacks in every healthy cell <= 0.5 % ({rule})",
                f"worst {worst.detected:.2%} ({worst.cell}) of {len(rows)} cells",
                worst.detected <= _WORST_FALSE,
            ),
            Verdict(f"their mean <= 0.05 % ({rule})", f"{mean:.3%}", mean <= _MEAN_FALSE),
        ]
    edge = [row for rule in (OURS, LOADED) for row in results.of(rule, "tolerance")]
    if edge:
        worst = max(edge, key=lambda row: row.detected)
        measured = f"worst {worst.detected:.2%} ({worst.cell}, {worst.rule})"
        goal = "exactly at the tolerance: taken back <= alpha (2 %)"
        found.append(Verdict(goal, measured, worst.detected <= 0.02))
    return found


def _found(results: Results) -> Verdict:
    counts = {}
    for rule in (OURS, LOADED):
        rows = results.of(rule, "bad")
        counts[rule] = sum(row.detected >= _FOUND for row in rows)
    rows = results.of(LOADED, "bad")
    missed = tuple(
        f"not found in 95 %: {row.cell} ({row.detected:.1%})"
        for row in rows
        if row.detected < _FOUND
    )
    measured = f"{counts[LOADED]} of {len(rows)} with synthetic load, {counts[OURS]} without"
    met = counts[LOADED] >= _FOUND_CELLS if len(rows) == 100 else None
    return Verdict("bad cells found in 95 % of rollouts >= 85 of 100", measured, met, missed)


def _fastest(results: Results) -> list[Verdict]:
    """No rule that is false in at most 2 % is faster: of the worst cell, and of the mean."""
    found = []
    ways: tuple[tuple[str, Callable[[str], float], bool], ...] = (
        ("in every healthy cell", results.worst_false, True),
        ("on average over healthy cells", results.mean_false, False),
    )
    for words, false, is_goal in ways:
        usable = [rule for rule in (*PEERS, *LITERATURE) if false(rule) <= _USABLE]
        faster = [
            f"{theirs.cell}: {rule} {seconds(theirs.median)}, we {seconds(ours.median)}"
            for rule in usable
            for theirs in results.of(rule, "bad")
            if (ours := results.at(LOADED, theirs.cell)) and theirs.median < ours.median
        ]
        goal = f"no rule with <= 2 % false rollbacks {words} is faster in any bad cell"
        named = ", ".join(usable) or "no other rule is that seldom false"
        met = not faster if is_goal else None
        measured = f"{len(faster)} cells; such rules: {named}"
        found.append(Verdict(goal, measured, met, tuple(faster)))
    return found


def _earlier(results: Results, peer: str) -> Verdict:
    ratios, exceptions = [], []
    for theirs in results.of(peer, "bad"):
        ours = results.at(LOADED, theirs.cell)
        if ours is None:
            continue
        ratio = _ratio(theirs.median, ours.median)
        ratios.append(ratio)
        if ratio < _EARLIER:
            told = f"{seconds(theirs.median)}, we {seconds(ours.median)}"
            exceptions.append(f"{theirs.cell}: {peer} {told}")
    goal = f"at least 2x earlier than {peer} in the median bad cell"
    if not ratios:
        return Verdict(goal, "no cells", None)
    middle = median(ratios)
    less = f"{len(exceptions)} of {len(ratios)} cells below 2x"
    measured = f"{'never there' if math.isinf(middle) else f'{middle:.1f}x'}; {less}"
    return Verdict(goal, measured, middle >= _EARLIER, tuple(exceptions))


def _ratio(theirs: float, ours: float) -> float:
    if math.isinf(ours):
        return 1.0 if math.isinf(theirs) else 0.0
    return theirs / ours


_LIMITS: tuple[tuple[str, str, float], ...] = (
    ("x5 at 1 %, 100/s", "x5 at 1 % | 100/s | 10 %", 30),
    ("50 % failing, 10/s", "50 % failing | 10/s | 10 %", 30),
    ("total failure, 100/s: one bucket", "100 % failing | 100/s | 10 %", 15),
    ("total failure, 1000/s: one bucket", "100 % failing | 1000/s | 10 %", 15),
    *((f"silent, {r}/s", f"silent from the start | {r}/s | 10 %", 90) for r in (1, 10, 100, 1000)),
    *(
        (f"silent from minute 10, {r}/s", f"silent from minute 10 | {r}/s | 10 %", 90)
        for r in (1, 10, 100, 1000)
    ),
    ("p99 x2, 100/s", "p99 x2, the rest as before | 100/s | 10 %", 200),
)


def _seconds(results: Results) -> list[Verdict]:
    found = []
    for words, cell, limit in _LIMITS:
        rows = [row for rule in (OURS, LOADED) if (row := results.at(rule, cell))]
        goal = f"{words} <= {limit:.0f} s median"
        if not rows:
            found.append(Verdict(goal, "no cell", None))
            continue
        times = [row.median for row in rows]
        measured = f"{seconds(times[0])}, with synthetic load {seconds(times[1])}"
        found.append(Verdict(goal, measured, times[0] <= limit))
    return found


def _outage(results: Results) -> Verdict:
    rows = [r for rule in (OURS, LOADED) for r in results.of(rule, "healthy")]
    rows = [row for row in rows if row.cell.startswith("shared outage")]
    blamed = sum(round(row.detected * row.replications) for row in rows)
    total = sum(row.replications for row in rows)
    met = blamed == 0 if rows else None
    return Verdict("a shared outage is never blamed", f"{blamed} of {total} rollouts", met)


def _promotion(results: Results) -> list[Verdict]:
    edge = [row for rule in (OURS, LOADED) for row in results.of(rule, "acceptance")]
    found = []
    if edge:
        worst = max(edge, key=lambda row: row.promoted or 0)
        measured = f"worst {worst.promoted:.2%} ({worst.cell}, {worst.rule})"
        goal = "exactly at acceptance: promoted <= 5 %"
        found.append(Verdict(goal, measured, (worst.promoted or 0) <= 0.05))
    busy = [row for row in results.of(OURS, "healthy") if row.rate == 100]
    nulls = [row for row in busy if row.cell.startswith("null")]
    if nulls:
        plain = [row for row in nulls if "late" not in row.cell]
        worst = max(plain, key=_passed)
        goal = "healthy at 100/s: promoted in <= 180 s median; beyond it where telemetry is rough"
        told = f"worst {seconds(_passed(worst))} ({worst.cell})"
        late = tuple(f"{row.cell}: {seconds(_passed(row))}" for row in busy if _passed(row) > 180)
        met = _passed(worst) <= 180
        found.append(Verdict(goal, told, met, late))
    return found


def _passed(row: Row) -> float:
    return math.inf if row.promoted_median is None else row.promoted_median
