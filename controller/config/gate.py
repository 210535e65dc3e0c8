"""How the judge compares two builds: presets, tolerances, requests of our own, more metrics."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from controller.config.fields import Duration, Shape, UrlPath, complaint
from controller.config.section import Section
from controller.core import gate

_GATE: Final = gate.Gate()
_SYNTHETIC: Final = gate.Synthetic()
_METRIC: Final = gate.Metric(name="", query="")
_SHORTEST: Final = timedelta(milliseconds=100)
_MINUTE: Final = timedelta(minutes=1)
_LONGEST_QUERY: Final = 3000  # characters: it is stored with every rollout that asks it
OWN_QUERIES: Final = ("dependencies", "exceptions")
MOST_SHARE: Final = 0.5  # of alpha that metrics may take together


class Preset(StrEnum):
    """How much worse than the stable build a new one may be."""

    NORMAL = "normal"
    STRICT = "strict"
    TOLERANT = "tolerant"


def _margins(tolerance: gate.Margin, acceptance: gate.Margin) -> gate.Gate:
    return replace(_GATE, tolerance=tolerance, acceptance=acceptance)


# Acceptance lies beyond tolerance: else a build that is tolerated could never be shown to be fine.
PRESETS: Final = {
    Preset.NORMAL: _GATE,
    Preset.STRICT: _margins(
        replace(_GATE.tolerance, error_ratio=1.0, error_absolute=0.0), _GATE.acceptance
    ),
    Preset.TOLERANT: _margins(
        replace(_GATE.tolerance, error_ratio=1.5, error_absolute=0.005),
        replace(_GATE.acceptance, error_ratio=2.0, error_absolute=0.01),
    ),
}


class MarginSection(Section):
    """How much worse the new build may be: its rate <= ratio x the stable build's + absolute."""

    error_ratio: float | None = Field(
        default=None, ge=1, le=20, description="Times the stable build's error rate."
    )
    error_absolute: float | None = Field(
        default=None, ge=0, le=0.5, description="Added to that, as a rate: 0.1 % is 0.001."
    )
    latency_ratio: float | None = Field(
        default=None,
        ge=1,
        le=20,
        description="Times the stable build's latency, at p50, p90 and p99; counted in steps of "
        "6 %.",
    )

    def over(self, preset: gate.Margin) -> gate.Margin:
        """Return *preset* with what is said here."""
        said = {name: getattr(self, name) for name in type(self).model_fields}
        return replace(preset, **{name: v for name, v in said.items() if v is not None})


class SyntheticSection(Section):
    """Requests of Slipway's own to both builds at every poll, as evidence of their own.

    They go to each slot's own host, past the split of the traffic. An app with few users is judged
    sooner with many of them, such as 75 per poll: from 10 per build and bucket on they count like
    users' requests, otherwise they only show a build that fails often.
    """

    path: UrlPath | None = Field(
        default=None,
        description="Path to GET; default: `health.readiness_path`. Choose one that does the app's "
        "work and that no user asks for: every request whose operation name is `GET PATH` is left "
        "out of users' evidence. Where an SDK names operations otherwise, ours are left out if it "
        "marks the user agent `AlwaysOn` as synthetic, as Application Insights' .NET SDK and "
        "several of the OpenTelemetry distributions do; else they count as users.",
    )
    per_poll: int = Field(
        default=_SYNTHETIC.per_poll,
        ge=0,
        le=200,
        description="Requests to each build and poll, five at once. While everybody is on the new "
        "build, 20 at least: nothing else tells what the stable one would do. 0: none.",
    )
    timeout: Duration = Field(
        default=_SYNTHETIC.timeout,
        ge=_SHORTEST,
        le=timedelta(seconds=20),
        description="Time limit of one. No answer by then, or one of 500 and above, is a failure. "
        "What a whole round of them does not get done within `poll` (20 s at most) is left.",
    )

    def to_core(self) -> gate.Synthetic:
        """Return the core's form."""
        return gate.Synthetic(path=self.path, per_poll=self.per_poll, timeout=self.timeout)


def _is_query(value: str) -> str:
    """One bare word is no query: it is a wrong name of one of ours."""
    if value.strip().isidentifier() and value not in OWN_QUERIES:
        raise complaint(
            "is neither dependencies nor exceptions nor a KQL query",
            "KQL returns Build, Bucket, Total, Bad (or Bin); see docs/telemetry.md.",
        )
    if not value.strip():
        raise complaint("has no text")
    return value


def _read_beside(value: str, info: ValidationInfo) -> str:
    """Return the text of the file: what is frozen into a rollout is the query, not its name."""
    context: dict[str, Any] = info.context or {}
    read: Callable[[str], str] | None = context.get("read_file")
    if read is None:
        raise complaint(
            "can only be read beside an apps.yaml that is a file", "Give the text as query."
        )
    try:
        text = read(value)
    except (OSError, UnicodeDecodeError) as error:
        raise complaint(f"cannot be read: {error}") from error
    if not text.strip() or len(text) > _LONGEST_QUERY:
        raise complaint(f"has no text, or more than {_LONGEST_QUERY} characters")
    return text


