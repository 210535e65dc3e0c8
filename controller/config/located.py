"""YAML with a place for every value, so that a complaint can say where.

The dialect is YAML 1.2's core: ``no``, ``on`` and ``1:30`` are texts, not a truth value or 90.
Duplicate keys are refused (plain YAML keeps the last one in silence), anchors are welcome.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import yaml

from controller.config.problems import InvalidConfigurationError, Problem

MOST_BYTES: Final = 1 << 20
MOST_VALUES: Final = 200_000  # aliases of aliases can name more values than memory holds
DEEPEST: Final = 50

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the file, from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Located:
    """A value and where it stands."""

    value: "Scalar | dict[str, Located] | list[Located]"
    at: Place
    path: str = ""
    text: str = ""  # a scalar as it was written
    key_at: Place | None = None  # where its key stands

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def get(self, *steps: str | int) -> "Located | None":
        """Return what stands below at *steps*; None where nothing does."""
        found: Located | None = self
        for step in steps:
            found = found.child(step) if found else None
        return found

    def nearest(self, *steps: str | int) -> "Located":
        """Return what stands at *steps*, or the deepest thing above that exists."""
        found = self
        for step in steps:
            child = found.child(step)
            if child is None:
                break
            found = child
        return found

    def items(self) -> "list[tuple[str, Located]]":
        """Return the keys and values of a mapping; nothing for anything else."""
        return list(self.value.items()) if isinstance(self.value, dict) else []

    def elements(self) -> "list[Located]":
        """Return the elements of a list; nothing for anything else."""
        return list(self.value) if isinstance(self.value, list) else []

    def child(self, step: str | int) -> "Located | None":
        """Return what stands one step below."""
        if isinstance(self.value, dict) and isinstance(step, str):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]
        return None


def merged(defaults: Located, own: Located) -> Located:
    """Return *own* with what it leaves out taken from *defaults*, mapping by mapping.

    Lists and scalars are replaced as a whole.
    """
    if not isinstance(defaults.value, dict) or not isinstance(own.value, dict):
        return own
    together = dict(defaults.value)
    for key, item in own.value.items():
        below = together.get(key)
        together[key] = merged(below, item) if below else item
    return replace(own, value=together)


class _Loader(yaml.CSafeLoader):
    """libyaml's parser (ten times PyYAML's own) with YAML 1.2's idea of what a plain word is."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute


_FLOAT: Final = (
    r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"
    r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "float",
        _FLOAT,
        "-+0123456789.",
    ),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^(?:<<)$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))  # pyright: ignore[reportUnknownMemberType] - PyYAML's stubs leave it open


def read_yaml(text: str, *, name: str) -> Located:
    """Return the document in *text* with the place of every value.

    Raises:
        InvalidConfigurationError: not YAML, a duplicate key, a tag or an endless anchor.
    """
    if len(text) > MOST_BYTES:
        problem = Problem(1, 1, "", f"is larger than {MOST_BYTES // 1024} KiB")
        raise InvalidConfigurationError(name, [problem])
    text = text.removeprefix("\ufeff")
    try:
        _check_depth(text, name)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise InvalidConfigurationError(name, [_syntax(error, text)]) from error
    if node is None:
        raise InvalidConfigurationError(
            name, [Problem(1, 1, "", "is empty", "Start it with: apps:")]
        )
    builder = _Builder()
    with suppress(_TooMuchError):
        root = builder.build(node, "", None, ())
        if not builder.problems:
            return root
    raise InvalidConfigurationError(name, builder.problems)


