"""Backup sets on any store of named blobs: what is a set, what may be offered, what is wrong.

Below lies a `Shelf`, which knows blobs and nothing of sets. The layout:

    APP/SET/parts/NAME                  as `put_part` wrote it, described in its metadata
    APP/SET/manifest.json               written last, once
    APP/SET/marks/TIME-HASH.json        what came of looking at it; never overwritten
"""

import asyncio
import base64
import hashlib
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC
from typing import Final, TypeVar

from controller.adapters.shelf import Entry, Shelf
from controller.adapters.streams import Counted, closing
from controller.adapters.vault_checks import (
    ANOTHER,
    PART_KEY,
    compare_after,
    compare_before,
    missing,
    of,
    part_in,
    problem_with,
)
from controller.core.errors import (
    BackupDamagedError,
    BackupKeyError,
    BackupMissingError,
    CommandRefusedError,
    MalformedError,
)
from controller.ports_data import PartLabel, Removal, Sealer, Verification
from controller.recovery.manifest import (
    Encryption,
    Manifest,
    Part,
    PartKind,
    read_manifest,
    sealed_by_hash,
    write_manifest,
)
from controller.recovery.names import SetId, check_set_id, part_path, set_path
from controller.recovery.reading import written
from controller.recovery.sets import Mark, StoredSet, read_mark, write_mark

S = TypeVar("S")
T = TypeVar("T")

_MANIFEST: Final = "manifest.json"
_AT_ONCE: Final = 8
_ANEW: Final = "Upload it again, then finish."
_LARGEST_DOCUMENT: Final = 64 << 20


