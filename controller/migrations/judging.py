"""Sends each statement to its judge, and looks into DO blocks and functions."""

from collections.abc import Callable
from typing import Any, Final

from controller.core.errors import MalformedError
from controller.migrations import (
    plpgsql,
    rules_alter,
    rules_data,
    rules_objects,
    rules_session,
)
from controller.migrations.bundle import Kind
from controller.migrations.classes import Notes
from controller.migrations.learning import learn
from controller.migrations.scripts import constant
from controller.migrations.splitting import Node, tree

_DEEPEST_BLOCK: Final = 5  # DO in EXECUTE in DO ...
_QUERIES: Final = {"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}
_NATIVE: Final = {"c", "internal"}
_READABLE: Final = {"sql", "plpgsql"}


def judge(text: str, node: Node, notes: Notes, *, depth: int = 0) -> None:
    """Note all that is found out about one statement, then learn what it makes."""
    kind = type(node).__name__
    if kind == "DoStmt":
        _do_block(text, node, notes, depth)
        return
    if kind == "CreateFunctionStmt":
        _function(text, node, notes)
    elif kind in JUDGES:
        JUDGES[kind](node, notes)
    else:
        notes.unknown(kind.removesuffix("Stmt"))
    if kind in _QUERIES:
        rules_session.functions(node, notes)
    learn(notes.catalog, node, is_new=True)


def _do_block(text: str, node: Node, notes: Notes, depth: int) -> None:
    language = _option(node.args, "language") or "plpgsql"
    body = plpgsql.body_of(text) if language == "plpgsql" else None
    if body is None or depth >= _DEEPEST_BLOCK:
        error = plpgsql.error_of(text) if language == "plpgsql" else f"it is {language}"
        _unseen(notes, f"The DO block cannot be read ({error or 'it nests too deep'}).")
        return
    notes.is_in_block = True
    for inner in plpgsql.inners(body):
        if inner.what == "transaction":
            notes.remark("SWM303", f"The DO block says {inner.text}.")
        elif inner.what == "dynamic":
            _dynamic(inner.text, notes, depth)
        else:
            _inner(inner.text, notes, depth)


def _dynamic(expression: str, notes: Notes, depth: int) -> None:
    """EXECUTE of a constant can be read; of anything else, it cannot."""
    try:
        text = constant(tree(f"SELECT {expression}").targetList[0].val)
    except (MalformedError, ValueError, IndexError, AttributeError):
        text = None
    if text is None:
        _unseen(notes, f"The DO block runs what {_short(expression)} makes.")
    else:
        _inner(text, notes, depth)


def _inner(text: str, notes: Notes, depth: int) -> None:
    from pglast.parser import ParseError, parse_sql  # noqa: PLC0415 - a cold start does without

    try:
        found = [parsed.stmt for parsed in parse_sql(text)]
    except ParseError:
        _unseen(notes, f"The DO block runs {_short(text)}, which cannot be read.")
        return
    for node in found:
        before = notes.in_transaction
        notes.in_transaction = True
        judge(text, node, notes, depth=depth + 1)
        if not notes.in_transaction:
            notes.remark("SWM301", f"{_short(text)} fails in a DO block, which is a transaction.")
        notes.in_transaction = before


def _function(text: str, node: Node, notes: Notes) -> None:
    """A function does nothing when it is made: only what will not be seen later is noted."""
    rules_objects.replace_function(node, notes)
    language = (_option(node.options, "language") or "sql").lower()
    name = node.funcname[-1].sval
    if language in _NATIVE:
        notes.breaks("SWM504", f"The function {name} is machine code in the server ({language}).")
    elif language not in _READABLE:
        notes.remark("SWM506", f"The function {name} is {language}, which is not read here.")
    elif language == "plpgsql":
        body = plpgsql.body_of(text)
        if body is None:
            error = plpgsql.error_of(text) or "its body is not plain"
            notes.remark("SWM506", f"The function {name} cannot be read: {error}.")
        elif any(inner.what == "dynamic" for inner in plpgsql.inners(body)):
            notes.remark("SWM506", f"The function {name} makes SQL while it runs.")


def _unseen(notes: Notes, says: str) -> None:
    notes.is_(Kind.DATA)
    notes.why_not.append(f"{says} What it does to the old build is not known.")
    notes.remark("SWM505", says)


def _option(definitions: Any, name: str) -> str | None:
    for definition in definitions or ():
        if definition.defname == name:
            return getattr(definition.arg, "sval", None)
    return None


def _short(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."


JUDGES: Final[dict[str, Callable[[Node, Notes], None]]] = {
    "AlterTableStmt": rules_alter.alter_table,
    **rules_objects.JUDGES,
    **rules_data.JUDGES,
    **rules_session.JUDGES,
}
