"""What Slipway itself remembers of an app, as parts of a backup set: one JSON value per line."""

from collections.abc import AsyncGenerator
from typing import Final

from controller.adapters.codec import SCHEMA_VERSION, encode
from controller.core.model import AppState, Rollout
from controller.core.plan import AppSpec
from controller.ports import AuditRow, History, StateStore
from controller.recovery.reading import written

_MOST: Final = 1_000_000  # rows of one kind; an app writes a few hundred a day


class StateExport:
    """Implements `PartExporter`: the app's state, its rollouts and its audit, as stored.

    Buckets are left out: they only serve rollouts under way, and decisions keep theirs as evidence.
    """

    def __init__(self, store: StateStore, history: History) -> None:
        self._store = store
        self._history = history

    async def export(self, app: AppSpec) -> AsyncGenerator[bytes]:
        """See `PartExporter`."""
        yield _line("form", str(SCHEMA_VERSION))
        yield _line("head", encode((await self._store.load(app.id)).state, AppState))
        for rollout in await self._history.rollouts(app.id, limit=_MOST):
            yield _line("rollout", encode(rollout, Rollout))
        for row in await self._history.audit(app.id, rollout=None, limit=_MOST):
            yield _line("audit", encode(row, AuditRow))


class EvidenceIndex:
    """Implements `PartExporter`: where each decision's evidence is, and the hash it must have."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def export(self, app: AppSpec) -> AsyncGenerator[bytes]:
        """See `PartExporter`."""
        for row in await self._history.audit(app.id, rollout=None, limit=_MOST):
            if row.record.evidence:
                found = {"path": row.record.evidence, "sha256": row.record.evidence_hash}
                yield written({**found, "audit": row.sequence}) + b"\n"


def _line(kind: str, document: str) -> bytes:
    return f'{{"{kind}":{document}}}\n'.encode()
