"""What the environment says, read once and checked as a whole. docs/settings.md describes each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from controller.core.errors import ConfigurationError

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
    backup_url: str  # of the container of backup sets; empty: none are made
    # What seals them, the first that is given; the others open older ones. None: not encrypted.
    backup_vault_key: str  # an RSA key in Key Vault
    backup_key: str  # a secret that is a key
    backup_passphrase: str  # a secret that is a passphrase

    @staticmethod
    def read(environment: Mapping[str, str]) -> "Settings":
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
            backup_url=reader.url("SLIPWAY_BACKUP_URL", ""),
            backup_vault_key=reader.optional("SLIPWAY_BACKUP_VAULT_KEY") or "",
            backup_key=reader.optional("SLIPWAY_BACKUP_KEY") or "",
            backup_passphrase=reader.optional("SLIPWAY_BACKUP_PASSPHRASE") or "",
        )
        if settings.alerts_audience and not _GUID.fullmatch(settings.alerts_tenant):
            reader.problems.append(
                "SLIPWAY_ALERTS_TENANT is not the GUID of a tenant, which "
                "SLIPWAY_ALERTS_AUDIENCE needs"
            )
        if settings.backup_url and not urlsplit(settings.backup_url).path.strip("/"):
            reader.problems.append(
                f"SLIPWAY_BACKUP_URL is {settings.backup_url!r}, which names no container"
            )
        if settings.backup_vault_key and settings.key_vault_url is None:
            reader.problems.append("KEY_VAULT_URL is not set, which SLIPWAY_BACKUP_VAULT_KEY needs")
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