def _check_depth(text: str, name: str) -> None:
    """Composing is recursive C: too deep a text would end the process, not raise."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            mark: Any = event.start_mark
            problem = Problem(mark.line + 1, mark.column + 1, "", "is nested too deep")
            raise InvalidConfigurationError(name, [problem])


def _syntax(error: yaml.YAMLError, text: str) -> Problem:
    mark: Any = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = getattr(error, "position", 0)
        before = text[: position if isinstance(position, int) else 0]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return Problem(line, column, "", "has a character that YAML does not allow here")
    line, column = mark.line + 1, mark.column + 1
    at = text.splitlines()[mark.line : mark.line + 1]
    if at and at[0][mark.column : mark.column + 1] == "\t":
        return Problem(line, column, "", "has a tab", "YAML indents with spaces.")
    said = " ".join(
        part
        for part in (getattr(error, "context", None), getattr(error, "problem", None))
        if isinstance(part, str)
    )
    return Problem(line, column, "", f"is not YAML: {said}")


class _TooMuchError(Exception):
    """The document cannot be built; the problem is noted."""


@dataclass(slots=True)
class _Builder:
    """Turns composed nodes into located values and notes what is odd."""

    problems: list[Problem] = field(default_factory=list[Problem])
    count: int = 0

    def build(
        self, node: yaml.Node, path: str, key_at: Place | None, above: tuple[int, ...]
    ) -> Located:
        """Return *node* as a located value; *above* holds the nodes that contain it."""
        at = _place(node)
        self.count += 1
        if self.count > MOST_VALUES or len(above) > DEEPEST or id(node) in above:
            what = "contains itself" if id(node) in above else "has too many or too deep values"
            self._note(at, path, what, "Check the anchors (&) and aliases (*).")
            raise _TooMuchError
        inside = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return Located(self._mapping(node, path, inside), at, path, key_at=key_at)
        if isinstance(node, yaml.SequenceNode):
            elements = [
                self.build(item, f"{path}[{index}]", None, inside)
                for index, item in enumerate(node.value)
            ]
            self._check_tag(node, path, {"seq"})
            return Located(elements, at, path, key_at=key_at)
        return Located(self._scalar(node, path), at, path, str(node.value), key_at)

    def _mapping(
        self, node: yaml.MappingNode, path: str, inside: tuple[int, ...]
    ) -> dict[str, Located]:
        self._check_tag(node, path, {"map"})
        own: dict[str, Located] = {}
        inherited: dict[str, Located] = {}
        for key_node, value_node in node.value:
            at = _place(key_node)
            if key_node.tag == "tag:yaml.org,2002:merge":
                for source in self._merge_sources(value_node, path):
                    for key, item in self.build(source, path, at, inside).items():
                        inherited.setdefault(key, item)
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                self._note(at, path, "has a key that is not a text", "Write the key in quotes.")
                continue
            key = str(key_node.value)
            below = f"{path}.{key}" if path else key
            if key in own:
                first = own[key].key_at or at
                self._note(at, below, f"occurs twice; first on line {first.line}", "Remove one.")
                continue
            own[key] = self.build(value_node, below, at, inside)
        return inherited | own

    def _merge_sources(self, node: yaml.Node, path: str) -> Iterator[yaml.Node]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if isinstance(source, yaml.MappingNode):
                yield source
            else:
                self._note(_place(source), path, "merges (<<) something that is not a mapping")

    def _scalar(self, node: yaml.Node, path: str) -> Scalar:
        self._check_tag(node, path, {"str", "int", "float", "bool", "null"})
        text = str(node.value)
        kind = node.tag.rpartition(":")[2]
        try:
            if kind == "int":
                return int(text)
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            self._note(_place(node), path, f"is no number that can be used: {text[:40]}")
        if kind == "bool":
            return text.lower() == "true"
        return None if kind == "null" else text

    def _check_tag(self, node: yaml.Node, path: str, allowed: set[str]) -> None:
        prefix, _, kind = node.tag.rpartition(":")
        if prefix != "tag:yaml.org,2002" or kind not in allowed:
            self._note(_place(node), path, f"has the tag {node.tag}", "Remove the tag.")

    def _note(self, at: Place, path: str, message: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(at.line, at.column, path, message, suggestion))


def _place(node: yaml.Node) -> Place:
    mark = node.start_mark
    return Place(mark.line + 1, mark.column + 1)
