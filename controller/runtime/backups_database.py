"""The database's two parts: the dump, and what it has to equal. They are of one moment."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from controller.core.backup_plan import PartKind
from controller.core.errors import BackupDamagedError, ConfigurationError, MalformedError
from controller.ports_data import (
    DatabaseFacts,
    DatabaseLogin,
    DatabaseServer,
    Dumper,
    PartLabel,
    VaultReader,
)
from controller.recovery.manifest import Manifest, Part
from controller.recovery.names import SetId, app_of
from controller.recovery.reading import parsed, read, written
from controller.runtime.backups_means import DATABASE, DATABASE_FACTS, BackupMeans
from controller.runtime.backups_tell import Tell

_TOLD_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpFacts:
    """Stored beside a dump: of which dump it is, and what that has to equal."""

    dump_sha256: str
    facts: DatabaseFacts


async def database_parts(
    means: BackupMeans, login: DatabaseLogin, set_id: SetId, known: Mapping[str, Part], tell: Tell
) -> tuple[list[Part], DatabaseFacts]:
    """Return both parts and the facts: those in the vault if they belong together, else new."""
    there = await _together(means.vault, set_id, known)
    if there is not None:
        await tell(f"{set_id}: the dump is there already")
        return [known[DATABASE], known[DATABASE_FACTS]], there
    dumper, server = database_ports(means)
    label = PartLabel(set_id, DATABASE)
    async with server.snapshot(login) as snapshot:
        reading = asyncio.create_task(snapshot.facts())
        try:
            stream = _told(
                dumper.dump(login.address, login.password, snapshot=snapshot.name), set_id, tell
            )
            dump = await means.vault.put_part(label, stream, kind=PartKind.DATABASE)
            await tell(f"{set_id}: dumped {dump.plain_bytes:,} bytes; reading what it has to equal")
            facts = await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    document = written(DumpFacts(dump_sha256=dump.plain_sha256, facts=facts))
    beside = await means.vault.put_part(
        PartLabel(set_id, DATABASE_FACTS),
        one_piece(document),
        kind=PartKind.DATABASE,
        content_type="application/json",
    )
    return [dump, beside], facts


async def _together(
    vault: VaultReader, set_id: SetId, known: Mapping[str, Part]
) -> DatabaseFacts | None:
    """Return the facts in the vault if both parts are whole and of one try."""
    dump, beside = known.get(DATABASE), known.get(DATABASE_FACTS)
    if dump is None or beside is None:
        return None
    try:
        found = await _facts_in(vault, _draft(set_id, beside))
    except (BackupDamagedError, MalformedError):
        return None
    return found.facts if found.dump_sha256 == dump.plain_sha256 else None


async def _facts_in(vault: VaultReader, manifest: Manifest) -> DumpFacts:
    async with aclosing(as_generator(vault.open_part(manifest, DATABASE_FACTS))) as stream:
        document = b"".join([piece async for piece in stream])
    return read(DumpFacts, parsed(document, "What the dump has to equal"), "facts")


def _draft(set_id: SetId, part: Part) -> Manifest:
    """Return what a part is read by while there is no manifest yet."""
    never = datetime.min.replace(tzinfo=UTC)
    return Manifest(
        id=set_id, app=app_of(set_id), reason="", requested_by="", started_at=never,
        finished_at=never, slipway_version="", release=None, parts=(part,),
    )  # fmt: skip


def database_ports(means: BackupMeans) -> tuple[Dumper, DatabaseServer]:
    """Return what databases are reached with.

    Raises:
        ConfigurationError: Slipway was put together without it.
    """
    if means.dumper is None or means.server is None:
        raise ConfigurationError(
            "This Slipway cannot reach databases.", fix="Install its PostgreSQL parts."
        )
    return means.dumper, means.server


async def _told(stream: AsyncGenerator[bytes], set_id: SetId, tell: Tell) -> AsyncGenerator[bytes]:
    count, told = 0, 0
    async with aclosing(stream):
        async for piece in stream:
            count += len(piece)
            if count - told >= _TOLD_BYTES:
                told = count
                await tell(f"{set_id}: dumped {count >> 20} MiB so far")
            yield piece


async def one_piece(document: bytes) -> AsyncGenerator[bytes]:
    """Return *document* as a stream."""
    yield document


async def as_generator(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Return *stream* as something that can be closed."""
    try:
        async for piece in stream:
            yield piece
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
