"""The fuse box: puts the house together by its settings. The only importer of adapters.

Imports of adapters stand inside functions: a cold start then pays only for what its door needs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from controller.core.errors import ConfigurationError
from controller.settings import Settings

if TYPE_CHECKING:
    from controller.adapters.azure.arm_clients import ArmClients
    from controller.adapters.azure.blobs import BlobEvidence, BlobText
    from controller.adapters.azure.tables import TablesStore
    from controller.config.load import ReadFile
    from controller.ports import (
        BucketStore,
        Bus,
        Callers,
        Clock,
        Configuration,
        History,
        Notifier,
        PlatformMetrics,
        Prober,
        Registry,
        Secrets,
        SlotSwapper,
        StateStore,
        TargetPlatform,
        Telemetry,
    )
    from controller.ports_data import DatabasePlatform, JobStore
    from controller.runtime.engine import Engine
    from controller.runtime.explainer import Explainer
    from controller.runtime.observer import Observer
    from controller.runtime.sweeper import Sweeper
    from controller.wiring_data import DataHouse


class House:
    """Everything, built when first asked for and kept for the life of the process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    # --- Adapters ----------------------------------------------------------------------

    @cached_property
    def clock(self) -> Clock:
        """The real one."""
        from controller.adapters.clock import SystemClock

        return SystemClock()

    @cached_property
    def _credential(self) -> Any:
        from controller.adapters.azure.credentials import default_credential

        return default_credential(self.settings.ca_file)

    def _connection_options(self) -> dict[str, Any]:
        """One transport per client: the client closes it."""
        from controller.adapters.azure.credentials import connection_options

        return connection_options(self.settings.ca_file)

    @cached_property
    def _tables(self) -> TablesStore:
        from controller.adapters.azure.tables import TablesStore

        return TablesStore(self.settings.table_url, self._credential, table=self.settings.table)

    @cached_property
    def _evidence(self) -> BlobEvidence:
        from controller.adapters.azure.blobs import BlobEvidence

        return BlobEvidence(
            self.settings.blob_url, self._credential, options=self._connection_options()
        )

    @cached_property
    def bus(self) -> Bus:
        """Service Bus."""
        from controller.adapters.azure.service_bus import ServiceBusBus

        if self.settings.service_bus_connection:
            return ServiceBusBus.from_connection_string(
                self.settings.service_bus_connection, ca_file=self.settings.ca_file
            )
        return ServiceBusBus(
            self.settings.service_bus_namespace, self._credential, ca_file=self.settings.ca_file
        )

    @cached_property
    def secrets(self) -> Secrets:
        """Key Vault where one is named, else the environment."""
        from controller.adapters.azure.key_vault import EnvironmentSecrets, KeyVaultSecrets

        if self.settings.key_vault_url is None:
            return EnvironmentSecrets(os.environ)
        return KeyVaultSecrets(
            self.settings.key_vault_url,
            self._credential,
            verify_challenge_resource=self.settings.key_vault_verify_challenge,
            options=self._connection_options(),
        )

    @cached_property
    def callers(self) -> Callers | None:
        """Who may call by an Entra token; None where no audience is set."""
        from controller.adapters.azure.entra import EntraCallers

        settings = self.settings
        if not settings.alerts_audience:
            return None
        return EntraCallers(
            settings.alerts_tenant,
            settings.alerts_audience,
            applications=settings.alerts_app_ids,
            authority=settings.alerts_authority,
            ca_file=settings.ca_file,
        )

    @cached_property
    def notifiers(self) -> Mapping[str, Notifier]:
        """Where people are told of alerts, by the channel's name."""
        from controller.adapters.notify_slack import SlackNotifier

        return {"slack": SlackNotifier(self.secrets, ca_file=self.settings.ca_file)}

    @cached_property
    def _registry(self) -> Registry:
        from controller.adapters.registry import OciRegistry
        from controller.adapters.registry_calls import RegistryCalls

        return OciRegistry(
            RegistryCalls(
                self._credential,
                azure_hosts=self.settings.acr_hosts,
                logins=self.secrets,
                ca_file=self.settings.ca_file,
            )
        )

    @cached_property
    def _arm_clients(self) -> ArmClients:
        from controller.adapters.azure.arm_clients import ArmClients

        return ArmClients(
            self._credential,
            arm_endpoint=self.settings.arm_endpoint,
            audience=self.settings.arm_audience,
            connection_options=self._connection_options(),
        )

    @cached_property
    def _platform(self) -> TargetPlatform:
        from controller.adapters.azure.app_service import AppServicePlatform

        return AppServicePlatform(self._arm_clients, scheme=self.settings.site_scheme)

    @cached_property
    def _swapper(self) -> SlotSwapper:
        from controller.adapters.azure.slot_swaps import AppServiceSwapper

        return AppServiceSwapper(self._arm_clients)

    @cached_property
    def database_platform(self) -> DatabasePlatform:
        """The service that flexible servers are on. Nothing is asked of it before it is used."""
        from controller.adapters.azure.flexible_server import FlexibleServers

        return FlexibleServers(
            self._credential,
            arm_endpoint=self.settings.arm_endpoint,
            audience=self.settings.arm_audience,
            connection_options=self._connection_options(),
        )

    @cached_property
    def _prober(self) -> Prober:
        from controller.adapters.probe import HttpProber

        return HttpProber(ca_file=self.settings.ca_file)

    @cached_property
    def _telemetry(self) -> Telemetry:
        from controller.adapters.azure.monitor import LogAnalytics

        return LogAnalytics(
            self._credential,
            endpoint=self.settings.logs_endpoint,
            audience=self.settings.logs_audience,
            options=self._connection_options(),
        )

    @cached_property
    def _platform_metrics(self) -> PlatformMetrics:
        from controller.adapters.azure.metrics import AzurePlatformMetrics

        return AzurePlatformMetrics(
            self._credential,
            endpoint=self.settings.metrics_endpoint,
            audience=self.settings.metrics_audience,
            options=self._connection_options,
        )

    # --- What stands behind the doors ------------------------------------------------------------

    @cached_property
    def configuration(self) -> Configuration:
        """apps.yaml, from a path or a blob URL."""
        from controller.runtime.configuration import TextConfiguration

        return TextConfiguration(
            read=self._read_configuration,
            name=self.settings.config,
            read_file=self._beside_configuration,
            clock=self.clock,
            refresh=self.settings.config_refresh,
        )

    @cached_property
    def _remote_configuration(self) -> BlobText:
        from controller.adapters.azure.blobs import BlobText

        return BlobText(self.settings.config, self._credential, options=self._connection_options())

    @property
    def _beside_configuration(self) -> ReadFile | None:
        from controller.config.load import beside

        where = self.settings.config
        return None if where.startswith("https://") else beside(Path(where))

    async def _read_configuration(self) -> str:
        where = self.settings.config
        if where.startswith("https://"):
            return await self._remote_configuration.read()
        return _read_file(where)

    @cached_property
    def observer(self) -> Observer:
        """The workspace observer."""
        from controller.runtime.metrics_reader import MetricsReader
        from controller.runtime.observer import Observer
        from controller.runtime.probing import Probing

        return Observer(
            buckets=self._tables,
            telemetry=self._telemetry,
            bus=self.bus,
            clock=self.clock,
            platform=MetricsReader(metrics=self._platform_metrics),
            probing=Probing(addresses=self._platform, prober=self._prober),
        )

    @cached_property
    def engine(self) -> Engine:
        """The engine."""
        from controller.runtime.engine import Engine
        from controller.runtime.performer import Performer
        from controller.runtime.witness import Witness

        performer = Performer(
            platform=self._platform,
            swapper=self._swapper,
            prober=self._prober,
            registry=self._registry,
            telemetry=self._telemetry,
            observer=self.observer,
            clock=self.clock,
            migrations=self.data.migrations,
            restore_points=self.data.restore_points,
        )
        return Engine(
            store=self._tables,
            bus=self.bus,
            configuration=self.configuration,
            performer=performer,
            witness=Witness(buckets=self._tables, evidence=self._evidence),
            clock=self.clock,
        )

    @cached_property
    def data(self) -> DataHouse:
        """The data half: migrations, backups, jobs."""
        from controller.wiring_data import DataHouse, Shared

        return DataHouse(
            Shared(
                settings=self.settings,
                credential=lambda: self._credential,
                options=self._connection_options,
                tables=lambda: self._tables,
                bus=lambda: self.bus,
                clock=lambda: self.clock,
                configuration=lambda: self.configuration,
                secrets=lambda: self.secrets,
                registry=lambda: self._registry,
                platform=lambda: self._platform,
                arm_clients=lambda: self._arm_clients,
                database_platform=lambda: self.database_platform,
            )
        )

    @cached_property
    def sweeper(self) -> Sweeper:
        """The sweeper."""
        from controller.runtime.maintenance_sweep import MaintenanceSweep
        from controller.runtime.sweeper import Sweeper

        return Sweeper(
            store=self._tables,
            history=self._tables,
            buckets=self._tables,
            housekeeping=self._tables,
            bus=self.bus,
            platform=self._platform,
            configuration=self.configuration,
            clock=self.clock,
            grace=self.settings.sweep_grace,
            maintenance=MaintenanceSweep(
                jobs=self._tables, bus=self.bus, backups=lambda: self.data.backups
            ),
        )

    @cached_property
    def explainer(self) -> Explainer:
        """Tells people what the judge thinks."""
        from controller.runtime.explainer import Explainer

        return Explainer(
            buckets=self._tables, evidence=self._evidence, history=self._tables, clock=self.clock
        )

    @property
    def store(self) -> StateStore:
        """Each app's state."""
        return self._tables

    @property
    def jobs(self) -> JobStore:
        """Jobs of maintenance."""
        return self._tables

    @property
    def history(self) -> History:
        """What was recorded."""
        return self._tables

    @property
    def buckets(self) -> BucketStore:
        """The evidence."""
        return self._tables

    @property
    def registry(self) -> Registry:
        """The registry client."""
        return self._registry


def _read_file(where: str) -> str:
    try:
        return Path(where).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"SLIPWAY_CONFIG names {where!r}, which cannot be read: {error}.",
            fix="Put apps.yaml there, or give an https blob URL.",
        ) from error


@lru_cache(maxsize=1)
def house() -> House:
    """Return this process's house, built from its environment.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    return House(Settings.read(os.environ))


def start_telemetry(environment: Mapping[str, str]) -> bool:
    """Send the controller's own telemetry to Application Insights, where it is configured."""
    if not environment.get("APPLICATIONINSIGHTS_CONNECTION_STRING"):
        return False
    from azure.monitor import opentelemetry

    opentelemetry.configure_azure_monitor(logger_name="slipway")
    return True
