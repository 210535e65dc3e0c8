"""Asks what a value from outside is, in words that both type checkers believe."""

from typing import Any, TypeGuard


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Tell whether *value* is a list."""
    return isinstance(value, list)


def is_mapping(value: object) -> TypeGuard[dict[str, Any]]:
    """Tell whether *value* is an object of JSON or YAML, whose keys are texts."""
    return isinstance(value, dict)


def is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    """Tell whether *value* is a tuple."""
    return isinstance(value, tuple)
