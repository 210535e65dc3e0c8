"""Judges creating, dropping and renaming of everything that is not a column or constraint."""

from collections.abc import Callable
from typing import Any, Final

from controller.migrations.bundle import Kind
from controller.migrations.catalog import (
    columns_in,
    constraints_of,
    dotted,
    name_of,
    walk,
)
from controller.migrations.classes import Notes
from controller.migrations.locks import LockMode
from controller.migrations.splitting import Node

_STRONG: Final = LockMode.ACCESS_EXCLUSIVE
_RELATIONS: Final = {
    "OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE", "OBJECT_FOREIGN_TABLE"
}  # fmt: skip
_ON_TABLE: Final = {"OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"}
_TYPES: Final = {"OBJECT_TYPE", "OBJECT_DOMAIN"}


def create_table(node: Node, notes: Notes) -> None:
    """Judge CREATE TABLE: what it refers to is locked while the constraint is made."""
    for element in node.tableElts or ():
        kind = type(element).__name__
        if kind == "TableLikeClause":
            notes.lock(name_of(element.relation), LockMode.ACCESS_SHARE)
        constraints = [element] if kind == "Constraint" else []
        if kind == "ColumnDef":
            constraints = constraints_of(element, "CONSTR_FOREIGN")
        for constraint in constraints:
            if constraint.contype.name == "CONSTR_FOREIGN":
                notes.lock(name_of(constraint.pktable), LockMode.SHARE_ROW_EXCLUSIVE)
    for parent in node.inhRelations or ():
        mode = _STRONG if node.partbound else LockMode.SHARE_UPDATE_EXCLUSIVE
        notes.lock(name_of(parent), mode)
    notes.locks.pop(name_of(node.relation), None)  # a table that refers to itself


def create_index(node: Node, notes: Notes) -> None:
    """Judge CREATE INDEX: writers wait for it, unless it is built concurrently."""
    table = name_of(node.relation)
    name = node.idxname or "the index"
    notes.scan(table)
    if node.concurrent:
        notes.in_transaction = False
        notes.lock(table, LockMode.SHARE_UPDATE_EXCLUSIVE)
    else:
        notes.lock(table, LockMode.SHARE)
        notes.remark("SWM206", f"Writers of {table} wait until {name} is built.", on=table)
    columns = [p.name for p in node.indexParams if p.name]
    columns += columns_in(tuple(p.expr for p in node.indexParams if p.expr))
    if node.unique and not notes.catalog.all_new(table, columns):
        notes.breaks(
            "SWM108",
            f"No two rows of {table} may be alike in {', '.join(columns)} from now on; the old "
            "build may not keep that.",
        )


def drop(node: Node, notes: Notes) -> None:
    """Judge DROP of anything."""
    kind = node.removeType.name
    for item in node.objects:
        if kind == "OBJECT_INDEX":
            _drop_index(node, item, notes)
        elif kind in _ON_TABLE:
            _drop_on_table(kind, item, notes)
        else:
            _drop_named(kind, _spelt(item), notes)
    cascades = node.behavior.name == "DROP_CASCADE"
    if cascades and notes.why_not:
        notes.why_not.append("CASCADE drops whatever depends on it, too.")


def _drop_named(kind: str, name: str, notes: Notes) -> None:
    _lock_dropped(kind, name, notes)
    if notes.catalog.is_new(name):
        return
    what = kind.removeprefix("OBJECT_").lower().replace("matview", "materialized view")
    says = f"The {what} {name} is dropped; the old build may use it."
    if kind == "OBJECT_TABLE":
        notes.breaks("SWM101", says, kind=Kind.IRREVERSIBLE)
    elif kind == "OBJECT_SCHEMA":
        notes.breaks("SWM110", says, kind=Kind.IRREVERSIBLE)
    else:
        notes.breaks("SWM105" if kind in _TYPES else "SWM110", says)


