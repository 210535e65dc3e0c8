"""What the judge is asked, and what it answers: plain data, stored as evidence of each decision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from controller.core.events import Label, Number
from controller.core.gate import Gate, Learned
from controller.core.plan import Limits
from controller.core.telemetry import IdentifyBy
from controller.verdict.buckets import Bucket, Counts
from controller.verdict.platform import PlatformEvidence


class Phase(StrEnum):
    """What is judged. The values are stored."""

    CANARY = "canary"  # both builds have users
    BAKE = "bake"  # everybody is on the new build; the other one is warm


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both arms of one closed bucket. ``stable`` is None where no stable build is known."""

    start: datetime
    canary: Bucket
    stable: Bucket | None
    share: float  # of users that the new build was meant to have, 0..1
    lag: timedelta = timedelta(0)  # how old the newest row was that telemetry had by then
    probes: tuple[Counts, Counts] | None = None  # requests of our own: (new, stable)
    metrics: Mapping[str, tuple[Counts, Counts]] = field(
        default_factory=dict[str, tuple[Counts, Counts]]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything that one judgement depends on.

    ``pairs`` are the closed buckets since the new build's first users; those of the current step
    (or of the bake) start at ``step_since`` or later.
    """

    limits: Limits
    gate: Gate = field(default_factory=Gate)
    learned: Learned | None = None  # None: nothing is known of stable's past
    pairs: Sequence[Pair] = ()
    bucket: timedelta = timedelta(seconds=15)
    step_since: datetime | None = None  # None: all pairs are the step's
    phase: Phase = Phase.CANARY
    elapsed: timedelta  # in the step
    min_observation: timedelta
    max_observation: timedelta | None  # None: no end, as while a human is asked
    provider_silence: timedelta
    provider_grace: timedelta
    provider_error: str | None = None
    newest_age: timedelta | None = None  # None: not known
    stale_after: timedelta | None = None  # older than this, telemetry lags too far to trust
    identified_by: str = IdentifyBy.VERSION
    platform: PlatformEvidence | None = None  # None: not asked for
    metric_errors: Mapping[str, str] = field(default_factory=dict[str, str])  # name -> why none


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One line of evidence against the new build."""

    name: str  # errors | latency_p50 | latency_p90 | latency_p99 | silence | probes | metric name
    weight: float  # share of alpha; 0: shown only
    evidence: float  # E : 1 against the new build, 0..1e250
    health: float | None  # E : 1 that it is acceptable; None: not asked of this signal
    canary: float | None  # its figure: rate 0..1, or ms
    stable: float | None
    canary_interval: tuple[float, float] | None = None  # at every look, 95 %
    stable_interval: tuple[float, float] | None = None
    unit: str = "rate"  # rate | ms | share
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How the evidence came to be, for charts: one value per pair, oldest first."""

    starts: tuple[datetime, ...] = ()
    evidence: tuple[float, ...] = ()  # against the new build, E : 1
    health: tuple[float, ...] = ()  # that it is acceptable, E : 1; since step_since
    threshold: float = 50.0  # of evidence
    health_threshold: float = 20.0
    canary_rate: tuple[float | None, ...] = ()  # cumulative error rate, 0..1
    canary_low: tuple[float | None, ...] = ()
    canary_high: tuple[float | None, ...] = ()
    stable_rate: tuple[float | None, ...] = ()
    stable_low: tuple[float | None, ...] = ()
    stable_high: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A label, a sentence for a tired person, and the numbers behind it."""

    label: Label
    reason: str
    numbers: dict[str, Number]
    judge: str
    signals: tuple[Signal, ...] = ()
    course: Course = Course()
