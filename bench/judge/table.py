"""The results as tables: a summary for the terminal, everything as a page of the docs."""

import math
from collections.abc import Callable
from pathlib import Path

from bench.judge.cells import LOADED, OURS, RULES, STRICT, Row
from bench.judge.checks import Results, check, seconds

FILE = Path("docs/judge/table.md")
_SHOWN = (OURS, LOADED, STRICT, "thresholds", "Flagger", "Argo", "alarm 2 of 3", "Kayenta")
_INTRO = """# The judge against the rules in use

Written by `make bench-judge`; every figure is from one run, every rule saw the same simulated
requests. {healthy:,} rollouts per healthy cell, {bad:,} per bad one, half an hour each, buckets of
15 s. A cell is one scenario at one traffic (requests per second of both builds together) and one
share of users on the new build. [How the judge decides](../judge.md), what is simulated:
`bench/judge/scenarios.py`.

Rules: **Slipway** sends two requests of its own per build and bucket, 20 where the new build has
all users; **with synthetic load** 100 where either build has fewer than ten users' requests per
second (where failures come in clumps, one of ours fails as often as clumps begin); **strict**
tolerates nothing.
*thresholds*: more than 5 failures in 5 minutes or a mean over 2 s. *Flagger*: 99 % success and p99
of 500 ms per minute, threshold 5. *Argo*: 95 % per minute, failureLimit 3. *alarm 2 of 3*: more
than 5 % failures or a mean over 1 s in two of three minutes. *Kayenta*: Mann-Whitney at minutes 10,
20 and 30; without a control its control is the time before. The tests from the literature look at
failures alone, at alpha 0.01.

With all users on the new build nothing runs beside it but our own requests. An absolute
before/after rule exists in the judge only for when there are none of these either; it is not
simulated here: no such rule tells an outage of something shared from a bad release.
"""

_BAD_TIMES = """Since the release is bad; *early*: taken back before. `-`: half of the rollouts or
more are never taken back.
"""


def write(rows: list[Row], file: Path = FILE) -> None:
    """Write the page."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(rows), encoding="utf-8")


def page(rows: list[Row]) -> str:
    """Return the page."""
    results = Results(rows)
    counts = {row.kind: row.replications for row in rows}
    intro = _INTRO.format(healthy=counts.get("healthy", 0), bad=counts.get("bad", 0))
    parts = [
        intro,
        "## All rules\n",
        _scoreboard(results),
        "## Goals\n",
        _goals(rows),
        "## False rollbacks of healthy releases, %\n",
        _wide(results, "healthy", _percent),
        "## Bad releases: median / p95 seconds, share found where under 95 %\n",
        _BAD_TIMES,
        _wide(results, "bad", _times),
        "## Bad releases: failed requests that users got until then, mean\n",
        _wide(results, "bad", lambda row: f"{row.served:,.1f}"),
        "## Promotion of healthy releases: share, median seconds\n",
        _promotions(results, "healthy"),
        "## Exactly at the margins\n",
        "Promoted at acceptance must be 5 % at most, taken back at the tolerance 2 % at most.\n",
        _promotions(results, "acceptance"),
        _wide(results, "tolerance", _percent),
        "## Listed, not counted\n",
        "Within the tolerance, or a variant of a bad one.\n",
        _wide(results, "listed", _times),
    ]
    return "\n".join(parts)


def summary(rows: list[Row]) -> str:
    """Return the scoreboard as text."""
    return _scoreboard(Results(rows))


def _scoreboard(results: Results) -> str:
    head = ["rule", "worst false", "mean false", "healthy cells > 0.5 %", "bad cells found in 95 %"]
    lines = [[*head, "median s over bad cells", "failures served, x Slipway's"]]
    for rule in RULES:
        healthy, bad = results.of(rule, "healthy"), results.of(rule, "bad")
        often = sum(row.detected > 0.005 for row in healthy)
        found = sum(row.detected >= 0.95 for row in bad)
        lines.append(
            [
                f"**{rule}**" if rule.startswith("Slipway") else rule,
                f"{results.worst_false(rule):.2%}",
                f"{results.mean_false(rule):.3%}",
                f"{often} of {len(healthy)}",
                f"{found} of {len(bad)}",
                _middle([row.median for row in bad]),
                _exposure(results, rule),
            ]
        )
    return _markdown(lines)


def _middle(times: list[float]) -> str:
    return seconds(sorted(times)[len(times) // 2]) if times else "-"


def _exposure(results: Results, rule: str) -> str:
    """Return the geometric mean of failures served, where ours finds at least half."""
    logs = []
    for ours in results.of(OURS, "bad"):
        theirs = results.at(rule, ours.cell)
        if theirs and ours.detected >= 0.5 and ours.served > 0 and theirs.served > 0:
            logs.append(math.log(theirs.served / ours.served))
    return f"{math.exp(sum(logs) / len(logs)):.2f}" if logs else "-"


def _goals(rows: list[Row]) -> str:
    words = {True: "met", False: "**missed**", None: "for the record"}
    lines = [["goal", "measured", ""]]
    notes = []
    for verdict in check(rows):
        lines.append([verdict.goal, _escaped(verdict.measured), words[verdict.met]])
        if verdict.exceptions:
            notes.append(f"\n{verdict.goal}; the exceptions:\n")
            notes += [f"- {_escaped(each)}" for each in verdict.exceptions]
    return _markdown(lines) + "\n".join(notes) + "\n"


def _escaped(text: str) -> str:
    """Return *text* with cells' names fit for a table."""
    return text.replace(" | ", ", ")


def _wide(results: Results, kind: str, shown: Callable[[Row], str]) -> str:
    cells = [row.cell for row in results.of(OURS, kind)]
    lines = [["scenario", "req/s", "share", *_SHOWN]]
    for cell in cells:
        line = [part.strip() for part in cell.split("|")]
        line[1] = line[1].removesuffix("/s")
        lines.append(line + [shown(row) for rule in _SHOWN if (row := results.at(rule, cell))])
    return _markdown(lines)


def _percent(row: Row) -> str:
    return f"{row.detected * 100:.2f}"


def _times(row: Row) -> str:
    share = "" if row.detected >= 0.95 else f" ({row.detected:.0%})"
    early = f" early {row.early:.0%}" if row.early >= 0.005 else ""
    times = "-" if math.isinf(row.median) else f"{row.median:.0f}"
    if not math.isinf(row.p95):
        times += f" / {row.p95:.0f}"
    return f"{times}{share}{early}"


def _promotions(results: Results, kind: str) -> str:
    ours = (OURS, LOADED, STRICT)
    lines = [["scenario", "req/s", "share", *ours]]
    for row in results.of(OURS, kind):
        line = [part.strip() for part in row.cell.split("|")]
        line[1] = line[1].removesuffix("/s")
        for rule in ours:
            each = results.at(rule, row.cell)
            if each is not None and each.promoted is not None:
                middle = each.promoted_median or 0.0
                when = "" if math.isinf(middle) else f", {middle:.0f} s"
                line.append(f"{each.promoted:.1%}{when}")
        lines.append(line)
    return _markdown(lines)


def _markdown(lines: list[list[str]]) -> str:
    head, *body = lines
    rows = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
