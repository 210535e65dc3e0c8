"""Reads the SQL scripts of EF Core for Npgsql, idempotent or plain, by migration.

An idempotent script wraps each command in a DO block that asks the history table:

    DO $EF$ BEGIN IF NOT EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = 'X')
    THEN command END IF; END $EF$;

The commands are taken out of their blocks: Slipway itself knows what ran, and some commands
(CREATE INDEX CONCURRENTLY) fail inside a block. A plain script has the commands bare and ends
each migration with its row in the history table. Both say the migration's id nowhere else.
"""

from dataclasses import dataclass
from typing import Any, Final

from controller.core.errors import MalformedError
from controller.migrations import plpgsql
from controller.migrations.bundle import Statement
from controller.migrations.scripts import (
    Script,
    Section,
    constant,
    refuse_unbalanced,
    set_apart_history,
)
from controller.migrations.splitting import Node, first_text, statements, tree

HISTORY_TABLE: Final = "__EFMigrationsHistory"
_SIMPLE: Final = {"PLpgSQL_stmt_execsql", "PLpgSQL_stmt_perform", "PLpgSQL_stmt_call"}
_REGENERATE: Final = "Generate it anew: dotnet ef migrations script --idempotent --output FILE."


@dataclass(frozen=True, slots=True)
class _Block:
    """A DO block that runs if the history table does (not) hold a migration."""

    migration: str
    is_up: bool
    inside: tuple[Statement, ...]


def is_ef_core(text: str) -> bool:
    """Tell whether a script looks like EF Core's."""
    return f'"{HISTORY_TABLE}"' in text or "DO $EF$" in text


def read_script(file: str, text: str, *, is_down: bool = False) -> Script:
    """Return the migrations of a script of EF Core.

    Raises:
        MalformedError: with file and line: it is not such a script, or goes the other way.
    """
    sections: dict[str, Section] = {}
    preamble: list[Statement] = []
    bare: list[Statement] = []
    for statement in statements(file, text):
        node = tree(statement.text)
        if type(node).__name__ == "TransactionStmt":
            continue
        block = _block(file, statement, node)
        if block is not None:
            _refuse_other_way(file, statement, block, is_down=is_down)
            section = _section(sections, block.migration)
            section.statements += [*bare, *block.inside]
            bare.clear()
        elif _makes_history(node) and not sections:
            preamble += [*bare, statement]
            bare.clear()
        else:
            bare.append(statement)
            _close_plain(sections, bare, node, is_down=is_down)
    _keep_rest(file, sections, bare)
    refuse_unbalanced(file, sections)
    for section in sections.values():
        set_apart_history(section, [section.id])
    return Script(sections=tuple(sections.values()), preamble=tuple(preamble))


def _section(sections: dict[str, Section], id_: str) -> Section:
    return sections.setdefault(id_, Section(id_))


def _close_plain(
    sections: dict[str, Section], bare: list[Statement], node: Node, *, is_down: bool
) -> None:
    """In a plain script, the history's row is the last statement of its migration."""
    written = _plain_history_row(node, is_down=is_down)
    if written is not None:
        _section(sections, written).statements += bare
        bare.clear()


def _plain_history_row(node: Node, *, is_down: bool) -> str | None:
    name = type(node).__name__
    if not is_down and name == "InsertStmt" and len(node.cols or ()) == 2:  # noqa: PLR2004 - id, version
        rows: Any = getattr(node.selectStmt, "valuesLists", None) or ()
        is_history = node.relation.relname == HISTORY_TABLE or _is_history_like(node.cols)
        return constant(rows[0][0]) if is_history and len(rows) == 1 else None
    if is_down and name == "DeleteStmt" and node.relation.relname == HISTORY_TABLE:
        return constant(getattr(node.whereClause, "rexpr", None))
    return None


def _is_history_like(columns: Any) -> bool:
    names = [column.name.lower().replace("_", "") for column in columns]
    return names == ["migrationid", "productversion"]


