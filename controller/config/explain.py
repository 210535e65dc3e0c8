"""From pydantic's errors to sentences with a place and the nearest right word."""

import re
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from controller.config.fields import NO_SECRETS, OURS, looks_secret
from controller.config.located import Located
from controller.config.problems import Problem
from controller.config.words import belongs_under, known_keys, nearest

_LONGEST_SHOWN: Final = 60
Path = tuple[str | int, ...]


def explain(error: ValidationError, app: Located) -> list[Problem]:
    """Return every error about *app* (the merged tree of one app) as a problem with its place."""
    return [_problem(details, app) for details in error.errors(include_url=False)]


def at_value(tree: Located, path: Path, message: str, suggestion: str | None = None) -> Problem:
    """Return the problem that the value at *path* has."""
    found = tree.nearest(*path)
    return Problem(found.at.line, found.at.column, found.path, message, suggestion)


def at_key(tree: Located, path: Path, message: str, suggestion: str | None = None) -> Problem:
    """Return the problem that the key at *path* has."""
    found = tree.nearest(*path)
    place = found.key_at or found.at
    return Problem(place.line, place.column, found.path, message, suggestion)


def _problem(details: ErrorDetails, app: Located) -> Problem:
    kind = details["type"]
    path: Path = tuple(details["loc"])
    if kind == "missing":
        return _missing(path, app)
    if kind == "extra_forbidden":
        return _unknown(path, app)
    context: dict[str, Any] = details.get("ctx", {})
    if path and path[-1] == "[key]":
        message = str(context.get("message", details["msg"]))
        return at_key(app, path[:-1], message, context.get("suggestion"))
    found = app.nearest(*path)
    if kind == OURS:
        message = f"{_shown(found)} {context['message']}"
        return at_value(app, path, message, context["suggestion"])
    if kind in {"enum", "literal_error"}:
        return _not_among(path, app, str(context["expected"]))
    message, suggestion = _plain_words(kind, context, found, details["msg"])
    return at_value(app, path, message, suggestion)


def _missing(path: Path, app: Located) -> Problem:
    parent = app.nearest(*path[:-1])
    if parent.path.startswith(app.path):
        place, key = parent.key_at or parent.at, f"{parent.path}.{path[-1]}"
    else:  # inherited as a whole; the app itself is where it can be added
        place, key = app.key_at or app.at, ".".join([app.path, *(str(step) for step in path)])
    written = [name for name, _ in parent.items()]
    others = [name for name in written if name not in known_keys(path[:-1])]
    meant = nearest(str(path[-1]), others)
    advice = f"Is '{meant}' meant to be it?" if meant else None
    return Problem(place.line, place.column, key, "is missing", advice)


def _unknown(path: Path, app: Located) -> Problem:
    key = str(path[-1])
    if looks_secret(key):
        return at_key(app, path, "is unknown here and looks like a secret", NO_SECRETS)
    known = known_keys(path[:-1])
    meant = nearest(key, known)
    if meant:
        return at_key(app, path, "is an unknown key", f"Did you mean '{meant}'?")
    home = belongs_under(key)
    if home:
        return at_key(app, path, "is an unknown key here", f"It belongs under '{home}'.")
    return at_key(app, path, "is an unknown key", f"Known here: {', '.join(known)}.")


def _not_among(path: Path, app: Located, expected: str) -> Problem:
    found = app.nearest(*path)
    message = f"{_shown(found)} is not one of: {expected.replace(' or ', ', ')}"
    words = re.findall(r"'([^']*)'", expected)
    meant = nearest(found.text, words)
    return at_value(app, path, message, f"Did you mean '{meant}'?" if meant else None)


_KINDS: Final = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a section of keys and values",
}
_BOUNDS: Final = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_LENGTHS: Final = {
    "too_short": ("min_length", "at least", "of them"),
    "too_long": ("max_length", "at most", "of them"),
    "string_too_short": ("min_length", "at least", "characters"),
    "string_too_long": ("max_length", "at most", "characters"),
}


def _plain_words(
    kind: str, context: dict[str, Any], found: Located, said: str
) -> tuple[str, str | None]:
    if kind in _KINDS:
        if found.value is None:
            return f"is empty, where {_KINDS[kind]} is needed", "Give it a value or remove the key."
        advice = _quoted(found) if kind == "string_type" else None
        return f"{_shown(found)} is not {_KINDS[kind]}", advice
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{_shown(found)} must be {words} {_bound(context[name])}", _percent(found, context)
    if kind in _LENGTHS:
        name, words, things = _LENGTHS[kind]
        return f"needs {words} {context[name]} {things}", None
    if kind == "finite_number":
        said = f"{_shown(found)} is not a finite number"
    return said, None


def _percent(found: Located, context: dict[str, Any]) -> str | None:
    """A rate above 1 is most likely meant as percent."""
    value = found.value
    is_rate = found.path.endswith("error_rate_max") and context.get("le") == 1
    if is_rate and isinstance(value, int | float) and value <= 100:  # noqa: PLR2004 - percent
        return f"It is a rate: {value:g} % is {value / 100:g}."
    return None


def _bound(limit: Any) -> str:
    return f"{limit:g}" if isinstance(limit, int | float) else str(limit)


def _quoted(found: Located) -> str | None:
    """A number where a text is needed was most likely meant as that text."""
    is_number = isinstance(found.value, int | float)
    short = len(found.text) <= _LONGEST_SHOWN
    return f'In quotes it is a text: "{found.text}".' if is_number and short else None


def _shown(found: Located) -> str:
    if isinstance(found.value, dict):
        return "a mapping"
    if isinstance(found.value, list):
        return "a list"
    if found.value is None:
        return "nothing"
    text = "".join(c if c.isprintable() else "?" for c in found.text)
    return f"'{text}'" if len(text) <= _LONGEST_SHOWN else f"'{text[:_LONGEST_SHOWN]}...'"
