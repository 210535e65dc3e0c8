"""Judges adding, validating and dropping constraints of a table that exists."""

from typing import Final

from controller.migrations.catalog import constraint_columns, name_of
from controller.migrations.classes import Notes
from controller.migrations.locks import LockMode
from controller.migrations.splitting import Node

_STRONG: Final = LockMode.ACCESS_EXCLUSIVE
_UNIQUE: Final = {"CONSTR_PRIMARY", "CONSTR_UNIQUE"}


def add_constraint(command: Node, notes: Notes, table: str) -> None:
    """Judge ADD CONSTRAINT by what kind it is."""
    constraint = command.def_
    kind = constraint.contype.name
    if kind == "CONSTR_FOREIGN":
        _foreign_key(constraint, notes, table)
    elif kind in _UNIQUE | {"CONSTR_EXCLUSION"}:
        _index_backed(constraint, notes, table)
    else:
        _check(constraint, notes, table)


def validate(command: Node, notes: Notes, table: str) -> None:
    """Judge VALIDATE CONSTRAINT: it reads all rows, and nobody waits for it."""
    notes.lock(table, LockMode.SHARE_UPDATE_EXCLUSIVE)
    notes.scan(table)
    known = notes.catalog.tables.get(table)
    constraint = known.constraints.get(command.name) if known else None
    if constraint is not None and constraint.references is not None:
        notes.lock(constraint.references, LockMode.ROW_SHARE)


def drop_constraint(command: Node, notes: Notes, table: str) -> None:
    """Judge DROP CONSTRAINT: rows get freer, but ON CONFLICT may need it."""
    notes.lock(table, _STRONG)
    known = notes.catalog.tables.get(table)
    constraint = known.constraints.get(command.name) if known else None
    if constraint is not None and constraint.references is not None:
        notes.lock(constraint.references, _STRONG)
    if notes.catalog.is_new(table):
        return
    if constraint is not None and constraint.kind in _UNIQUE:
        notes.breaks(
            "SWM119",
            f"The constraint {command.name} of {table} is dropped; ON CONFLICT of the old build "
            "may need it.",
        )
    else:
        notes.remark("SWM122", f"The constraint {command.name} of {table} is dropped.")


def _foreign_key(constraint: Node, notes: Notes, table: str) -> None:
    other = name_of(constraint.pktable)
    notes.lock(table, LockMode.SHARE_ROW_EXCLUSIVE)
    notes.lock(other, LockMode.SHARE_ROW_EXCLUSIVE)
    if not constraint.skip_validation:
        notes.scan(table)
        if table != other:
            notes.scan(other)
        notes.remark(
            "SWM203", f"All rows of {table} are checked against {other} at once.", on=table
        )
    _narrow(constraint, notes, table, f"a row of {other} for each of {{}}")


def _check(constraint: Node, notes: Notes, table: str) -> None:
    notes.lock(table, _STRONG)
    if not constraint.skip_validation:
        notes.scan(table)
        notes.remark("SWM204", f"All rows of {table} are checked at once.", on=table)
    _narrow(constraint, notes, table, "a check of {}")


def _index_backed(constraint: Node, notes: Notes, table: str) -> None:
    notes.lock(table, _STRONG)
    if constraint.indexname is not None:
        _using_index(constraint, notes, table)
        return
    notes.scan(table)
    notes.remark(
        "SWM205", f"The index of the constraint is built while {table} is locked.", on=table
    )
    _narrow(constraint, notes, table, "no two rows alike in {}")


def _using_index(constraint: Node, notes: Notes, table: str) -> None:
    """The index keeps the rule already. A primary key also forbids nulls, as SET NOT NULL does."""
    if constraint.contype.name == "CONSTR_PRIMARY":
        known = notes.catalog.tables.get(table)
        required = known and any(column.not_null for column in known.columns.values())
        if not required:
            notes.scan(table)
            notes.remark(
                "SWM201",
                f"The primary key of {table} reads all rows, unless its columns are NOT NULL.",
                on=table,
            )


def _narrow(constraint: Node, notes: Notes, table: str, needs: str) -> None:
    columns = constraint_columns(constraint)
    if notes.catalog.all_new(table, columns):
        return
    what = needs.format(", ".join(dict.fromkeys(columns)) or "an expression")
    notes.breaks("SWM108", f"{table} needs {what} from now on; the old build may not keep that.")
