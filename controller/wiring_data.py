"""The fuse box of the data half: databases, backup sets, jobs. `controller.wiring` holds it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from controller import __version__
from controller.core.backup_plan import PartKind
from controller.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from controller.adapters.azure.arm_clients import ArmClients
    from controller.adapters.azure.tables import TablesStore
    from controller.adapters.bundles.sources import BundleSources
    from controller.adapters.postgres.opening import Connections
    from controller.adapters.registry_calls import RegistryCalls
    from controller.ports import Bus, Clock, Configuration, Registry, Secrets, TargetPlatform
    from controller.ports_data import (
        BackupSubjects,
        DatabasePlatform,
        KeyHolder,
        Migrations,
        PartExporter,
        RestorePoints,
        Sealer,
        SiteExporter,
        Vault,
    )
    from controller.runtime.backups import Backups
    from controller.runtime.backups_means import BackupMeans
    from controller.runtime.backups_parts import PartRestorer
    from controller.runtime.maintenance import Maintainer
    from controller.runtime.pitr import PointInTime
    from controller.runtime.rehearsals import CopyRehearsals


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the rest of the house has already. Each is made when it is first called for."""

    settings: Settings
    credential: Callable[[], Any]
    options: Callable[[], Mapping[str, Any]]  # of one client each
    tables: Callable[[], TablesStore]
    bus: Callable[[], Bus]
    clock: Callable[[], Clock]
    configuration: Callable[[], Configuration]
    secrets: Callable[[], Secrets]
    registry: Callable[[], Registry]
    platform: Callable[[], TargetPlatform]
    arm_clients: Callable[[], ArmClients]
    database_platform: Callable[[], DatabasePlatform]


