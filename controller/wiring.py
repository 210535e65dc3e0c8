"""The fuse box: reads the settings once and puts the house together. The only importer of adapters.

Imports of adapters stand inside functions: a cold start then pays only for what its door needs.
Every setting is described in docs/settings.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from controller.core.errors import ConfigurationError

if TYPE_CHECKING:
    from controller.adapters.azure.arm_clients import ArmClients
    from controller.adapters.azure.blobs import BlobEvidence, BlobText
    from controller.adapters.azure.tables import TablesStore
    from controller.ports import (
        BucketStore,
        Bus,
        Callers,
        Clock,
        Configuration,
        History,
        PlatformMetrics,
        Prober,
        Registry,
        Secrets,
        SlotSwapper,
        StateStore,
        TargetPlatform,
        Telemetry,
    )
    from controller.runtime.engine import Engine
    from controller.runtime.observer import Observer
    from controller.runtime.sweeper import Sweeper

_SERVICE_BUS: Final = "ServiceBus"
_STORAGE: Final = "AzureWebJobsStorage"
_ACTION_GROUPS: Final = "461e8683-5575-4561-ac7f-899cc907d62a"  # AzNS AAD Webhook
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment says. Secrets are not among it: they come from Key Vault by name."""

    config: str  # path or https blob URL of apps.yaml
    service_bus_namespace: str
    service_bus_connection: str | None = field(repr=False)
    table_url: str
    blob_url: str
    table: str
    arm_endpoint: str
    arm_audience: str
    logs_endpoint: str
    logs_audience: str
    metrics_endpoint: str  # {region} in it becomes the site's
    metrics_audience: str
    key_vault_url: str | None
    key_vault_verify_challenge: bool
    ca_file: Path | None  # a certificate authority to trust beside the public ones
    alerts_audience: frozenset[str]  # whom the tokens of secure webhooks are for; none: no tokens
    alerts_tenant: str
    alerts_app_ids: frozenset[str]  # who may send alerts by token
    alerts_authority: str
    acr_hosts: frozenset[str]  # registries beside *.azurecr.io that may see our Entra token
    site_scheme: str
    sweep_grace: timedelta
    config_refresh: timedelta

    @staticmethod
    def read(environment: Mapping[str, str]) -> Settings:
        """Return the settings in *environment*.

        Raises:
            ConfigurationError: one is missing or wrong; it names all of them at once.
        """
        reader = _Reader(environment)
        ca_file = reader.optional("SLIPWAY_CA_FILE")
        settings = Settings(
            config=reader.required("SLIPWAY_CONFIG"),
            service_bus_namespace=reader.optional(f"{_SERVICE_BUS}__fullyQualifiedNamespace") or "",
            service_bus_connection=reader.optional(_SERVICE_BUS),
            table_url=reader.storage("table"),
            blob_url=reader.storage("blob"),
            table=reader.optional("SLIPWAY_TABLE") or "slipway",
            arm_endpoint=reader.url("ARM_ENDPOINT", "https://management.azure.com"),
            arm_audience=reader.url("ARM_AUDIENCE", "https://management.azure.com"),
            logs_endpoint=reader.url("LOG_ANALYTICS_ENDPOINT", "https://api.loganalytics.io"),
            logs_audience=reader.url("LOG_ANALYTICS_AUDIENCE", "https://api.loganalytics.io"),
            metrics_endpoint=reader.url(
                "METRICS_ENDPOINT", "https://{region}.metrics.monitor.azure.com"
            ),
            metrics_audience=reader.url("METRICS_AUDIENCE", "https://metrics.monitor.azure.com"),
            key_vault_url=reader.url("KEY_VAULT_URL", "") or None,
            key_vault_verify_challenge=reader.flag("KEY_VAULT_VERIFY_CHALLENGE", default=True),
            ca_file=Path(ca_file) if ca_file else None,
            alerts_audience=reader.texts("SLIPWAY_ALERTS_AUDIENCE"),
            alerts_tenant=(reader.optional("SLIPWAY_ALERTS_TENANT") or "").lower(),
            alerts_app_ids=reader.names("SLIPWAY_ALERTS_APP_IDS") or frozenset({_ACTION_GROUPS}),
            alerts_authority=reader.url(
                "SLIPWAY_ALERTS_AUTHORITY", "https://login.microsoftonline.com"
            ),
            acr_hosts=reader.names("SLIPWAY_ACR_HOSTS"),
            site_scheme=reader.choice("SLIPWAY_SITE_SCHEME", ("https", "http")),
            sweep_grace=reader.seconds("SLIPWAY_SWEEP_GRACE_SECONDS", 60),
            config_refresh=reader.seconds("SLIPWAY_CONFIG_REFRESH_SECONDS", 30),
        )
        if settings.alerts_audience and not _GUID.fullmatch(settings.alerts_tenant):
            reader.problems.append(
                "SLIPWAY_ALERTS_TENANT is not the GUID of a tenant, which "
                "SLIPWAY_ALERTS_AUDIENCE needs"
            )
        if not settings.service_bus_namespace and not settings.service_bus_connection:
            reader.problems.append(f"{_SERVICE_BUS}__fullyQualifiedNamespace is not set")
        reader.finish()
        return settings


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def optional(self, name: str) -> str | None:
        return self._environment.get(name, "").strip() or None

    def required(self, name: str) -> str:
        value = self.optional(name)
        if value is None:
            self.problems.append(f"{name} is not set")
        return value or ""

    def url(self, name: str, default: str) -> str:
        value = self.optional(name) or default
        if value and not value.startswith(("https://", "http://")):
            self.problems.append(f"{name} is {value!r}, not a URL")
        return value.rstrip("/")

    def names(self, name: str) -> frozenset[str]:
        return frozenset(each.lower() for each in self.texts(name))

    def texts(self, name: str) -> frozenset[str]:
        given = (self.optional(name) or "").split(",")
        return frozenset(each.strip() for each in given if each.strip())

    def storage(self, kind: str) -> str:
        """The identity-based form of the Functions app's own storage connection."""
        account = self.optional(f"{_STORAGE}__accountName")
        given = self.url(f"{_STORAGE}__{kind}ServiceUri", "")
        if given:
            return given
        if account:
            return f"https://{account}.{kind}.core.windows.net"
        self.problems.append(f"{_STORAGE}__{kind}ServiceUri (or __accountName) is not set")
        return ""

    def flag(self, name: str, *, default: bool) -> bool:
        value = (self.optional(name) or str(default)).lower()
        if value not in {"true", "false"}:
            self.problems.append(f"{name} is {value!r}, not true or false")
        return value == "true"

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.optional(name) or choices[0]
        if value not in choices:
            self.problems.append(f"{name} is {value!r}, not one of {', '.join(choices)}")
        return value

    def seconds(self, name: str, default: float) -> timedelta:
        value = self.optional(name) or str(default)
        try:
            time = timedelta(seconds=float(value))
        except (ValueError, OverflowError):
            time = timedelta(-1)
        if time < timedelta(0):
            self.problems.append(f"{name} is {value!r}, not a number of seconds")
        return time

    def finish(self) -> None:
        if self.problems:
            raise ConfigurationError(
                f"Settings: {'; '.join(self.problems)}.",
                fix="See docs/settings.md and local.settings.example.json.",
            )


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
    def _registry(self) -> Registry:
        from controller.adapters.registry import OciRegistry

        return OciRegistry(
            self._credential,
            azure_hosts=self.settings.acr_hosts,
            logins=self.secrets,
            ca_file=self.settings.ca_file,
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
            clock=self.clock,
            refresh=self.settings.config_refresh,
        )

    @cached_property
    def _remote_configuration(self) -> BlobText:
        from controller.adapters.azure.blobs import BlobText

        return BlobText(self.settings.config, self._credential, options=self._connection_options())

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

        return Observer(
            buckets=self._tables,
            telemetry=self._telemetry,
            bus=self.bus,
            clock=self.clock,
            platform=MetricsReader(metrics=self._platform_metrics),
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
    def sweeper(self) -> Sweeper:
        """The sweeper."""
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
        )

    @property
    def store(self) -> StateStore:
        """Each app's state."""
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
