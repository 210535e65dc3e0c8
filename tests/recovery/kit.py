"""Backup sets, manifests and facts for tests."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.ports_data import PartLabel, Vault
from controller.recovery.facts import DatabaseFacts, TableFacts
from controller.recovery.manifest import Manifest, Part, PartKind
from controller.recovery.names import SetId, part_path, set_id
from controller.recovery.sets import Mark, StoredSet

BEGUN = datetime(2026, 11, 23, 7, 45, tzinfo=UTC)
FACTS = DatabaseFacts(
    server_version="15.4",
    taken_at=BEGUN + timedelta(seconds=2),
    migration_head="0007_orders",
    tables=(
        TableFacts(name="public.orders", rows=1200, checksum="a1", size_bytes=65536),
        TableFacts(name="public.customers", rows=30, checksum="b2", size_bytes=8192),
    ),
    sequences={"public.orders_id_seq": 1200},
    constraints=("public.orders: PRIMARY KEY (id)",),
    indexes=("CREATE INDEX orders_by_day ON public.orders USING btree (day)",),
    extensions={"plpgsql": "1.0"},
    size_bytes=1 << 20,
)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def part(identity: SetId, name: str = "database", data: bytes = b"dump") -> Part:
    """Return a part that is not encrypted."""
    return Part(
        name=name,
        kind=PartKind.DATABASE,
        path=part_path(identity, name),
        content_type="application/octet-stream",
        plain_bytes=len(data),
        plain_sha256=sha(data),
        stored_bytes=len(data),
        stored_sha256=sha(data),
    )


def manifest(identity: SetId, *parts: Part, **changes: Any) -> Manifest:
    """Return a manifest without its hash."""
    started = datetime.strptime(identity[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    whole = Manifest(
        id=identity,
        app=identity[17:].rsplit("-", 1)[0],
        reason="nightly",
        requested_by="timer dr_backup",
        started_at=started,
        finished_at=started + timedelta(minutes=1),
        slipway_version="0.1.0",
        release="registry.test/shop@sha256:" + "0" * 64,
        parts=parts,
        database=FACTS,
    )
    return replace(whole, **changes)


def stored(begun_at: datetime, *, verified: bool | None = None, tail: str = "1a2b") -> StoredSet:
    """Return a complete set; *verified* False: the last look at it failed."""
    identity = set_id("shop", begun_at, tail)
    whole = manifest(identity, part(identity), sha256=sha(identity.encode()))  # read by nobody
    marks: tuple[Mark, ...] = ()
    if verified is not None:
        marks = (mark(whole, passed=verified),)
    return StoredSet(id=identity, manifest=whole, marks=marks, last_written_at=begun_at)


def mark(of: Manifest, *, passed: bool = True, at: datetime | None = None) -> Mark:
    return Mark(
        at=at or of.finished_at,
        by="drill",
        passed=passed,
        how="restored and compared",
        manifest_sha256=of.sha256,
    )


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def a_set(vault: Vault, identity: SetId, **data: bytes) -> Manifest:
    """Make a whole set in *vault*."""
    parts = [
        await vault.put_part(PartLabel(identity, name), stream(each), kind=PartKind.DATABASE)
        for name, each in data.items()
    ]
    return await vault.finish(manifest(identity, *parts))
