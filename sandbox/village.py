"""The whole village: every piece of Azure that Slipway talks to, and Slipway itself in its host.

Nothing here is known to the controller: it gets addresses through the settings that a real
deployment has, too.
"""

import asyncio
import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox.app_service import AppService, RegistryPuller, Site
from sandbox.demo_app.images import demo_image
from sandbox.event_grid import EventGrid
from sandbox.functions_host import FunctionsHost
from sandbox.identity import IdentityEndpoint
from sandbox.key_vault import KeyVault
from sandbox.monitor import Monitor
from sandbox.registry import Registry, WebhookSender, push_image
from sandbox.registry import events as registry_events
from sandbox.registry.events import PushEvent
from sandbox.servicebus import Broker, QueueSpec
from sandbox.storage import Storage
from sandbox.tls import Authority, create_authority
from sandbox.tokens import mint

REPOSITORY = Path(__file__).resolve().parents[1]
SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
RESOURCE_GROUP = "rg-shop"
WORKSPACE = "22222222-2222-2222-2222-222222222222"
APP = "shop"
IMAGE_REPOSITORY = "shop"
WEBHOOK_SECRET = "loopback-webhook-secret"
_ME = "00000000-0000-0000-0000-0000000d0cce"


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


class Village:
    """Use as an asynchronous context manager; on leaving, nothing is left behind."""

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self._directory = tempfile.TemporaryDirectory(prefix="slipway-")
        self.directory = Path(self._directory.name)
        self.authority: Authority = create_authority(self.directory / "tls")
        self.identity = IdentityEndpoint("loopback-identity-header")
        self.vault = KeyVault(self.authority, secrets={"webhook-acr": WEBHOOK_SECRET})
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
        self.log_file = self.directory / "functions.log"
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
            for name in ("rollouts", "observations", "rejected")
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
        )
        first = await self.push("v1")
        await self._create_site(first)
        await self._start_controller()
        self.registry.on_push.append(self._announce)

    async def _create_site(self, digest: str) -> None:
        settings = {
            "APPLICATIONINSIGHTS_CONNECTION_STRING": self.monitor.connection_string(WORKSPACE),
            "OTEL_BSP_SCHEDULE_DELAY": "300",
            "SLIPWAY_RELEASE": digest,
            "OTEL_RESOURCE_ATTRIBUTES": f"service.version={digest}",
            "OTEL_SERVICE_NAME": "shop",
        }
        self._site = await self.app_service.create_site(
            subscription=SUBSCRIPTION,
            resource_group=RESOURCE_GROUP,
            name=APP,
            slots=self.options.slots,
            image=self.reference(digest),
            settings=settings,
        )

    async def _start_controller(self) -> None:
        apps = self.directory / "apps.yaml"
        apps.write_text(self.options.apps_yaml or self.apps_yaml())
        self._host = FunctionsHost(
            REPOSITORY,
            settings=self.settings(apps),
            ca_file=self.authority.ca_file,
            log_file=self.log_file,
        )
        await self._host.start()
        await self.event_grid.subscribe(
            "acr-push",
            self._host.event_grid_endpoint("on_image_pushed"),
            schema="EventGridSchema",
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
        ):
            with contextlib.suppress(Exception):
                await piece.stop()
        self._directory.cleanup()

    # --- Settings ---------------------------------------------------------------------------------

    def settings(self, apps: Path) -> dict[str, str]:
        """Return the Function App's settings: what a real one has, with loopback addresses."""
        return {
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "SSL_CERT_FILE": str(self.authority.bundle_file),
            "SLIPWAY_CA_FILE": str(self.authority.ca_file),
            "SLIPWAY_CONFIG": str(apps),
            "SLIPWAY_SITE_SCHEME": "http",
            "SLIPWAY_SWEEP_SCHEDULE": self.options.sweep_schedule,
            "SLIPWAY_SWEEP_GRACE_SECONDS": "15",
            "SLIPWAY_ACR_HOSTS": self.registry.host,
            "ServiceBus__fullyQualifiedNamespace": self.broker.namespace,
            "AzureWebJobsStorage__tableServiceUri": self.storage.table_url,
            "AzureWebJobsStorage__blobServiceUri": self.storage.blob_url,
            "ARM_ENDPOINT": self.app_service.arm_url,
            "LOG_ANALYTICS_ENDPOINT": self.monitor.query_url,
            "KEY_VAULT_URL": self.vault.url,
            "KEY_VAULT_VERIFY_CHALLENGE": "false",
            **self.identity.environment(),
        }

    def apps_yaml(self) -> str:
        """Return the configuration of the one app, with its times compressed."""
        poll = self.options.poll_seconds
        return f"""\
apps:
  {APP}:
    target:
      subscription: {SUBSCRIPTION}
      resource_group: {RESOURCE_GROUP}
      site: {APP}
      slots: [{", ".join(self.options.slots)}]
    source:
      registry: {self.registry.host}
      repository: {IMAGE_REPOSITORY}
      tags: ["v*"]
    strategy:
      steps:
        - {{weight: 10, min_observation: 3s, max_observation: 40s}}
        - {{weight: 50, min_observation: 3s, max_observation: 40s}}
        - {{weight: 100, min_observation: 2s, max_observation: 40s}}
      bake: 4s
      pinned_for: {self.options.cookie_seconds:g}s
      hold: {{limit: 30s}}
    health:
      consecutive: 2
      interval: 500ms
      smoke_tests:
        - {{method: GET, path: /, expect_status: 200}}
    analysis:
      workspace: {WORKSPACE}
      poll: {poll}s
      bucket: {poll}s
      settle: 1s
      provider_grace: 15s
      limits:
        error_rate_max: 0.05
        latency_percentile: 95
        latency_ms_max: 110
        min_requests: 25
    deadlines:
      staging: 30s
      warming: 12s
      shifting: 20s
      promoting: 20s
      rolling_back: 60s
"""

    # --- What people do ---------------------------------------------------------------------------

    def reference(self, digest: str) -> str:
        """Return the image reference of *digest* in the app's repository."""
        return f"{self.registry.host}/{IMAGE_REPOSITORY}@{digest}"

    async def push(self, version: str, **behaviour: Any) -> str:
        """Build and push the demo app as *version*; return its digest. The push is the event."""
        files, entrypoint, env = demo_image(version, **{"latency_ms": 30, **behaviour})
        token, _ = mint("https://containerregistry.azure.net", _ME)
        return await push_image(
            self.registry.host,
            IMAGE_REPOSITORY,
            version,
            files=files,
            entrypoint=entrypoint,
            env=env,
            ca_file=self.authority.ca_file,
            token=token,
        )

    async def _announce(self, event: PushEvent) -> None:
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
