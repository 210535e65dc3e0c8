"""The stored form of what Slipway remembers: canonical JSON with a schema version.

To change a stored class so that old rows no longer fit: raise `SCHEMA_VERSION`, say in
`_UPGRADERS` how the old form becomes the new one, and keep a sample of the old one in
tests/adapters/stored_forms.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from controller.core.errors import PermanentError

T = TypeVar("T")

SCHEMA_VERSION: Final = 1

# (class name, form) -> how its plain JSON becomes the next form's.
_UPGRADERS: Final[dict[tuple[str, int], Callable[[Any], Any]]] = {}


class NewerFormError(PermanentError):
    """Something was stored by a newer Slipway than this one."""

    code = "SW206"


@lru_cache(maxsize=32)
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415 - a cold start that stores nothing skips it

    return TypeAdapter(kind)


def encode(value: object, kind: type[T]) -> str:
    """Return the canonical JSON of *value*: equal values give the same text, so hashes are stable.

    Sorted keys, no blanks, times in UTC, and ASCII only: its size is the same in every encoding.

    Raises:
        ValueError: a time in it has no zone.
    """
    plain = _adapter(cast("Any", kind)).dump_python(value)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), default=_plain)


def decode(text: str | bytes, kind: type[T], *, version: int = SCHEMA_VERSION) -> T:
    """Return the value that `encode` wrote, perhaps in an earlier *version* of this program.

    Raises:
        NewerFormError: it was written by a newer one.
    """
    if version > SCHEMA_VERSION:
        raise NewerFormError(
            f"A stored {kind.__name__} has form {version}; this Slipway reads up to "
            f"{SCHEMA_VERSION}.",
            fix="Deploy the newer Slipway again.",
        )
    for form in range(version, SCHEMA_VERSION):
        upgrade = _UPGRADERS.get((kind.__name__, form))
        if upgrade is not None:
            text = json.dumps(upgrade(json.loads(text)))
    value: T = _adapter(cast("Any", kind)).validate_json(text)
    return value


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no zone: it cannot be stored")
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return str(_adapter(timedelta).dump_python(value, mode="json"))
    raise TypeError(f"{type(value).__name__} has no stored form")
