"""Judges what ALTER TABLE does to a column: adding it, its type, whether it may be null."""

from typing import Final

from controller.migrations.catalog import columns_in, constraints_of, name_of, walk
from controller.migrations.classes import Notes
from controller.migrations.locks import LockMode
from controller.migrations.splitting import Node
from controller.migrations.sql_types import SERIALS, SqlType, is_safe_widening, type_of

_STRONG: Final = LockMode.ACCESS_EXCLUSIVE
# Functions whose value is the same for all rows of a statement, so that PostgreSQL keeps it once.
# What is not here may change from row to row, and then every row is written.
_STEADY: Final = {
    "now", "transaction_timestamp", "statement_timestamp", "timezone", "date_trunc", "to_timestamp",
    "make_date", "make_timestamp", "make_timestamptz", "make_interval", "lower", "upper", "md5",
    "concat", "format", "length", "round", "floor", "ceil", "abs", "jsonb_build_object",
    "json_build_object", "jsonb_build_array", "json_build_array", "to_jsonb", "to_json",
    "current_setting", "current_schema", "version", "array_fill", "string_to_array", "repeat",
    "replace", "substring", "trim", "btrim", "left", "right", "encode", "decode", "int4range",
    "int8range", "numrange", "tsrange", "tstzrange", "daterange", "to_tsvector", "extract",
    "date_part", "to_char", "to_date", "to_number", "greatest", "least", "pg_catalog",
}  # fmt: skip


def add_column(command: Node, notes: Notes, table: str) -> None:
    """Judge ADD COLUMN: cheap with a constant default, not with one that differs by row."""
    definition = command.def_
    notes.lock(table, _STRONG)
    if notes.catalog.column(table, definition.colname) is not None and command.missing_ok:
        return
    default = _default_of(definition)
    why = _why_rewritten(definition, default)
    if why is not None:
        notes.rewrite(table)
        notes.remark(
            "SWM202",
            f"ADD COLUMN {definition.colname} writes all of {table} anew: {why}.",
            on=table,
        )
    elif default is None:
        _refuse_required(definition, notes, table)
    _column_constraints(definition, notes, table, has_default=default is not None)


def alter_type(command: Node, notes: Notes, table: str) -> None:
    """Judge ALTER COLUMN TYPE: some only take a limit away, the others write the table anew."""
    notes.lock(table, _STRONG)
    if notes.catalog.is_new_column(table, command.name):
        if not notes.catalog.is_new(table):
            _rewritten_type(command, notes, table)
        return
    known = notes.catalog.column(table, command.name)
    old = known.type if known else None
    new = type_of(command.def_.typeName)
    if old is not None and command.def_.raw_default is None and is_safe_widening(old, new):
        return
    _rewritten_type(command, notes, table)
    notes.breaks("SWM106", _changed_type(f"{table}.{command.name}", old, new))


def _rewritten_type(command: Node, notes: Notes, table: str) -> None:
    notes.rewrite(table)
    notes.remark(
        "SWM202", f"The new type of {table}.{command.name} writes the table anew.", on=table
    )


def _changed_type(column: str, old: SqlType | None, new: SqlType) -> str:
    if old is None:
        return (
            f"{column} becomes {new}; what it was is not known here, so it counts as a change "
            "that the old build does not expect."
        )
    return f"{column} changes from {old} to {new}; the old build reads and writes {old}."


def set_not_null(command: Node, notes: Notes, table: str) -> None:
    """Judge SET NOT NULL: it reads the table unless a validated check proves it already."""
    notes.lock(table, _STRONG)
    column = notes.catalog.column(table, command.name)
    if column is not None and column.not_null:
        return
    known = notes.catalog.tables.get(table)
    if known is None or not known.proves_not_null(command.name):
        notes.scan(table)
        notes.remark("SWM201", f"SET NOT NULL of {command.name} reads all of {table}.", on=table)
    is_filled = column is not None and column.is_new and column.has_default
    if not notes.catalog.is_new(table) and not is_filled:
        notes.breaks(
            "SWM107", f"{table}.{command.name} is required; the old build may write nulls."
        )


def _default_of(definition: Node) -> Node | None:
    found = constraints_of(definition, "CONSTR_DEFAULT")
    default = found[0].raw_expr if found else definition.raw_default
    constant = getattr(default, "arg", default)
    return None if getattr(constant, "isnull", False) else default


def _why_rewritten(definition: Node, default: Node | None) -> str | None:
    if definition.typeName and definition.typeName.names[-1].sval in SERIALS:
        return "each row takes a number of its sequence"
    if constraints_of(definition, "CONSTR_IDENTITY"):
        return "each row takes a number of its sequence"
    if any(c.generated_kind == "s" for c in constraints_of(definition, "CONSTR_GENERATED")):
        return "each row's value is computed and stored"
    volatile = _volatile_function(default)
    if volatile is not None:
        return f"{volatile}() gives, or may give, each row another value"
    return None


def _volatile_function(default: Node | None) -> str | None:
    for node in walk(default):
        if type(node).__name__ == "FuncCall" and node.funcname[-1].sval not in _STEADY:
            return str(node.funcname[-1].sval)
    return None


def _refuse_required(definition: Node, notes: Notes, table: str) -> None:
    required = constraints_of(definition, "CONSTR_NOTNULL", "CONSTR_PRIMARY")
    has_value = constraints_of(definition, "CONSTR_GENERATED")
    if required and not has_value and not notes.catalog.is_new(table):
        notes.scan(table)
        notes.breaks(
            "SWM113",
            f"{table}.{definition.colname} is required and has no default: rows that exist break "
            "it, and so does every INSERT of the old build.",
        )


def _column_constraints(definition: Node, notes: Notes, table: str, *, has_default: bool) -> None:
    for constraint in definition.constraints or ():
        kind = constraint.contype.name
        if kind in {"CONSTR_UNIQUE", "CONSTR_PRIMARY"}:
            notes.scan(table)
            notes.remark(
                "SWM205", f"{definition.colname} builds a unique index of {table}.", on=table
            )
        elif kind == "CONSTR_FOREIGN":
            notes.lock(name_of(constraint.pktable), LockMode.SHARE_ROW_EXCLUSIVE)
            if has_default:
                notes.scan(table)
                notes.remark(
                    "SWM203", f"The default of {definition.colname} is checked by row.", on=table
                )
        elif kind == "CONSTR_CHECK" and not constraint.skip_validation:
            notes.scan(table)
            names = ", ".join(columns_in(constraint.raw_expr)) or definition.colname
            notes.remark("SWM204", f"The check of {names} reads all of {table}.", on=table)
