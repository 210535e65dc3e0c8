"""How the judge compares two builds: error budgets, tolerances, and metrics beyond requests."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class Arm(StrEnum):
    """One of the two builds that are compared."""

    CANARY = "canary"
    STABLE = "stable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How much worse the new build may be: ``rate <= ratio * stable + absolute``."""

    error_ratio: float
    error_absolute: float  # as a rate: 0.1 percentage points are 0.001
    latency_ratio: float  # at every quantile


class MetricKind(StrEnum):
    """What a metric's query returns. The values are stored."""

    COUNTS = "counts"  # Total and Bad per build and bucket
    HISTOGRAM = "histogram"  # Bin and Total per build and bucket, 40 bins per decade


class Direction(StrEnum):
    """Which way a histogram's values are bad. Counts say it themselves. The values are stored."""

    HIGHER_IS_WORSE = "higher_is_worse"
    LOWER_IS_WORSE = "lower_is_worse"


class Criticality(StrEnum):
    """What a metric may do. The values are stored."""

    CRITICAL = "critical"  # alone takes a release back, by its own share of alpha
    NORMAL = "normal"  # its evidence joins the others'
    DRY_RUN = "dry_run"  # shown, decides nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric beside requests, by a query of its own.

    ``query`` is the name of one of ours (``dependencies``, ``exceptions``) or KQL.
    """

    name: str
    query: str
    kind: MetricKind = MetricKind.COUNTS
    direction: Direction = Direction.HIGHER_IS_WORSE
    criticality: Criticality = Criticality.NORMAL
    share: float = 0.05  # of alpha, 0..1
    ratio: float = 1.2  # tolerated: bad share <= ratio * stable's + absolute
    absolute: float = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Requests of our own to both builds, as evidence where users are few."""

    path: str | None = None  # None: the readiness path
    per_poll: int = 2  # requests per build and poll; 0: none
    timeout: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The judge's settings. Defaults: the simulation in docs/judge.md.

    ``alpha`` bounds the chance that a release within tolerance is ever taken back in one rollout,
    however often it is looked at; ``beta`` the chance that one beyond acceptance passes a step.
    """

    alpha: float = 0.02
    beta: float = 0.05
    tolerance: Margin = Margin(error_ratio=1.2, error_absolute=0.0005, latency_ratio=1.122)
    acceptance: Margin = Margin(error_ratio=1.5, error_absolute=0.003, latency_ratio=1.4125)
    warm_up: timedelta = timedelta(seconds=60)  # latency and silence do not count before
    silence_share: float = 0.5  # of its traffic that must show in telemetry
    quantiles: tuple[int, ...] = (50, 90, 99)  # of latency that a step must prove acceptable
    suspicious: float = 5.0  # no step is passed while the evidence is this strong
    synthetic: Synthetic = Synthetic()
    metrics: tuple[Metric, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedMetric:
    """What a metric of the stable build was before the rollout."""

    name: str
    total: int = 0
    bad: int = 0
    edge: int | None = None  # histogram: bin of the 90th percentile (10th where low is bad)
    dispersion: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What the stable build was like before the rollout, frozen when it began.

    Counts are stored rows. ``edges`` are the bins of p50, p90 and p99: a request is slow at one if
    it lies above that bin. Dispersions are >= 1: how clumped failures, slow requests, traffic are.
    """

    since: datetime
    until: datetime
    rows: int
    failed_rows: int
    edges: tuple[int, int, int]
    dispersion_errors: float = 1.0
    dispersion_latency: tuple[float, float, float] = (1.0, 1.0, 1.0)
    dispersion_traffic: float = 1.0
    # Variance of the share of slow requests from minute to minute, beyond chance, in units of that
    # of one request: how much one slot's latency wanders while nobody does anything.
    wander: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sessions: int | None = None  # per bucket, summed; None where the app sends none
    failing_sessions: int | None = None
    dispersion_sessions: float = 1.0
    by_session: bool = False  # clumps could be told by session; else they are bounded only
    metrics: tuple[LearnedMetric, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """From when on the new build was given what share of the users. Shares are 0..1."""

    since: datetime
    share: float
