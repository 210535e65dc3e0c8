"""Results as Log Analytics writes them: Kusto's types, and its JSON for each."""

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

_WHOLE_ROW: Final = "_BilledSize"
# Aggregates of nothing: null in DuckDB, NaN in Kusto.
_NAN_AGGREGATE: Final = re.compile(
    r"(?:(?P<name>\w+)\s*=\s*)?\b(?P<function>percentile|avg|avgif|stdev|stdevif|variance)"
    r"\s*\(\s*(?P<column>\w+)\s*(?:,\s*(?P<percent>\d+)\s*)?"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A result table as the service writes it."""

    columns: list[dict[str, str]]
    rows: list[list[object]]


def to_answer(
    columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Any]], *, query: str, hidden: str
) -> Answer:
    """Return the result of *query*, without the column *hidden* unless it was asked for.

    *columns* are names and DuckDB's types.
    """
    kinds = [(name, kusto_type(sql_type)) for name, sql_type in columns]
    # Beside a column that nobody asks for, the hidden one has come along with all the others.
    unasked = any(name == _WHOLE_ROW for name, _ in kinds)
    shown = [i for i, (name, _) in enumerate(kinds) if not (unasked and name.startswith(hidden))]
    nan_columns = _nan_columns(query)
    written: list[list[object]] = []
    for row in rows:
        cells: list[object] = []
        for index in shown:
            name, kind = kinds[index]
            value = math.nan if row[index] is None and name in nan_columns else row[index]
            cells.append(_json_value(kind, value))
        written.append(cells)
    return Answer([{"name": kinds[i][0], "type": kinds[i][1]} for i in shown], written)


def kusto_type(sql_type: str) -> str:
    """Return the Kusto type of a DuckDB type."""
    named = {"INTERVAL": "timespan", "BOOLEAN": "bool", "JSON": "dynamic", "INTEGER": "int"}
    if sql_type in named:
        return named[sql_type]
    if sql_type.endswith("]") or sql_type.startswith(("STRUCT", "MAP")):
        return "dynamic"
    if sql_type.startswith(("TIMESTAMP", "DATE")):
        return "datetime"
    if sql_type in {"SMALLINT", "TINYINT"}:
        return "int"
    if "INT" in sql_type:  # a sum of integers is a HUGEINT
        return "long"
    return "real" if sql_type.startswith(("DOUBLE", "FLOAT", "DECIMAL")) else "string"


def _nan_columns(text: str) -> set[str]:
    """Return the columns that hold an aggregate which is NaN over no rows."""
    names: set[str] = set()
    for found in _NAN_AGGREGATE.finditer(text):
        own = [
            found["function"],
            found["column"],
            *([found["percent"]] if found["percent"] else []),
        ]
        names.add(found["name"] or "_".join(own))
    return names


def _json_value(kind: str, value: Any) -> object:
    if value is None:
        return "" if kind == "string" else None  # Kusto knows no null string
    return _WRITERS[kind](value)


def _datetime(value: object) -> str:
    """Return ISO 8601 in UTC, trailing zeros left out; a date is a datetime too."""
    text = dt.datetime.fromisoformat(str(value)).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def _dynamic(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _real(value: Any) -> object:
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _timespan(value: dt.timedelta) -> str:
    """Return ``[-][d.]hh:mm:ss[.fffffff]``."""
    sign = "-" if value < dt.timedelta() else ""
    value = abs(value)
    hours, seconds = divmod(value.seconds, 3600)
    days = f"{value.days}." if value.days else ""
    fraction = f".{value.microseconds * 10:07d}" if value.microseconds else ""
    return f"{sign}{days}{hours:02d}:{seconds // 60:02d}:{seconds % 60:02d}{fraction}"


_WRITERS: Final[dict[str, Callable[[Any], object]]] = {
    "bool": bool,
    "datetime": _datetime,
    "dynamic": _dynamic,
    "int": int,
    "long": int,
    "real": _real,
    "string": str,
    "timespan": _timespan,
}
