"""Text is cut where PostgreSQL ends a statement, and nowhere else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.migrations.splitting import statements, tree

WHOLE = [
    "SELECT 1",
    "SELECT 'a; b'",
    "SELECT 'it''s; ok'",
    "SELECT E'\\'; no end'",
    "SELECT $$ a; b $$",
    "SELECT $x$ a; $$ b; $x$",
    'SELECT 1 AS "odd; name"',
    "SELECT 1 /* a; b /* nested; */ c */ + 2",
    "SELECT 1 -- a; b\n + 2",
    "SELECT 'ä€😀; ü'",
    "DO $$ BEGIN PERFORM 1; PERFORM 2; END $$",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
    "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
]
BETWEEN = st.sampled_from([";", ";\n", " ; ", ";\r\n", "; -- so; on\n", ";/* ; */", ";;\n;"])


@given(st.lists(st.tuples(st.sampled_from(WHOLE), BETWEEN), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_joined_statements_come_apart_as_they_were(parts: list[tuple[str, str]]) -> None:
    """Whatever stands between them, and each knows the line where it begins."""
    text = "".join(statement + between for statement, between in parts)

    found = statements("x.sql", text)

    assert [s.text for s in found] == [statement for statement, _ in parts]
    lines = text.split("\n")
    assert all(lines[s.line - 1].find(s.text.split("\n")[0]) >= 0 for s in found)


@given(st.lists(st.sampled_from(WHOLE), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_splitting_twice_is_splitting_once(parts: list[str]) -> None:
    once = [s.text for s in statements("x.sql", ";\n".join(parts))]

    assert [s.text for s in statements("x.sql", ";\n".join(once))] == once


def test_many_rows_are_not_deep() -> None:
    """Ten thousand rows in one INSERT is a long list, not a deep tree."""
    rows = ", ".join(f"({n}, -{n}, 'x', lower('Y'))" for n in range(10_000))

    [statement] = statements("x.sql", "INSERT INTO t VALUES " + rows)  # noqa: S608 - never runs

    assert type(tree(statement.text)).__name__ == "InsertStmt"
