"""The audit is a chain: each row carries the hash of the one before. Pure."""

import hashlib
from collections.abc import Iterable
from typing import Final

GENESIS: Final = "0" * 64


def chain(previous: str, record: str) -> str:
    """Return the hash of a row: SHA-256 over the previous row's hash and the canonical record."""
    return hashlib.sha256(f"{previous}\n{record}".encode()).hexdigest()


def first_break(rows: Iterable[tuple[str, str, str]], *, after: str = GENESIS) -> int | None:
    """Return the place of the first row that does not follow from the one before, None if all do.

    Args:
        rows: previous hash, canonical record, hash; oldest first.
        after: hash before the first of them.
    """
    for place, (previous, record, digest) in enumerate(rows):
        if previous != after or chain(previous, record) != digest:
            return place
        after = digest
    return None
