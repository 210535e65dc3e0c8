"""Blobs by path: what a store has to know so that backup sets can be kept on it."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One blob as a listing shows it."""

    path: str
    size: int
    written_at: datetime | None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    is_whole: bool = True  # False: blocks were uploaded and never made a blob
    immutable_until: datetime | None = None
    has_legal_hold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A blob that is about to be read."""

    size: int
    metadata: Mapping[str, str]
    stream: AsyncGenerator[bytes]


class Shelf(Protocol):
    """Blobs by path."""

    async def put(
        self,
        path: str,
        stream: AsyncIterator[bytes],
        content_type: str,
        describe: Callable[[], Awaitable[Mapping[str, str]]],
    ) -> None:
        """Upload *stream*; when it has ended, ask for the metadata, then make it a blob."""
        ...

    async def create(self, path: str, document: bytes) -> bool:
        """Write a JSON document; False where something is there already."""
        ...

    async def open(self, path: str) -> Opened | None:
        """Return the blob; None where there is none."""
        ...

    async def entries(self, prefix: str) -> list[Entry]:
        """Return all blobs whose path begins so."""
        ...

    async def delete(self, entry: Entry) -> str | None:
        """Delete it; return why it cannot be. What is not there is deleted."""
        ...
