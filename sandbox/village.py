"""The whole village: every piece of Azure that Slipway talks to, and Slipway itself in its host.

Nothing here is known to the controller: it gets addresses through the settings that a real
deployment has, too.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sandbox.alerts import ActionGroup
from sandbox.app_service import AppService, RegistryPuller, Site
from sandbox.apps_yaml import app_configuration, changed, render
from sandbox.demo_app.images import bundle, demo_image
from sandbox.event_grid import EventGrid, Schema
from sandbox.functions_host import FunctionsHost
from sandbox.identity import IdentityEndpoint
from sandbox.key_vault import KeyVault
from sandbox.metrics_feed import front_door_counts
from sandbox.monitor import Monitor
from sandbox.registry import ImageSpec, Registry, RegistryClient, WebhookSender, notices
from sandbox.registry import events as registry_events
from sandbox.registry.events import PushEvent
from sandbox.servicebus import Broker, QueueSpec
from sandbox.shop_database import ShopDatabase
from sandbox.storage import Storage
from sandbox.tls import Authority, create_authority
from sandbox.tokens import mint

REPOSITORY = Path(__file__).resolve().parents[1]
SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
RESOURCE_GROUP = "rg-shop"
WORKSPACE = "22222222-2222-2222-2222-222222222222"
APP = "shop"
WEBHOOK_SECRET = "loopback-webhook-secret"
ALERTS_AUDIENCE = "api://slipway-alerts"
_DOORS = ("acr", "dockerhub", "ghcr", "harbor", "oci", "alerts")
SECRETS = tuple(f"webhook-{door}" for door in _DOORS)
MIGRATIONS_TYPE = "application/vnd.slipway.migrations.v1"
_BY_HAND = "0 0 0 1 1 *"  # a schedule: once a year; the host runs a timer on demand, too
_USUAL_LATENCY_MS = 30
_ME = "00000000-0000-0000-0000-0000000d0cce"


Channel = Literal["acr", "ghcr"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreApp:
    """One more app beside the first: a site, a repository and a configuration of its own."""

    name: str
    slots: tuple[str, ...] = ("blue", "green")
    site_containers: bool = False
    channel: Channel = "acr"  # who tells of its pushes
    place: bool = False  # each slot knows its place by a sticky setting, DEMO_PLACE
    changes: Mapping[str, Any] = field(default_factory=dict[str, Any])  # of its configuration
    first_build: Mapping[str, Any] = field(default_factory=dict[str, Any])  # what v1 does wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the village differs from the real thing, and how much it keeps.

    Times are compressed: a cookie lives *cookie_seconds* instead of an hour, telemetry is
    exported and looked at every second instead of every fifteen.
    """

    cookie_seconds: float = 10
    poll_seconds: float = 1
    lock_seconds: float = 10
    sweep_schedule: str = "*/10 * * * * *"
    slots: tuple[str, ...] = ("blue", "green", "violet")
    apps_yaml: str | None = None  # replaces the built-in configuration
    webhook: bool = False  # pushes come by native webhook instead of Event Grid
    event_schema: Schema = "EventGridSchema"  # of Event Grid's subscription
    changes: Mapping[str, Any] = field(default_factory=dict[str, Any])  # of the first app's part
    usual_error_rate: float = 0.0  # share of requests that fail whatever the build, in every app
    more_apps: tuple[MoreApp, ...] = ()
    database: bool = False  # a PostgreSQL behind the first app, with migrations and backups
    settings: Mapping[str, str] = field(default_factory=dict[str, str])  # over the controller's own


