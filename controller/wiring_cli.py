"""What the command line reaches by itself, without a controller: databases and registries.

Beside `controller.wiring`, the only importer of adapters. Imports stand inside functions, so that
``slipway --help`` does not wait for drivers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping
    from pathlib import Path

    from controller.ports_data import Database, DatabaseAddress, KeyHolder

T = TypeVar("T")

_AZURE_POSTGRES: Final = ".postgres.database.azure.com"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end, in a loop that the PostgreSQL driver can use."""
    factory = asyncio.SelectorEventLoop if sys.platform == "win32" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


@asynccontextmanager
async def opened_database(
    connection_string: str, *, ca_file: Path | None
) -> AsyncGenerator[tuple[DatabaseAddress, Database]]:
    """Return the database that a connection string leads to, and its address for people.

    Without a password in it, whoever is logged in at Azure is the user of a server there.
    Nothing is connected before the database is asked something.

    Raises:
        ConfigurationError: it is no connection string. The message quotes nothing of it.
    """
    from controller.adapters.postgres.addresses import parse
    from controller.adapters.postgres.database import PostgresDatabase
    from controller.adapters.postgres.passwords import constant, from_entra

    address, password = parse(connection_string)
    if password is not None or not address.host.endswith(_AZURE_POSTGRES):
        yield address, PostgresDatabase(address, constant(password))
        return
    from controller.adapters.azure.credentials import default_credential

    credential = default_credential(ca_file)
    try:
        yield address, PostgresDatabase(address, from_entra(credential))
    finally:
        await credential.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to get at registries and storage accounts."""

    login: str | None = field(default=None, repr=False)  # USER:PASSWORD; None: who is logged in
    acr_hosts: frozenset[str] = frozenset()  # beside *.azurecr.io that may see an Entra token
    ca_file: Path | None = None


async def attach_to_image(image: str, files: Mapping[str, bytes], access: Access) -> str:
    """Attach *files* to an image as its bundle, and return the artifact's digest.

    Raises:
        SlipwayError: the registry cannot be reached, or refuses.
    """
    from controller.adapters.azure.credentials import default_credential
    from controller.adapters.bundles.push import push_to_registry
    from controller.adapters.registry_calls import RegistryCalls

    # A login that was given is meant, for Azure's registries as well: they have tokens of theirs.
    credential = None if access.login else default_credential(access.ca_file)
    calls = RegistryCalls(
        credential,
        azure_hosts=access.acr_hosts,
        logins=_OneLogin(access.login),
        ca_file=access.ca_file,
    )
    try:
        return await push_to_registry(calls, image, files, at=datetime.now(UTC))
    finally:
        await calls.close()
        if credential is not None:
            await credential.close()


async def keep_in_container(
    url: str, name: str, files: Mapping[str, bytes], access: Access, *, prefix: str = ""
) -> None:
    """Write *files* into a blob container as the bundle of *name*: a digest, or a tag.

    Raises:
        SlipwayError: the storage account cannot be reached, or refuses.
    """
    from controller.adapters.azure.credentials import connection_options, default_credential
    from controller.adapters.bundles.container import ContainerBundles
    from controller.adapters.bundles.push import push_to_container

    credential = default_credential(access.ca_file)
    try:
        container = ContainerBundles(credential, lambda: connection_options(access.ca_file))
        await push_to_container(container, url, prefix, name, files)
    finally:
        await credential.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenKeys:
    """What opens sealed sets without a controller; all that is given is tried."""

    value: str | None = field(default=None, repr=False)  # of the key, in base64
    passphrase: str | None = field(default=None, repr=False)
    vault_key: str | None = None  # https://VAULT/keys/NAME


async def fetch_part(
    url: str, set_id: str, part: str, *, keys: GivenKeys, ca_file: Path | None
) -> AsyncGenerator[bytes]:
    """Return a part of a backup set as it was put in, straight from the storage account.

    Args:
        url: of the blob container.
        set_id: which set.
        part: its part's name, such as ``database``.
        keys: what the set was sealed with.
        ca_file: certificate authority to trust beside the public ones.

    Raises:
        BackupMissingError, BackupDamagedError, BackupKeyError: also while it is read.
        SlipwayError: the storage account cannot be reached, or refuses.
    """
    from controller.adapters.azure.credentials import connection_options, default_credential
    from controller.adapters.azure.vault import BlobVault
    from controller.adapters.sealing import StreamSealer
    from controller.adapters.sealing_keys import KeyRing
    from controller.recovery.names import check_set_id
    from controller.wiring_data import split_container

    identity = check_set_id(set_id)
    service, container = split_container(url)
    credential = default_credential(ca_file)
    holders = dict(_holders(keys, credential, ca_file))
    vault = BlobVault(
        service,
        credential,
        container=container,
        sealer=StreamSealer(KeyRing(holders)) if holders else None,
        options=connection_options(ca_file),
    )
    try:
        manifest = await vault.manifest(identity)
        async with aclosing(vault.open_part(manifest, part)) as stream:
            async for piece in stream:
                yield piece
    finally:
        for holder in holders.values():
            if close := getattr(holder, "close", None):
                await close()
        await vault.close()
        await credential.close()


def _holders(
    keys: GivenKeys, credential: Any, ca_file: Path | None
) -> Iterator[tuple[str, KeyHolder]]:
    from controller.adapters.sealing_keys import (
        PASSPHRASE,
        SECRET,
        GivenKeySecrets,
        PassphraseKey,
        SecretKey,
    )

    if keys.value:
        yield SECRET, SecretKey(GivenKeySecrets(keys.value), "given", is_any=True)
    if keys.passphrase:
        yield PASSPHRASE, PassphraseKey(keys.passphrase)
    if keys.vault_key:
        from controller.adapters.azure.credentials import connection_options
        from controller.adapters.azure.vault_keys import ALGORITHM, KeyVaultKeyHolder

        vault, _, name = keys.vault_key.rstrip("/").rpartition("/keys/")
        yield (
            ALGORITHM,
            KeyVaultKeyHolder(
                vault,
                name,
                credential,
                verify_challenge_resource=ca_file is None,  # a sandbox has no domain to compare
                options=lambda: connection_options(ca_file),
            ),
        )


class _OneLogin:
    """Implements `Secrets`: the login of the one registry that is asked."""

    def __init__(self, login: str | None) -> None:
        self._login = login

    async def get(self, name: str) -> str | None:  # noqa: ARG002 - there is one registry
        return self._login
