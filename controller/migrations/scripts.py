"""What EF Core's and Alembic's scripts have in common, once they are cut into migrations."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.core.errors import MalformedError
from controller.migrations.bundle import Migration, Statement
from controller.migrations.splitting import Node, tree

_HISTORY = {"InsertStmt", "UpdateStmt", "DeleteStmt"}


@dataclass(slots=True)
class Section:
    """The statements of one migration, as a script is read."""

    id: str
    statements: list[Statement] = field(default_factory=list[Statement])
    history: list[Statement] = field(default_factory=list[Statement])  # the tool's own rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script that was read: its migrations in order, and what stood before them."""

    sections: tuple[Section, ...]
    preamble: tuple[Statement, ...] = ()  # makes the tool's history table
    base: str | None = None  # the migration that the script starts from


def migrations_of(up: Script, down: Script | None) -> tuple[Migration, ...]:
    """Return the migrations of an upgrade script, with their ways back from a downgrade script.

    The hash is of what a migration itself does: a newer generator may create its history table
    otherwise, and a checkout under Windows ends lines otherwise, and neither is a change.
    """
    backs = {section.id: section for section in down.sections} if down else {}
    _refuse_strangers(up, backs)
    found: list[Migration] = []
    for number, section in enumerate(up.sections):
        before = up.preamble if number == 0 else ()
        back = backs.get(section.id)
        statements = (*before, *section.statements, *section.history)
        found.append(
            Migration(
                id=section.id,
                up=statements,
                down=(*back.statements, *back.history) if back else None,
                sha256=_hash(section.statements),
                transactional=not must_run_alone(statements),
            )
        )
    return tuple(found)


def must_run_alone(statements: Iterable[Statement]) -> bool:
    """Tell whether PostgreSQL refuses one of the statements inside a transaction block."""
    # Rows come by the ten thousand, and a tree takes 100 microseconds: no INSERT is refused.
    others = (s.text for s in statements if s.text[:6].upper() != "INSERT")
    return any(refuses_transaction(tree(text)) for text in others)


def refuses_transaction(node: Node) -> bool:
    """Tell whether PostgreSQL refuses the statement inside a transaction block.

    Source: PostgreSQL manual, the notes of each command ("cannot be executed inside a
    transaction block").
    """
    name = type(node).__name__
    if name in {"IndexStmt", "DropStmt"}:
        return bool(node.concurrent)
    if name == "ReindexStmt":
        whole = node.kind.name in {"REINDEX_OBJECT_SCHEMA", "REINDEX_OBJECT_DATABASE"}
        return whole or option(node.params, "concurrently")
    if name == "VacuumStmt":
        return bool(node.is_vacuumcmd)
    if name == "ClusterStmt":
        return node.relation is None
    if name == "AlterTableStmt":
        return any(
            command.subtype.name == "AT_DetachPartition" and command.def_.concurrent
            for command in node.cmds
        )
    return name in {"AlterSystemStmt", "CreatedbStmt", "DropdbStmt", "CreateTableSpaceStmt"}


def option(definitions: Iterable[Node] | None, name: str) -> bool:
    """Tell whether the list of options switches *name* on."""
    for definition in definitions or ():
        if definition.defname == name:
            argument = definition.arg
            return argument is None or _text(argument).lower() in {"true", "on", "1", "t"}
    return False


def _text(argument: Node) -> str:
    for name in ("sval", "ival", "boolval"):
        if hasattr(argument, name):
            return str(getattr(argument, name))
    return str(argument)


def history_row_of(node: Node, ids: Iterable[str] | str) -> str | None:
    """Return whose row a statement writes into the tool's history table, if it is one of *ids*.

    Such a statement names the migration as a constant: the tables may have any name.
    """
    wanted = {ids} if isinstance(ids, str) else set(ids)
    if type(node).__name__ not in _HISTORY:
        return None
    return next((text for text in constants_of(node) if text in wanted), None)


def constants_of(node: Node) -> list[str]:
    """Return the text constants of a short INSERT, UPDATE or DELETE of a history table."""
    name = type(node).__name__
    if name == "InsertStmt":
        rows: Any = getattr(node.selectStmt, "valuesLists", None) or ()
        parts = list(rows[0]) if len(rows) == 1 else []
    elif name == "UpdateStmt":
        parts = [target.val for target in node.targetList or ()]
        parts = parts if len(parts) == 1 else []
    else:
        parts = [getattr(node.whereClause, "rexpr", None)]
    return [value for part in parts if (value := constant(part)) is not None]


def constant(node: Node) -> str | None:
    """Return the text of a constant; None if it is no text or no constant."""
    if type(node).__name__ == "TypeCast":
        node = node.arg
    return getattr(getattr(node, "val", None), "sval", None)


def set_apart_history(section: Section, ids: Iterable[str]) -> None:
    """Move the tool's own rows out of what the migration itself does."""
    own = [s for s in section.statements if history_row_of(tree(s.text), ids) is not None]
    section.history.extend(own)
    section.statements = [s for s in section.statements if s not in own]


def refuse_unbalanced(file: str, sections: Mapping[str, Section]) -> None:
    """Refuse a script without any migration."""
    if not sections:
        raise MalformedError(
            f"{file} holds no migration.",
            fix="Generate the script from the first migration, or from the one that is live.",
        )


def _refuse_strangers(up: Script, backs: Mapping[str, Section]) -> None:
    known = {section.id for section in up.sections}
    if strangers := sorted(set(backs) - known):
        raise MalformedError(
            f"The down script undoes {strangers[0]}, which the up script does not hold.",
            fix="Generate both scripts from the same range of migrations.",
        )


def _hash(statements: Iterable[Statement]) -> str:
    digest = hashlib.sha256()
    for statement in statements:
        digest.update(statement.text.replace("\r\n", "\n").encode() + b";\n")
    return digest.hexdigest()
