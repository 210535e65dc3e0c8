"""What the terminal shows: states, routing bar, both builds' figures, reasons; then the summary."""

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sandbox.clients import Seen
from sandbox.demo.play import Outcome, Stage

_WINDOW_SECONDS = 5.0
_BAR_WIDTH = 60
_SHOWN_EVENTS = 7
_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")


def screen(stage: Stage) -> RenderableType:
    """Return the whole live view."""
    parts: list[RenderableType] = [_acts(stage), _traffic(stage), _reasons(stage)]
    elapsed = time.monotonic() - stage.started
    title = f"Slipway on loopback Azure · {stage.app} · {elapsed:.0f} s"
    return Panel(Group(*parts), title=title, border_style="dim")


def _acts(stage: Stage) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for outcome in stage.outcomes:
        rollout = outcome.rollout
        state = rollout["state"] if rollout else "pushed"
        if outcome.is_over:
            mark = Text("✓", "green") if outcome.as_expected else Text("✗", "bold red")
        else:
            mark = Text("▸", "yellow")
        table.add_row(mark, outcome.act.title, Text(state, _state_style(state)), _step(rollout))
    return table


def _step(rollout: dict[str, Any] | None) -> Text:
    if rollout is None or rollout["is_over"]:
        return Text("")
    steps = " → ".join(f"{weight} %" for weight in rollout["steps"])
    return Text(f"now {rollout['weight']} % of {steps}", "dim")


def _state_style(state: str) -> str:
    return {
        "succeeded": "bold green",
        "rolled_back": "bold magenta",
        "rolling_back": "magenta",
        "held": "bold yellow",
        "rejected": "bold red",
    }.get(state, "cyan")


def _traffic(stage: Stage) -> RenderableType:
    recent = stage.clients.since(time.monotonic() - _WINDOW_SECONDS)
    by_version: dict[str, list[Seen]] = defaultdict(list)
    for seen in recent:
        by_version[seen.version or "nobody"].append(seen)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("build", "share", "req/s", "errors", "p50", "p95"):
        table.add_column(column, justify="left" if column == "build" else "right")
    bar = Text()
    for version in sorted(by_version):
        rows = by_version[version]
        colour = _colour(version)
        share = len(rows) / len(recent)
        bar.append("█" * round(share * _BAR_WIDTH), colour)
        failed = sum(s.failed for s in rows)
        times = sorted(s.elapsed_ms for s in rows)
        table.add_row(
            Text(version, colour),
            f"{share:.0%}",
            f"{len(rows) / _WINDOW_SECONDS:.0f}",
            Text(f"{failed / len(rows):.1%}", "bold red" if failed else "dim"),
            f"{times[len(times) // 2]:.0f} ms",
            f"{times[int(len(times) * 0.95)]:.0f} ms",
        )
    rules = stage.site.router.rules
    wanted = ", ".join(f"{rule.name} {rule.percentage:g} %" for rule in rules) or "production 100 %"
    return Group(Text(""), bar, Text(f"rules: {wanted}", "dim"), table, Text(""))


def _colour(version: str) -> str:
    number = int(version[1:]) if version[1:].isdigit() else 0
    return _COLOURS[number % len(_COLOURS)] if number else "white"


def _reasons(stage: Stage) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    moves = [e for e in stage.events if e["from"] != e["to"]] + stage.events[-1:]
    for event in moves[-_SHOWN_EVENTS:]:
        moved = f"{event['from']} → {event['to']}" if event["to"] else event["kind"]
        table.add_row(Text(event["at"][11:19], "dim"), Text(moved), Text(event["why"][:90], "dim"))
    return table


def line(stage: Stage) -> str:
    """Return one line for terminals that cannot draw: the current act in short."""
    outcome = stage.current
    if outcome is None:
        return ""
    rollout = outcome.rollout
    state = f"{rollout['state']}: {rollout['why'][:100]}" if rollout else "pushed"
    return f"{outcome.act.title}: {state}"


def figures(outcomes: Sequence[Outcome]) -> RenderableType:
    """Return the table of what was measured."""
    table = Table(
        title="What was seen and measured", title_style="bold", header_style="bold", box=SIMPLE
    )
    for column in ("act", "what", "how much"):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        name = outcome.act.short
        for what, how_much in outcome.figures.items():
            table.add_row(name, what, how_much)
            name = ""
    return table


def summary(outcomes: Sequence[Outcome]) -> RenderableType:
    """Return the table of expected against actual."""
    table = Table(
        title="Expected and actual; failures: a build's own, and those that any build shares",
        title_style="bold",
        header_style="bold",
        box=SIMPLE,
    )
    columns = ("act", "expected", "actual", "now", "took", "ctrl", "requests", "own", "shared", "")
    for column in columns:
        table.add_column(column, no_wrap=True, min_width=max(len(column), 1))
    for outcome in outcomes:
        act = outcome.act
        rollout = outcome.rollout
        failures = ", ".join(f"{who} {n}" for who, n in sorted(outcome.failures.items())) or "0"
        shared = outcome.usual + outcome.dependency.total()
        table.add_row(
            act.short,
            act.expect_state,
            rollout["state"] if rollout else "nothing",
            str(outcome.serving),
            f"{outcome.seconds:.1f} s",
            f"{outcome.controller_seconds:.1f} s",
            str(outcome.requests),
            failures,
            str(shared),
            Text("✓", "green") if outcome.as_expected else Text("✗", "bold red"),
        )
    return table