def _lock_dropped(kind: str, name: str, notes: Notes) -> None:
    """Note what is locked: the thing itself, what its keys refer to, what a schema holds."""
    tables = notes.catalog.tables
    if kind in _RELATIONS:
        notes.lock(name, _STRONG)
    if kind == "OBJECT_TABLE" and name in tables:
        for constraint in tables[name].constraints.values():
            if constraint.references:
                notes.lock(constraint.references, _STRONG)
    if kind == "OBJECT_SCHEMA":
        for table in tables:
            if table.startswith(f"{name}."):
                notes.lock(table, _STRONG)


def _drop_index(node: Node, item: Any, notes: Notes) -> None:
    name = item[-1].sval
    known = notes.catalog.indexes.get(name)
    table = known.table if known else name
    if node.concurrent:
        notes.in_transaction = False
    if known is not None and known.is_new:
        return
    weak = LockMode.SHARE_UPDATE_EXCLUSIVE
    notes.lock(table, weak if node.concurrent else _STRONG)
    if not node.concurrent:
        notes.remark("SWM207", f"Dropping {name} waits for all who use its table.", on=table)
    if known is not None and known.is_unique and not notes.catalog.is_new(table):
        notes.breaks("SWM119", f"The unique index {name} is dropped; ON CONFLICT may need it.")


def _drop_on_table(kind: str, item: Any, notes: Notes) -> None:
    table = dotted(item[:-1])
    notes.lock(table, _STRONG)
    if notes.catalog.is_new(table):
        return
    what = kind.removeprefix("OBJECT_").lower()
    code = "SWM118" if kind == "OBJECT_POLICY" else "SWM116"
    notes.breaks(code, f"The {what} {item[-1].sval} of {table} is dropped.")


def rename(node: Node, notes: Notes) -> None:
    """Judge RENAME of anything."""
    kind = node.renameType.name
    name = name_of(node.relation) if node.relation is not None else _spelt(node.object)
    if kind in {"OBJECT_INDEX", "OBJECT_TABCONSTRAINT"}:
        _rename_quietly(kind, name, node, notes)
        return
    if node.relation is not None:
        notes.lock(name, _STRONG)
    if kind == "OBJECT_COLUMN":
        if not notes.catalog.is_new_column(name, node.subname):
            notes.breaks("SWM104", f"{name}.{node.subname} is renamed; the old build names it so.")
    elif notes.catalog.is_new(name):
        return
    elif kind in _RELATIONS:
        notes.breaks("SWM103", f"{name} is renamed; the old build names it so.")
    elif kind in _TYPES | {"OBJECT_ATTRIBUTE"}:
        notes.breaks("SWM105", f"The type {name} is renamed, or its attribute.")
    elif kind in _ON_TABLE:
        notes.remark("SWM123", f"A {kind.removeprefix('OBJECT_').lower()} of {name} is renamed.")
    else:
        what = kind.removeprefix("OBJECT_").lower()
        notes.breaks("SWM110", f"The {what} {name} is renamed; the old build may name it.")


def _rename_quietly(kind: str, name: str, node: Node, notes: Notes) -> None:
    is_index = kind == "OBJECT_INDEX"
    known = notes.catalog.indexes.get(name)
    if is_index and known is not None and known.is_new:
        return
    notes.lock(name, LockMode.SHARE_UPDATE_EXCLUSIVE if is_index else _STRONG)
    if not is_index and not notes.catalog.is_new(name):
        notes.remark("SWM123", f"The constraint {node.subname} of {name} is renamed.")


def set_schema(node: Node, notes: Notes) -> None:
    """Judge SET SCHEMA: a rename by another name."""
    name = name_of(node.relation) if node.relation is not None else _spelt(node.object)
    if node.relation is not None:
        notes.lock(name, _STRONG)
    if not notes.catalog.is_new(name):
        notes.breaks("SWM103", f"{name} moves to the schema {node.newschema}.")


