"""Sites and slots: what Resource Manager knows of them, and what follows for their containers."""

import copy
import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sandbox.app_service.container import Wanted
from sandbox.app_service.errors import Json
from sandbox.app_service.images import ImagePuller
from sandbox.app_service.routing import Router, rules_of
from sandbox.app_service.slots import SlotRunner

PRODUCTION = "production"
SITE_CONTAINERS = "sitecontainers"
_DOCKER = "docker|"
# A change of one of these restarts the slot; a change of the ramp-up rules does not.
_RESTARTING = ("linuxFxVersion", "appCommandLine", "healthCheckPath")
# What of the site config travels in a swap: the stack (so the image) and how it is run.
SWAPPED_CONFIG = ("linuxFxVersion", "appCommandLine", "webSocketsEnabled")


def default_config() -> Json:
    """Return the site config of a fresh Linux container app, as far as anyone looks at it."""
    return {
        "numberOfWorkers": 1,
        "linuxFxVersion": "",
        "windowsFxVersion": None,
        "appCommandLine": "",
        "acrUseManagedIdentityCreds": False,
        "acrUserManagedIdentityID": None,
        "alwaysOn": False,
        "webSocketsEnabled": False,
        "http20Enabled": True,
        "minTlsVersion": "1.2",
        "ftpsState": "FtpsOnly",
        "healthCheckPath": None,
        "autoHealEnabled": False,
        "appSettings": None,  # never shown here; POST config/appsettings/list does
        "connectionStrings": None,
        "experiments": {"rampUpRules": []},
        "ipSecurityRestrictions": [
            {"ipAddress": "Any", "action": "Allow", "priority": 2147483647, "name": "Allow all"}
        ],
    }


