"""Whether a value fits a declared type, and the decorators of a parameter."""

from collections.abc import Mapping
from typing import Any, Final

from tools.infra_check.nodes import Array, Call, Declaration, Literal
from tools.infra_check.values import Runtime, text_of

_KINDS: Final[Mapping[str, Any]] = {
    "string": str,
    "int": int,
    "bool": bool,
    "object": Mapping,
    "array": list,
}


def misfit(kind: str, value: Any) -> str | None:
    """Return what is wrong with a value of that type, or None."""
    if kind.endswith("?"):
        return None if value is None else misfit(kind[:-1], value)
    if isinstance(value, Runtime):
        return None
    if kind.endswith("[]"):
        kind = "array"
    python = _KINDS.get(kind)
    if python is None:
        return f"there is no type {kind}"
    if not isinstance(value, python) or (kind == "int" and isinstance(value, bool)):
        return f"{text_of(value)!r} is no {kind}"
    return None


def misfits(declaration: Declaration, value: Any) -> list[str]:
    """Return what is wrong with a parameter's value, by its type and its decorators."""
    if what := misfit(declaration.type, value):
        return [what]
    if isinstance(value, Runtime) or value is None:
        return []
    found: list[str] = []
    for decorator in declaration.decorators:
        limit = _constant(decorator)
        size = len(value) if isinstance(value, str | list) else value
        if decorator.name == "allowed" and value not in limit:
            found.append(f"{value!r} is none of {', '.join(map(text_of, limit))}")
        if decorator.name in {"minLength", "minValue"} and size < limit:
            found.append(f"{value!r} is below {limit}")
        if decorator.name in {"maxLength", "maxValue"} and size > limit:
            found.append(f"{value!r} is above {limit}")
    return found


def _constant(decorator: Call) -> Any:
    match decorator.arguments:
        case (Literal(value=value),):
            return value
        case (Array(items=items),):
            return [each.value for each in items if isinstance(each, Literal)]
        case _:
            return None
