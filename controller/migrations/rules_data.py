"""Judges statements that change rows, and those that keep tables in order."""

from collections.abc import Callable, Iterable
from typing import Final

from controller.migrations.bundle import Kind
from controller.migrations.catalog import name_of, walk
from controller.migrations.classes import Notes
from controller.migrations.locks import LockMode
from controller.migrations.rules_objects import reads
from controller.migrations.scripts import option
from controller.migrations.splitting import Node

_CHANGES: Final = {"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}


def query(node: Node, notes: Notes) -> None:
    """Judge SELECT, INSERT, UPDATE, DELETE and MERGE, and those inside WITH."""
    reads(node, notes)
    for part in walk(node):
        if type(part).__name__ in _CHANGES:
            _change(part, notes)
        elif type(part).__name__ == "LockingClause":
            _row_locks(node, part, notes)


def _row_locks(node: Node, clause: Node, notes: Notes) -> None:
    named = clause.lockedRels or [
        item for item in getattr(node, "fromClause", None) or () if hasattr(item, "relname")
    ]
    for relation in named:
        notes.lock(name_of(relation), LockMode.ROW_SHARE)


def _change(node: Node, notes: Notes) -> None:
    table = name_of(node.relation)
    notes.is_(Kind.DATA)
    notes.lock(table, LockMode.ROW_EXCLUSIVE)
    if notes.catalog.is_new(table):
        return
    kind = type(node).__name__
    if kind in {"UpdateStmt", "DeleteStmt"}:
        notes.changes_rows.add(table)
        if not _limits(node.whereClause):
            verb = "updated" if kind == "UpdateStmt" else "deleted"
            notes.scan(table)
            notes.remark("SWM401", f"All rows of {table} are {verb} at once.", on=table)
    elif kind == "MergeStmt" or _copies(node):
        notes.changes_rows.add(table)


def _limits(where: Node | None) -> bool:
    """Tell whether a WHERE clause asks anything of a row."""
    return any(type(part).__name__ in {"ColumnRef", "CurrentOfExpr"} for part in walk(where))


def _copies(insert: Node) -> bool:
    return bool(getattr(insert.selectStmt, "fromClause", None))


def truncate(node: Node, notes: Notes) -> None:
    """Judge TRUNCATE."""
    for relation in node.relations:
        table = name_of(relation)
        notes.lock(table, LockMode.ACCESS_EXCLUSIVE)
        if not notes.catalog.is_new(table):
            notes.breaks("SWM109", f"All rows of {table} are gone.", kind=Kind.IRREVERSIBLE)


def vacuum(node: Node, notes: Notes) -> None:
    """Judge VACUUM and ANALYZE."""
    full = bool(node.is_vacuumcmd) and option(node.options, "full")
    if node.is_vacuumcmd:
        notes.in_transaction = False
    mode = LockMode.ACCESS_EXCLUSIVE if full else LockMode.SHARE_UPDATE_EXCLUSIVE
    _maintain((item.relation for item in node.rels or ()), mode, notes, "VACUUM FULL", full=full)


def cluster(node: Node, notes: Notes) -> None:
    """Judge CLUSTER."""
    notes.in_transaction = notes.in_transaction and node.relation is not None
    relations = [node.relation] if node.relation is not None else []
    _maintain(relations, LockMode.ACCESS_EXCLUSIVE, notes, "CLUSTER", full=True)


def _maintain(
    relations: Iterable[Node], mode: LockMode, notes: Notes, what: str, *, full: bool
) -> None:
    tables = [name_of(relation) for relation in relations]
    for table in tables:
        notes.lock(table, mode)
        if full:
            notes.rewrite(table)
            notes.remark("SWM208", f"{what} writes all of {table} anew.", on=table)
    if full and not tables:
        notes.remark("SWM208", f"{what} writes all tables anew.")


def reindex(node: Node, notes: Notes) -> None:
    """Judge REINDEX: writers wait, and readers that would use the index."""
    concurrent = option(node.params, "concurrently")
    if concurrent or node.relation is None:
        notes.in_transaction = False
    if node.relation is None:
        notes.remark("SWM208", "REINDEX of a whole schema or database.")
        return
    name = name_of(node.relation)
    if node.kind.name == "REINDEX_OBJECT_INDEX":
        known = notes.catalog.indexes.get(name)
        name = known.table if known else name
    notes.scan(name)
    notes.lock(name, LockMode.SHARE_UPDATE_EXCLUSIVE if concurrent else LockMode.SHARE)
    if not concurrent:
        notes.remark("SWM208", f"Writers of {name} wait until REINDEX is through.", on=name)


def refresh(node: Node, notes: Notes) -> None:
    """Judge REFRESH MATERIALIZED VIEW."""
    name = name_of(node.relation)
    notes.is_(Kind.DATA)
    notes.lock(name, LockMode.EXCLUSIVE if node.concurrent else LockMode.ACCESS_EXCLUSIVE)
    if not node.concurrent:
        notes.remark("SWM210", f"Nobody reads {name} until it is filled.", on=name)


def lock_table(node: Node, notes: Notes) -> None:
    """Judge LOCK TABLE."""
    for relation in node.relations:
        table = name_of(relation)
        mode = LockMode(node.mode)
        notes.lock(table, mode)
        notes.remark("SWM209", f"{table} is locked by hand in {mode} mode.", on=table)


def copy(node: Node, notes: Notes) -> None:
    """Judge COPY: the server's files and programs are not for migrations, nor are our streams."""
    if node.relation is not None:
        mode = LockMode.ROW_EXCLUSIVE if node.is_from else LockMode.ACCESS_SHARE
        notes.lock(name_of(node.relation), mode)
    if node.is_from:
        notes.is_(Kind.DATA)
    what = "a program" if node.is_program else "a file" if node.filename else "a stream"
    notes.remark(
        "SWM503", f"COPY {'FROM' if node.is_from else 'TO'} {what} of the server or client."
    )


JUDGES: Final[dict[str, Callable[[Node, Notes], None]]] = {
    "SelectStmt": query,
    "InsertStmt": query,
    "UpdateStmt": query,
    "DeleteStmt": query,
    "MergeStmt": query,
    "TruncateStmt": truncate,
    "VacuumStmt": vacuum,
    "ClusterStmt": cluster,
    "ReindexStmt": reindex,
    "RefreshMatViewStmt": refresh,
    "LockStmt": lock_table,
    "CopyStmt": copy,
}
