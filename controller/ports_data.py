"""What migrations, backups and drills ask of the world, in our words."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from controller.migrations.bundle import (
    Applied as Applied,  # noqa: PLC0414 - ports speak of it, the pure part owns it
)
from controller.recovery.facts import (
    DatabaseFacts as DatabaseFacts,  # noqa: PLC0414 - ports speak of it, the pure part owns it
)
from controller.recovery.facts import (
    TableFacts as TableFacts,  # noqa: PLC0414 - same
)
from controller.recovery.manifest import Encryption, Manifest, Part, PartKind, WrappedKey
from controller.recovery.names import SetId
from controller.recovery.sets import Mark, StoredSet

# --- One database ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """Where a database is and who we are there. The password is never part of it."""

    host: str
    port: int
    database: str
    user: str
    sslmode: str = "require"
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One statement that ran."""

    text: str
    seconds: float
    rows: int | None


# --- Backup sets: encryption -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartLabel:
    """Which part of which set some bytes are; encryption binds them to it."""

    set_id: SetId
    name: str


class KeyHolder(Protocol):
    """Wraps keys so that only this holder can use them. The key itself never leaves it."""

    async def wrap(self, key: bytes, *, context: bytes) -> WrappedKey:
        """Return *key* wrapped; it opens in the same *context* only.

        Raises:
            ConfigurationError: there is no key to wrap with, or it is not of the right form.
            TransientError: it cannot be read now.
        """
        ...

    async def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """Return the key.

        Raises:
            BackupKeyError: it was wrapped by another holder, in another context, or changed.
            TransientError: our key cannot be read now.
        """
        ...


class Sealer(Protocol):
    """Encrypts parts as they stream by, and manifests' hashes so that nobody can forge them."""

    async def seal(
        self, label: PartLabel, plain: AsyncIterator[bytes]
    ) -> tuple[Encryption, AsyncIterator[bytes]]:
        """Return how it is encrypted, and the encrypted stream (in flat memory)."""
        ...

    def open(
        self, label: PartLabel, encryption: Encryption, stored: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Return the plain stream. Each piece is authentic when it is handed out.

        Raises:
            BackupDamagedError: while it is read: changed, cut short, reordered, of another part
                or set.
            BackupKeyError: our key does not open it.
        """
        ...

    async def sign(self, set_id: SetId, sha256: str) -> WrappedKey:
        """Return the seal of a manifest's hash."""
        ...

    async def check(self, set_id: SetId, sha256: str, seal: WrappedKey) -> None:
        """Return if *seal* is ours and of this hash.

        Raises:
            BackupDamagedError: it is of another hash.
            BackupKeyError: our key does not open it.
        """
        ...


# --- Backup sets: where they are kept ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every byte of a set was read and compared with what its manifest says."""

    set_id: SetId
    manifest_sha256: str  # of what was compared with; empty where it cannot be read
    parts: int  # found as they were written
    plain_bytes: int
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tell whether the set can be restored."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What came of removing a set."""

    set_id: SetId
    removed: tuple[str, ...]  # paths
    refused: Mapping[str, str]  # path -> why the vault keeps it; the rest is removed later

    @property
    def is_gone(self) -> bool:
        """Tell whether nothing of the set is left."""
        return not self.refused


class VaultReader(Protocol):
    """Finds backup sets and reads them."""

    async def sets(self, app: str | None = None) -> tuple[StoredSet, ...]:
        """Return the sets of *app*, or all, oldest first: incomplete and unreadable ones, too."""
        ...

    async def manifest(self, set_id: SetId) -> Manifest:
        """Return the manifest, its seal checked.

        Raises:
            BackupMissingError: there is no such set, or it is incomplete.
            BackupDamagedError: it was changed, is of another set, or is not sealed though a key
                is configured.
            BackupKeyError: our key does not open its seal.
        """
        ...

    def open_part(self, manifest: Manifest, name: str) -> AsyncIterator[bytes]:
        """Return the part as it was put in.

        The last piece is handed out only when the hashes of all that is stored and all that it
        opened to are the manifest's: who reads to the end has the whole. Close it when you stop
        earlier (``contextlib.aclosing``).

        Raises:
            BackupMissingError: while it is read: there is no such part.
            BackupDamagedError: it is not what was written. What was handed out of a part that is
                not encrypted may be wrong; of an encrypted one, it is right but not all.
            BackupKeyError: our key does not open it.
        """
        ...

    async def verify(self, set_id: SetId) -> Verification:
        """Read every byte of the set and say what is wrong. Writes nothing.

        Raises:
            BackupMissingError: there is no such set, or it is incomplete.
        """
        ...


class VaultWriter(Protocol):
    """Makes backup sets, and takes them away."""

    async def put_part(
        self,
        label: PartLabel,
        plain: AsyncIterator[bytes],
        *,
        kind: PartKind,
        content_type: str = "application/octet-stream",
    ) -> Part:
        """Keep the stream, encrypted where a key is configured. An earlier try is overwritten.

        *plain* is closed when this returns or raises.

        Raises:
            CommandRefusedError: the set is finished.
        """
        ...

    async def parts(self, set_id: SetId) -> tuple[Part, ...]:
        """Return the parts that are whole already: after a crash, only the others are put."""
        ...

    async def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest, with its hash and seal: from now on the set is offered.

        Finishing again with the same changes nothing.

        Raises:
            BackupDamagedError: a part in the vault is not the one that the manifest names.
            CommandRefusedError: the set was finished with another manifest.
        """
        ...

    async def mark(self, set_id: SetId, mark: Mark) -> None:
        """Keep beside the set what came of looking at it. The same mark twice is one.

        Raises:
            BackupMissingError: there is no such set, or it is incomplete.
        """
        ...

    async def remove(self, set_id: SetId) -> Removal:
        """Take the set away, its manifest first. What is immutable is named and stays."""
        ...


class Vault(VaultReader, VaultWriter, Protocol):
    """Where backup sets are kept."""
