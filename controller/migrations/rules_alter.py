"""Judges ALTER TABLE, command by command.

Locks are those of the PostgreSQL manual, ALTER TABLE: ACCESS EXCLUSIVE unless it says otherwise.
"""

from collections.abc import Callable
from typing import Final

from controller.migrations.bundle import Kind
from controller.migrations.catalog import name_of
from controller.migrations.classes import Notes
from controller.migrations.locks import LockMode
from controller.migrations.rules_columns import add_column, alter_type, set_not_null
from controller.migrations.rules_constraints import add_constraint, drop_constraint, validate
from controller.migrations.splitting import Node

_STRONG: Final = LockMode.ACCESS_EXCLUSIVE
_WEAK: Final = {
    "AT_SetStatistics",
    "AT_SetOptions",
    "AT_ResetOptions",
    "AT_ClusterOn",
    "AT_DropCluster",
    "AT_SetRelOptions",
    "AT_ResetRelOptions",
}


def alter_table(node: Node, notes: Notes) -> None:
    """Judge ALTER TABLE and its cousins for indexes, views and sequences."""
    name = name_of(node.relation)
    kind = node.objtype.name
    if kind == "OBJECT_INDEX":
        _alter_index(node, notes, name)
        return
    if kind == "OBJECT_TYPE":
        _alter_composite(node, notes, name)
        return
    for command in node.cmds:
        _command(command, notes, name)


def _command(command: Node, notes: Notes, table: str) -> None:
    step = command.subtype.name
    judge = _COMMANDS.get(step)
    if judge is not None:
        judge(command, notes, table)
    elif step in _WEAK:
        notes.lock(table, LockMode.SHARE_UPDATE_EXCLUSIVE)
    else:
        notes.lock(table, _STRONG)
        notes.unknown(f"{step} of {table}")


def _alter_index(node: Node, notes: Notes, name: str) -> None:
    """Storage parameters, statistics and ATTACH PARTITION of an index: rows are not touched."""
    known = notes.catalog.indexes.get(name)
    if known is None or not known.is_new:
        steps = {command.subtype.name for command in node.cmds}
        weak = steps <= {*_WEAK, "AT_AttachPartition"}
        notes.lock(name, LockMode.SHARE_UPDATE_EXCLUSIVE if weak else _STRONG)
        if "AT_SetTableSpace" in steps:
            notes.remark("SWM208", f"The index {name} is copied while nobody can use it.")


def _alter_composite(node: Node, notes: Notes, name: str) -> None:
    for command in node.cmds:
        if command.subtype.name != "AT_AddColumn" and not notes.catalog.is_new(name):
            notes.breaks("SWM105", f"An attribute of the type {name} is dropped or changed.")


def _drop_column(command: Node, notes: Notes, table: str) -> None:
    notes.lock(table, _STRONG)
    if not notes.catalog.is_new_column(table, command.name):
        notes.breaks(
            "SWM102",
            f"The column {command.name} of {table} is dropped with what is in it; the old build "
            "may name it.",
            kind=Kind.IRREVERSIBLE,
        )


def _default(command: Node, notes: Notes, table: str) -> None:
    notes.lock(table, _STRONG)
    if command.def_ is None and not notes.catalog.is_new_column(table, command.name):
        notes.breaks(
            "SWM111",
            f"The default of {table}.{command.name} is dropped; rows that the old build inserts "
            "without it get null or fail.",
        )


def _drop_not_null(command: Node, notes: Notes, table: str) -> None:
    notes.lock(table, _STRONG)
    if not notes.catalog.is_new_column(table, command.name):
        notes.remark(
            "SWM112",
            f"{table}.{command.name} may be null from now on; the old build may not read nulls.",
        )


def _identity(command: Node, notes: Notes, table: str) -> None:
    notes.lock(table, _STRONG)
    if not notes.catalog.is_new_column(table, command.name):
        notes.breaks(
            "SWM111", f"How {table}.{command.name} gets its value by itself is changed or dropped."
        )


def _add_identity(command: Node, notes: Notes, table: str) -> None:
    del command
    notes.lock(table, _STRONG)


def _disable_trigger(command: Node, notes: Notes, table: str) -> None:
    notes.lock(table, LockMode.SHARE_ROW_EXCLUSIVE)
    if not notes.catalog.is_new(table):
        what = f"The trigger {command.name}" if command.name else "Triggers"
        notes.breaks("SWM116", f"{what} of {table} no longer fires.")


def _enable_trigger(command: Node, notes: Notes, table: str) -> None:
    notes.lock(table, LockMode.SHARE_ROW_EXCLUSIVE)
    notes.remark(
        "SWM114",
        f"The trigger {command.name or ''} of {table} fires on what the old build writes.",
        on=table,
    )


def _disable_rule(command: Node, notes: Notes, table: str) -> None:
    notes.lock(table, _STRONG)
    notes.breaks("SWM116", f"The rule {command.name} of {table} no longer works.")


