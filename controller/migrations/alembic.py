"""Reads Alembic's offline output (``alembic upgrade BASE:HEAD --sql``), by revision.

Alembic marks each revision by a comment, ``-- Running upgrade 1a2b -> 3c4d``, and moves its row
in alembic_version at the end of it. Merges name several parents: ``1a2b, 5e6f -> 7a8b``.
"""

from dataclasses import dataclass
from typing import Final

from controller.core.errors import MalformedError
from controller.migrations.bundle import Statement
from controller.migrations.scripts import Script, Section, refuse_unbalanced
from controller.migrations.splitting import Lines, Node, statements, tree

VERSION_TABLE: Final = "alembic_version"
_UP: Final = "-- Running upgrade "
_DOWN: Final = "-- Running downgrade "


@dataclass(frozen=True, slots=True)
class _Mark:
    line: int
    old: str
    new: str


def is_alembic(text: str) -> bool:
    """Tell whether a script looks like Alembic's."""
    return _UP in text or _DOWN in text


def read_script(file: str, text: str, *, is_down: bool = False) -> Script:
    """Return the revisions of Alembic's output.

    Raises:
        MalformedError: with file and line: it is not such output, or goes the other way.
    """
    marks = _marks(file, text, is_down=is_down)
    sections: dict[str, Section] = {}
    preamble: list[Statement] = []
    for mark in marks:
        id_ = mark.old if is_down else mark.new
        if id_ in sections:
            raise MalformedError(
                f"{file}, line {mark.line}: revision {id_} comes twice.", fix="Generate it anew."
            )
        sections[id_] = Section(id_)
    refuse_unbalanced(file, sections)
    for statement in statements(file, text):
        node = tree(statement.text)
        if type(node).__name__ == "TransactionStmt":
            continue
        number = sum(1 for mark in marks if mark.line < statement.line)
        if number == 0:
            preamble.append(statement)
            continue
        section = list(sections.values())[number - 1]
        (section.history if _is_history(node) else section.statements).append(statement)
    base = None if is_down else (marks[0].old or None)
    return Script(sections=tuple(sections.values()), preamble=tuple(preamble), base=base)


def _marks(file: str, text: str, *, is_down: bool) -> list[_Mark]:
    from pglast.parser import scan  # noqa: PLC0415 - a cold start does without

    lines = Lines(text)
    found: list[_Mark] = []
    statements(file, text)  # so that a wrong text is refused with its line, before it is scanned
    for token in scan(text):
        if token.name != "SQL_COMMENT":
            continue
        comment = text[token.start : token.end + 1].strip()
        if not comment.startswith((_UP, _DOWN)):
            continue
        line = lines.line(token.start)
        if comment.startswith(_DOWN) is not is_down:
            raise MalformedError(
                f"{file}, line {line}: {comment[3:]!r} goes the wrong way for this script.",
                fix="Put `alembic upgrade` and `alembic downgrade` into two files.",
            )
        old, arrow, new = comment.removeprefix(_DOWN if is_down else _UP).partition("->")
        if not arrow or not (old if is_down else new).strip():
            raise MalformedError(
                f"{file}, line {line}: {comment[3:]!r} does not say `A -> B`.",
                fix="Generate it anew with `alembic upgrade BASE:HEAD --sql`.",
            )
        found.append(_Mark(line, _first(old), _first(new)))
    return found


def _first(revisions: str) -> str:
    """Return the revision; of several parents, the first. What follows a comma and text stays."""
    return revisions.split(",", 1)[0].strip()


def _is_history(node: Node) -> bool:
    relation = getattr(node, "relation", None)
    if type(node).__name__ not in {"InsertStmt", "UpdateStmt", "DeleteStmt"}:
        return False
    return getattr(relation, "relname", None) == VERSION_TABLE
