"""Where the telemetry is, how often it is read, and what it must show."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from controller.config.fields import Duration, Region, RoleName, TelemetrySource
from controller.config.gate import GateSection
from controller.config.section import Section
from controller.core import plan
from controller.core.telemetry import IdentifyBy, PlatformLimits

_LIMITS: Final = plan.Limits()
_BLIND: Final = plan.NoEvidence()
_ANALYSIS: Final = plan.Analysis(workspace="")
_PLATFORM: Final = PlatformLimits(region="")
_SHORTEST: Final = timedelta(milliseconds=100)
_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)


class LimitsSection(Section):
    """Absolute limits that a healthy build keeps."""

    error_rate_max: float = Field(
        default=_LIMITS.error_rate_max,
        ge=0,
        le=1,
        description="Largest share of failed requests, as a rate: 5 % is 0.05.",
    )
    latency_percentile: Literal[50, 90, 95, 99] = Field(
        default=95, description="Which percentile of the latency is limited."
    )
    latency_ms_max: float = Field(
        default=_LIMITS.latency_ms_max, gt=0, le=600_000, description="Its limit in milliseconds."
    )
    min_requests: int = Field(
        default=_LIMITS.min_requests,
        ge=1,
        le=10_000_000,
        description="Fewer requests decide nothing.",
    )

    def to_core(self) -> plan.Limits:
        """Return the core's form."""
        return plan.Limits(
            error_rate_max=self.error_rate_max,
            latency_percentile=self.latency_percentile,
            latency_ms_max=self.latency_ms_max,
            min_requests=self.min_requests,
        )


class NoEvidenceSection(Section):
    """What to do for each way of not knowing: hold, proceed or roll_back."""

    insufficient_data: Annotated[plan.NoEvidenceAction, Field(strict=False)] = Field(
        default=_BLIND.insufficient_data,
        description="Too few requests within the step's `max_observation`.",
    )
    provider_unavailable: Annotated[plan.NoEvidenceAction, Field(strict=False)] = Field(
        default=_BLIND.provider_unavailable,
        description="No answer from Log Analytics for longer than `provider_grace`.",
    )
    ambient_incident: Annotated[plan.NoEvidenceAction, Field(strict=False)] = Field(
        default=_BLIND.ambient_incident, description="The stable build breaks the limits too."
    )

    def to_core(self) -> plan.NoEvidence:
        """Return the core's form."""
        return plan.NoEvidence(
            insufficient_data=self.insufficient_data,
            provider_unavailable=self.provider_unavailable,
            ambient_incident=self.ambient_incident,
        )


class PlatformMetricsSection(Section):
    """Limits of what App Service itself counts for the slot of the new build.

    They see what telemetry cannot: a crash, a 502 of the front end. They come minutes late; they
    can blame a build, and alone never prove it healthy. The identity needs Monitoring Reader on
    the subscription.
    """

    region: Region = Field(description="Azure region of the site, such as `westeurope`.")
    http5xx_rate_max: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Largest share of answers of 500 and above, as a rate.",
    )
    response_time_ms_max: float | None = Field(
        default=None, gt=0, le=600_000, description="Longest mean response time in milliseconds."
    )
    health_check_min: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Least HealthCheckStatus in percent. Only with App Service's health check on; "
        "it lags ten minutes.",
    )
    min_requests: int = Field(
        default=_PLATFORM.min_requests,
        ge=1,
        le=10_000_000,
        description="Fewer requests decide nothing, but for the health check.",
    )
    settle: Duration = Field(
        default=_PLATFORM.settle,
        ge=_MINUTE,
        le=_HOUR,
        description="Minutes newer than this are incomplete and not looked at.",
    )

    def to_core(self) -> PlatformLimits:
        """Return the core's form."""
        return PlatformLimits(
            region=self.region,
            http5xx_rate_max=self.http5xx_rate_max,
            response_time_ms_max=self.response_time_ms_max,
            health_check_min=self.health_check_min,
            min_requests=self.min_requests,
            settle=self.settle,
        )


class AnalysisSection(Section):
    """Where the telemetry is, how often it is read, and what it must show."""

    workspace: TelemetrySource = Field(
        description="Id (not name) of the Log Analytics workspace; or the ARM id of an Application "
        "Insights component, for one whose workspace may not be read."
    )
    additional_workspaces: list[TelemetrySource] = Field(
        default=[],
        max_length=4,
        description="More of these, where the app's slots report to different ones. Each costs one "
        "more query per poll.",
    )
    identify_by: Annotated[IdentifyBy, Field(strict=False)] = Field(
        default=_ANALYSIS.identify_by,
        description="What tells the builds apart: their `version` (service.version); or, weaker, "
        "the `role_name` or `role_instance` that their slots report under. Not with strategy swap.",
    )
    role_name: RoleName | None = Field(
        default=None,
        description="Cloud role that the app reports under from every slot. Only its rows count: "
        "needed where two apps of one workspace run the same image.",
    )
    slot_names: dict[str, RoleName] = Field(
        default={},
        max_length=21,
        description="Slot to what it reports as, for `identify_by` role_name or role_instance. "
        "Default for role_name: `SITE-SLOT`, and for `production` `SITE`.",
    )
    platform_metrics: PlatformMetricsSection | None = Field(
        default=None, description="Limits of App Service's own metrics, as a second source."
    )
    limits: LimitsSection = Field(
        default=LimitsSection(), description="Absolute limits that a healthy build keeps."
    )
    judge: GateSection = Field(
        default=GateSection(), description="How the two builds are compared."
    )
    poll: Duration = Field(
        default=_ANALYSIS.poll,
        ge=_SHORTEST,
        le=10 * _MINUTE,
        description="Time between two queries of the workspace, shared by all its apps.",
    )
    bucket: Duration = Field(
        default=_ANALYSIS.bucket, ge=_SHORTEST, le=10 * _MINUTE, description="Width of one bucket."
    )
    settle: Duration = Field(
        default=_ANALYSIS.settle,
        le=10 * _MINUTE,
        description="A bucket is read this long after its end, when late rows have come.",
    )
    provider_grace: Duration = Field(
        default=_ANALYSIS.provider_grace,
        ge=_SHORTEST,
        le=_HOUR,
        description="Silence of the provider that is tolerated. Longer than `poll`.",
    )
    on_no_evidence: NoEvidenceSection = Field(
        default=NoEvidenceSection(), description="What to do when the judge cannot tell."
    )

    def to_core(self) -> plan.Analysis:
        """Return the core's form."""
        return plan.Analysis(
            workspace=self.workspace.lower(),
            limits=self.limits.to_core(),
            gate=self.judge.to_core(),
            poll=self.poll,
            bucket=self.bucket,
            settle=self.settle,
            provider_grace=self.provider_grace,
            on_no_evidence=self.on_no_evidence.to_core(),
            additional_workspaces=tuple(each.lower() for each in self.additional_workspaces),
            identify_by=self.identify_by,
            role_name=self.role_name,
            slot_names=tuple((plan.SlotName(s), name) for s, name in self.slot_names.items()),
            platform_metrics=self.platform_metrics.to_core() if self.platform_metrics else None,
        )
