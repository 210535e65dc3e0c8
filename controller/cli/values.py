"""Reading the API's JSON without trusting its form."""

from collections.abc import Mapping
from typing import Any, TypeGuard

Json = dict[str, Any]


def is_object(value: object) -> TypeGuard[Json]:
    """Whether *value* is a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Whether *value* is a JSON array."""
    return isinstance(value, list)


def part(view: Mapping[str, Any], key: str) -> Json:
    """Return the object under *key*; an empty one where there is none."""
    value = view.get(key)
    return value if is_object(value) else {}


def parts(view: Mapping[str, Any], key: str) -> list[Json]:
    """Return the objects in the array under *key*; none where there is none."""
    value = view.get(key)
    return [item for item in value if is_object(item)] if is_array(value) else []


def texts(view: Mapping[str, Any], key: str) -> list[str]:
    """Return the values in the array under *key* as texts; none where there is none."""
    value = view.get(key)
    return [str(item) for item in value] if is_array(value) else []
