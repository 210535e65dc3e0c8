"""The order in which an environment comes to be. Each step has a goal, and looks first."""

import hashlib
import json
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from controller.cli.az import Az, AzError, as_object, as_objects, as_texts
from controller.cli.deployment_guard import health
from controller.cli.exits import CommandError, Exit
from controller.cli.owned import Owned, changes, has_functions, look_at, present_values
from controller.cli.printing import Printer
from controller.cli.values import Json, part, texts

DEPLOYMENT: Final = "slipway"
_PARTS: Final = ("app", "controller")  # nested deployments, whose outputs are ours
PROVIDERS: Final = (
    "Microsoft.AlertsManagement",
    "Microsoft.App",
    "Microsoft.Cache",
    "Microsoft.ContainerRegistry",
    "Microsoft.DBforPostgreSQL",
    "Microsoft.EventGrid",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
    "Microsoft.ServiceBus",
    "Microsoft.Storage",
    "Microsoft.Web",
)
_SECRETS_OFFICER: Final = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"  # Key Vault Secrets Officer
_BLOB_CONTRIBUTOR: Final = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"  # Storage Blob Data Contributor
_PLACEHOLDERS: Final = {
    "siteName": "SITE",
    "slotNames": ["blue", "green"],
    "vaultId": "VAULT-ID",
    "vaultName": "VAULT",
    "storageId": "/STORAGE",
    "functionAppName": "FUNCTION-APP",
    "functionHostName": "FUNCTION-APP.azurewebsites.net",
    "componentsName": "COMPONENTS",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is wanted, and where."""

    group: str
    location: str
    environment: str
    folder: Path
    values: tuple[str, ...] = ()  # NAME=VALUE, over those of the file
    limit: timedelta = timedelta(minutes=20)  # longest wait for a role, and for the controller

    @property
    def template(self) -> str:
        """Return the path of the template."""
        return (self.folder / "main.bicep").as_posix()

    @property
    def parameters(self) -> str:
        """Return the path of the environment's parameters."""
        return (self.folder / "parameters" / f"{self.environment}.json").as_posix()


@dataclass(kw_only=True)
class Environment:
    """One resource group, seen and changed by az."""

    az: Az
    plan: Plan
    printer: Printer
    _outputs: Json = field(default_factory=dict[str, Any])
    _is_connected: bool = False

    # --- Before anything is made -----------------------------------------------------------------

    def account(self) -> Json:
        """Return who is logged in where.

        Raises:
            CommandError: nobody, or not in the subscription that is meant.
        """
        account = as_object(self.az.look("account", "show"))
        wanted = self.az.subscription
        if wanted and wanted not in {account.get("id"), account.get("name")}:
            raise CommandError(
                f"az is at subscription {account.get('name')!r}, not at {wanted!r}.",
                f"Choose it: az account set --subscription {wanted}",
                Exit.REFUSED,
            )
        return account

    def exists(self) -> bool:
        """Whether the resource group is there."""
        return self.az.look("group", "exists", "--name", self.plan.group) is True

    def outputs(self) -> Json:
        """Return the outputs of both sides by name; empty before the first deployment."""
        if self.az.dry:
            return dict(_PLACEHOLDERS)
        if not self._outputs:
            for name in _PARTS:
                found = as_object(self._deployment(name))
                values = part(part(found, "properties"), "outputs")
                self._outputs |= {k: part(values, k).get("value") for k in values}
        return self._outputs

    def controller_host(self) -> str:
        """Return the controller's host, empty where the group has none.

        The history of deployments is not believed alone: Azure and people tidy it up.
        """
        host = self.outputs().get("functionHostName")
        if host or not self.exists():
            return str(host or "")
        query = ("--query", "[].defaultHostName")
        hosts = as_texts(
            self.az.read("functionapp", "list", "--resource-group", self.plan.group, *query)
        )
        if len(hosts) > 1:
            raise CommandError(
                f"Group {self.plan.group} has several function apps: {', '.join(hosts)}.",
                "Say which one is Slipway: --url https://HOST",
                Exit.USAGE,
            )
        return hosts[0] if hosts else ""

    def has_code(self, host: str) -> bool:
        """Whether the app at *host* has functions; before its first package it has none."""
        name = self.outputs().get("functionAppName") or host.partition(".")[0]
        return has_functions(self.az, self.plan.group, {"functionAppName": name})

    def what_if(self) -> list[tuple[str, str]]:
        """Return what a deployment would change: kind of change, resource."""
        answer = self.az.change(
            "deployment", "group", "what-if", *self._template(), "--no-pretty-print",
            "--result-format", "ResourceIdOnly", "--output", "json",
        )  # fmt: skip
        changes = as_objects(as_object(answer).get("changes"))
        return [(str(c.get("changeType")), str(c.get("resourceId"))) for c in changes]

    # --- Resources -------------------------------------------------------------------------------

    def register(self) -> None:
        """Goal: the subscription knows the kinds of resources in the templates."""
        query = "[?registrationState=='Registered'].namespace"
        registered = as_texts(self.az.look("provider", "list", "--query", query))
        known = {name.lower() for name in registered}
        for name in PROVIDERS:
            if name.lower() not in known:
                self.az.change("provider", "register", "--namespace", name, "--wait")

    def make_group(self) -> None:
        """Goal: the resource group is there."""
        if not self.exists():
            self.az.change(
                "group", "create", "--name", self.plan.group, "--location", self.plan.location,
                "--output", "none",
            )  # fmt: skip

    def record(self, why: str) -> None:
        """Goal: whoever looks at the group sees why the guard was overridden."""
        group = as_object(self.az.look("group", "show", "--name", self.plan.group))
        self.az.change(
            "tag", "update", "--resource-id", str(group.get("id") or "GROUP-ID"),
            "--operation", "Merge", "--tags", f"slipway-guard-overridden={why[:256]}",
            "--output", "none",
        )  # fmt: skip

    def deploy(self) -> None:
        """Goal: the group has what the templates declare. One that runs is waited for.

        Raises:
            CommandError: image, rules or settings of site or slots are not as before.
        """
        if self._state() in {"Running", "Accepted"}:
            self.printer.remark("A deployment is under way; waiting for it first.")
            self.az.change(
                "deployment", "group", "wait", "--resource-group", self.plan.group,
                "--name", DEPLOYMENT, "--created",
            )  # fmt: skip
        before, template = self._owned(), self._template()
        self.az.change(
            "deployment", "group", "create", "--name", DEPLOYMENT, *template, "--output", "none"
        )
        self._outputs = {}
        self._is_connected = "connectEvents=true" in template
        if harm := list(changes(before, self._owned())):
            raise CommandError(
                f"The deployment changed what it must leave alone: {'; '.join(harm)}.",
                "Users may be served by another build than before. Put it back: slipway status APP "
                "tells which one serves; then slipway rollback APP, or az webapp config set.",
                Exit.FAILED,
            )

    def _state(self) -> str:
        found = as_object(self._deployment(DEPLOYMENT))
        return str(part(found, "properties").get("provisioningState") or "")

    def _deployment(self, name: str) -> object:
        return self.az.look(
            "deployment", "group", "show", "--resource-group", self.plan.group, "--name", name
        )

    def _template(self) -> list[str]:
        values = [*self.plan.values]
        values += present_values(self.az, self.plan.group, self.outputs(), values)
        return [
            "--resource-group", self.plan.group, "--template-file", self.plan.template,
            "--parameters", f"@{self.plan.parameters}", *values,
        ]  # fmt: skip

    def connect(self) -> None:
        """Goal: pushes reach Slipway. Event Grid is connected only to functions that are there."""
        given = any(value.startswith("connectEvents=") for value in self.plan.values)
        if given or self._is_connected:
            return
        if self.az.dry:
            self.plan = replace(self.plan, values=(*self.plan.values, "connectEvents=true"))
            self.deploy()
        elif has_functions(self.az, self.plan.group, self.outputs()):
            self.printer.remark("Slipway runs: connecting the registry's pushes to it.")
            self.deploy()

    def _owned(self) -> dict[str, Owned]:
        site = self.outputs().get("siteName")
        if self.az.dry or not site:
            return {}
        return look_at(self.az, self.plan.group, str(site), texts(self.outputs(), "slotNames"))

    # --- What templates must not hold ------------------------------------------------------------

    def allow(self, account: Json, role: str, scope: str) -> None:
        """Goal: who is logged in has *role* on *scope*."""
        who = self._principal(account)
        found = as_objects(
            self.az.look(
                "role", "assignment", "list", "--assignee", who, "--scope", scope,
                "--role", role, "--include-inherited",
            )
        )  # fmt: skip
        if not found:
            is_person = part(account, "user").get("type") != "servicePrincipal"
            kind = "User" if is_person else "ServicePrincipal"
            self.az.change(
                "role", "assignment", "create", "--assignee-object-id", who,
                "--assignee-principal-type", kind, "--role", role, "--scope", scope,
                "--output", "none",
            )  # fmt: skip

    def _principal(self, account: Json) -> str:
        if self.az.dry:
            return "YOUR-OBJECT-ID"
        user = part(account, "user")
        asked = (
            ("ad", "sp", "show", "--id", str(user.get("name")))
            if user.get("type") == "servicePrincipal"
            else ("ad", "signed-in-user", "show")
        )
        return str(as_object(self.az.look(*asked)).get("id") or user.get("name"))

    def fill_vault(self, account: Json, secrets: Mapping[str, str], *, replace: bool) -> None:
        """Goal: the vault has each of *secrets*. One that is there stays, unless *replace*."""
        vault = str(self._need("vaultName"))
        if not secrets:
            return
        self.allow(account, _SECRETS_OFFICER, str(self._need("vaultId")))
        there: set[str] = set()
        if not replace:
            there = set(self._names_in(vault))
        for name in sorted(set(secrets) - there):
            self.az.change_when_allowed(
                self.plan.limit,
                "keyvault", "secret", "set", "--vault-name", vault, "--name", name,
                "--file", "/dev/stdin", "--encoding", "utf-8", "--output", "none",
                secret=secrets[name],
                shown=f"printf %s \"$SECRET_{name.upper().replace('-', '_')}\"",
            )  # fmt: skip

    def _names_in(self, vault: str) -> Sequence[str]:
        """Return the names in the vault (no values), as soon as the role holds."""
        end = time.monotonic() + self.plan.limit.total_seconds()
        while True:
            try:
                return as_texts(
                    self.az.look(
                        "keyvault", "secret", "list", "--vault-name", vault, "--query", "[].name"
                    )
                )
            except AzError as error:
                if not error.is_not_allowed_yet or time.monotonic() > end:
                    raise
                self.printer.remark("Not allowed to see the vault yet. Waiting.")
                time.sleep(self.az.interval.total_seconds())

    def first_settings(self) -> None:
        """Goal: production and each slot have the settings to begin with; none is overwritten."""
        wanted = dict(part(self.outputs(), "firstSettings"))
        wanted |= self._telemetry()
        for slot in ("", *texts(self.outputs(), "slotNames")):
            at = self._at(slot)
            listed = ("webapp", "config", "appsettings", "list", *at, "--query", "[].name")
            there = set(as_texts(self.az.read(*listed)))
            missing = {k: str(v) for k, v in wanted.items() if k not in there}
            if missing or self.az.dry:
                self.az.change(
                    "webapp", "config", "appsettings", "set", *at, "--settings", "@/dev/stdin",
                    "--output", "none",
                    secret=json.dumps(missing), shown="cat first-settings.json",
                )  # fmt: skip
            if "SLOT_NAME" not in there:
                self.az.change(
                    "webapp", "config", "appsettings", "set", *at, "--slot-settings",
                    f"SLOT_NAME={slot or 'production'}", "--output", "none",
                )  # fmt: skip

    def _telemetry(self) -> dict[str, str]:
        found = as_object(
            self.az.look(
                "resource", "show", "--ids", str(self.outputs().get("componentsId")),
                "--query", "{value: properties.ConnectionString}",
            )
        )  # fmt: skip
        value = str(found.get("value") or "")
        return {"APPLICATIONINSIGHTS_CONNECTION_STRING": value} if value else {}

    def first_image(self, image: str) -> None:
        """Goal: production and each slot have an image. One that has any is Slipway's alone."""
        for slot in ("", *texts(self.outputs(), "slotNames")):
            at = self._at(slot)
            config = as_object(self.az.read("webapp", "config", "show", *at))
            serves = str(config.get("linuxFxVersion") or "")
            if not serves.startswith(("DOCKER|", "sitecontainers")):
                self.az.change(
                    "webapp", "config", "set", *at, "--linux-fx-version", f"DOCKER|{image}",
                    "--output", "none",
                )  # fmt: skip

    def upload(self, account: Json, file: Path) -> None:
        """Goal: the controller's apps.yaml is *file*."""
        storage = str(self._need("storageId"))
        at = ["--account-name", storage.rsplit("/", 1)[-1], "--container-name", "config"]
        self.allow(account, _BLOB_CONTRIBUTOR, storage)
        blob = ["--name", "apps.yaml", "--auth-mode", "login"]
        if self._same(file, [*at, *blob]):
            return
        self.az.change_when_allowed(
            self.plan.limit,
            "storage", "blob", "upload", *at, *blob, "--file", file.as_posix(), "--overwrite",
            "--output", "none",
        )  # fmt: skip

    def _same(self, file: Path, blob: list[str]) -> bool:
        if self.az.dry:
            return False
        try:
            found = as_object(self.az.look("storage", "blob", "show", *blob))
        except AzError as error:
            if error.is_not_allowed_yet:  # the upload waits for the role
                return False
            raise
        settings = part(part(found, "properties"), "contentSettings")
        digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).digest()
        return settings.get("contentMd5") == b64encode(digest).decode()

    def publish(self, package: Path) -> None:
        """Goal: the Function App runs *package*. Azure compares nothing: it is sent each time."""
        self.az.change(
            "functionapp", "deployment", "source", "config-zip",
            "--resource-group", self.plan.group, "--name", str(self._need("functionAppName")),
            "--src", package.as_posix(), "--build-remote", "true", "--output", "none",
        )  # fmt: skip

    # --- Checks ----------------------------------------------------------------------------------

    def check(self, url: str, key: str | None) -> None:
        """Goal: the controller answers that it runs and has read apps.yaml.

        Raises:
            CommandError: it did not within the limit.
        """
        end = time.monotonic() + self.plan.limit.total_seconds()
        while True:
            said = health(f"{url}/api/health", key)
            if not said or (said == "HTTP 401" and not key):  # it runs, and asks for a key
                return
            if time.monotonic() + self.az.interval.total_seconds() > end:
                raise CommandError(
                    f"{url} does not answer that it is well: {said}.",
                    "Its roles may not hold yet: run the command again. Else look at its log: "
                    "az webapp log tail",
                    Exit.FAILED,
                )
            self.printer.remark(f"The controller is not there yet ({said}). Waiting.")
            time.sleep(self.az.interval.total_seconds())

    def locks(self) -> list[Json]:
        """Return what keeps the group's resources from being deleted."""
        return as_objects(self.az.look("lock", "list", "--resource-group", self.plan.group))

    def resources(self) -> list[Json]:
        """Return all that is in the group."""
        return as_objects(self.az.look("resource", "list", "--resource-group", self.plan.group))

    def destroy(self) -> None:
        """Goal: the group is gone."""
        self.az.change("group", "delete", "--name", self.plan.group, "--yes")

    def _at(self, slot: str) -> list[str]:
        where = ["--resource-group", self.plan.group, "--name", str(self._need("siteName"))]
        return [*where, "--slot", slot] if slot else where

    def _need(self, name: str) -> object:
        value = self.outputs().get(name)
        if not value:
            raise CommandError(
                f"The deployment has no output {name!r}.",
                "Deploy the templates first: slipway infra deploy",
                Exit.FAILED,
            )
        return value