def alter_enum(node: Node, notes: Notes) -> None:
    """Judge ALTER TYPE of an enum: values are added for ever, and renamed for all."""
    name = dotted(node.typeName)
    if notes.catalog.is_new(name):
        return
    if node.oldVal is not None:
        notes.breaks("SWM105", f"The value '{node.oldVal}' of {name} is renamed.")
    else:
        notes.remark("SWM121", f"The old build may read '{node.newVal}' of {name}.")


def view(node: Node, notes: Notes) -> None:
    """Judge CREATE [OR REPLACE] VIEW. PostgreSQL lets a replaced view only gain columns."""
    name = name_of(node.view)
    reads(node.query, notes)
    if node.replace and not notes.catalog.is_new(name):
        notes.lock(name, _STRONG)
        notes.remark("SWM115", f"The view {name} may give the old build something else.")


def create_as(node: Node, notes: Notes) -> None:
    """Judge CREATE TABLE AS and CREATE MATERIALIZED VIEW."""
    reads(node.query, notes)


def reads(query: Node, notes: Notes) -> None:
    """Note the tables that a query reads."""
    own = {n.ctename for n in walk(query) if type(n).__name__ == "CommonTableExpr"}
    own |= {n.rel.relname for n in walk(query) if type(n).__name__ == "IntoClause"}
    for part in walk(query):
        if type(part).__name__ == "RangeVar" and part.relname not in own:
            notes.lock(name_of(part), LockMode.ACCESS_SHARE)


def create_trigger(node: Node, notes: Notes) -> None:
    """Judge CREATE TRIGGER: what the old build writes passes through it."""
    table = name_of(node.relation)
    notes.lock(table, LockMode.SHARE_ROW_EXCLUSIVE)
    notes.remark(
        "SWM114", f"{node.trigname} fires on what the old build does to {table}.", on=table
    )


def create_rule(node: Node, notes: Notes) -> None:
    """Judge CREATE RULE: statements of the old build are changed by it."""
    table = name_of(node.relation)
    notes.lock(table, _STRONG)
    notes.remark("SWM114", f"{node.rulename} changes what the old build does to {table}.", on=table)


def create_policy(node: Node, notes: Notes) -> None:
    """Judge CREATE and ALTER POLICY."""
    table = name_of(node.table)
    notes.lock(table, _STRONG)
    if not notes.catalog.is_new(table):
        notes.breaks("SWM118", f"The policy {node.policy_name} of {table} decides who sees what.")


def create_statistics(node: Node, notes: Notes) -> None:
    """Judge CREATE STATISTICS: the planner alone sees them."""
    for relation in node.relations or ():
        notes.lock(name_of(relation), LockMode.SHARE_UPDATE_EXCLUSIVE)


def comment(node: Node, notes: Notes) -> None:
    """Judge COMMENT ON: nobody sees it, but a table's is written under a lock."""
    kind = node.objtype.name
    if kind in _RELATIONS:
        notes.lock(dotted(node.object), LockMode.SHARE_UPDATE_EXCLUSIVE)
    elif kind == "OBJECT_COLUMN":
        notes.lock(dotted(node.object[:-1]), LockMode.SHARE_UPDATE_EXCLUSIVE)


def alter_domain(node: Node, notes: Notes) -> None:
    """Judge ALTER DOMAIN: like constraints, for all columns of the type at once."""
    name = dotted(node.typeName)
    if notes.catalog.is_new(name):
        return
    subtype = node.subtype
    if subtype in {"C", "O"}:  # ADD CONSTRAINT, SET NOT NULL
        code = "SWM107" if subtype == "O" else "SWM108"
        notes.breaks(code, f"Values of the domain {name} must keep a new rule.")
    elif subtype == "T" and node.def_ is None:
        notes.breaks("SWM111", f"The default of the domain {name} is dropped.")


def alter_sequence(node: Node, notes: Notes) -> None:
    """Judge ALTER SEQUENCE."""
    notes.lock(name_of(node.sequence), LockMode.SHARE_ROW_EXCLUSIVE)