def _makes_history(node: Node) -> bool:
    if type(node).__name__ != "CreateStmt":
        return False
    columns = [item.colname for item in node.tableElts or () if hasattr(item, "colname")]
    names = [name.lower().replace("_", "") for name in columns]
    return names == ["migrationid", "productversion"]


def _keep_rest(file: str, sections: dict[str, Section], bare: list[Statement]) -> None:
    """What EF Core writes outside of blocks after the last one belongs to the last migration."""
    if not bare:
        return
    if not sections:
        raise MalformedError(
            f"{file}, line {bare[0].line}: no statement says which migration this belongs to.",
            fix=_REGENERATE,
        )
    list(sections.values())[-1].statements.extend(bare)


def _refuse_other_way(file: str, statement: Statement, block: _Block, *, is_down: bool) -> None:
    if block.is_up is is_down:
        ways = ("upgrade", "downgrade") if is_down else ("downgrade", "upgrade")
        raise MalformedError(
            f"{file}, line {statement.line}: a step of a {ways[0]} stands in the {ways[1]} script.",
            fix="Generate the way up with `script FROM TO`, the way down with `script TO FROM`.",
        )


def _block(file: str, statement: Statement, node: Node) -> _Block | None:
    """Return what a DO block of EF Core holds; None if the statement is none."""
    if type(node).__name__ != "DoStmt":
        return None
    body = plpgsql.body_of(statement.text)
    if body is None:
        raise MalformedError(
            f"{file}, line {statement.line}: a DO block that cannot be read: "
            f"{plpgsql.error_of(statement.text) or 'it is not PL/pgSQL'}.",
            fix="End each command of migrationBuilder.Sql(...) with a semicolon.",
        )
    guarded = _guarded(body)
    if guarded is None:
        return None
    migration, is_up, then = guarded
    return _Block(migration, is_up, _inside(statement, then))


def _guarded(body: list[Any]) -> tuple[str, bool, list[Any]] | None:
    block = body[0].get("PLpgSQL_stmt_block", body[0])
    steps = [s for s in block.get("body", []) if "PLpgSQL_stmt_return" not in s]
    if len(steps) != 1 or "PLpgSQL_stmt_if" not in steps[0]:
        return None
    branch = steps[0]["PLpgSQL_stmt_if"]
    asked = _asked(branch["cond"]["PLpgSQL_expr"]["query"])
    if asked is None or branch.get("elsif_list") or branch.get("else_body"):
        return None
    return *asked, branch.get("then_body", [])


def _asked(condition: str) -> tuple[str, bool] | None:
    """Return whose row ``[NOT] EXISTS(SELECT 1 FROM history WHERE id = '...')`` asks for."""
    target = tree(f"SELECT {condition}").targetList[0].val
    is_up = type(target).__name__ == "BoolExpr"
    link = target.args[0] if is_up else target
    select = getattr(link, "subselect", None)
    where = getattr(select, "whereClause", None)
    source = (getattr(select, "fromClause", None) or (None,))[0]
    if where is None or not _is_history(source, getattr(where, "lexpr", None)):
        return None
    id_ = constant(getattr(where, "rexpr", None))
    return None if id_ is None else (id_, is_up)


def _is_history(source: Node, column: Node) -> bool:
    name = getattr((getattr(column, "fields", None) or (None,))[-1], "sval", "")
    is_id = name.lower().replace("_", "") == "migrationid"
    return is_id or getattr(source, "relname", "") == HISTORY_TABLE


def _inside(statement: Statement, then: list[Any]) -> tuple[Statement, ...]:
    """Return the commands of a block, or the block itself where it holds more than commands."""
    if any(not _SIMPLE & set(step) for step in then):
        return (statement,)
    start, _ = first_text(statement.text)
    above = statement.line + statement.text.count("\n", 0, start)
    found: list[Statement] = []
    for step in then:
        name, value = next(iter(step.items()))
        inner = plpgsql.inner_of(name, value)
        if inner is not None:
            found.append(Statement(text=inner.text.strip(), line=above + inner.line - 1))
    return tuple(found)
