"""Cuts SQL text into statements with PostgreSQL's own parser, and says where text is wrong."""

import bisect
from typing import Any, Final

from controller.core.errors import MalformedError
from controller.migrations.bundle import Statement

Node = Any  # a node of pglast's tree: a vendor's class per grammar rule

LARGEST_FILE: Final = 4 << 20  # bytes; parsing costs a second and 50 MB of memory per MB
_DEEPEST: Final = 10_000  # of a tree; the parser's C code crashes the process at some 100,000
_WRITE_SQL: Final = "Write it as PostgreSQL reads it, in UTF-8, one statement after the other."


def decode(file: str, data: bytes) -> str:
    """Return the text of *file*. A byte order mark is taken off; line ends stay as they are.

    Raises:
        MalformedError: it is too large, is not UTF-8, or holds what PostgreSQL cannot store.
    """
    if len(data) > LARGEST_FILE:
        raise MalformedError(
            f"{file} has {len(data)} bytes; a migration file has at most {LARGEST_FILE}.",
            fix="Load data outside of migrations, or cut the file into several migrations.",
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise MalformedError(
            f"{file} is UTF-16, as PowerShell's `>` writes it.",
            fix="Save it as UTF-8 (`dotnet ef migrations script --output FILE` does).",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MalformedError(
            f"{file}, line {line}: byte {error.start} is not UTF-8.", fix="Save it as UTF-8."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise MalformedError(
            f"{file}, line {line}: a zero byte; this is not a text file.", fix=_WRITE_SQL
        )
    return text


class Lines:
    """Finds the line and column of an index in a text."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(i + 1 for i, c in enumerate(text) if c == "\n")]

    def line(self, index: int) -> int:
        """Return the line, from 1."""
        return bisect.bisect_right(self._starts, index)

    def column(self, index: int) -> int:
        """Return the column, from 1."""
        return index - self._starts[self.line(index) - 1] + 1


def slices(file: str, text: str) -> tuple[slice, ...]:
    """Return where each statement stands in *text*: without its semicolon and outer comments.

    Raises:
        MalformedError: with line and column, and the next step.
    """
    from pglast.parser import ParseError, split  # noqa: PLC0415 - a cold start does without

    try:
        return tuple(split(text, with_parser=True, only_slices=True))
    except ParseError as error:
        raise _syntax_error(file, text, error) from error


def statements(file: str, text: str) -> tuple[Statement, ...]:
    """Return the statements of *text*, each with the line where it begins.

    Raises:
        MalformedError: with line and column, and the next step.
    """
    lines = Lines(text)
    found = tuple(
        Statement(text=text[part], line=lines.line(part.start)) for part in slices(file, text)
    )
    for statement in found:
        check_depth(statement.text, f"{file}, line {statement.line}")
    return found


def tree(statement: str) -> Node:
    """Return the parse tree of one statement that was read before."""
    from pglast.parser import parse_sql  # noqa: PLC0415 - same

    check_depth(statement, "A statement")
    return parse_sql(statement)[0].stmt


def check_depth(statement: str, place: str) -> None:
    """Refuse what nests so deep that reading its tree would crash the process.

    A tree is no deeper than the tokens of one element of each of the lists that are open, so
    commas begin again: a list of many short rows is flat.
    """
    from pglast.parser import scan  # noqa: PLC0415 - same

    if len(statement) <= _DEEPEST:
        return
    depth = 0
    outer: list[int] = []
    for token in scan(statement):
        if token.name == "ASCII_44":  # a comma
            depth = outer[-1] if outer else 0
        elif token.name in {"ASCII_40", "ASCII_91"}:  # ( and [
            depth += 1
            outer.append(depth)
        elif token.name in {"ASCII_41", "ASCII_93"}:  # ) and ]
            depth = outer.pop() if outer else 0
        else:
            depth += 1
        if depth > _DEEPEST:
            raise MalformedError(
                f"{place}: one statement nests more than {_DEEPEST} words deep.",
                fix="Cut it into several statements.",
            )


def first_text(statement: str) -> tuple[int, str]:
    """Return index and text of the first string constant of a statement, as it is written."""
    from pglast.parser import scan  # noqa: PLC0415 - same

    for token in scan(statement):
        if token.name == "SCONST":
            return token.start, statement[token.start : token.end + 1]
    return 0, ""


def _syntax_error(file: str, text: str, error: Exception) -> MalformedError:
    says = str(error.args[0])
    index = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else len(text)
    index = min(index, max(len(text) - 1, 0))
    lines = Lines(text)
    line, column = lines.line(index), lines.column(index)
    place = f"{file}, line {line}, column {column}"
    if text[index : index + 1] == "\\":
        command = text[index:].split(None, 1)[0]
        return MalformedError(
            f"{place}: {command} is a command of psql, not SQL.",
            fix="Take it out: Slipway sends statements to the server without psql.",
        )
    if _follows_copy_from_stdin(text, index):
        return MalformedError(
            f"{place}: rows follow COPY ... FROM STDIN, as only psql can read them.",
            fix="Write INSERT statements (`pg_dump --inserts`).",
        )
    return MalformedError(f"{place}: {says}.", fix=_WRITE_SQL)


def _follows_copy_from_stdin(text: str, index: int) -> bool:
    from pglast.parser import ParseError, parse_sql, split  # noqa: PLC0415 - same

    head = text[:index]
    end = head.rfind(";")
    if end < 0:
        return False
    try:
        parts = split(head[: end + 1], with_parser=True, only_slices=True)
        last: Node = parse_sql(head[parts[-1]])[0].stmt if parts else None
    except ParseError:
        return False
    return type(last).__name__ == "CopyStmt" and bool(last.is_from) and not last.filename
