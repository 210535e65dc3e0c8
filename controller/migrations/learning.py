"""Follows a bundle: what the schema is after each statement."""

from collections.abc import Callable
from typing import Any, Final

from controller.migrations.catalog import (
    Catalog,
    Column,
    Index,
    KnownConstraint,
    Table,
    column_of,
    dotted,
    known_constraint,
    name_of,
)
from controller.migrations.splitting import Node
from controller.migrations.sql_types import type_of

_OF_COLUMN: Final = {"AT_AlterColumnType", "AT_ColumnDefault", "AT_SetNotNull", "AT_DropNotNull"}


def learn(catalog: Catalog, node: Node, *, is_new: bool) -> None:
    """Change *catalog* as the statement changes the schema.

    Args:
        catalog: is changed.
        node: the statement's tree.
        is_new: what it makes is not in the database that the old build uses.
    """
    learner = _LEARNERS.get(type(node).__name__)
    if learner is not None:
        learner(catalog, node, is_new)


def _create_table(catalog: Catalog, node: Node, is_new: bool) -> None:  # noqa: FBT001 - one signature for all learners
    name = name_of(node.relation)
    if node.if_not_exists and name in catalog.tables:
        return
    table = catalog.tables[name] = Table(is_new=is_new, rows=0 if is_new else None)
    for element in node.tableElts or ():
        if type(element).__name__ == "ColumnDef":
            _add_column(table, element, is_new=is_new)
        elif type(element).__name__ == "Constraint":
            _add_constraint(catalog, name, element)


def _create_table_as(catalog: Catalog, node: Node, is_new: bool) -> None:  # noqa: FBT001 - same
    name = name_of(node.into.rel)
    if not (node.if_not_exists and name in catalog.tables):
        catalog.tables[name] = Table(is_new=is_new)


def _select_into(catalog: Catalog, node: Node, is_new: bool) -> None:  # noqa: FBT001 - same
    if node.intoClause is not None:
        catalog.tables[name_of(node.intoClause.rel)] = Table(is_new=is_new)


def _index(catalog: Catalog, node: Node, is_new: bool) -> None:  # noqa: FBT001 - same
    if node.idxname:
        catalog.indexes[node.idxname] = Index(name_of(node.relation), bool(node.unique), is_new)


def _view(catalog: Catalog, node: Node, is_new: bool) -> None:  # noqa: FBT001 - same
    if is_new and not node.replace:
        catalog.new_names.add(name_of(node.view))


def _named(attribute: str) -> Callable[[Catalog, Node, bool], None]:
    def learner(catalog: Catalog, node: Node, is_new: bool) -> None:  # noqa: FBT001 - same
        value = getattr(node, attribute)
        name = value if isinstance(value, str) else _spelt(value)
        if is_new and name and not getattr(node, "replace", False):
            catalog.new_names.add(name)

    return learner


def _spelt(value: Any) -> str:
    return dotted(value) if isinstance(value, tuple) else name_of(value)


def _drop(catalog: Catalog, node: Node, is_new: bool) -> None:  # noqa: FBT001, ARG001 - same
    kind = node.removeType.name
    for item in node.objects:
        if kind == "OBJECT_TABLE":
            catalog.tables.pop(dotted(item), None)
        elif kind == "OBJECT_INDEX":
            catalog.indexes.pop(item[-1].sval, None)


def _rename(catalog: Catalog, node: Node, is_new: bool) -> None:  # noqa: FBT001, ARG001 - same
    kind = node.renameType.name
    if node.relation is None:
        return
    name = name_of(node.relation)
    if kind == "OBJECT_TABLE" and name in catalog.tables:
        schema, dot, _ = name.rpartition(".")
        catalog.tables[f"{schema}{dot}{node.newname}"] = catalog.tables.pop(name)
    elif kind == "OBJECT_COLUMN" and name in catalog.tables:
        columns = catalog.tables[name].columns
        if node.subname in columns:
            columns[node.newname] = columns.pop(node.subname)
    elif kind == "OBJECT_INDEX" and name in catalog.indexes:
        catalog.indexes[node.newname] = catalog.indexes.pop(name)


def _alter_table(catalog: Catalog, node: Node, is_new: bool) -> None:  # noqa: FBT001 - same
    if node.objtype.name != "OBJECT_TABLE":
        return
    name = name_of(node.relation)
    table = catalog.tables.setdefault(name, Table(is_new=False))
    for command in node.cmds:
        step = command.subtype.name
        if step == "AT_AddColumn":
            _add_column(table, command.def_, is_new=is_new)
        elif step == "AT_AddConstraint":
            _add_constraint(catalog, name, command.def_)
        elif step == "AT_DropColumn":
            table.columns.pop(command.name, None)
        elif step == "AT_DropConstraint":
            table.constraints.pop(command.name, None)
        elif step == "AT_ValidateConstraint" and command.name in table.constraints:
            table.constraints[command.name].is_validated = True
        elif step in _OF_COLUMN:
            _alter_column(_column(table, command.name), step, command)


def _alter_column(column: Column, step: str, command: Node) -> None:
    if step == "AT_AlterColumnType":
        column.type = type_of(command.def_.typeName)
    elif step == "AT_ColumnDefault":
        column.has_default = command.def_ is not None
    else:
        column.not_null = step == "AT_SetNotNull"


def _column(table: Table, name: str) -> Column:
    return table.columns.setdefault(name, Column(type=None))


def _add_column(table: Table, definition: Node, *, is_new: bool) -> None:
    if definition.colname in table.columns:
        return  # ADD COLUMN IF NOT EXISTS
    table.columns[definition.colname] = column_of(definition, is_new=is_new)
    for constraint in definition.constraints or ():
        if constraint.conname:
            known = known_constraint(constraint, [definition.colname])
            table.constraints[constraint.conname] = known


def _add_constraint(catalog: Catalog, name: str, constraint: Node) -> None:
    table = catalog.tables[name]
    known: KnownConstraint = known_constraint(constraint)
    table.constraints[constraint.conname or f"?{len(table.constraints)}"] = known
    if known.kind == "CONSTR_PRIMARY":
        for column in known.columns:
            _column(table, column).not_null = True


_LEARNERS: Final[dict[str, Callable[[Catalog, Node, bool], None]]] = {
    "CreateStmt": _create_table,
    "CreateTableAsStmt": _create_table_as,
    "SelectStmt": _select_into,
    "IndexStmt": _index,
    "ViewStmt": _view,
    "CreateEnumStmt": _named("typeName"),
    "CreateDomainStmt": _named("domainname"),
    "CompositeTypeStmt": _named("typevar"),
    "CreateSchemaStmt": _named("schemaname"),
    "CreateSeqStmt": _named("sequence"),
    "CreateFunctionStmt": _named("funcname"),
    "DropStmt": _drop,
    "RenameStmt": _rename,
    "AlterTableStmt": _alter_table,
}
