"""What is known of the database's schema while a bundle is read: given, or learnt from it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.migrations.shapes import is_tuple
from controller.migrations.splitting import Node, tree
from controller.migrations.sql_types import SqlType, parse_type, type_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """A column of the database as it is."""

    type: str  # as format_type() writes it
    not_null: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableShape:
    """A table of the database as it is."""

    columns: Mapping[str, ColumnFacts] = field(default_factory=dict[str, ColumnFacts])
    rows: int | None = None  # estimated; None: not known
    checked_not_null: frozenset[str] = frozenset()  # columns with a validated IS NOT NULL check
    indexes: Mapping[str, bool] = field(default_factory=dict[str, bool])  # name -> is it unique


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The schema of a database as it is. Tables are named as in SQL, without "public."."""

    tables: Mapping[str, TableShape] = field(default_factory=dict[str, TableShape])


@dataclass(slots=True)
class Column:
    """A column as known so far."""

    type: SqlType | None
    not_null: bool = False
    is_new: bool = False
    has_default: bool = False


@dataclass(slots=True)
class KnownConstraint:
    """A constraint as known so far."""

    kind: str  # of pglast's ConstrType
    columns: tuple[str, ...] = ()
    is_validated: bool = True
    not_null_of: frozenset[str] = frozenset()  # columns that it proves not to be null
    references: str | None = None


@dataclass(slots=True)
class Table:
    """A table as known so far."""

    is_new: bool  # created by what is linted: nobody else sees it yet
    rows: int | None = None
    columns: dict[str, Column] = field(default_factory=dict[str, Column])
    constraints: dict[str, KnownConstraint] = field(default_factory=dict[str, KnownConstraint])

    def proves_not_null(self, column: str) -> bool:
        """Tell whether a validated constraint says that *column* has no null."""
        return any(c.is_validated and column in c.not_null_of for c in self.constraints.values())


@dataclass(slots=True)
class Index:
    """An index as known so far."""

    table: str
    is_unique: bool
    is_new: bool


class Catalog:
    """Tables, indexes and other names as they are at one point of a bundle."""

    def __init__(self, schema: Schema | None = None) -> None:
        self.tables: dict[str, Table] = {}
        self.indexes: dict[str, Index] = {}
        self.new_names: set[str] = set()  # views, types, functions, schemas of this release
        if schema is not None:
            self.overlay(schema)

    def overlay(self, schema: Schema) -> None:
        """Take what the database says instead of what was learnt."""
        for name, shape in schema.tables.items():
            table = Table(is_new=False, rows=shape.rows)
            for column, facts in shape.columns.items():
                table.columns[column] = Column(parse_type(facts.type), facts.not_null)
            if shape.checked_not_null:
                table.constraints["?"] = KnownConstraint(
                    "CONSTR_CHECK", not_null_of=shape.checked_not_null
                )
            if name in self.tables:
                table.constraints = {**self.tables[name].constraints, **table.constraints}
            self.tables[name] = table
            for index, is_unique in shape.indexes.items():
                self.indexes[index] = Index(name, is_unique, is_new=False)

    def is_new(self, name: str) -> bool:
        """Tell whether the table or other object is created by what is linted."""
        table = self.tables.get(name)
        return table.is_new if table else name in self.new_names

    def column(self, table: str, column: str) -> Column | None:
        """Return what is known of a column."""
        known = self.tables.get(table)
        return known.columns.get(column) if known else None

    def is_new_column(self, table: str, column: str) -> bool:
        """Tell whether the old build cannot know the column."""
        found = self.column(table, column)
        return self.is_new(table) or bool(found and found.is_new)

    def all_new(self, table: str, columns: Iterable[str]) -> bool:
        """Tell whether the old build cannot know any of the columns. Of none, it is not known."""
        names = list(columns)
        return self.is_new(table) or (
            bool(names) and all(self.is_new_column(table, name) for name in names)
        )

    def rows(self, table: str) -> int | None:
        """Return the estimated number of rows; None if not known."""
        known = self.tables.get(table)
        return known.rows if known else None


# --- Reading the tree --------------------------------------------------------------------------


