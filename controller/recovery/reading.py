"""Reads and writes kept documents strictly: an odd, unknown or missing field is an error.

The written form is canonical: sorted names, no spaces, times in UTC. So the same data always has
the same bytes, and their hash names it.
"""

import dataclasses
import json
import types
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any, Final, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from controller.core.errors import MalformedError

T = TypeVar("T")

_SHOWN: Final = 40  # characters of an odd value, enough to find it
_WHOLE: Final = "Give the document as Slipway wrote it."


def written(value: object) -> bytes:
    """Return the canonical JSON of *value* (data classes, mappings, sequences, scalars)."""
    return json.dumps(
        plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def plain(value: object) -> object:
    """Return *value* in what JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        found = cast("Mapping[str, object]", value)
        return {name: plain(each) for name, each in found.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in cast("Sequence[object]", value)]
    return value


def parsed(document: bytes, what: str) -> dict[str, object]:
    """Return the JSON object in *document*; *what* names it in errors.

    Raises:
        MalformedError: it is not JSON, not an object, or names a field twice.
    """
    try:
        value: object = json.loads(
            document.decode(), object_pairs_hook=_once, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"{what} cannot be read: {error}.", fix=_WHOLE) from error
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is not an object.", fix=_WHOLE)
    return cast("dict[str, object]", value)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {twice!r} twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


@lru_cache(maxsize=32)
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def read(kind: type[T], value: object, where: str) -> T:
    """Return *value* (of JSON) as the data class *kind*; *where* names it in errors.

    Raises:
        MalformedError: which field is odd, unknown or missing.
    """
    if not isinstance(value, Mapping):
        raise odd(where, "an object", value)
    found = cast("Mapping[str, object]", value)
    fields = {field.name: field for field in dataclasses.fields(cast("Any", kind))}
    if unknown := sorted(set(found) - set(fields)):
        raise MalformedError(f"{where} has an unknown field {unknown[0]!r}.", fix=_WHOLE)
    for name, field in fields.items():
        needed = field.default is field.default_factory is dataclasses.MISSING
        if name not in found and needed:
            raise MalformedError(f"{where} lacks {name!r}.", fix=_WHOLE)
    hints = _hints(cast("Any", kind))
    return kind(
        **{name: _value(hints[name], each, f"{where}.{name}") for name, each in found.items()}
    )


def _value(kind: Any, value: object, where: str) -> Any:
    origin = get_origin(kind)
    if origin in {Union, types.UnionType}:
        if value is None and type(None) in get_args(kind):
            return None
        (wanted,) = (each for each in get_args(kind) if each is not type(None))
        return _value(wanted, value, where)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(get_args(kind)[1], value, where)
    if origin is not None:
        return _several(get_args(kind)[0], value, where)
    if dataclasses.is_dataclass(kind):
        return read(cast("type[Any]", kind), value, where)
    return _scalar(kind, value, where)


def _mapping(kind: Any, value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise odd(where, "an object", value)
    found = cast("Mapping[str, object]", value)
    return {name: _value(kind, each, f"{where}.{name}") for name, each in found.items()}


def _several(kind: Any, value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise odd(where, "a list", value)
    found = cast("list[object]", value)
    return tuple(_value(kind, each, f"{where}[{index}]") for index, each in enumerate(found))


def _scalar(kind: Any, value: object, where: str) -> Any:
    kind = getattr(kind, "__supertype__", kind)  # of a NewType
    if kind is datetime:
        return _moment(value, where)
    if issubclass(kind, Enum):
        if isinstance(value, str) and value in {each.value for each in kind}:
            return kind(value)
        raise odd(where, f"one of {', '.join(str(each.value) for each in kind)}", value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    words = {str: "a text", int: "a whole number", bool: "true or false", float: "a number"}
    raise odd(where, words.get(kind, str(kind.__name__)), value)


def _moment(value: object, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise odd(where, "a time with its zone", value)
    return moment.astimezone(UTC)


def odd(where: str, wanted: str, value: object) -> MalformedError:
    """Return the error that *value* is not what is *wanted* there."""
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return MalformedError(f"{where} must be {wanted}, not {shown}.", fix=_WHOLE)
