"""The database that an app's builds share, and what may be done to it."""

from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from controller.config.fields import Duration, Guid, ResourceGroup, Shape
from controller.config.section import Section
from controller.core import data

_BUNDLES: Final = data.Bundles()
_SPEC: Final = data.DatabaseSpec(connection="-")
_CONTAINER: Final = r"^https://[a-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9-]+){1,2}/?$"


def _no_string(value: str) -> str | None:
    if "://" in value or "=" in value:
        return "Put the connection string into Key Vault, and name its secret here."
    return None


def _no_token(value: str) -> str | None:
    bare = value.partition("?")[0]
    return f"Without a token; did you mean '{bare}'?" if bare != value else None


SecretName = Annotated[
    str,
    Shape(
        r"^[0-9A-Za-z][0-9A-Za-z-]*$",
        "the name of a secret: letters, digits and '-'",
        127,
        _no_string,
    ),
]
ContainerUrl = Annotated[
    str,
    Shape(_CONTAINER, "the https URL of a blob container", 300, _no_token),
]
DatabaseServerName = Annotated[
    str,
    Shape(
        r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$",
        "the server's name: 3 to 63 of a-z, 0-9 and '-', not its host name",
        63,
        lambda value: f"Did you mean '{value.partition('.')[0]}'?" if "." in value else None,
    ),
]
BlobPrefix = Annotated[
    str, Shape(r"^[A-Za-z0-9._/-]*$", "what the blobs' names begin with, such as shop/", 200)
]


AcceptedRule = Annotated[
    str,
    Shape(
        r"^SWM[0-9]{3}(@[A-Za-z0-9_.-]{1,150})?$",
        "a rule of the lint, or a rule at a migration: SWM206@0042_index",
        160,
    ),
]


class BundlesSection(Section):
    """Where the migrations of a release are found."""

    source: Annotated[data.BundleSource, Field(strict=False)] = Field(
        default=_BUNDLES.source,
        description="image: attached to the image's digest in its registry; blob: in a container, "
        "under the digest or the tag.",
    )
    url: ContainerUrl | None = Field(default=None, description="The container, for blob.")
    prefix: BlobPrefix = Field(
        default=_BUNDLES.prefix, description="What the blobs' names begin with, for blob."
    )

    def to_core(self) -> data.Bundles:
        """Return the core's form."""
        url = self.url.rstrip("/") if self.url else None
        return data.Bundles(source=self.source, url=url, prefix=self.prefix)


class ServerSection(Section):
    """The Azure Database for PostgreSQL flexible server that the database is on."""

    subscription: Guid = Field(description="Azure subscription of the server.")
    resource_group: ResourceGroup = Field(description="Resource group of the server.")
    name: DatabaseServerName = Field(description="Name of the server, without its domain.")

    def to_core(self) -> data.ServerName:
        """Return the core's form."""
        return data.ServerName(
            subscription=self.subscription.lower(),
            resource_group=self.resource_group,
            name=self.name,
        )


class DatabaseSection(Section):
    """The database that the app's builds share. Without it no release migrates anything."""

    connection: SecretName = Field(
        description="Name of the secret that holds the connection string, never the string."
    )
    server: ServerSection | None = Field(
        default=None,
        description="The flexible server that it is on, for the platform's own backups and for "
        "restores to a point in time.",
    )
    bundles: BundlesSection = Field(
        default=BundlesSection(), description="Where the migrations of a release are found."
    )
    contract: Annotated[data.ContractPolicy, Field(strict=False)] = Field(
        default=_SPEC.contract,
        description="What becomes of a release that takes away what the stable build may use: "
        "refuse; or allow, where down scripts lead back. After it no rollback to an earlier one.",
    )
    on_rollback: Annotated[data.OnRollback, Field(strict=False)] = Field(
        default=_SPEC.on_rollback,
        description="What a rollback does with what was only added: keep (the stable build runs "
        "on it), or down (the down scripts run, last).",
    )
    backup: Annotated[data.BackupKind, Field(strict=False)] = Field(
        default=_SPEC.backup,
        description="What is made before a migration begins: none; dump: a logical dump that is "
        "read back; platform: the database service's own backup.",
    )
    accept: list[AcceptedRule] = Field(
        default=list(_SPEC.accept),
        description="Findings of the lint that somebody looked at: SWM206, or SWM206@MIGRATION for "
        "one migration. What the old build cannot live with is ruled by contract alone.",
    )
    dry_run: Annotated[data.DryRun, Field(strict=False)] = Field(
        default=_SPEC.dry_run,
        description="Where preflight tries the migrations: target, in a transaction on the "
        "database itself that is rolled back, within 15 s: what it locks is locked until then; "
        "copy, before that for real on a copy restored from the newest verified backup set: give "
        "deadlines.preflight the time of a restore; or none.",
    )
    lock_timeout: Duration = Field(
        default=_SPEC.lock_timeout,
        ge=timedelta(milliseconds=100),
        le=timedelta(minutes=5),
        description="A statement waits so long for a lock while users wait behind it; then it is "
        "tried again.",
    )
    statement_timeout: Duration = Field(
        default=_SPEC.statement_timeout,
        ge=timedelta(seconds=1),
        le=timedelta(days=1),
        description="One statement may take so long. Then: rolled back.",
    )

    def to_core(self) -> data.DatabaseSpec:
        """Return the core's form."""
        return data.DatabaseSpec(
            connection=self.connection,
            server=self.server.to_core() if self.server else None,
            bundles=self.bundles.to_core(),
            contract=self.contract,
            on_rollback=self.on_rollback,
            backup=self.backup,
            accept=tuple(self.accept),
            dry_run=self.dry_run,
            lock_timeout=self.lock_timeout,
            statement_timeout=self.statement_timeout,
        )
