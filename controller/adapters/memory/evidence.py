"""Evidence in a dict."""

from typing import Final

from controller.adapters.evidence_names import beside
from controller.adapters.memory.world import Weather
from controller.core.errors import TransientError

_CONTAINER: Final = "evidence"


class MemoryEvidence:
    """Implements `EvidenceStore`. Faults: operations ``keep`` and ``read_evidence``."""

    def __init__(self, *, weather: Weather | None = None) -> None:
        self.weather = weather or Weather()
        self.documents: dict[str, bytes] = {}  # by path

    async def keep(self, path: str, document: bytes) -> str:
        """See `EvidenceStore.keep`."""
        if self.weather.take("keep"):
            raise TransientError("The evidence store does not answer.")
        if self.documents.setdefault(path, document) != document:
            path = beside(path, document)
            self.documents[path] = document
        return f"{_CONTAINER}/{path}"

    async def read(self, path: str) -> bytes | None:
        """See `EvidenceStore.read`."""
        if self.weather.take("read_evidence"):
            raise TransientError("The evidence store does not answer.")
        return self.documents.get(path.removeprefix(f"{_CONTAINER}/"))
