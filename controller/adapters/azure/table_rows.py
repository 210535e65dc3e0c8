"""How the state table's rows are written and read."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from azure.core import MatchConditions
from azure.data.tables import UpdateMode

from controller.adapters.codec import SCHEMA_VERSION, decode, encode
from controller.core.audit import chain
from controller.core.model import AppState, Record, Rollout
from controller.ports import AuditRow, StoredBucket

T = TypeVar("T")
Entity = dict[str, Any]
Operation = tuple[Any, ...]

_CHUNK: Final = 30_000  # ASCII characters; a property holds 64 KiB of UTF-16
TRANSACTION: Final = 100  # operations, Azure's limit
_MOST_CHARACTERS: Final = 3_000_000  # of its rows' payloads, of 4 MiB altogether


def make_row(partition: str, key: str, value: T, kind: type[T]) -> Entity:
    """Return *value* as a row: its stored form, in as many properties as it needs."""
    text = encode(value, kind)
    chunks = {
        f"payload{place:02d}": text[start : start + _CHUNK]
        for place, start in enumerate(range(0, len(text), _CHUNK))
    }
    return {"PartitionKey": partition, "RowKey": key, "form": SCHEMA_VERSION, **chunks}


def read_payload(row: Entity, kind: type[T]) -> T:
    """Return the value of a row."""
    return decode(payload_text(row), kind, version=row["form"])


def payload_text(row: Entity) -> str:
    """Return the stored form of a row's value."""
    return "".join(row[name] for name in sorted(row) if name.startswith("payload"))


def transactions(rows: Iterable[Entity]) -> Iterator[list[Entity]]:
    """Yield *rows* in pieces that a transaction can take, by their number and by their size."""
    piece: list[Entity] = []
    size = 0
    for row in rows:
        added = len(payload_text(row))
        if piece and (len(piece) == TRANSACTION or size + added > _MOST_CHARACTERS):
            yield piece
            piece, size = [], 0
        piece.append(row)
        size += added
    if piece:
        yield piece


def event_key(sequence: int) -> str:
    """Return the key of an audit row."""
    return f"event:{sequence:010d}"


def sequence_of(row: Entity) -> int:
    """Return the number of an audit row."""
    return int(row["RowKey"].partition(":")[2])


def rollout_row(r: Rollout) -> Entity:
    """Return the row of a rollout."""
    return make_row(r.app, f"rollout:{r.id}", r, Rollout) | {"state": str(r.state)}


def audit_rows(state: AppState, records: Sequence[Record], last: str) -> tuple[list[Entity], str]:
    """Return the rows of *records*, chained to *last*, and the hash of the newest."""
    rows: list[Entity] = []
    first = state.sequence - len(records) + 1
    for sequence, record in enumerate(records, start=first):
        digest = chain(last, encode(record, Record))
        row = make_row(state.app, event_key(sequence), record, Record)
        rows.append(row | {"rollout": record.rollout or "", "previous_hash": last, "hash": digest})
        last = digest
    return rows, last


def stored_audit(app: str, found: AuditRow) -> Entity:
    """Return the row of an audit line as it was stored elsewhere, its hashes with it."""
    row = make_row(app, event_key(found.sequence), found.record, Record)
    return row | {
        "rollout": found.record.rollout or "",
        "previous_hash": found.previous_hash,
        "hash": found.hash,
    }


def guarded(row: Entity, etag: str | None) -> Operation:
    """Return the write of *row* that fails where somebody wrote since *etag*."""
    if etag is None:
        return ("create", row)
    conditions = {
        "mode": UpdateMode.REPLACE,
        "etag": etag,
        "match_condition": MatchConditions.IfNotModified,
    }
    return ("update", row, conditions)


def upsert(row: Entity) -> Operation:
    """Replace, never merge: a shorter payload must not keep the longer one's last chunk."""
    return ("upsert", row, {"mode": UpdateMode.REPLACE})


def etag_of(row: Any) -> str:
    """Return the version of a row as read or written."""
    return str(row.metadata["etag"])


def seen_key(key: str) -> str:
    """Return the key of the mark of a handled delivery."""
    return f"seen:{hashlib.sha256(key.encode()).hexdigest()}"


def bucket_key(rollout: str, bucket: StoredBucket) -> str:
    """Return the key of a bucket: by rollout, then by time."""
    return f"bucket:{rollout}:{int(bucket.start.timestamp() * 1000):013d}"
