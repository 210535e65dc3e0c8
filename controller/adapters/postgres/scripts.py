"""What has to be known of a migration's statements before they run, by PostgreSQL's own parser."""

from collections.abc import Iterable, Sequence
from typing import Final

from controller.core.errors import PermanentError
from controller.migrations.bundle import Migration, Statement
from controller.migrations.scripts import refuses_transaction
from controller.migrations.splitting import Node, tree

_SHOWN: Final = 200
# These may hold a password.
_SECRETIVE: Final = frozenset(
    {
        "CreateRoleStmt", "AlterRoleStmt", "CreateUserMappingStmt", "AlterUserMappingStmt",
        "CreateSubscriptionStmt", "AlterSubscriptionStmt", "CreateForeignServerStmt",
        "AlterForeignServerStmt",
    }
)  # fmt: skip


def refuse_unsafe(migrations: Iterable[Migration], *, down: bool = False) -> None:
    """Refuse what would leave a migration half applied, before anything runs.

    Raises:
        PermanentError: a script ends its transaction itself, gives up our session's lock, or
            builds an index that could not be found again after a crash.
    """
    for migration in migrations:
        for statement in (migration.down if down else migration.up) or ():
            reason = _unsafe(tree(statement.text))
            if reason:
                what, fix = reason
                raise PermanentError(
                    f"{migration.id}, line {statement.line}: {what} Nothing was run.", fix=fix
                )


def _unsafe(node: Node) -> tuple[str, str] | None:
    name = type(node).__name__
    if name == "TransactionStmt":
        return (
            "The script begins or ends transactions itself.",
            "Take BEGIN, COMMIT and the like out: Slipway runs each migration in a transaction.",
        )
    if name == "DiscardStmt":
        return "DISCARD gives up the session's locks.", "Take it out: Slipway resets the session."
    if name == "IndexStmt" and node.concurrent and not node.idxname:
        return (
            "An index that is built concurrently has no name.",
            "Give it one: only then is it found again if it stops half way.",
        )
    return None


def runs_alone(statement: Statement) -> bool:
    """Tell whether PostgreSQL refuses the statement inside a transaction."""
    return refuses_transaction(tree(statement.text))


def is_patient(node: Node) -> bool:
    """Tell whether others go on working while the statement waits for its locks."""
    name = type(node).__name__
    return name in {"IndexStmt", "ReindexStmt", "AlterTableStmt"} or (
        name == "DropStmt" and bool(node.concurrent)
    )


def session_settings(statements: Sequence[Statement]) -> list[Statement]:
    """Return those that set something for the rest of the session, as search_path."""
    return [statement for statement in statements if _sets(tree(statement.text))]


def _sets(node: Node) -> bool:
    name = type(node).__name__
    if name == "VariableSetStmt":
        return not node.is_local
    if name != "SelectStmt" or node.fromClause or len(node.targetList or ()) != 1:
        return False
    call = node.targetList[0].val
    names: Sequence[Node] = getattr(call, "funcname", None) or []
    return bool(names) and getattr(names[-1], "sval", "") == "set_config"


def shown(statement: Statement) -> str:
    """Return the statement for people and records: one line, not long, no password."""
    text = " ".join(statement.text.split())
    name = type(tree(statement.text)).__name__
    if name in _SECRETIVE:
        return f"{' '.join(text.split()[:3])} ..."
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
