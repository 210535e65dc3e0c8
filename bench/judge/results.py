"""Results as JSON: one row per rule and cell. Never is null."""

import json
import math
from dataclasses import asdict
from pathlib import Path

from bench.judge.cells import Row

FILE = Path("bench/results/judge.json")
_TIMES = ("median", "p95", "promoted_median")


def write(rows: list[Row], file: Path = FILE) -> None:
    """Write *rows*."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(_plain(row)) for row in rows)
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read(file: Path = FILE) -> list[Row]:
    """Read what the last whole run wrote."""
    return [_row(each) for each in json.loads(file.read_text(encoding="utf-8"))]


def _plain(row: Row) -> dict[str, object]:
    plain = {}
    for name, value in asdict(row).items():
        rounded = round(value, 5) if isinstance(value, float) else value
        plain[name] = None if isinstance(value, float) and math.isinf(value) else rounded
    return plain


def _row(plain: dict[str, object]) -> Row:
    says = plain["promoted"] is not None
    for name in _TIMES:
        if plain[name] is None and (says or name != "promoted_median"):
            plain[name] = math.inf
    return Row(**plain)  # type: ignore[arg-type]