class BackupVault:
    """Implements `Vault` on a shelf.

    Args:
        shelf: where the blobs are.
        sealer: encrypts what is put and opens what is read; None: nothing is encrypted, and
            sets that are cannot be opened.
    """

    def __init__(self, shelf: Shelf, sealer: Sealer | None = None) -> None:
        self._shelf = shelf
        self._sealer = sealer

    # Making a set

    @property
    def encrypts(self) -> bool:
        """See `VaultWriter.encrypts`."""
        return self._sealer is not None

    async def put_part(
        self,
        label: PartLabel,
        plain: AsyncIterator[bytes],
        *,
        kind: PartKind,
        content_type: str = "application/octet-stream",
    ) -> Part:
        """See `VaultWriter.put_part`."""
        async with closing(plain):
            path = part_path(label.set_id, label.name)
            await self._refuse_finished(label.set_id)
            counted = Counted(plain)
            encryption: Encryption | None = None
            stream: AsyncIterator[bytes] = counted
            if self._sealer is not None:
                encryption, stream = await self._sealer.seal(label, counted)
            stored = Counted(stream)

            def part() -> Part:
                return Part(
                    name=label.name,
                    kind=kind,
                    path=path,
                    content_type=content_type,
                    plain_bytes=counted.bytes,
                    plain_sha256=counted.sha256,
                    stored_bytes=stored.bytes,
                    stored_sha256=stored.sha256,
                    encryption=encryption,
                )

            async def describe() -> Mapping[str, str]:
                await self._refuse_finished(label.set_id)  # somebody else may have been faster
                return {PART_KEY: base64.b64encode(written(part())).decode()}

            async with closing(stored):
                await self._shelf.put(path, stored, content_type, describe)
            return part()

    async def _refuse_finished(self, set_id: SetId) -> None:
        if await self._document(_manifest_path(set_id)) is not None:
            raise CommandRefusedError(
                f"Backup set {set_id} is finished; nothing is added to it.",
                fix="Begin a new set.",
            )

    async def parts(self, set_id: SetId) -> tuple[Part, ...]:
        """See `VaultWriter.parts`."""
        entries = await self._shelf.entries(f"{set_path(set_id)}/parts/")
        found = (part_in(entry.metadata) for entry in entries if entry.is_whole)
        return tuple(part for part in found if part is not None)

    async def finish(self, manifest: Manifest) -> Manifest:
        """See `VaultWriter.finish`."""
        whole = sealed_by_hash(manifest)
        entries = {e.path: e for e in await self._shelf.entries(f"{set_path(whole.id)}/parts/")}
        for part in whole.parts:
            entry = entries.get(part.path)
            if problem := problem_with(part, entry):
                raise BackupDamagedError(f"{of(whole.id, part.name)} {problem}.", fix=_ANEW)
            if entry is not None and part_in(entry.metadata) != part:
                raise BackupDamagedError(
                    f"{of(whole.id, part.name)} is of another upload than the manifest says.",
                    fix=_ANEW,
                )
        if self._sealer is not None:
            whole = replace(whole, seal=await self._sealer.sign(whole.id, whole.sha256))
        if await self._shelf.create(_manifest_path(whole.id), write_manifest(whole)):
            return whole
        known = await self.manifest(whole.id)
        if known.sha256 != whole.sha256:
            raise CommandRefusedError(
                f"Backup set {whole.id} was finished with another manifest.", fix="Begin a new set."
            )
        return known

    async def mark(self, set_id: SetId, mark: Mark) -> None:
        """See `VaultWriter.mark`."""
        if await self._document(_manifest_path(set_id)) is None:
            raise missing(set_id)
        document = write_mark(mark)
        tail = hashlib.sha256(document).hexdigest()[:12]
        name = f"{mark.at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{tail}.json"
        await self._shelf.create(f"{set_path(set_id)}/marks/{name}", document)

    async def remove(self, set_id: SetId) -> Removal:
        """See `VaultWriter.remove`."""
        entries = await self._shelf.entries(f"{set_path(set_id)}/")
        removed: list[str] = []
        refused: dict[str, str] = {}
        for entry in sorted(entries, key=lambda e: e.path != _manifest_path(set_id)):
            why = await self._shelf.delete(entry)
            if why is None:
                removed.append(entry.path)
                continue
            refused[entry.path] = why
            if entry.path == _manifest_path(set_id):
                break  # it is still offered, so it stays whole
        return Removal(set_id=set_id, removed=tuple(removed), refused=refused)

    # Finding and reading sets

    async def sets(self, app: str | None = None) -> tuple[StoredSet, ...]:
        """See `VaultReader.sets`."""
        found: defaultdict[SetId, list[Entry]] = defaultdict(list)
        for entry in await self._shelf.entries(f"{app}/" if app else ""):
            if (identity := _set_of(entry.path)) is not None:
                found[identity].append(entry)
        return await _at_most(_AT_ONCE, self._stored, sorted(found.items()))

    async def _stored(self, found: tuple[SetId, list[Entry]]) -> StoredSet:
        set_id, entries = found
        by_path = {entry.path: entry for entry in entries}
        manifest, problem = None, None
        if _manifest_path(set_id) in by_path:
            manifest, problem = await self._believed(set_id, by_path)
        locks = [e.immutable_until for e in entries if e.immutable_until]
        times = [e.written_at for e in entries if e.written_at]
        return StoredSet(
            id=set_id,
            manifest=manifest,
            problem=problem,
            marks=await self._marks(set_id, by_path) if manifest else (),
            last_written_at=max(times, default=None),
            stored_bytes=sum(entry.size for entry in entries),
            immutable_until=max(locks, default=None),
            has_legal_hold=any(entry.has_legal_hold for entry in entries),
        )

    async def _believed(
        self, set_id: SetId, entries: Mapping[str, Entry]
    ) -> tuple[Manifest | None, str | None]:
        """Return the manifest as far as can be seen without a key, or why it is not believed."""
        try:
            manifest = await self._unsealed_manifest(set_id)
        except BackupMissingError:
            return None, None  # removed just now
        except BackupDamagedError as error:
            return None, error.what
        for part in manifest.parts:
            if problem := problem_with(part, entries.get(part.path)):
                return manifest, f"Part {part.name!r} {problem}."
        return manifest, None

    async def _marks(self, set_id: SetId, paths: Iterable[str]) -> tuple[Mark, ...]:
        prefix = f"{set_path(set_id)}/marks/"
        marks: list[Mark] = []
        for path in sorted(path for path in paths if path.startswith(prefix)):
            document = await self._document(path)
            try:
                marks += [read_mark(document)] if document is not None else []
            except MalformedError:
                continue  # says nothing, so the set is the less verified
        return tuple(marks)

    async def manifest(self, set_id: SetId) -> Manifest:
        """See `VaultReader.manifest`."""
        manifest = await self._unsealed_manifest(set_id)
        if manifest.seal is not None and self._sealer is not None:
            await self._sealer.check(set_id, manifest.sha256, manifest.seal)
        elif self._sealer is not None:
            raise BackupDamagedError(
                f"Backup set {set_id} is not sealed: whoever can write here may have made it.",
                fix="If it was made before a key was configured, read it without one.",
            )
        elif manifest.seal is not None:
            raise BackupKeyError(
                f"Backup set {set_id} is encrypted with {manifest.seal.key_id!r};"
                " no key is configured.",
                fix="Configure the key that the set was made with.",
            )
        return manifest

    async def _unsealed_manifest(self, set_id: SetId) -> Manifest:
        document = await self._document(_manifest_path(set_id))
        if document is None:
            raise missing(set_id)
        try:
            manifest = read_manifest(document)
        except MalformedError as error:
            raise BackupDamagedError(
                f"Backup set {set_id} cannot be believed: {error.what}", fix=ANOTHER
            ) from error
        if manifest.id != set_id:
            raise BackupDamagedError(
                f"Backup set {set_id} holds the manifest of {manifest.id}.", fix=ANOTHER
            )
        return manifest

    async def open_part(self, manifest: Manifest, name: str) -> AsyncGenerator[bytes]:
        """See `VaultReader.open_part`."""
        part = manifest.part(name)
        opened = await self._shelf.open(part.path) if part else None
        if part is None or opened is None:
            raise BackupMissingError(f"{of(manifest.id, name)} is missing.", fix=ANOTHER)
        async with aclosing(opened.stream):
            compare_before(manifest.id, part, opened)
            stored = Counted(opened.stream)
            plain = Counted(self._opened(PartLabel(manifest.id, name), part, stored))
            async with closing(plain):
                held = b""
                async for piece in plain:
                    if held:
                        yield held
                    held = piece
                compare_after(manifest.id, part, stored, plain)
                if held:
                    yield held

    def _opened(self, label: PartLabel, part: Part, stored: Counted) -> AsyncIterator[bytes]:
        if part.encryption is None:
            return stored
        if self._sealer is None:
            raise BackupKeyError(
                f"{of(label.set_id, part.name)} is encrypted with"
                f" {part.encryption.key.key_id!r}; no key is configured.",
                fix="Configure the key that the set was made with.",
            )
        return self._sealer.open(label, part.encryption, stored)

    async def verify(self, set_id: SetId) -> Verification:
        """See `VaultReader.verify`."""
        try:
            manifest = await self.manifest(set_id)
        except (BackupDamagedError, BackupKeyError) as error:
            return Verification(
                set_id=set_id, manifest_sha256="", parts=0, plain_bytes=0, problems=(error.what,)
            )
        whole, count = 0, 0
        problems: list[str] = []
        for part in manifest.parts:
            try:
                async with aclosing(self.open_part(manifest, part.name)) as stream:
                    async for piece in stream:
                        count += len(piece)
                whole += 1
            except (BackupDamagedError, BackupKeyError, BackupMissingError) as error:
                problems.append(error.what)
        return Verification(
            set_id=set_id,
            manifest_sha256=manifest.sha256,
            parts=whole,
            plain_bytes=count,
            problems=tuple(problems),
        )

    async def _document(self, path: str) -> bytes | None:
        opened = await self._shelf.open(path)
        if opened is None:
            return None
        async with aclosing(opened.stream) as stream:
            if opened.size > _LARGEST_DOCUMENT:
                raise BackupDamagedError(
                    f"{path} has {opened.size} bytes; nobody wrote so much there.", fix=ANOTHER
                )
            return b"".join([piece async for piece in stream])


# --- Words and small parts ------------------------------------------------------------------------


def _manifest_path(set_id: SetId) -> str:
    return f"{set_path(set_id)}/{_MANIFEST}"


def _set_of(path: str) -> SetId | None:
    """Return the set that *path* is in; None for what is none of ours."""
    app, _, rest = path.partition("/")
    name, _, file = rest.partition("/")
    try:
        identity = check_set_id(name)
    except MalformedError:
        return None
    return identity if file and set_path(identity) == f"{app}/{name}" else None


async def _at_most(
    count: int, work: Callable[[S], Awaitable[T]], items: Iterable[S]
) -> tuple[T, ...]:
    """Do *work* on all items, *count* at a time; answers are in the items' order."""
    turn = asyncio.Semaphore(count)

    async def one(item: S) -> T:
        async with turn:
            return await work(item)

    return tuple(await asyncio.gather(*(one(item) for item in items)))
