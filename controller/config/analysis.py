"""Where the telemetry is, how often it is read, and what it must show."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field

from controller.config.fields import Duration, Guid
from controller.config.section import Section
from controller.core import plan

_LIMITS: Final = plan.Limits()
_BLIND: Final = plan.NoEvidence()
_ANALYSIS: Final = plan.Analysis(workspace="")
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


class AnalysisSection(Section):
    """Where the telemetry is, how often it is read, and what it must show."""

    workspace: Guid = Field(description="Workspace id (not name) of the Log Analytics workspace.")
    limits: LimitsSection = Field(
        default=LimitsSection(), description="Absolute limits that a healthy build keeps."
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
            poll=self.poll,
            bucket=self.bucket,
            settle=self.settle,
            provider_grace=self.provider_grace,
            on_no_evidence=self.on_no_evidence.to_core(),
        )