def replace_function(node: Node, notes: Notes) -> None:
    """Judge CREATE [OR REPLACE] FUNCTION by its name; its body is looked at elsewhere."""
    name = dotted(node.funcname)
    if node.replace and not notes.catalog.is_new(name):
        notes.remark("SWM115", f"The function {name} may do something else for the old build.")


def alter_function(node: Node, notes: Notes) -> None:
    """Judge ALTER FUNCTION and of text search: the old build gets another behaviour."""
    named = getattr(node, "func", None) or getattr(node, "cfgname", None)
    name = _spelt(named)
    if not notes.catalog.is_new(name):
        notes.remark("SWM115", f"{name} may do something else for the old build.")


def extension(node: Node, notes: Notes) -> None:
    """Judge CREATE and ALTER EXTENSION."""
    notes.remark("SWM507", f"The extension {node.extname} has to be allowed on the server.")


def owner(node: Node, notes: Notes) -> None:
    """Judge ALTER ... OWNER TO of what is no table."""
    name = _spelt(node.object) if node.object is not None else name_of(node.relation)
    if not notes.catalog.is_new(name):
        notes.breaks("SWM117", f"{name} gets another owner; the old build may lose its rights.")


def grant(node: Node, notes: Notes) -> None:
    """Judge GRANT and REVOKE of rights on objects."""
    if node.is_grant:
        return
    names = [_spelt(item) for item in node.objects or ()]
    if not names or not all(notes.catalog.is_new(name) for name in names):
        notes.breaks("SWM117", f"Rights on {', '.join(names) or 'objects'} are taken away.")


def default_rights(node: Node, notes: Notes) -> None:
    """Judge ALTER DEFAULT PRIVILEGES: about objects to come."""
    if not node.action.is_grant:
        notes.breaks("SWM117", "Objects to come get fewer rights.")


def harmless(node: Node, notes: Notes) -> None:
    """Judge what makes a new object that no old build can know."""
    del node, notes


def _spelt(item: Any) -> str:
    kind = type(item).__name__
    if kind == "TypeName":
        return dotted(item.names)
    if kind == "ObjectWithArgs":
        return dotted(item.objname)
    if kind == "RangeVar":
        return name_of(item)
    if kind == "String":
        return str(item.sval)
    return dotted(item) if isinstance(item, tuple) else str(item)


JUDGES: Final[dict[str, Callable[[Node, Notes], None]]] = {
    "CreateStmt": create_table,
    "IndexStmt": create_index,
    "DropStmt": drop,
    "RenameStmt": rename,
    "AlterObjectSchemaStmt": set_schema,
    "AlterEnumStmt": alter_enum,
    "ViewStmt": view,
    "CreateTableAsStmt": create_as,
    "CreateTrigStmt": create_trigger,
    "RuleStmt": create_rule,
    "CreatePolicyStmt": create_policy,
    "AlterPolicyStmt": create_policy,
    "CreateStatsStmt": create_statistics,
    "CommentStmt": comment,
    "AlterDomainStmt": alter_domain,
    "AlterSeqStmt": alter_sequence,
    "CreateExtensionStmt": extension,
    "AlterExtensionStmt": extension,
    "AlterOwnerStmt": owner,
    "AlterFunctionStmt": alter_function,
    "AlterTSConfigurationStmt": alter_function,
    "AlterStatsStmt": harmless,
    "AlterTypeStmt": harmless,
    "GrantStmt": grant,
    "AlterDefaultPrivilegesStmt": default_rights,
    "CreateSchemaStmt": harmless,
    "CreateSeqStmt": harmless,
    "CreateEnumStmt": harmless,
    "CreateDomainStmt": harmless,
    "CreateRangeStmt": harmless,
    "CompositeTypeStmt": harmless,
    "DefineStmt": harmless,
    "CreateCastStmt": harmless,
    "CreateOpClassStmt": harmless,
    "CreateOpFamilyStmt": harmless,
}