class Village:
    """Use as an asynchronous context manager; on leaving, nothing is left behind."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self._directory = tempfile.TemporaryDirectory(prefix="slipway-")
        self.directory = Path(self._directory.name)
        self.authority: Authority = create_authority(self.directory / "tls")
        self.identity = IdentityEndpoint("loopback-identity-header")
        self.vault = KeyVault(self.authority, secrets=dict.fromkeys(SECRETS, WEBHOOK_SECRET))
        self.registry = Registry(self.authority)
        self.monitor = Monitor(self.authority, workspaces=[WORKSPACE])
        self.storage = Storage(self.authority, self.directory / "storage")
        self.broker = Broker(self._queues(), tls=self.authority.server_context())
        self.event_grid = EventGrid(retry_scale=0.05)
        self.app_service = AppService(
            self.authority,
            work_directory=self.directory / "slots",
            cookie_seconds=self.options.cookie_seconds,
            pull=RegistryPuller(
                self.authority,
                directory=self.directory / "images",
                token_for=lambda _: self.registry.tokens.platform_token(),
            ),
        )
        self._database = ShopDatabase() if self.options.database else None
        self.log_file = self.directory / "functions.log"
        self.apps_file = self.directory / "apps.yaml"
        self._host: FunctionsHost | None = None
        self._site: Site | None = None

    def _queues(self) -> list[QueueSpec]:
        lock = self.options.lock_seconds
        return [
            QueueSpec(
                name=name,
                requires_session=name != "rejected",
                lock_seconds=lock,
                duplicate_detection_seconds=600,
            )
            for name in ("rollouts", "observations", "maintenance", "rejected")
        ]

    @property
    def host(self) -> FunctionsHost:
        """The Functions host that runs the real function_app.py."""
        if self._host is None:
            raise RuntimeError("the village is not started")
        return self._host

    @property
    def site(self) -> Site:
        """The web app under Slipway's care."""
        if self._site is None:
            raise RuntimeError("the village is not started")
        return self._site

    @property
    def database(self) -> ShopDatabase:
        """The first app's database."""
        if self._database is None:
            raise RuntimeError("the village has no database: Options(database=True)")
        return self._database

    # --- Up and down ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Bring everything up: the servers, the app's first build, then the controller."""
        await self.identity.start()
        await asyncio.gather(
            self.vault.start(),
            self.registry.start(),
            self.monitor.start(),
            self.storage.start(),
            self.broker.start(),
            self.app_service.start(),
            self._start_database(),
        )
        first = MoreApp(name=APP, slots=self.options.slots)
        apps = (first, *self.options.more_apps)
        sites = await asyncio.gather(*(self._create_site(app) for app in apps))
        self._site = sites[0]
        self.monitor.metrics.sources.append(front_door_counts(self.app_service, sites))
        await self._start_controller()
        self.registry.on_push.append(self._announce)

    async def _start_database(self) -> None:
        if self._database is None:
            return
        await self._database.start(self.directory)
        for name, value in self._database.secrets().items():
            self.vault.put(name, value)

    async def _create_site(self, app: MoreApp) -> Site:
        digest = await self.push("v1", app=app.name, **app.first_build)
        settings = {
            "APPLICATIONINSIGHTS_CONNECTION_STRING": self.monitor.connection_string(WORKSPACE),
            "OTEL_BSP_SCHEDULE_DELAY": "300",
            "SLIPWAY_RELEASE": digest,
            "OTEL_RESOURCE_ATTRIBUTES": f"service.version={digest}",
            "OTEL_SERVICE_NAME": app.name,
            "DEMO_USUAL_ERROR_RATE": f"{self.options.usual_error_rate:g}",
            "DEMO_DEPENDENCY": str(self._dependency(app.name)),
            **(self._database.app_settings() if self._database and app.name == APP else {}),
        }
        site = await self.app_service.create_site(
            subscription=SUBSCRIPTION,
            resource_group=RESOURCE_GROUP,
            name=app.name,
            slots=app.slots,
            image=self.reference(digest, app=app.name),
            settings=settings,
            site_containers=app.site_containers,
        )
        if app.place:
            site.sticky["appSettingNames"] = ["DEMO_PLACE"]
            for slot in site.slots.values():
                slot.app_settings["DEMO_PLACE"] = slot.name
        return site

    async def _start_controller(self) -> None:
        self.apps_file.write_text(self.options.apps_yaml or self.apps_yaml())
        self._host = FunctionsHost(
            REPOSITORY,
            settings=self.settings(self.apps_file),
            ca_file=self.authority.ca_file,
            log_file=self.log_file,
        )
        await self._host.start()
        await self.event_grid.subscribe(
            "acr-push",
            self._host.event_grid_endpoint("on_image_pushed"),
            schema=self.options.event_schema,
        )

    async def stop(self) -> None:
        """End everything; safe twice and half-way."""
        if self._host is not None:
            with contextlib.suppress(Exception):
                await self._host.stop()
        for piece in (
            self.event_grid,
            self.app_service,
            self.broker,
            self.monitor,
            self.registry,
            self.vault,
            self.storage,
            self.identity,
            self._database,
        ):
            with contextlib.suppress(Exception):
                if piece is not None:
                    await piece.stop()
        self._directory.cleanup()

    # --- Settings ---------------------------------------------------------------------------------

    def settings(self, apps: Path) -> dict[str, str]:
        """Return the Function App's settings: what a real one has, with loopback addresses."""
        return {
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "SSL_CERT_FILE": str(self.authority.ca_file),
            "SLIPWAY_CA_FILE": str(self.authority.ca_file),
            "SLIPWAY_CONFIG": str(apps),
            "SLIPWAY_SITE_SCHEME": "http",
            "SLIPWAY_SWEEP_SCHEDULE": self.options.sweep_schedule,
            "SLIPWAY_SWEEP_GRACE_SECONDS": "15",
            "SLIPWAY_BACKUP_SCHEDULE": _BY_HAND,
            "SLIPWAY_DRILL_SCHEDULE": _BY_HAND,
            "SLIPWAY_ACR_HOSTS": self.registry.host,
            "ServiceBus__fullyQualifiedNamespace": self.broker.namespace,
            "AzureWebJobsStorage__tableServiceUri": self.storage.table_url,
            "AzureWebJobsStorage__blobServiceUri": self.storage.blob_url,
            "ARM_ENDPOINT": self.app_service.arm_url,
            "LOG_ANALYTICS_ENDPOINT": self.monitor.query_url,
            "METRICS_ENDPOINT": self.monitor.metrics_url,
            "KEY_VAULT_URL": self.vault.url,
            "SLIPWAY_ALERTS_AUDIENCE": ALERTS_AUDIENCE,
            "SLIPWAY_ALERTS_TENANT": self.identity.issuer.tenant,
            "SLIPWAY_ALERTS_AUTHORITY": self.identity.url,
            "KEY_VAULT_VERIFY_CHALLENGE": "false",
            **self.identity.environment(),
            **(self._database.settings(self.storage.blob_url) if self._database else {}),
            **self.options.settings,
        }

    def apps_yaml(self) -> str:
        """Return the configuration of every app, with its times compressed."""
        options = self.options
        first = self._app_configuration(APP, options.slots)
        first |= self._database.configuration() if self._database else {}
        apps = {APP: changed(first, options.changes)}
        for more in options.more_apps:
            apps[more.name] = changed(self._app_configuration(more.name, more.slots), more.changes)
        return render(apps)

    def _app_configuration(self, name: str, slots: Sequence[str]) -> dict[str, Any]:
        return app_configuration(
            site={"subscription": SUBSCRIPTION, "resource_group": RESOURCE_GROUP, "site": name},
            slots=slots,
            registry=self.registry.host,
            repository=name,
            workspace=WORKSPACE,
            poll_seconds=self.options.poll_seconds,
            cookie_seconds=self.options.cookie_seconds,
        )

    # --- What people do ---------------------------------------------------------------------------

    def reference(self, digest: str, *, app: str = APP) -> str:
        """Return the image reference of *digest* in an app's repository, which bears its name."""
        return f"{self.registry.host}/{app}@{digest}"

    async def push(
        self,
        version: str,
        *,
        app: str = APP,
        migrations: Mapping[str, bytes] | None = None,
        **behaviour: Any,
    ) -> str:
        """Build and push the demo app as *version*; return its digest. The push is the event.

        *migrations* are files of SQL. Their bundle is attached to the digest before the tag is
        there: whoever hears of the tag finds it.
        """
        usual: dict[str, Any] = {"latency_ms": _USUAL_LATENCY_MS}
        files, entrypoint, env = demo_image(version, **{**usual, **behaviour})
        # Telemetry goes by digest: no two apps share one.
        spec = ImageSpec(files=files, entrypoint=entrypoint, env={**env, "DEMO_APP": app})
        token, _ = mint("https://containerregistry.azure.net", _ME)
        async with RegistryClient(
            self.registry.host, ca_file=self.authority.ca_file, token=token
        ) as client:
            if migrations is not None:
                digest = await client.push(app, None, spec)
                await client.attach_files(app, digest, MIGRATIONS_TYPE, bundle(migrations))
            return await client.push(app, version, spec)

    def dependency_fails(self, share: float, *, app: str = APP) -> None:
        """From now on *share* of an app's requests fail, in every build alike: a shared outage."""
        file = self._dependency(app)
        new = file.with_suffix(".new")
        new.write_text(f"{share:g}")
        new.replace(file)  # in one step: nobody reads half of it

    def dependency_works(self, *, app: str = APP) -> None:
        """End what `dependency_fails` began."""
        self._dependency(app).unlink(missing_ok=True)

    def _dependency(self, app: str) -> Path:
        return self.directory / f"dependency-of-{app}"

    def resource_id(self, app: str = APP) -> str:
        """Return the ARM id of an app's site."""
        return (
            f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
            f"/providers/Microsoft.Web/sites/{app}"
        )

    def action_group(self, *, secure: bool = False) -> ActionGroup:
        """Return an action group whose webhook leads to Slipway's door for alerts.

        It shows the shared secret, or the token of a *secure* webhook.
        """
        url = f"{self.host.url}/api/alerts"
        if secure:
            return ActionGroup(url, issuer=self.identity.issuer, audience=ALERTS_AUDIENCE)
        return ActionGroup(url, key=WEBHOOK_SECRET)

    async def _announce(self, event: PushEvent) -> None:
        by_github = {app.name for app in self.options.more_apps if app.channel == "ghcr"}
        if event.repository in by_github:
            render = notices.github(WEBHOOK_SECRET)
            await WebhookSender(f"{self.host.url}/api/webhooks/ghcr", render=render)(event)
            return
        if self.options.webhook:
            sender = WebhookSender(
                f"{self.host.url}/api/webhooks/acr", headers={"Authorization": WEBHOOK_SECRET}
            )
            await sender(event)
            return
        await self.event_grid.publish(
            source=(
                f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{RESOURCE_GROUP}"
                "/providers/Microsoft.ContainerRegistry/registries/shop"
            ),
            subject=registry_events.subject(event),
            event_type=registry_events.event_type(event),
            data=registry_events.event_grid_data(event),
            event_id=event.id,
        )
