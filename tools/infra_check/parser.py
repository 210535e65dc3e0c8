"""Reads Bicep: declarations and expressions.

Stricter than pycep, which parses each file first (`check`): here operators bind as in the language,
and names, literals and interpolated texts are told apart. What Slipway's templates do not use
(user-defined types and functions, imports, spread, assert) is refused.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from tools.infra_check.lexer import Hole, Lexer, Token
from tools.infra_check.nodes import (
    Array,
    BicepFile,
    BicepSyntaxError,
    Call,
    Choice,
    Declaration,
    If,
    Index,
    Lambda,
    Literal,
    Loop,
    Member,
    Name,
    Node,
    Object,
    Operation,
    Text,
)

_BINDING: Final = {
    "??": 1, "||": 2, "&&": 3, "==": 4, "!=": 4, "=~": 4, "!~": 4,
    "<": 5, ">": 5, "<=": 5, ">=": 5, "+": 6, "-": 6, "*": 7, "/": 7, "%": 7,
}  # fmt: skip
_CONSTANTS: Final = {"true": True, "false": False, "null": None}


def parse(path: Path, source: str | None = None) -> BicepFile:
    """Read the file at *path*, or its *source*.

    Raises:
        BicepSyntaxError: it is not Bicep, or uses more of it than is read here.
    """
    text = path.read_text(encoding="utf-8") if source is None else source
    return replace(_parsed(text), path=path)


@cache
def _parsed(text: str) -> BicepFile:
    return _Parser(Lexer(text).tokens()).file(Path())


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    # -- declarations

    def file(self, path: Path) -> BicepFile:
        scope = "resourceGroup"
        found: dict[str, Declaration] = {}
        self._skip_lines()
        while self._now.kind != "end":
            if self._is("name", "targetScope"):
                self._next()
                self._expect("=")
                scope = str(self._literal())
            else:
                each = self._declaration()
                if each.name in found and (each.kind == "output") == (
                    found[each.name].kind == "output"
                ):
                    raise BicepSyntaxError(each.line, f"{each.name} is declared twice")
                found[_key(each)] = each
            if self._now.kind != "end":
                self._expect_line()
        return BicepFile(path=path, scope=scope, declarations=found)

    def _declaration(self) -> Declaration:
        decorators = tuple(self._decorators())
        keyword = self._next()
        if keyword.kind != "name" or keyword.value not in {
            "param", "var", "output", "resource", "module",
        }:  # fmt: skip
            raise BicepSyntaxError(keyword.line, f"{keyword.value!r} begins no declaration")
        name = self._identifier()
        read = getattr(self, f"_{keyword.value}")
        return Declaration(
            kind=keyword.value, name=name, line=keyword.line, decorators=decorators, **read()
        )

    def _decorators(self) -> Iterator[Call]:
        while self._accept("@"):
            call = self._postfix()
            if not isinstance(call, Call):
                raise BicepSyntaxError(call.line, "a decorator is called: @name()")
            yield call
            self._expect_line()

    def _param(self) -> dict[str, Any]:
        kind = self._type()
        return {"type": kind, "value": self._whole_value() if self._accept("=") else None}

    def _var(self) -> dict[str, Any]:
        self._expect("=")
        return {"value": self._whole_value()}

    def _output(self) -> dict[str, Any]:
        kind = self._type()
        self._expect("=")
        return {"type": kind, "value": self._whole_value()}

    def _resource(self) -> dict[str, Any]:
        token = self._now
        kind, separator, api = str(self._literal()).partition("@")
        if not separator:
            raise BicepSyntaxError(token.line, f"{kind} names no API version")
        is_existing = self._is("name", "existing")
        if is_existing:
            self._next()
        self._expect("=")
        return {"type": kind, "api": api, "is_existing": is_existing, "value": self._body()}

    def _module(self) -> dict[str, Any]:
        path = str(self._literal())
        self._expect("=")
        return {"type": path, "value": self._body()}

    def _type(self) -> str:
        kind = self._identifier()
        while self._accept("["):
            self._expect("]")
            kind += "[]"
        return kind + ("?" if self._accept("?") else "")

    def _body(self) -> Node:
        token = self._now
        if self._is("name", "if"):
            self._next()
            self._expect("(")
            condition = self._whole_value()
            self._expect(")")
            return If(token.line, condition, self._body())
        body = self._value()
        if not isinstance(body, Object | Loop):
            raise BicepSyntaxError(token.line, "a resource or module is an object")
        return body

    # -- expressions

    def whole(self) -> Node:
        """Read one expression that is all there is."""
        value = self._whole_value()
        self._skip_lines()
        if self._now.kind != "end":
            raise BicepSyntaxError(self._now.line, f"{self._now.value!r} was not expected")
        return value

    def _whole_value(self) -> Node:
        self._skip_lines()
        return self._value()

    def _value(self) -> Node:
        condition = self._binary(0)
        if not self._accept_over_lines("?"):
            return condition
        yes = self._whole_value()
        if not self._accept_over_lines(":"):
            raise BicepSyntaxError(self._now.line, "a choice has no second half")
        return Choice(condition.line, condition, yes, self._whole_value())

    def _binary(self, least: int) -> Node:
        left = self._unary()
        while (binding := _BINDING.get(self._operator(), 0)) > least:
            operator = self._next()
            self._skip_lines()
            left = Operation(operator.line, operator.value, (left, self._binary(binding)))
        return left

    def _operator(self) -> str:
        return str(self._now.value) if self._now.kind == "operator" else ""

    def _unary(self) -> Node:
        token = self._now
        if self._accept("!") or self._accept("-"):
            return Operation(token.line, token.value, (self._unary(),))
        return self._postfix()

    def _postfix(self) -> Node:
        value = self._primary()
        while True:
            line = self._now.line
            if self._accept(".") or self._accept(".?"):
                name = self._identifier()
                if self._is("operator", "("):
                    value = Call(line, name, self._arguments(), _receiver(value))
                else:
                    value = Member(line, value, name)
            elif self._is("operator", "["):
                self._next()
                self._accept("?")
                value = Index(line, value, self._whole_value())
                self._expect("]")
            elif not (self._is("operator", "!") and self._accept("!")):
                return value

    def _primary(self) -> Node:
        token = self._now
        if token.kind in {"text", "number"}:
            return self._plain(self._next())
        if token.kind == "name":
            return self._named(self._next())
        if self._is("operator", "["):
            return self._array()
        if self._is("operator", "{"):
            return self._object()
        if self._accept("("):
            return self._parenthesis(token.line)
        raise BicepSyntaxError(token.line, f"{token.value!r} was not expected")

    def _plain(self, token: Token) -> Node:
        if token.kind == "number":
            return Literal(token.line, int(token.value))
        parts = tuple(map(_part, token.value))
        if all(isinstance(each, str) for each in parts):
            return Literal(token.line, "".join(token.value))
        return Text(token.line, parts)

    def _named(self, token: Token) -> Node:
        if token.value in _CONSTANTS:
            return Literal(token.line, _CONSTANTS[token.value])
        if self._is("operator", "("):
            return Call(token.line, token.value, self._arguments())
        if self._accept("=>"):
            return Lambda(token.line, (token.value,), self._whole_value())
        return Name(token.line, token.value)

    def _parenthesis(self, line: int) -> Node:
        values = [self._whole_value()]
        while self._accept(","):
            values.append(self._whole_value())
        self._skip_lines()
        self._expect(")")
        names = tuple(each.name for each in values if isinstance(each, Name))
        if len(names) == len(values) and self._accept("=>"):
            return Lambda(line, names, self._whole_value())
        if len(values) > 1:
            raise BicepSyntaxError(line, "several values in one pair of brackets")
        return values[0]

    def _arguments(self) -> tuple[Node, ...]:
        self._expect("(")
        self._skip_lines()
        found: list[Node] = []
        while not self._is("operator", ")"):
            found.append(self._whole_value())
            self._skip_lines()
            if not self._is("operator", ")"):
                self._expect(",")
                self._skip_lines()
        self._expect(")")
        return tuple(found)

    def _array(self) -> Node:
        line = self._next().line
        self._skip_lines()
        if self._is("name", "for"):
            return self._loop(line)
        found: list[Node] = []
        while not self._is("operator", "]"):
            found.append(self._value())
            self._item_ends("]")
        self._expect("]")
        return Array(line, tuple(found))

    def _loop(self, line: int) -> Node:
        self._next()
        index = None
        if self._accept("("):
            item = self._identifier()
            self._expect(",")
            index = self._identifier()
            self._expect(")")
        else:
            item = self._identifier()
        if not self._is("name", "in"):
            raise BicepSyntaxError(self._now.line, "a loop has no in")
        self._next()
        items = self._binary(0)
        self._expect(":")
        self._skip_lines()
        body = self._body() if self._is("name", "if") else self._value()
        self._skip_lines()
        self._expect("]")
        return Loop(line, item, index, items, body)

    def _object(self) -> Node:
        line = self._next().line
        self._skip_lines()
        found: list[tuple[Node, Node]] = []
        while not self._is("operator", "}"):
            token = self._now
            if token.kind == "name":
                key: Node = Literal(token.line, self._next().value)
            elif token.kind == "text":
                key = self._primary()
            else:
                raise BicepSyntaxError(token.line, f"{token.value!r} is no key")
            self._expect(":")
            found.append((key, self._value()))
            self._item_ends("}")
        self._expect("}")
        names = [key.value for key, _ in found if isinstance(key, Literal)]
        if twice := {str(each) for each in names if names.count(each) > 1}:
            raise BicepSyntaxError(line, f"{', '.join(sorted(twice))} is there twice")
        return Object(line, tuple(found))

    def _item_ends(self, closing: str) -> None:
        if self._now.kind != "newline" and not self._is("operator", closing):
            self._expect(",")
        self._skip_lines()

    # -- tokens

    @property
    def _now(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._now
        self._at += 1
        return token

    def _is(self, kind: str, value: str) -> bool:
        return self._now.kind == kind and self._now.value == value

    def _accept(self, operator: str) -> bool:
        if self._is("operator", operator):
            self._at += 1
            return True
        return False

    def _accept_over_lines(self, operator: str) -> bool:
        """Accept *operator* on a later line, too: the halves of a choice may stand there."""
        at = self._at
        self._skip_lines()
        if self._accept(operator):
            return True
        self._at = at
        return False

    def _expect(self, operator: str) -> None:
        if not self._accept(operator):
            shown = {"newline": "the end of the line", "end": "the end of the file"}
            found = shown.get(self._now.kind, repr(self._now.value))
            raise BicepSyntaxError(self._now.line, f"{found} where {operator!r} was expected")

    def _expect_line(self) -> None:
        if self._now.kind not in {"newline", "end"}:
            raise BicepSyntaxError(self._now.line, f"{self._now.value!r} was not expected")
        self._skip_lines()

    def _skip_lines(self) -> None:
        while self._now.kind == "newline":
            self._at += 1

    def _identifier(self) -> str:
        token = self._next()
        if token.kind != "name":
            raise BicepSyntaxError(token.line, f"{token.value!r} is no name")
        return str(token.value)

    def _literal(self) -> object:
        token = self._now
        value = self._primary()
        if not isinstance(value, Literal) or not isinstance(value.value, str):
            raise BicepSyntaxError(token.line, "a plain text was expected")
        return value.value


def _key(declaration: Declaration) -> str:
    """Outputs have names of their own: one may be called as a param is."""
    prefix = "output " if declaration.kind == "output" else ""
    return prefix + declaration.name


def _part(part: str | Hole) -> str | Node:
    if isinstance(part, str):
        return part
    return _Parser(Lexer(part.source, part.line).tokens()).whole()


def _receiver(value: Node) -> Node | None:
    """Leave sys. and az. out: what is called by them are plain functions."""
    return None if isinstance(value, Name) and value.name in {"az", "sys"} else value
