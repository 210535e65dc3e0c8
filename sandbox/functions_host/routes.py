"""Route templates as ASP.NET Core reads them: ``orders/{id:int?}``, ``files/{*path}``."""

import datetime as dt
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.functions_host.configuration import HostConfigurationError

Check = Callable[[str], bool]

_PARAMETER = re.compile(
    r"\{(?P<star>\*{0,2})(?P<name>\w+)(?P<constraints>(?::\w+(?:\([^()]*\))?)*)"
    r"(?P<optional>\?|=[^{}]*)?\}"
)
_CONSTRAINT = re.compile(r":(\w+)(?:\(([^()]*)\))?")


@dataclass(frozen=True, slots=True)
class Route:
    """A compiled template. Sorting by `precedence` puts the most specific first."""

    pattern: re.Pattern[str]
    checks: tuple[tuple[str, Check], ...]
    defaults: tuple[tuple[str, str], ...]
    precedence: tuple[int, ...]

    def match(self, path: str) -> dict[str, str] | None:
        """Return the parameters of *path* (no leading slash), or None if it does not fit."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        values = {name: value for name, value in found.groupdict().items() if value}
        if not all(check(values[name]) for name, check in self.checks if name in values):
            return None
        return dict(self.defaults) | values


def compile_route(template: str) -> Route:
    """Compile *template*.

    Raises:
        HostConfigurationError: it uses a constraint that ASP.NET Core does not have.
    """
    pattern = ""
    checks: list[tuple[str, Check]] = []
    defaults: list[tuple[str, str]] = []
    precedence: list[int] = []
    for segment in filter(None, template.strip("/").split("/")):
        parameters = list(_PARAMETER.finditer(segment))
        for parameter in parameters:
            checks += _checks(parameter["name"], parameter["constraints"])
            if (parameter["optional"] or "").startswith("="):
                defaults.append((parameter["name"], parameter["optional"][1:]))
        pattern += _segment(segment, parameters, first=not precedence)
        precedence.append(_weight(segment, parameters))
    return Route(
        re.compile(pattern, re.IGNORECASE), tuple(checks), tuple(defaults), tuple(precedence)
    )


def _segment(segment: str, parameters: list[re.Match[str]], *, first: bool) -> str:
    slash = "" if first else "/"
    whole = parameters[0] if parameters and parameters[0][0] == segment else None
    if whole and whole["star"]:
        return f"(?:{slash}(?P<{whole['name']}>.*))?"
    if whole and whole["optional"]:
        return f"(?:{slash}(?P<{whole['name']}>[^/]+))?"
    text, position = "", 0
    for parameter in parameters:
        text += re.escape(segment[position : parameter.start()])
        text += f"(?P<{parameter['name']}>[^/]+?)"
        position = parameter.end()
    return slash + text + re.escape(segment[position:])


def _weight(segment: str, parameters: list[re.Match[str]]) -> int:
    """Literals before constrained parameters, before free ones, before catch-alls."""
    if not parameters:
        return 1
    constrained = any(parameter["constraints"] for parameter in parameters)
    if parameters[0]["star"]:
        return 4 if constrained else 5
    whole = parameters[0][0] == segment
    return 2 if constrained or not whole else 3


def _checks(name: str, constraints: str) -> list[tuple[str, Check]]:
    found: list[tuple[str, Check]] = []
    for constraint in _CONSTRAINT.finditer(constraints):
        make = _CONSTRAINTS.get(constraint[1].lower())
        if make is None:
            raise HostConfigurationError(f"Unknown route constraint {constraint[1]!r}.")
        found.append((name, make(constraint[2] or "")))
    return found


def _parses(parse: Callable[[str], object]) -> Callable[[str], Check]:
    def check(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return lambda _argument: check


def _integer(bits: int) -> Callable[[str], Check]:
    limit = 2 ** (bits - 1)

    def check(value: str) -> bool:
        return bool(re.fullmatch(r"[-+]?\d+", value)) and -limit <= int(value) < limit

    return lambda _argument: check


def _length(argument: str) -> Check:
    bounds = [int(part) for part in argument.split(",")]
    return lambda value: bounds[0] <= len(value) <= bounds[-1]


def _range(argument: str) -> Check:
    least, most = (int(part) for part in argument.split(","))
    return lambda value: bool(re.fullmatch(r"-?\d+", value)) and least <= int(value) <= most


_CONSTRAINTS: dict[str, Callable[[str], Check]] = {
    "int": _integer(32),
    "long": _integer(64),
    "bool": lambda _argument: lambda value: value.lower() in {"true", "false"},
    "alpha": lambda _argument: lambda value: bool(re.fullmatch(r"[A-Za-z]*", value)),
    "guid": _parses(uuid.UUID),
    "datetime": _parses(dt.datetime.fromisoformat),
    "decimal": _parses(float),
    "double": _parses(float),
    "float": _parses(float),
    "length": _length,
    "minlength": lambda argument: lambda value: len(value) >= int(argument),
    "maxlength": lambda argument: lambda value: len(value) <= int(argument),
    "min": lambda argument: _range(f"{argument},{2**63}"),
    "max": lambda argument: _range(f"{-(2**63)},{argument}"),
    "range": _range,
    "regex": lambda argument: lambda value: bool(re.search(argument, value, re.IGNORECASE)),
}