def _owner(command: Node, notes: Notes, table: str) -> None:
    del command
    notes.lock(table, _STRONG)
    if not notes.catalog.is_new(table):
        notes.breaks("SWM117", f"{table} gets another owner; the old build may lose its rights.")


def _row_security(command: Node, notes: Notes, table: str) -> None:
    notes.lock(table, _STRONG)
    step = command.subtype.name
    if step in {"AT_EnableRowSecurity", "AT_ForceRowSecurity"} and not notes.catalog.is_new(table):
        notes.breaks("SWM118", f"Row security of {table} is switched on.")


def _rewrite(command: Node, notes: Notes, table: str) -> None:
    notes.lock(table, _STRONG)
    notes.rewrite(table)
    what = command.subtype.name.removeprefix("AT_")
    notes.remark("SWM202", f"{what} writes all of {table} anew under ACCESS EXCLUSIVE.", on=table)


def _attach(command: Node, notes: Notes, table: str) -> None:
    part = name_of(command.def_.name)
    notes.lock(table, LockMode.SHARE_UPDATE_EXCLUSIVE)
    notes.lock(part, _STRONG)
    notes.scan(part)
    notes.remark("SWM212", f"ATTACH PARTITION reads all of {part} to check its bounds.", on=part)


def _detach(command: Node, notes: Notes, table: str) -> None:
    part = name_of(command.def_.name)
    concurrent = bool(command.def_.concurrent)
    notes.lock(table, LockMode.SHARE_UPDATE_EXCLUSIVE if concurrent else _STRONG)
    notes.lock(part, _STRONG)
    notes.in_transaction = notes.in_transaction and not concurrent
    if not notes.catalog.is_new(part):
        notes.breaks("SWM120", f"The rows of {part} are no longer part of {table}.")


def _inherit(command: Node, notes: Notes, table: str) -> None:
    notes.lock(table, _STRONG)
    notes.lock(name_of(command.def_), LockMode.SHARE_UPDATE_EXCLUSIVE)
    if command.subtype.name == "AT_DropInherit" and not notes.catalog.is_new(table):
        notes.breaks("SWM120", f"The rows of {table} are no longer part of its parent.")


def _quiet(command: Node, notes: Notes, table: str) -> None:
    """Takes the lock and touches neither rows nor what the old build relies on."""
    del command
    notes.lock(table, _STRONG)


def _alter_constraint(command: Node, notes: Notes, table: str) -> None:
    del command
    notes.lock(table, _STRONG)
    notes.remark("SWM122", f"A constraint of {table} is checked at another time.", on=table)


_Judge = Callable[[Node, Notes, str], None]
_COMMANDS: Final[dict[str, _Judge]] = {
    "AT_AddColumn": add_column,
    "AT_DropColumn": _drop_column,
    "AT_AlterColumnType": alter_type,
    "AT_ColumnDefault": _default,
    "AT_SetNotNull": set_not_null,
    "AT_DropNotNull": _drop_not_null,
    "AT_SetExpression": _rewrite,
    "AT_DropExpression": _identity,
    "AT_AddIdentity": _add_identity,
    "AT_SetIdentity": _quiet,
    "AT_DropIdentity": _identity,
    "AT_AddConstraint": add_constraint,
    "AT_DropConstraint": drop_constraint,
    "AT_ValidateConstraint": validate,
    "AT_AlterConstraint": _alter_constraint,
    "AT_EnableTrig": _enable_trigger,
    "AT_EnableAlwaysTrig": _enable_trigger,
    "AT_EnableReplicaTrig": _enable_trigger,
    "AT_EnableTrigAll": _enable_trigger,
    "AT_EnableTrigUser": _enable_trigger,
    "AT_DisableTrig": _disable_trigger,
    "AT_DisableTrigAll": _disable_trigger,
    "AT_DisableTrigUser": _disable_trigger,
    "AT_EnableRule": _enable_trigger,
    "AT_EnableAlwaysRule": _enable_trigger,
    "AT_EnableReplicaRule": _enable_trigger,
    "AT_DisableRule": _disable_rule,
    "AT_ChangeOwner": _owner,
    "AT_EnableRowSecurity": _row_security,
    "AT_ForceRowSecurity": _row_security,
    "AT_DisableRowSecurity": _row_security,
    "AT_NoForceRowSecurity": _row_security,
    "AT_SetTableSpace": _rewrite,
    "AT_SetLogged": _rewrite,
    "AT_SetUnLogged": _rewrite,
    "AT_SetAccessMethod": _rewrite,
    "AT_AttachPartition": _attach,
    "AT_DetachPartition": _detach,
    "AT_DetachPartitionFinalize": _detach,
    "AT_AddInherit": _inherit,
    "AT_DropInherit": _inherit,
    "AT_SetStorage": _quiet,
    "AT_SetCompression": _quiet,
    "AT_ReplicaIdentity": _quiet,
    "AT_DropOids": _quiet,
}
