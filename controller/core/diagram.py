"""The picture and the list of the state machine, drawn from the table itself."""

from collections.abc import Iterable
from typing import Any

from controller.core.machine import TABLE
from controller.core.model import ENDS, State
from controller.core.row import Row


def mermaid() -> str:
    """Return a stateDiagram-v2; docs/state-machine.md embeds it and a test compares them."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.QUEUED.name}"]
    lines += [
        f"    {source} --> {target}: {', '.join(labels)}" for (source, target), labels in _edges()
    ]
    lines += [f"    {state.name} --> [*]" for state in State if state in ENDS]
    return "\n".join(lines) + "\n"


def _edges() -> Iterable[tuple[tuple[str, str], list[str]]]:
    """One arrow per pair of states; what a state asks again of itself is left to the list."""
    edges: dict[tuple[str, str], list[str]] = {}
    for row in TABLE:
        if row.source is not row.to:
            labels = edges.setdefault((row.source.name, row.to.name), [])
            if row.on.__name__ not in labels:
                labels.append(row.on.__name__)
    return edges.items()


def table() -> str:
    """Return every row as a Markdown table, in the order in which they are tried."""
    lines = ["| in | on | if | go to | ask |", "|---|---|---|---|---|"]
    for row in TABLE:
        cells = (row.source, row.on.__name__, _guard(row), row.to, _ask(row))
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _guard(row: Row[Any]) -> str:
    return row.when.__name__.replace("_", " ") if row.when else ""


def _ask(row: Row[Any]) -> str:
    return row.ask.__name__.removeprefix("ask_").replace("_", " ") if row.ask else ""
