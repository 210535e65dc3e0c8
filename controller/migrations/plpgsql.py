"""Looks inside PL/pgSQL as far as its own parser tells: which SQL it runs, and what it hides."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from controller.migrations.shapes import is_list, is_mapping

_SQL: Final = {  # statement -> where its SQL stands
    "PLpgSQL_stmt_execsql": "sqlstmt",
    "PLpgSQL_stmt_perform": "expr",
    "PLpgSQL_stmt_call": "expr",
}
_DYNAMIC: Final = ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors")
_CONTROL: Final = ("PLpgSQL_stmt_commit", "PLpgSQL_stmt_rollback")


@dataclass(frozen=True, slots=True)
class Inner:
    """Something that a body does."""

    what: Literal["sql", "dynamic", "transaction"]
    text: str  # SQL; of dynamic SQL, the expression that makes it
    line: int  # of the body, from 1


def body_of(statement: str) -> list[Any] | None:
    """Return the statements of a DO block's or function's body; None if it cannot be read."""
    from pglast.parser import ParseError, parse_plpgsql_json  # noqa: PLC0415 - cold start

    try:
        parsed = json.loads(parse_plpgsql_json(statement))
    except (ParseError, ValueError, RecursionError):
        return None
    for item in parsed:
        block = item.get("PLpgSQL_function", {}).get("action", {}).get("PLpgSQL_stmt_block")
        if block is not None:
            return [block]
    return None


def error_of(statement: str) -> str | None:
    """Return what PL/pgSQL's parser says against *statement*; None if nothing."""
    from pglast.parser import ParseError, parse_plpgsql_json  # noqa: PLC0415 - cold start

    try:
        parse_plpgsql_json(statement)
    except ParseError as error:
        return str(error.args[0])
    return None


def inners(body: list[Any]) -> Iterator[Inner]:
    """Yield all that a body may do, in the order of its text, whatever the conditions say."""
    pending: list[Any] = list(reversed(body))
    while pending:
        item = pending.pop()
        if is_list(item):
            pending.extend(reversed(item))
            continue
        if not is_mapping(item):
            continue
        for name, value in reversed(item.items()):
            found = inner_of(name, value) if is_mapping(value) else None
            if found is not None:
                yield found
            if found is None or found.what == "dynamic":
                pending.append(value)


def inner_of(name: str, value: dict[str, Any]) -> Inner | None:
    """Return what one statement of PL/pgSQL does by itself; None if only what is in it does."""
    line = int(value.get("lineno", 1))
    if name in _SQL:
        return Inner("sql", _query(value[_SQL[name]]), line)
    if name in _DYNAMIC:
        return Inner("dynamic", _query(value.get("query", {})), line)
    if name == "PLpgSQL_expr" and value.get("parseMode", 0) == 0:  # of a FOR or RETURN QUERY
        return Inner("sql", str(value.get("query", "")), line)
    if name in _CONTROL:
        return Inner("transaction", name.rsplit("_", 1)[1].upper(), line)
    return None


def _query(value: Any) -> str:
    return str(value.get("PLpgSQL_expr", {}).get("query", ""))
