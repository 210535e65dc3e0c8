"""Backup sets in a dict."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controller.adapters.backup_vault import BackupVault
from controller.adapters.memory.world import Weather
from controller.adapters.shelf import Entry, Opened
from controller.core.errors import TransientError
from controller.ports_data import Sealer

_PIECE = 1 << 16


@dataclass(slots=True)
class MemoryBlob:
    """One blob."""

    data: bytes
    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    written_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryShelf:
    """Implements `Shelf`. Faults: operations ``put_part``, ``create``, ``open``, ``delete``."""

    def __init__(self, weather: Weather, now: Callable[[], datetime]) -> None:
        self.blobs: dict[str, MemoryBlob] = {}  # by path
        self.immutable: set[str] = set()  # paths that cannot be deleted
        self._weather = weather
        self._now = now

    async def put(
        self,
        path: str,
        stream: AsyncIterator[bytes],
        content_type: str,
        describe: Callable[[], Awaitable[Mapping[str, str]]],
    ) -> None:
        """See `Shelf.put`."""
        data = b"".join([piece async for piece in stream])
        self._meet("put_part")
        self.blobs[path] = MemoryBlob(data, content_type, await describe(), self._now())

    async def create(self, path: str, document: bytes) -> bool:
        """See `Shelf.create`."""
        self._meet("create")
        if path in self.blobs:
            return False
        self.blobs[path] = MemoryBlob(document, "application/json", written_at=self._now())
        return True

    async def open(self, path: str) -> Opened | None:
        """See `Shelf.open`."""
        self._meet("open")
        blob = self.blobs.get(path)
        if blob is None:
            return None
        return Opened(size=len(blob.data), metadata=blob.metadata, stream=_pieces(blob.data))

    async def entries(self, prefix: str) -> list[Entry]:
        """See `Shelf.entries`."""
        return [
            Entry(
                path=path,
                size=len(blob.data),
                written_at=blob.written_at,
                metadata=blob.metadata,
                has_legal_hold=path in self.immutable,
            )
            for path, blob in sorted(self.blobs.items())
            if path.startswith(prefix)
        ]

    async def delete(self, entry: Entry) -> str | None:
        """See `Shelf.delete`."""
        self._meet("delete")
        if entry.path in self.immutable:
            return "it is immutable"
        self.blobs.pop(entry.path, None)
        return None

    def _meet(self, operation: str) -> None:
        if self._weather.take(operation):
            raise TransientError("The vault does not answer.")


async def _pieces(data: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


class MemoryVault(BackupVault):
    """Implements `Vault`; `shelf` is what lies in it, for whoever wants to damage it."""

    def __init__(
        self,
        sealer: Sealer | None = None,
        *,
        weather: Weather | None = None,
        now: Callable[[], datetime] = lambda: datetime(2026, 1, 1, tzinfo=UTC),
    ) -> None:
        self.weather = weather or Weather()
        self.shelf = MemoryShelf(self.weather, now)
        super().__init__(self.shelf, sealer)