def merged(config: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    """Return *config* under *patch*: objects merge, arrays are replaced, null says nothing."""
    result = copy.deepcopy(dict(config))
    for name, value in patch.items():
        if value is None:
            continue
        inner = result.get(name)
        if isinstance(value, dict) and isinstance(inner, dict):
            result[name] = merged(cast("Json", inner), cast("Json", value))
        else:
            result[name] = copy.deepcopy(cast("Any", value))
    return result


@dataclass(frozen=True, slots=True)
class RunningOperation:
    """What holds a site: until it ends, every change is refused."""

    id: str
    slots: tuple[str, ...]  # those that show its id


class Slot:
    """One slot; production is one, too, though Resource Manager calls it the site."""

    def __init__(self, site: "Site", name: str, host: str, puller: ImagePuller) -> None:
        self.site = site
        self.name = name
        self.host = host
        self.address = host  # "127.0.0.1:port", also where the host is a name that Azure makes
        self.config: Json = default_config()
        self.app_settings: dict[str, str] = {}
        self.connection_strings: dict[str, Json] = {}  # {"value", "type"} by name
        self.containers: dict[str, Json] = {}  # sitecontainers, by name
        self.enabled = True
        self.identity: Json | None = None  # its managed identities; they stay with the slot
        self.shown: Json = {}  # what its resource says instead: usageState, kind, ...
        self.more_instances: list[str] = []  # states of instances beside the first
        self.swap_status: Json | None = None
        self.prepared: tuple[str, str] | None = None  # (source, target) of a swap with preview
        self.borrowed_settings: dict[str, str] | None = None  # the target's sticky ones, applied
        self.runner = SlotRunner(puller)

    @property
    def is_production(self) -> bool:
        """Whether this slot is the site itself."""
        return self.name == PRODUCTION

    @property
    def uses_site_containers(self) -> bool:
        """Whether the image stands in a sitecontainer instead of linuxFxVersion."""
        return str(self.config["linuxFxVersion"]).lower() == SITE_CONTAINERS

    @property
    def image(self) -> str | None:
        """The reference of the configured image, or None."""
        if self.uses_site_containers:
            main = self._main_container()
            return None if main is None else str(main["image"])
        version = str(self.config["linuxFxVersion"] or "")
        return version[len(_DOCKER) :] if version.lower().startswith(_DOCKER) else None

    @property
    def running_digest(self) -> str | None:
        """The digest of the image that answers now, or None when nothing does."""
        active = self.runner.active
        return None if active is None else active.image.digest

    @property
    def state(self) -> str:
        """What the ``state`` of the resource says. A container that fails does not show here."""
        return "Running" if self.enabled else "Stopped"

    @property
    def instance_state(self) -> str:
        """What the slot's one instance says of itself."""
        if not self.enabled:
            return "STOPPED"
        return "READY" if self.runner.active is not None else "UNKNOWN"

    def apply_config(self, config: Mapping[str, Any]) -> None:
        """Take *config* as the whole site config, and let follow what follows."""
        settings = config.get("appSettings")
        new = merged(default_config(), {**config, "appSettings": None})
        if not self.is_production:
            new["experiments"] = {"rampUpRules": []}
        restarts = any(new[name] != self.config[name] for name in _RESTARTING)
        self.config = new
        if settings is not None:
            self.app_settings = {entry["name"]: entry["value"] for entry in settings}
            restarts = True
        if restarts:
            self.restart()
        if self.is_production:
            self.site.rules_changed()

    def apply_settings(self, settings: Mapping[str, str]) -> None:
        """Take *settings* as the whole set; the slot restarts."""
        self.app_settings = dict(settings)
        self.restart()

    def apply_connection_strings(self, strings: Mapping[str, Json]) -> None:
        """Take *strings* as the whole set; the slot restarts."""
        self.connection_strings = dict(strings)
        self.restart()

    def restart(self) -> None:
        """Start a container from what is configured now; the running one serves until then."""
        if self.enabled:
            self.runner.change(self.wanted())

    def start(self) -> None:
        """Run again after `stop`; nothing happens when it runs."""
        if not self.enabled:
            self.enabled = True
            self.restart()

    def stop(self) -> None:
        """Run nothing; the front door answers for the slot."""
        self.enabled = False
        self.runner.change(None)

    def wanted(self) -> Wanted | None:
        """Return what shall run: image, settings, the platform's variables and limits."""
        image = self.image
        if image is None:
            return None
        settings = self.app_settings if self.borrowed_settings is None else self.borrowed_settings
        return Wanted(
            image=image,
            label=self.site.name if self.is_production else f"{self.site.name}__{self.name}",
            environment=self._container_settings(settings) | self._platform_variables(),
            warm_up_path=settings.get("WEBSITE_WARMUP_PATH") or "/",
            start_seconds=_limit(settings, "WEBSITES_CONTAINER_START_TIME_LIMIT", 230, 1800),
            stop_seconds=_limit(settings, "WEBSITES_CONTAINER_STOP_TIME_LIMIT", 5, 120),
            command_line=self._command_line(),
        )

    def _main_container(self) -> Json | None:
        return next((box for box in self.containers.values() if box.get("isMain")), None)

    def _command_line(self) -> str:
        main = self._main_container() if self.uses_site_containers else None
        return str((main or {}).get("startUpCommand") or self.config["appCommandLine"] or "")

    def _container_settings(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the settings the main container sees; a sitecontainer may rename or hide them."""
        main = self._main_container() if self.uses_site_containers else None
        if main is None:
            return dict(settings)
        inherits = main.get("inheritAppSettingsAndConnectionStrings") is not False
        seen = dict(settings) if inherits else {}
        for variable in main.get("environmentVariables") or ():
            if variable["value"] in settings:  # the value is the *name* of a setting
                seen[variable["name"]] = settings[variable["value"]]
        return seen

    def _platform_variables(self) -> dict[str, str]:
        name = self.site.name
        return {
            "WEBSITE_SITE_NAME": name,
            "WEBSITE_SLOT_NAME": "Production" if self.is_production else self.name,
            "WEBSITE_HOSTNAME": self.host,
            "WEBSITE_INSTANCE_ID": self.site.instance_id,
            "WEBSITE_DEPLOYMENT_ID": name if self.is_production else f"{name}__{self.name[:4]}",
        }


class Site:
    """One app: its slots, its sticky names, and the rules its front door obeys."""

    def __init__(
        self,
        *,
        subscription: str,
        resource_group: str,
        name: str,
        puller: ImagePuller,
        hosts: Mapping[str, str],
        dice: random.Random,
        apply_later: Callable[[Callable[[], None]], None],
    ) -> None:
        self.subscription = subscription
        self.resource_group = resource_group
        self.name = name
        self.instance_id = hashlib.sha256(f"{subscription}/{name}".encode()).hexdigest()
        self.slots = {slot: Slot(self, slot, host, puller) for slot, host in hosts.items()}
        self.sticky: Json = {
            "connectionStringNames": [],
            "appSettingNames": [],
            "azureStorageConfigNames": [],
        }
        self.operation: RunningOperation | None = None  # the swap under way
        self.router = Router(self.slots[PRODUCTION].host, dice=dice)
        self._apply_later = apply_later
        self._rules_written = 0
        self._rules_obeyed = 0
        self._by_host = {slot.host: slot for slot in self.slots.values()}
        for slot in self.slots.values():
            self.router.know(slot.name, slot.host)

    @property
    def production(self) -> Slot:
        """The slot that is the site itself."""
        return self.slots[PRODUCTION]

    @property
    def named_slots(self) -> tuple[Slot, ...]:
        """All slots but production, as the slot list shows them."""
        return tuple(slot for slot in self.slots.values() if not slot.is_production)

    def slot(self, name: str = PRODUCTION) -> Slot:
        """Return a slot by name, whatever its case. Raises KeyError."""
        return self.slots[name.lower()]

    def slot_by_host(self, host: str) -> Slot | None:
        """Return the slot whose host name a rule means."""
        return self._by_host.get(host)

    def host(self, slot: str = PRODUCTION) -> str:
        """Return "127.0.0.1:port"; for production that is the public host, the front door."""
        return self.slot(slot).host

    def url(self, slot: str = PRODUCTION) -> str:
        """Return the base address of `host`."""
        return f"http://{self.host(slot)}"

    def is_sticky(self, setting: str) -> bool:
        """Tell whether an app setting stays with its slot in a swap."""
        return setting in self.sticky["appSettingNames"] or setting.endswith("_EXTENSION_VERSION")

    def exchanged_settings(self, source: Slot, target: Slot) -> dict[str, str]:
        """Return the settings *source*'s build gets in *target*: its own, and the sticky ones."""
        travelling = {
            name: value for name, value in source.app_settings.items() if not self.is_sticky(name)
        }
        staying = {
            name: value for name, value in target.app_settings.items() if self.is_sticky(name)
        }
        return travelling | staying

    def rules_changed(self) -> None:
        """Let the front door obey production's rules, at once or when they have propagated."""
        rules = rules_of(self.production.config)
        self._rules_written += 1
        turn = self._rules_written

        def obey() -> None:
            if turn > self._rules_obeyed:  # never an older write after a newer one
                self._rules_obeyed = turn
                self.router.use(rules)

        self._apply_later(obey)

    async def settled(self, slots: Iterable[str] | None = None) -> bool:
        """Wait until no container is on its way; tell whether all that was asked for serves."""
        chosen = self.slots.values() if slots is None else [self.slot(name) for name in slots]
        return all([await slot.runner.settled() for slot in chosen])


def _limit(settings: Mapping[str, str], name: str, default: float, maximum: float) -> float:
    """Read a time limit; what cannot be read counts as absent, as the platform has it."""
    try:
        return min(float(settings[name]), maximum)
    except (KeyError, ValueError):
        return default