MetricName = Annotated[
    str, Shape(r"^[a-z][a-z0-9_-]*$", "a name of a-z, 0-9, '_' and '-'", longest=40)
]
Query = Annotated[str, Field(min_length=1, max_length=_LONGEST_QUERY), AfterValidator(_is_query)]
QueryFile = Annotated[
    str,
    Shape(
        r"^[A-Za-z0-9_-][\w.-]*(/[A-Za-z0-9_-][\w.-]*)*\.kql$",
        "a path below the folder of apps.yaml that ends in .kql",
    ),
    AfterValidator(_read_beside),
]


class MetricSection(Section):
    """One metric beside requests, compared between the builds in every bucket."""

    name: MetricName = Field(description="What it is called in judgements. Unique.")
    query: Query | None = Field(
        default=None,
        description="`dependencies` (failed calls of all), `exceptions` (requests that met one of "
        "all), or KQL over the tables of the workspace. It is given `Builds`, `From`, `To`, "
        "`Since` and `BucketSize` and returns `Build`, `Bucket` and, by kind, `Total` and `Bad` or "
        "`Bin` and `Total`; see docs/telemetry.md.",
    )
    file: QueryFile | None = Field(
        default=None,
        description="Instead of `query`: a file with the KQL, below the folder of apps.yaml. Only "
        "where apps.yaml is a file, too.",
    )
    kind: Annotated[gate.MetricKind, Field(strict=False)] = Field(
        default=_METRIC.kind,
        description="counts: how many of how many were bad; histogram: of a value, 40 bins per "
        "decade, compared beyond the stable build's own 90th percentile.",
    )
    direction: Annotated[gate.Direction, Field(strict=False)] | None = Field(
        default=None,
        description="Only for histogram: which values are bad. Default: higher_is_worse.",
    )
    criticality: Annotated[gate.Criticality, Field(strict=False)] = Field(
        default=_METRIC.criticality,
        description="critical: alone takes a build back, and no build passes or starts without it; "
        "normal: its evidence joins the others'; dry_run: shown, decides nothing.",
    )
    share: float = Field(
        default=_METRIC.share,
        gt=0,
        le=MOST_SHARE,
        description="Its share of `alpha`, 0.05 is 5 %; the metrics' shares together are at most "
        "0.5.",
    )
    ratio: float = Field(
        default=_METRIC.ratio,
        ge=1,
        le=100,
        description="Tolerated: share of bad ones <= ratio x the stable build's + absolute.",
    )
    absolute: float = Field(default=_METRIC.absolute, ge=0, le=1, description="See `ratio`.")

    def to_core(self) -> gate.Metric:
        """Return the core's form."""
        return gate.Metric(
            name=self.name,
            query=self.query or self.file or "",
            kind=self.kind,
            direction=self.direction or _METRIC.direction,
            criticality=self.criticality,
            share=self.share,
            ratio=self.ratio,
            absolute=self.absolute,
        )


class GateSection(Section):
    """How the judge compares the new build with the stable one. See docs/judge.md."""

    preset: Annotated[Preset, Field(strict=False)] = Field(
        default=Preset.NORMAL,
        description="How much worse a build may be before it counts as worse: normal (errors 1.2 x "
        "+ 0.05 %), strict (no more errors at all), tolerant (1.5 x + 0.5 %).",
    )
    alpha: float = Field(
        default=_GATE.alpha,
        gt=0,
        le=0.2,
        description="Largest chance that a build within `tolerance` is taken back in one rollout, "
        "however often it is looked at.",
    )
    beta: float = Field(
        default=_GATE.beta,
        gt=0,
        le=0.5,
        description="Largest chance that a build beyond `acceptance` passes a step.",
    )
    tolerance: MarginSection = Field(
        default=MarginSection(),
        description="A build within it is never blamed. Default: the preset's; for normal "
        "1.2, 0.0005, 1.122.",
    )
    acceptance: MarginSection = Field(
        default=MarginSection(),
        description="A build passes once it is shown to be within it; beyond `tolerance`. Default: "
        "the preset's; for normal 1.5, 0.003, 1.4125, for tolerant 2, 0.01, 1.4125.",
    )
    warm_up: Duration = Field(
        default=_GATE.warm_up,
        le=10 * _MINUTE,
        description="Latency and missing traffic do not count before: caches are cold.",
    )
    silence_share: float = Field(
        default=_GATE.silence_share,
        ge=0.05,
        le=0.95,
        description="Share of the new build's traffic that must show in telemetry: 0.5 is half of "
        "what the step's weight gives it.",
    )
    quantiles: list[Literal[50, 90, 99]] = Field(
        default=[50, 90, 99],
        description="Percentiles of the latency that each step must show to be acceptable; none, "
        "where its noise would keep good builds waiting. p99 takes 300 requests of the new build "
        "at least; all three may speak against it anyway.",
    )
    synthetic: SyntheticSection = Field(
        default=SyntheticSection(), description="Requests of Slipway's own to both builds."
    )
    metrics: list[MetricSection] = Field(
        default=[],
        max_length=8,
        description="Metrics beside requests. Each costs one query per poll and source.",
    )

    def to_core(self) -> gate.Gate:
        """Return the core's form."""
        preset = PRESETS[self.preset]
        return replace(
            preset,
            alpha=self.alpha,
            beta=self.beta,
            tolerance=self.tolerance.over(preset.tolerance),
            acceptance=self.acceptance.over(preset.acceptance),
            warm_up=self.warm_up,
            silence_share=self.silence_share,
            quantiles=tuple(self.quantiles),
            synthetic=self.synthetic.to_core(),
            metrics=tuple(metric.to_core() for metric in self.metrics),
        )
