"""Column types as far as a lint needs them: which change of type leaves every row as it is."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from controller.migrations.splitting import Node, tree

_TEXTS: Final = {("varchar", "text"), ("text", "varchar")}
_UNBOUNDED: Final = {"varchar", "varbit", "numeric"}
_PRECISE: Final = {"timestamp", "timestamptz", "time", "timetz"}
_FULL_PRECISION: Final = 6  # digits of a second where none are written
SERIALS: Final = {
    "serial": "int4",
    "serial4": "int4",
    "bigserial": "int8",
    "serial8": "int8",
    "smallserial": "int2",
    "serial2": "int2",
}


@dataclass(frozen=True, slots=True)
class SqlType:
    """A type as PostgreSQL names it inside (int4, varchar, timestamptz)."""

    name: str
    modifiers: tuple[int, ...] = ()
    is_array: bool = False

    def __str__(self) -> str:
        modifiers = f"({','.join(map(str, self.modifiers))})" if self.modifiers else ""
        return f"{self.name}{modifiers}{'[]' if self.is_array else ''}"


def type_of(node: Node) -> SqlType:
    """Return the type that a TypeName node names."""
    modifiers = tuple(
        item.val.ival
        for item in node.typmods or ()
        if type(getattr(item, "val", None)).__name__ == "Integer"
    )
    name = str(node.names[-1].sval)
    schema = str(node.names[0].sval) if len(node.names) > 1 else "pg_catalog"
    qualified = name if schema in {"pg_catalog", "public"} else f"{schema}.{name}"
    return SqlType(qualified, modifiers, bool(node.arrayBounds))


@lru_cache(maxsize=1024)
def parse_type(text: str) -> SqlType:
    """Return the type that *text* names, as ``format_type()`` of PostgreSQL writes it."""
    return type_of(tree(f"SELECT NULL::{text}").targetList[0].val.typeName)


def is_safe_widening(old: SqlType, new: SqlType) -> bool:
    """Tell whether the change keeps every row, rewrites none, and old code reads it as before.

    Source: PostgreSQL manual, ALTER TABLE, Notes: no rewrite where the old type is binary
    coercible to the new one, or only its limits grow.
    """
    if old == new or (old.is_array or new.is_array):
        return old == new
    if old.name == new.name and old.name in _PRECISE:
        return _digits(new) >= _digits(old)
    if old.name == new.name and old.name in _UNBOUNDED:
        return _grows(old.modifiers, new.modifiers)
    return (old.name, new.name) in _TEXTS and not new.modifiers


def _grows(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    if not new:
        return True
    if not old or new[0] < old[0]:
        return False
    return _scale(old) == _scale(new)


def _scale(modifiers: tuple[int, ...]) -> int:
    return modifiers[1] if len(modifiers) > 1 else 0


def _digits(of: SqlType) -> int:
    return of.modifiers[0] if of.modifiers else _FULL_PRECISION
