"""The sections of apps.yaml as pydantic models, and how each becomes a part of the core's plan.

Descriptions here are the documentation: docs/configuration.md and the JSON Schema are made of
them. Defaults are the core's own, or stand here where the core has none.
"""

from datetime import timedelta
from typing import Final

from pydantic import Field

from controller.config.alerts import AlertsSection
from controller.config.analysis import AnalysisSection
from controller.config.backup import BackupSection
from controller.config.database import DatabaseSection
from controller.config.fields import (
    Duration,
    Guid,
    RegistryHost,
    Repository,
    ResourceGroup,
    SiteName,
    Slot,
    TagGlob,
)
from controller.config.health import HealthSection
from controller.config.section import Section
from controller.config.strategy import StrategySection
from controller.core import plan

_SOURCE_REMEMBER: Final = plan.REMEMBER
_DEADLINES: Final = plan.Deadlines()
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)


class TargetSection(Section):
    """Where the app runs: one App Service site and the slots that take turns."""

    subscription: Guid = Field(description="Azure subscription of the site.")
    resource_group: ResourceGroup = Field(description="Resource group of the site.")
    site: SiteName = Field(description="Name of the site. One app in this file per site.")
    slots: list[Slot] = Field(
        min_length=1,
        max_length=20,
        description="Deployment slots that take turns, the one to fill first in front. "
        "Production is the site itself and is never listed.",
    )

    def to_core(self) -> plan.Target:
        """Return the core's form."""
        return plan.Target(
            subscription=self.subscription.lower(),
            resource_group=self.resource_group,
            site=self.site,
            slots=tuple(plan.SlotName(slot) for slot in self.slots),
        )


class SourceSection(Section):
    """Which pushed images concern the app."""

    registry: RegistryHost = Field(description="Login server, without https://.")
    repository: Repository = Field(description="Repository in that registry.")
    tags: list[TagGlob] = Field(
        default=["*"],
        min_length=1,
        max_length=50,
        description="Patterns of tags that are rolled out: * any text, ? one character, "
        "[ab] one of these.",
    )
    ignore_tags: list[TagGlob] = Field(
        default=[],
        max_length=50,
        description="Patterns of tags that are not rolled out although `tags` has them.",
    )
    remember: Duration = Field(
        default=_SOURCE_REMEMBER,
        description="A digest that a push rolled out within this time is not rolled out by "
        "another notice of it, unless a tag was moved back to it. 0s: every push counts.",
    )

    def to_core(self) -> plan.Source:
        """Return the core's form."""
        return plan.Source(
            registry=self.registry,
            repository=self.repository,
            tags=tuple(self.tags),
            ignore_tags=tuple(self.ignore_tags),
            remember=self.remember,
        )


class DeadlinesSection(Section):
    """Time limit of each state that the strategy does not bound itself."""

    preflight: Duration = Field(
        default=_DEADLINES.preflight, ge=_SECOND, le=_DAY, description="Then: rejected."
    )
    backup: Duration = Field(
        default=_DEADLINES.backup,
        ge=_SECOND,
        le=_DAY,
        description="The restore point before a migration. Then: rejected.",
    )
    migrating: Duration = Field(
        default=_DEADLINES.migrating,
        ge=_SECOND,
        le=_DAY,
        description="The migrations of a release. Then: rolled back. Also the down scripts; "
        "then a human is paged, and the schema stays.",
    )
    staging: Duration = Field(
        default=_DEADLINES.staging,
        ge=_SECOND,
        le=_DAY,
        description="Image and settings on the idle slot. Then: rolled back.",
    )
    warming: Duration = Field(
        default=_DEADLINES.warming,
        ge=_SECOND,
        le=_DAY,
        description="The build starts, proves itself and passes the smoke tests. "
        "Then: rolled back.",
    )
    shifting: Duration = Field(
        default=_DEADLINES.shifting,
        ge=_SECOND,
        le=_DAY,
        description="One change of the split, read back and probed. Then: rolled back.",
    )
    promoting: Duration = Field(
        default=_DEADLINES.promoting,
        ge=_SECOND,
        le=_DAY,
        description="The final split. Then: rolled back.",
    )
    swapping: Duration = Field(
        default=_DEADLINES.swapping,
        ge=_SECOND,
        le=_DAY,
        description="One swap of slot and production, there or back; one that fails can take the "
        "platform half an hour. Then: rolled back, or a human is paged.",
    )
    rolling_back: Duration = Field(
        default=_DEADLINES.rolling_back,
        ge=_SECOND,
        le=_DAY,
        description="Then: a human is paged, and Slipway keeps trying.",
    )

    def to_core(self) -> plan.Deadlines:
        """Return the core's form."""
        return plan.Deadlines(
            preflight=self.preflight,
            backup=self.backup,
            migrating=self.migrating,
            staging=self.staging,
            warming=self.warming,
            shifting=self.shifting,
            promoting=self.promoting,
            swapping=self.swapping,
            rolling_back=self.rolling_back,
        )


class AppSection(Section):
    """One app."""

    target: TargetSection = Field(description="Where it runs.")
    source: SourceSection = Field(description="Which images concern it.")
    strategy: StrategySection = Field(
        default=StrategySection(), description="How a new build takes over."
    )
    health: HealthSection = Field(
        default=HealthSection(), description="What a build must answer before it takes traffic."
    )
    analysis: AnalysisSection = Field(description="What its telemetry must show.")
    alerts: AlertsSection = Field(
        default=AlertsSection(), description="Which alerts of Azure Monitor end a rollout."
    )
    database: DatabaseSection | None = Field(
        default=None,
        description="The database that its builds share, and its migrations.",
    )
    backup: BackupSection | None = Field(
        default=None, description="What is backed up of it by timer and on demand."
    )
    deadlines: DeadlinesSection = Field(
        default=DeadlinesSection(), description="Time limits of the states."
    )

    def to_core(self, app: plan.AppId) -> plan.AppSpec:
        """Return the core's form."""
        return plan.AppSpec(
            id=app,
            target=self.target.to_core(),
            source=self.source.to_core(),
            strategy=self.strategy.to_core(),
            health=self.health.to_core(),
            analysis=self.analysis.to_core(),
            alerts=self.alerts.to_core(),
            database=self.database.to_core() if self.database else None,
            backup=self.backup.to_core() if self.backup else None,
            deadlines=self.deadlines.to_core(),
        )
