"""Bicep's declarations and expressions, with the line of each."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path


class BicepSyntaxError(Exception):
    """The file is not in the part of the language that is read here."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass(frozen=True, slots=True)
class Node:
    """An expression."""

    line: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A text without holes, a number, true, false, null."""

    value: str | int | bool | None


@dataclass(frozen=True, slots=True)
class Text(Node):
    """'...${expression}...': texts and expressions in turn."""

    parts: tuple[str | Node, ...]


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A symbol."""

    name: str


@dataclass(frozen=True, slots=True)
class Member(Node):
    """of.name, of!.name, of.?name."""

    of: Node
    name: str


@dataclass(frozen=True, slots=True)
class Index(Node):
    """of[key]."""

    of: Node
    key: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    """name(arguments), or of.name(arguments)."""

    name: str
    arguments: tuple[Node, ...]
    of: Node | None = None


@dataclass(frozen=True, slots=True)
class Operation(Node):
    """One or two operands."""

    operator: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice(Node):
    """condition ? yes : no."""

    condition: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Array(Node):
    """[items]."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Object(Node):
    """{key: value}. Keys can be interpolated."""

    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Lambda(Node):
    """parameters => body."""

    parameters: tuple[str, ...]
    body: Node


@dataclass(frozen=True, slots=True)
class Loop(Node):
    """[for item in items: body]."""

    item: str
    index: str | None
    items: Node
    body: Node


@dataclass(frozen=True, slots=True)
class If(Node):
    """if (condition) body."""

    condition: Node
    body: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """param, var, output, resource or module."""

    kind: str
    name: str
    line: int
    value: Node | None = None
    type: str = ""  # of a param or an output; TYPE of a resource; path of a module
    api: str = ""
    is_existing: bool = False
    decorators: tuple[Call, ...] = ()

    def decorator(self, name: str) -> Call | None:
        """Return its decorator of that name."""
        return next((each for each in self.decorators if each.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BicepFile:
    """One file, by the names of its declarations."""

    path: Path
    scope: str = "resourceGroup"
    declarations: dict[str, Declaration] = field(default_factory=dict)

    def of(self, kind: str) -> Iterator[Declaration]:
        """Yield what is declared with that keyword."""
        return (each for each in self.declarations.values() if each.kind == kind)


def walk(node: Node | None) -> Iterator[Node]:
    """Yield *node* and all in it."""
    if node is None:
        return
    yield node
    for each in inner(node):
        yield from walk(each)


def inner(node: Node) -> Iterator[Node]:
    """Yield what is directly in *node*."""
    pending: list[object] = [getattr(node, each.name) for each in fields(node)]
    while pending:
        value = pending.pop(0)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            pending[:0] = value
