"""Makes one set: part after part, the manifest last. Again after a crash: only what is missing."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from controller.core.backup_plan import PartKind
from controller.core.errors import (
    BackupDamagedError,
    BackupMissingError,
    CommandRefusedError,
    TransientError,
)
from controller.ports_data import BackupSubject, DatabaseFacts, PartLabel
from controller.recovery.manifest import Manifest, Part
from controller.recovery.names import SetId, begun_at, set_id
from controller.runtime.backups_database import database_parts, one_piece
from controller.runtime.backups_documents import application, configuration
from controller.runtime.backups_means import BackupMeans, BackupRequest, mark_of
from controller.runtime.backups_tell import Tell

_TRIES: Final = 3  # somebody else may be making the same set
_JSON: Final = "application/json"


async def create(means: BackupMeans, request: BackupRequest, tell: Tell) -> Manifest:
    """Return the set of *request*, made now or before."""
    identity = await _identity(means, request)
    for _ in range(_TRIES):
        if (made := await _finished(means, identity)) is not None:
            await tell(f"{identity}: is whole already")
            return made
        try:
            return await _Making(means, request, identity, tell).make()
        except CommandRefusedError:
            continue  # somebody else finished it: theirs is as good
        except BackupDamagedError:
            continue  # somebody else put a part anew while we put ours
    if (made := await _finished(means, identity)) is not None:
        return made
    raise TransientError(f"Backup set {identity} is being made by somebody else, too.")


async def _identity(means: BackupMeans, request: BackupRequest) -> SetId:
    """Return the set that an earlier try began, else a new one."""
    mark = mark_of(f"{request.app}\n{request.job}")
    for known in await means.vault.sets(request.app):
        if known.id.endswith(f"-{mark}"):
            return known.id
    return set_id(request.app, request.at, mark)


async def _finished(means: BackupMeans, identity: SetId) -> Manifest | None:
    try:
        return await means.vault.manifest(identity)
    except BackupMissingError:
        return None


@dataclass(slots=True)
class _Making:
    """One try."""

    means: BackupMeans
    request: BackupRequest
    identity: SetId
    tell: Tell
    parts: list[Part] = field(default_factory=list[Part])
    facts: DatabaseFacts | None = None
    release: str | None = None

    async def make(self) -> Manifest:
        subject = await self.means.subjects.subject(self.request.app)
        known = {part.name: part for part in await self.means.vault.parts(self.identity)}
        wanted = {*subject.backup.parts, *self.request.also}
        if PartKind.DATABASE in wanted and subject.database is not None:
            both, self.facts = await database_parts(
                self.means, subject.database, self.identity, known, self.tell
            )
            self.parts += both
        if PartKind.APPLICATION in wanted:
            await self._application(subject)
        if PartKind.CONFIGURATION in wanted and self.means.sites is not None:
            await self._configuration(subject)
        kinds = {kind for kind, _ in self.means.exporters}
        if PartKind.SECRETS in wanted - kinds:
            await self._tell_of_set("no Key Vault is configured: its secrets are NOT in this set")
        for kind, exporter in self.means.exporters:
            if kind in wanted:
                await self._put(
                    kind, exporter.export(subject.app, self._tell_of_set), known.get(kind.value)
                )
        return await self._finish()

    async def _application(self, subject: BackupSubject) -> None:
        """Made anew in each try: it is small, and the manifest speaks of it."""
        found = await application(self.means, subject.app, copy_to=subject.backup.copy_to)
        self.release = found.release
        for image in found.missing:
            await self.tell(f"{self.identity}: the registry does not hold {image} any more")
        if found.copied is not None:
            await self.tell(f"{self.identity}: the release is at {found.copied}, too")
        if found.not_copied_because:
            await self.tell(f"{self.identity}: NOT copied: {found.not_copied_because}")
        await self._put(PartKind.APPLICATION, one_piece(found.document))

    async def _configuration(self, subject: BackupSubject) -> None:
        if self.means.sites is None:
            return
        export = await self.means.sites.export(subject.app.target)
        document, left_out = configuration(export, encrypts=self.means.vault.encrypts)
        if left_out:
            await self.tell(f"{self.identity}: not encrypted, so left out: {', '.join(left_out)}")
        await self._put(PartKind.CONFIGURATION, one_piece(document))

    async def _put(
        self, kind: PartKind, stream: AsyncGenerator[bytes], known: Part | None = None
    ) -> None:
        async with aclosing(stream):
            if known is None:
                label = PartLabel(self.identity, kind.value)
                known = await self.means.vault.put_part(
                    label, stream, kind=kind, content_type=_JSON
                )
        self.parts.append(known)
        await self.tell(f"{self.identity}: {known.name} is kept, {known.plain_bytes:,} bytes")

    async def _tell_of_set(self, text: str) -> None:
        await self.tell(f"{self.identity}: {text}")

    async def _finish(self) -> Manifest:
        started = begun_at(self.identity)
        made = await self.means.vault.finish(
            Manifest(
                id=self.identity,
                app=self.request.app,
                reason=self.request.why,
                requested_by=self.request.by,
                started_at=started,
                finished_at=max(started, self.means.clock.now()),
                slipway_version=self.means.version,
                release=self.release,
                parts=tuple(self.parts),
                database=self.facts,
            )
        )
        await self.tell(f"{self.identity}: whole, {len(made.parts)} parts")
        return made
