"""Stored rows and messages as JSON for people, and back, to the same text."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from controller.adapters.azure.table_rows import payload_text
from controller.ports import Message

ROOT = Path(__file__).resolve().parents[2]
FROZEN = Path(__file__).parent
_CHUNK = 30_000

Plain = dict[str, Any]


def versions() -> list[Path]:
    """Return the folder of each version whose forms are frozen, oldest first."""
    found = FROZEN.glob("v*.*.*")
    return sorted(found, key=lambda path: [int(part) for part in path.name[1:].split(".")])


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, value: object) -> None:
    """Write *value* so that a change of it is a change of few lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def canonical(value: object) -> str:
    """Return JSON as `codec.encode` writes it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def plain_row(row: Mapping[str, Any]) -> Plain:
    """Return a row of the table: its payload as JSON, its columns as they are."""
    columns = {k: _plain(v) for k, v in row.items() if not k.startswith("payload")}
    text = payload_text(dict(row))
    if not text:
        return columns
    payload = json.loads(text)
    assert canonical(payload) == text, f"{row['RowKey']} would not come back as it was"
    return columns | {"payload": payload}


def entity(row: Mapping[str, Any]) -> Plain:
    """Return the row as the table had it."""
    columns = {k: _value(v) for k, v in row.items() if k != "payload"}
    text = canonical(row["payload"]) if "payload" in row else ""
    pieces = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    return columns | {f"payload{place:02d}": piece for place, piece in enumerate(pieces)}


def _plain(value: Any) -> Any:
    return {"time": value.isoformat()} if isinstance(value, datetime) else value


def _value(value: Any) -> Any:
    return datetime.fromisoformat(value["time"]) if isinstance(value, dict) else value


def plain_message(message: Message) -> Plain:
    return {
        "queue": message.queue,
        "session": message.session,
        "id": message.id,
        "at": message.at.isoformat() if message.at else None,
        "subject": message.subject,
        "properties": dict(message.properties or {}),
        "body": json.loads(message.body),
    }


def message(plain: Mapping[str, Any]) -> Message:
    at = datetime.fromisoformat(plain["at"]) if plain["at"] else None
    return Message(
        queue=plain["queue"],
        session=plain["session"],
        id=plain["id"],
        at=at,
        subject=plain["subject"],
        properties=plain["properties"],
        body=json.dumps(plain["body"]).encode(),
    )


def shape(value: Any) -> Any:
    """Return what *value* is made of: names and types, a list by what its items have in common."""
    if isinstance(value, Mapping):
        return {str(name): shape(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return sorted({json.dumps(shape(each), sort_keys=True) for each in value})
    return "number" if type(value) in {int, float} else type(value).__name__
