"""The stored form of what Slipway remembers: canonical JSON with a schema version."""

import json
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from controller.core.errors import PermanentError

T = TypeVar("T")

SCHEMA_VERSION: Final = 1


class NewerFormError(PermanentError):
    """Something was stored by a newer Slipway than this one."""

    code = "SW206"


@lru_cache(maxsize=32)
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415 - a cold start that stores nothing skips it

    return TypeAdapter(kind)


def encode(value: object, kind: type[T]) -> str:
    """Return the canonical JSON of *value*: sorted keys, UTC times; the same value, same text."""
    return canonical(_adapter(cast("Any", kind)).dump_python(value, mode="json"))


def decode(text: str | bytes, kind: type[T], *, version: int = SCHEMA_VERSION) -> T:
    """Return the value that `encode` wrote.

    Raises:
        NewerFormError: it was written by a newer version of this program.
    """
    if version > SCHEMA_VERSION:
        raise NewerFormError(
            f"A stored {kind.__name__} has form {version}; this Slipway reads up to "
            f"{SCHEMA_VERSION}.",
            fix="Deploy the newer Slipway again.",
        )
    value: T = _adapter(cast("Any", kind)).validate_json(text)
    return value


def canonical(value: object) -> str:
    """Return JSON with sorted keys and no blanks, so that hashes are stable."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
