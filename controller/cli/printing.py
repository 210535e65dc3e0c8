"""What goes to the terminal: tables for people, JSON for programs."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controller.cli.values import is_array

_STYLES: Final = {
    "succeeded": "green",
    "healthy": "green",
    "idle": "dim",
    "rolled_back": "red",
    "rolling_back": "red",
    "regressed": "red",
    "rejected": "red",
    "held": "yellow",
    "approval": "yellow",
    "insufficient_data": "yellow",
    "provider_unavailable": "yellow",
    "ambient_incident": "yellow",
}
_WITHOUT_RICH: Final = "For tables with lines and colours: pip install 'slipway[cli]'"


@dataclass(slots=True, kw_only=True)
class Printer:
    """Writes answers to standard output and remarks to standard error."""

    as_json: bool = False
    _advised: bool = False

    def json(self, value: object, *, on_one_line: bool = False) -> None:
        """Print *value* as JSON; on one line where more lines follow."""
        indent = None if on_one_line else 2
        print(json.dumps(value, indent=indent, ensure_ascii=False), flush=True)

    def line(self, text: str = "") -> None:
        """Print one line."""
        print(clean(text), flush=True)

    def remark(self, text: str) -> None:
        """Say something beside the answer."""
        print(clean(text), file=sys.stderr, flush=True)

    def heading(self, text: str) -> None:
        """Print the name of what follows."""
        self.line()
        self.line(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print *rows* under *columns*; with lines and colours where a person looks on."""
        cells = [[clean(as_text(value)) for value in row] for row in rows]
        if not sys.stdout.isatty() or not self._rich_table(columns, cells):
            _plain_table(columns, cells)

    def fields(self, values: Mapping[str, object]) -> None:
        """Print names and values below each other; what is empty is left out."""
        shown = {name: clean(as_text(value)) for name, value in values.items()}
        width = max((len(name) for name in shown), default=0)
        for name, text in shown.items():
            if text:
                indented = text.replace("\n", "\n" + " " * (width + 2))
                print(f"{name:<{width}}  {indented}")
        sys.stdout.flush()

    def _rich_table(self, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> bool:
        try:
            from rich.console import Console  # noqa: PLC0415 - optional, and slow to import
            from rich.table import Table  # noqa: PLC0415
            from rich.text import Text  # noqa: PLC0415
        except ImportError:
            if not self._advised:
                self.remark(_WITHOUT_RICH)
                self._advised = True
            return False
        table = Table(*columns)
        for row in cells:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        Console(no_color="NO_COLOR" in os.environ or None, highlight=False).print(table)
        return True


def as_text(value: object) -> str:
    """Return *value* as people read it."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case _ if is_array(value):
            return ", ".join(as_text(item) for item in value)
        case _:
            return str(value)


def clean(text: str) -> str:
    """Return *text* without characters that could steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _plain_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    rows = [[name.upper() for name in columns], *cells]
    flat = [[cell.replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in flat) for i in range(len(columns))]
    for row in flat:
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())
    sys.stdout.flush()
