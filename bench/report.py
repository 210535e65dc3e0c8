"""One figure of the report, and the table of all."""

from dataclasses import asdict, dataclass

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured, and what it should reach. *met* is None where there is no goal."""

    name: str
    measured: str
    goal: str = ""
    met: bool | None = None

    def plain(self) -> dict[str, object]:
        """Return it for programs."""
        return asdict(self)


def show(figures: list[Figure]) -> None:
    """Print the table."""
    table = Table(box=SIMPLE, header_style="bold")
    for column in ("figure", "measured", "goal", ""):
        table.add_column(column)
    marks = {True: "[green]✓[/]", False: "[red]✗[/]", None: ""}
    for figure in figures:
        table.add_row(figure.name, figure.measured, figure.goal, marks[figure.met])
    Console(width=118).print(table)


def spread(values: list[float], unit: str = "s") -> str:
    """Return min / median / max of *values*."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return f"{ordered[0]:.2f} / {middle:.2f} / {ordered[-1]:.2f} {unit} ({len(ordered)} runs)"
