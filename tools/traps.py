"""The traps of Azure: where each is handled, reproduced and pinned. docs/traps/*.toml holds them.

A place is ``path`` or ``path::symbol``; several stand apart by " ; ". "-" is none, with the reason
in ``note``; ``sandbox`` may be "always", where a switch would have nothing to switch.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
PARTS: Final = (
    "slots",
    "swap",
    "containers",
    "arm",
    "registries",
    "alerts",
    "telemetry",
    "metrics",
    "servicebus",
    "functions",
    "databases",
)
_FIELDS: Final = ("trap", "code", "sandbox", "test")
NONE: Final = "-"
ALWAYS: Final = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """One row."""

    trap: str
    code: str
    sandbox: str
    test: str
    note: str = ""

    def places(self) -> Iterator[str]:
        """Return every place that it names."""
        for text in (self.code, self.sandbox, self.test):
            for place in _split(text):
                if place not in (NONE, ALWAYS):
                    yield place


def parts() -> Iterator[tuple[str, list[Trap]]]:
    """Return title and rows of each part, in the order of the page."""
    for name in PARTS:
        file = ROOT / "docs" / "traps" / f"{name}.toml"
        if not file.exists():
            continue
        document: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        yield document["title"], [Trap(**row) for row in document["trap"]]


def problems(trap: Trap) -> list[str]:
    """Return what is wrong with a row: an empty field without a reason, a place that is not."""
    found = [f"{name} is empty" for name in _FIELDS if not getattr(trap, name).strip()]
    has_none = NONE in (trap.code, trap.sandbox, trap.test)
    if has_none and not trap.note.strip():
        found.append("a field is '-' and no note says why")
    return found + [f"{place} is not there" for place in trap.places() if not _exists(place)]


def _exists(place: str) -> bool:
    path, _, symbol = place.partition("::")
    file = ROOT / path
    if not file.exists():
        return False
    return not symbol or (file.is_file() and symbol in file.read_text(encoding="utf-8"))


def _split(text: str) -> list[str]:
    """Return the places in *text*; "always: place" counts as two."""
    pieces = [piece.strip() for piece in text.split(" ; ")]
    if pieces and pieces[0].startswith(f"{ALWAYS}:"):
        return [ALWAYS, pieces[0].removeprefix(f"{ALWAYS}:").strip(), *pieces[1:]]
    return pieces


def page(prose: str) -> str:
    """Return docs/sandbox.md: *prose*, then one table per part."""
    sections = [prose.rstrip(), ""]
    for title, rows in parts():
        sections += [f"### {title}", "", "| Trap | Handled | Sandbox | Test |", "|---|---|---|---|"]
        sections += [_row(row) for row in rows]
        sections.append("")
    return "\n".join(sections)


def _row(row: Trap) -> str:
    trap = f"{row.trap} *{row.note}*" if row.note else row.trap
    cells = (trap, _shown(row.code), _shown(row.sandbox), _shown(row.test))
    return "| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in cells) + " |"


def _shown(text: str) -> str:
    return ", ".join(_link(place) for place in _split(text))


def _link(place: str) -> str:
    """Return a place as a link with a short name: the symbol, or the file's name."""
    if place in (NONE, ALWAYS):
        return "none" if place == NONE else place
    path, _, symbol = place.partition("::")
    return f"[{symbol or Path(path).name}](../{path})"