def name_of(relation: Node) -> str:
    """Return a table's name as in SQL, without "public."."""
    schema = relation.schemaname
    return str(relation.relname) if schema in {None, "public"} else f"{schema}.{relation.relname}"


def dotted(parts: Any) -> str:
    """Return the name that a list of String nodes spells, without "public."."""
    names = [_word(part) for part in parts]
    return ".".join(names[1:] if len(names) > 1 and names[0] == "public" else names)


def _word(part: Node) -> str:
    """Return a name; casts and such are named by types."""
    if type(part).__name__ == "TypeName":
        return dotted(part.names)
    return str(getattr(part, "sval", part))


def walk(node: Any) -> Iterator[Node]:
    """Yield *node* and all nodes below it."""
    from pglast.ast import Node as TreeNode  # noqa: PLC0415 - a cold start does without

    pending = [node]
    while pending:
        item = pending.pop()
        if is_tuple(item):
            pending.extend(reversed(item))
        elif isinstance(item, TreeNode):
            yield item
            pending.extend(getattr(item, name) for name in reversed(list(item)))


def columns_in(expression: Node) -> list[str]:
    """Return the columns that an expression names."""
    return [
        node.fields[-1].sval
        for node in walk(expression)
        if type(node).__name__ == "ColumnRef" and hasattr(node.fields[-1], "sval")
    ]


def proved_not_null(expression: Node) -> frozenset[str]:
    """Return the columns that a check proves not to be null: ``a IS NOT NULL [AND ...]``."""
    kind = type(expression).__name__
    if kind == "BoolExpr" and expression.boolop.name == "AND_EXPR":
        return frozenset[str]().union(*(proved_not_null(part) for part in expression.args))
    if kind == "NullTest" and expression.nulltesttype.name == "IS_NOT_NULL":
        return frozenset(columns_in(expression.arg)[:1])
    return frozenset()


def checked_not_null(expression: str) -> frozenset[str]:
    """Return the columns that a check proves not to be null, as PostgreSQL writes the check."""
    return proved_not_null(tree(f"SELECT {expression}").targetList[0].val)


def constraint_columns(constraint: Node) -> list[str]:
    """Return the columns of the constrained table that a constraint is about."""
    if constraint.contype.name == "CONSTR_CHECK":
        return columns_in(constraint.raw_expr)
    if constraint.contype.name == "CONSTR_FOREIGN":
        return [part.sval for part in constraint.fk_attrs or ()]
    if constraint.contype.name == "CONSTR_EXCLUSION":
        return [part[0].name for part in constraint.exclusions or () if part[0].name]
    return [part.sval for part in constraint.keys or ()]


def known_constraint(constraint: Node, columns: Iterable[str] | None = None) -> KnownConstraint:
    """Return what a Constraint node says."""
    kind = constraint.contype.name
    names = tuple(constraint_columns(constraint) if columns is None else columns)
    if kind in {"CONSTR_NOTNULL", "CONSTR_PRIMARY"}:
        proved = frozenset(names)
    elif kind == "CONSTR_CHECK":
        proved = proved_not_null(constraint.raw_expr)
    else:
        proved = frozenset[str]()
    table = constraint.pktable
    return KnownConstraint(
        kind,
        names,
        is_validated=not constraint.skip_validation,
        not_null_of=proved,
        references=name_of(table) if table else None,
    )


def constraints_of(column: Node, *kinds: str) -> list[Node]:
    """Return the constraints of a ColumnDef that are of one of *kinds*."""
    return [c for c in column.constraints or () if c.contype.name in kinds]


def column_of(definition: Node, *, is_new: bool) -> Column:
    """Return what a ColumnDef node says."""
    required = constraints_of(definition, "CONSTR_NOTNULL", "CONSTR_PRIMARY", "CONSTR_IDENTITY")
    of_type = type_of(definition.typeName) if definition.typeName else None
    return Column(
        of_type,
        not_null=bool(required) or definition.is_not_null,
        is_new=is_new,
        has_default=bool(constraints_of(definition, "CONSTR_DEFAULT")),
    )
