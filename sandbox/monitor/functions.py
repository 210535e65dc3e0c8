"""KQL functions that duckdb-kql does not know and our queries need.

``hash`` here is DuckDB's, not xxHash: the same text always gives the same number below the
modulus, evenly spread, which is all that may be built on (Kusto's may change, too).
"""

from collections.abc import Mapping
from typing import Final

from duckdb_kql.translate.functions import SCALAR_FUNCTIONS, FunctionSpec

_TEMPLATES: Final[Mapping[str, tuple[str, int]]] = {  # name -> SQL, number of arguments
    "hash": ("CAST(hash(CAST({0} AS VARCHAR)) % {1} AS BIGINT)", 2),
    # Of datetimes only. The floor, also before the fixed point.
    "bin_at": (
        "{2} + {1} * CAST(floor(date_part('epoch', {0} - {2}) / date_part('epoch', {1})) AS LONG)",
        3,
    ),
}


def add_functions() -> None:
    """Make them known to the translator. Safe twice."""
    for name, (template, arguments) in _TEMPLATES.items():
        known = FunctionSpec(name, "template", f"({template})", (arguments,))
        SCALAR_FUNCTIONS.setdefault(name, known)