class DataHouse:
    """Everything of the data half, built when first asked for."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._settings = shared.settings

    # --- Databases and their migrations -----------------------------------------------------------

    @cached_property
    def _connections(self) -> Connections:
        from controller.adapters.postgres.opening import Connections

        return Connections(secrets=self._shared.secrets(), credential=self._shared.credential())

    @cached_property
    def _registry_calls(self) -> RegistryCalls:
        from controller.adapters.registry_calls import RegistryCalls

        return RegistryCalls(
            self._shared.credential(),
            azure_hosts=self._settings.acr_hosts,
            logins=self._shared.secrets(),
            ca_file=self._settings.ca_file,
        )

    @cached_property
    def _bundles(self) -> BundleSources:
        from controller.adapters.bundles.container import ContainerBundles
        from controller.adapters.bundles.registry import RegistryBundles
        from controller.adapters.bundles.sources import BundleSources

        shared = self._shared
        return BundleSources(
            RegistryBundles(self._registry_calls),
            ContainerBundles(shared.credential(), shared.options),
        )

    @cached_property
    def migrations(self) -> Migrations:
        """What releases change in databases."""
        from controller.activities.bundled_migrations import BundledMigrations
        from controller.adapters.postgres.opening import PostgresDatabases
        from controller.runtime.queued_rehearsals import RehearsedMigrations

        databases = PostgresDatabases(connections=self._connections)
        return RehearsedMigrations(
            migrations=BundledMigrations(bundles=self._bundles, databases=databases),
            maintainer=self.maintainer,
            jobs=self._shared.tables(),
            clock=self._shared.clock(),
        )

    @cached_property
    def restore_points(self) -> RestorePoints:
        """What a database can be brought back from."""
        from controller.runtime.platform_backups import PlatformRestorePoints, RestorePointsOfKind
        from controller.runtime.queued_points import QueuedRestorePoints

        dump = QueuedRestorePoints(
            maintainer=self.maintainer, jobs=self._shared.tables(), clock=self._shared.clock()
        )
        platform = PlatformRestorePoints(self._shared.database_platform())
        return RestorePointsOfKind(dump=dump, platform=platform)

    # --- Backup sets ------------------------------------------------------------------------------

    @cached_property
    def subjects(self) -> BackupSubjects:
        """What belongs to an app."""
        from controller.runtime.subjects import ConfiguredSubjects

        return ConfiguredSubjects(
            configuration=self._shared.configuration(), logins=self._connections
        )

    @cached_property
    def _sealer(self) -> Sealer | None:
        from controller.adapters.sealing import StreamSealer
        from controller.adapters.sealing_keys import KeyRing

        holders = dict(self._key_holders())
        return StreamSealer(KeyRing(holders)) if holders else None

    def _key_holders(self) -> Iterator[tuple[str, KeyHolder]]:
        """Yield what holds keys of backups, the one that seals new ones first."""
        from controller.adapters.sealing_keys import (
            PASSPHRASE,
            SECRET,
            PassphraseSecret,
            SecretKey,
            UnversionedKeySecrets,
        )

        settings, secrets = self._settings, self._shared.secrets
        if settings.backup_vault_key and settings.key_vault_url:
            yield self._vault_key(settings.key_vault_url)
        if settings.backup_key and settings.key_vault_url is None:
            yield SECRET, SecretKey(UnversionedKeySecrets(secrets()), settings.backup_key)
        elif settings.backup_key and settings.key_vault_url:
            yield SECRET, self._key_in_secret(settings.key_vault_url)
        if settings.backup_passphrase:
            yield PASSPHRASE, PassphraseSecret(secrets(), settings.backup_passphrase)

    def _vault_key(self, url: str) -> tuple[str, KeyHolder]:
        from controller.adapters.azure.vault_keys import ALGORITHM, KeyVaultKeyHolder

        return ALGORITHM, KeyVaultKeyHolder(
            url,
            self._settings.backup_vault_key,
            self._shared.credential(),
            verify_challenge_resource=self._settings.key_vault_verify_challenge,
            options=self._shared.options,
        )

    def _key_in_secret(self, url: str) -> KeyHolder:
        from controller.adapters.azure.vault_key import KeyVaultKeySecrets
        from controller.adapters.sealing_keys import SecretKey

        keys = KeyVaultKeySecrets(
            url,
            self._shared.credential(),
            verify_challenge_resource=self._settings.key_vault_verify_challenge,
            options=self._shared.options(),
        )
        return SecretKey(keys, self._settings.backup_key)

    @cached_property
    def _vault(self) -> Vault:
        from controller.adapters.azure.vault import BlobVault

        service, container = split_container(self._settings.backup_url)
        return BlobVault(
            service,
            self._shared.credential(),
            container=container,
            sealer=self._sealer,
            options=self._shared.options(),
        )

    @cached_property
    def backups(self) -> Backups | None:
        """The backup sets; None where no place for them is configured."""
        if not self._settings.backup_url:
            return None
        from controller.runtime.backups import Backups

        return Backups(self._means)

    @cached_property
    def _means(self) -> BackupMeans:
        from controller.adapters.azure.site_export import AppServiceExporter
        from controller.adapters.exports import EvidenceIndex, StateExport
        from controller.adapters.image_copy import ImageCopier
        from controller.adapters.postgres.dumps import PostgresDumper
        from controller.adapters.postgres.servers import PostgresServer
        from controller.runtime.backups_means import BackupMeans
        from controller.runtime.platform_backups import PlatformBackupPart

        shared = self._shared
        tables, clock = shared.tables(), shared.clock()
        sites = AppServiceExporter(shared.arm_clients())
        return BackupMeans(
            vault=self._vault,
            subjects=self.subjects,
            clock=clock,
            version=__version__,
            dumper=PostgresDumper(),
            server=PostgresServer(),
            registry=shared.registry(),
            copier=ImageCopier(self._registry_calls),
            store=tables,
            platform=shared.platform(),
            sites=sites,
            restorers=tuple(self._restorers()),
            exporters=(
                *((PartKind.SECRETS, each) for each in self._secrets_exports(sites)),
                (PartKind.STATE, StateExport(tables, tables)),
                (PartKind.EVIDENCE, EvidenceIndex(tables)),
                (PartKind.PLATFORM, PlatformBackupPart(shared.database_platform(), clock)),
            ),
        )

    def _restorers(self) -> Iterator[PartRestorer]:
        """Yield what restores parts, in the order in which they need each other."""
        from controller.adapters.azure.site_export import AppServiceExporter
        from controller.adapters.azure.site_import import AppServiceImporter
        from controller.adapters.exports import StateImport
        from controller.adapters.image_copy import ImageCopier
        from controller.runtime.restore_application import ApplicationRestorer
        from controller.runtime.restore_configuration import ConfigurationRestorer
        from controller.runtime.restore_state import StateRestorer

        shared, clients = self._shared, self._shared.arm_clients()
        tables = shared.tables()
        copier = ImageCopier(self._registry_calls)
        if self._settings.key_vault_url is not None:
            yield self._secrets_restorer(self._settings.key_vault_url)
        yield ApplicationRestorer(registry=shared.registry(), copier=copier)
        yield StateRestorer(
            store=tables,
            history=tables,
            keeper=tables,
            reader=StateImport(),
            platform=shared.platform(),
            clock=shared.clock(),
        )
        yield ConfigurationRestorer(
            sites=AppServiceExporter(clients),
            writer=AppServiceImporter(clients),
            addresses=shared.platform(),
            store=tables,
        )

    def _secrets_restorer(self, url: str) -> PartRestorer:
        from controller.adapters.azure.vault_secrets import KeyVaultSecrets
        from controller.runtime.restore_secrets import SecretsRestorer

        vault = KeyVaultSecrets(
            url,
            self._shared.credential(),
            verify_challenge_resource=self._settings.key_vault_verify_challenge,
            options=self._shared.options(),
        )
        return SecretsRestorer(vault=vault, url=url)

    def _secrets_exports(self, sites: SiteExporter) -> Iterator[PartExporter]:
        """Yield what backs the secrets of an app up, where there is a vault."""
        if self._settings.key_vault_url is None:
            return
        from controller.adapters.azure.vault_secrets import KeyVaultSecretsExport
        from controller.core.doors import secret_names

        yield KeyVaultSecretsExport(
            self._settings.key_vault_url,
            self._shared.credential(),
            sites=sites,
            doors=secret_names(),
            verify_challenge_resource=self._settings.key_vault_verify_challenge,
            options=self._shared.options(),
        )

    @cached_property
    def _rehearsals(self) -> CopyRehearsals | None:
        """Migrations tried on copies; None where there are no sets to make them from."""
        if not self._settings.backup_url:
            return None
        from controller.adapters.postgres.opening import copied
        from controller.runtime.rehearsals import CopyRehearsals

        return CopyRehearsals(means=self._means, bundles=self._bundles, open=copied)

    @cached_property
    def pitr(self) -> PointInTime:
        """Restores servers to a point in time."""
        from controller.adapters.postgres.servers import PostgresServer
        from controller.runtime.pitr import PointInTime
        from controller.runtime.pitr_means import PitrMeans

        return PointInTime(
            PitrMeans(
                platform=self._shared.database_platform(),
                subjects=self.subjects,
                clock=self._shared.clock(),
                server=PostgresServer(),
            )
        )

    @cached_property
    def maintainer(self) -> Maintainer:
        """Carries jobs out."""
        from controller.runtime.maintenance import Maintainer

        shared = self._shared
        return Maintainer(
            jobs=shared.tables(),
            bus=shared.bus(),
            clock=shared.clock(),
            history=shared.tables(),
            backups=self.backups,
            pitr=self.pitr,
            rehearsals=self._rehearsals,
        )


def split_container(url: str) -> tuple[str, str]:
    """Return service URL and container of a container's URL."""
    path, _, container = url.rpartition("/")
    return path, container
