"""Bicep's tokens. The holes of interpolated texts stay source: the parser reads them."""

import re
from dataclasses import dataclass
from typing import Any, Final

from tools.infra_check.nodes import BicepSyntaxError

_TOKENS: Final = re.compile(
    r"""(?P<space>[ \t\r]+|//[^\n]*|/\*.*?\*/)
      | (?P<newline>\n)
      | (?P<long>'''.*?''')
      | (?P<number>\d+)
      | (?P<name>[A-Za-z_]\w*)
      | (?P<operator>=>|==|!=|=~|!~|<=|>=|&&|\|\||\?\?|\.\?|::|[-+*/%<>!?:.,=@|\[\](){}])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"\\": "\\", "'": "'", "n": "\n", "r": "\r", "t": "\t", "$": "$"}


@dataclass(frozen=True, slots=True)
class Hole:
    """The source of ${...} in a text."""

    source: str
    line: int


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the language. A text's value is its parts: texts and holes in turn."""

    kind: str  # "name", "number", "text", "operator", "newline", "end"
    value: Any
    line: int


class Lexer:
    """Takes a source to pieces, once."""

    def __init__(self, source: str, line: int = 1) -> None:
        self._source = source
        self._line = line

    def tokens(self) -> list[Token]:
        """Return its tokens, the last of which is its end.

        Raises:
            BicepSyntaxError: a letter begins none, or a text does not end.
        """
        found: list[Token] = []
        at = 0
        while at < len(self._source):
            if self._source[at] == "'" and not self._source.startswith("'''", at):
                parts, at = self._text(at + 1)
                found.append(Token("text", parts, self._line))
                continue
            match = _TOKENS.match(self._source, at)
            if match is None:
                raise BicepSyntaxError(self._line, f"{self._source[at]!r} is not Bicep")
            kind, value = str(match.lastgroup), match[0]
            if kind == "long":
                found.append(Token("text", (value[3:-3].removeprefix("\n"),), self._line))
            elif kind != "space":
                found.append(Token(kind, value, self._line))
            self._line += value.count("\n")
            at = match.end()
        return [*found, Token("end", "", self._line)]

    def _text(self, at: int) -> tuple[tuple[str | Hole, ...], int]:
        """Read on from within a text; return its parts, and where it ended."""
        parts: list[str | Hole] = []
        literal = ""
        while at < len(self._source):
            letter = self._source[at]
            if letter == "'":
                return (*parts, literal) if literal or not parts else tuple(parts), at + 1
            if letter == "\n":
                break
            if self._source.startswith("${", at):
                end = self._hole(at + 2)
                parts += [literal] if literal else []
                parts.append(Hole(self._source[at + 2 : end], self._line))
                literal, at = "", end + 1
            elif letter == "\\":
                literal += self._escaped(self._source[at + 1 : at + 2])
                at += 2
            else:
                literal, at = literal + letter, at + 1
        raise BicepSyntaxError(self._line, "a text does not end on its line")

    def _escaped(self, letter: str) -> str:
        if letter not in _ESCAPES:
            raise BicepSyntaxError(self._line, f"\\{letter} is no escape sequence")
        return _ESCAPES[letter]

    def _hole(self, at: int) -> int:
        """Return where the } of an interpolation is; texts in it may hold some of their own."""
        depth = 0
        while at < len(self._source) and self._source[at] != "\n":
            letter = self._source[at]
            if letter == "'":
                _, at = self._text(at + 1)
                continue
            if letter == "}" and depth == 0:
                return at
            depth += (letter == "{") - (letter == "}")
            at += 1
        raise BicepSyntaxError(self._line, "an interpolation does not end on its line")
