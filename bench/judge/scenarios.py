"""What is simulated: how each build behaves from bucket to bucket, and in which cells."""

from dataclasses import dataclass, field, replace
from fnmatch import fnmatch

import numpy as np

from bench.judge.numbers import Array

SECONDS = 15.0
BUCKETS = 120  # half an hour
RATES = (1, 10, 100, 1000)
_MINUTE = 4  # buckets


def _steady() -> Array:
    return np.ones(BUCKETS)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How both builds behave. Arrays have one value per bucket."""

    name: str
    usual: float = 0.001  # failure rate of stable, and of both builds' past
    canary_failing: Array | None = None  # None: as stable
    stable_failing: Array | None = None
    canary_slower: Array = field(default_factory=_steady)  # factor on latency
    stable_slower: Array = field(default_factory=_steady)
    traffic: Array = field(default_factory=_steady)
    tail: bool = False  # the canary's p99 doubles: 3 % of its requests are slow
    bursts: bool = False  # failures of both builds share a gamma shock, cv 2
    clump: float = 1.0  # failures come in geometric clumps of this mean, each in one slot
    stickiness: float = 1.0  # requests per session
    sessions: bool = False  # telemetry names sessions
    noise: bool = False  # AR(1) noise of each slot's latency: 10 % canary, 3 % stable
    silent_from: int | None = None  # bucket from which the canary is dead and shows nothing
    delay: int = 0  # buckets until a request shows in telemetry
    onset: float = 0.0  # seconds until it is bad at all; taken back before is false
    is_bad: bool = False
    is_counted: bool = True  # a bad one within tolerance is listed only

    @property
    def stable_rates(self) -> Array:
        """Failure rate of stable in each bucket."""
        return self.usual * _steady() if self.stable_failing is None else self.stable_failing

    @property
    def canary_rates(self) -> Array:
        """Failure rate of the canary in each bucket."""
        return self.stable_rates if self.canary_failing is None else self.canary_failing


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One scenario at one rate and split."""

    scenario: Scenario
    rate: int  # requests per second of both builds together
    split: int  # percent of users on the canary
    kind: str = ""  # healthy | bad | listed | acceptance | tolerance

    @property
    def name(self) -> str:
        """As in the tables."""
        return f"{self.scenario.name} | {self.rate}/s | {self.split} %"

    @property
    def share(self) -> float:
        """The canary's share, 0..1."""
        return self.split / 100

    @property
    def canary_per_bucket(self) -> float:
        """Users' requests to the canary in a bucket, on average."""
        return self.rate * self.share * SECONDS


def _between(start: int, end: int, inside: float, outside: float) -> Array:
    """Return *inside* from minute *start* to minute *end*, *outside* else."""
    values = np.full(BUCKETS, outside)
    values[start * _MINUTE : end * _MINUTE] = inside
    return values


def _diurnal(usual: float) -> Scenario:
    time = np.arange(BUCKETS) / BUCKETS
    return Scenario(
        name="diurnal drift",
        usual=usual,
        stable_failing=usual * (1 + time),
        traffic=1.2 - 0.5 * time,
        stable_slower=1 + 0.2 * time,
        canary_slower=1 + 0.2 * time,
    )


def _outage(name: str, usual: float, bad: float, **more: bool) -> Scenario:
    slower = _between(10, 13, 3.0, 1.0)
    return Scenario(
        name=name,
        usual=usual,
        stable_failing=_between(10, 13, 0.2, usual),
        canary_failing=_between(10, 13, max(0.2, bad), bad),
        canary_slower=slower,
        stable_slower=slower,
        **more,
    )


def _leak() -> Array:
    minute = np.arange(BUCKETS) / _MINUTE
    return 0.001 + 0.1 * np.clip((minute - 10) / 10, 0, 1)


def healthy_scenarios() -> list[Scenario]:
    """Return what must never be taken back."""
    cold = _steady()
    cold[:3] = 4.0
    clumped = Scenario(name="clumped errors", clump=8, sessions=True)
    return [
        Scenario(name="null 0.1 %"),
        Scenario(name="null 1 %", usual=0.01),
        _diurnal(0.01),
        _outage("shared outage", 0.001, 0.001),
        Scenario(name="shared bursts", usual=0.01, bursts=True),
        clumped,
        replace(clumped, name="clumped errors, no sessions known", sessions=False),
        Scenario(name="sticky sessions", stickiness=10, sessions=True),
        Scenario(name="cold start", canary_slower=cold),
        Scenario(name="slot noise", noise=True),
        Scenario(name="null 1 %, 120 s late", usual=0.01, delay=8),
    ]


def _times(factor: float, usual: float, **more: object) -> Scenario:
    shown = f"{usual * 100:g} %"
    base = Scenario(
        name=f"x{factor:g} at {shown}",
        usual=usual,
        canary_failing=factor * usual * _steady(),
        is_bad=True,
    )
    return replace(base, **more)


def _fails(share: float, **more: object) -> Scenario:
    base = Scenario(
        name=f"{share:.0%} failing".replace("%", " %"),
        canary_failing=share * _steady(),
        is_bad=True,
    )
    return replace(base, **more)


def _slower(percent: int, **more: object) -> Scenario:
    base = Scenario(
        name=f"latency +{percent} %", canary_slower=(1 + percent / 100) * _steady(), is_bad=True
    )
    return replace(base, **more)


def bad_scenarios() -> dict[str, Scenario]:
    """Return what should be taken back, by short names."""
    silent = np.full(BUCKETS, 0.001)
    silent[10 * _MINUTE :] = 1.0
    clumped = {"clump": 8, "sessions": True}
    outage = replace(_outage("shared outage, x5 at 1 %", 0.01, 0.05), is_bad=True)
    return {
        "x1.5@1": _times(1.5, 0.01),
        "x2@1": _times(2, 0.01),
        "x5@1": _times(5, 0.01),
        "x2@.1": _times(2, 0.001),
        "x5@.1": _times(5, 0.001),
        "half": _fails(0.5),
        "all": _fails(1.0),
        "slow25": _slower(25),
        "slow100": _slower(100),
        "tail": Scenario(name="p99 x2, the rest as before", tail=True, is_bad=True),
        "noisy": _slower(100, name="slot noise, latency +100 %", noise=True),
        "outage": outage,
        "clumped": _times(5, 0.01, name="clumped errors, x5 at 1 %", **clumped),
        "leak": Scenario(
            name="leak from minute 10", canary_failing=_leak(), onset=600.0, is_bad=True
        ),
        "dead": Scenario(
            name="silent from the start", canary_failing=_steady(), silent_from=0, is_bad=True
        ),
        "dies": Scenario(
            name="silent from minute 10",
            canary_failing=silent,
            silent_from=10 * _MINUTE,
            onset=600.0,
            is_bad=True,
        ),
        "late x5": _times(5, 0.01, name="x5 at 1 %, 120 s late", delay=8),
        "late half": _fails(0.5, name="50 % failing, 120 s late", delay=8),
    }


# Beyond the 10 % split in all rates: which bad scenarios at which split and rates.
_MORE: tuple[tuple[int, str, tuple[int, ...]], ...] = (
    (50, "x2@1", (10, 100)),
    (50, "x5@1", (1, 10)),
    (50, "x5@.1", (10, 100)),
    (50, "half", (1,)),
    (50, "slow25", (10, 100)),
    (50, "tail", (10, 100)),
    (50, "clumped", (10,)),
    (50, "leak", (1, 10)),
    (90, "x2@1", (10, 100)),
    (90, "x5@1", (10,)),
    (90, "slow100", (10,)),
    (90, "half", (1,)),
    (100, "half", (1, 10, 100)),
    (100, "all", (1, 10, 100, 1000)),
    (100, "leak", (10, 100)),
)


def _boundaries() -> list[tuple[str, Scenario, tuple[int, ...]]]:
    found: list[tuple[str, Scenario, tuple[int, ...]]] = []
    for usual in (0.001, 0.01):
        shown = f"{usual * 100:g} %"
        for kind, ratio, absolute in (("acceptance", 1.5, 0.003), ("tolerance", 1.2, 0.0005)):
            edge = Scenario(
                name=f"errors exactly at {kind}, {shown}",
                usual=usual,
                canary_failing=(ratio * usual + absolute) * _steady(),
            )
            found.append((kind, edge, (10, 100, 1000)))
    for kind, bins in (("acceptance", 6), ("tolerance", 2)):
        factor = 10 ** (bins / 40)
        edge = Scenario(name=f"latency exactly at {kind}", canary_slower=factor * _steady())
        found.append((kind, edge, (10, 100, 1000)))
    return found


def _listed() -> list[tuple[Scenario, tuple[int, ...]]]:
    mute = Scenario(name="silent, but answers probes", silent_from=0, is_bad=True)
    rows = _times(5, 0.01, name="clumped errors, x5 at 1 %, no sessions known", clump=8)
    return [
        (_slower(10, is_counted=False), RATES),
        (replace(mute, is_counted=False), RATES),
        (replace(rows, is_counted=False), RATES),
    ]


def all_cells() -> list[Cell]:
    """Return every cell: healthy, bad (exactly 100), listed only, and on the boundaries."""
    cells = [
        Cell(scenario=scenario, rate=rate, split=split, kind="healthy")
        for scenario in healthy_scenarios()
        for split in (10, 50, 100)
        for rate in RATES
    ]
    bad = bad_scenarios()
    cells += [Cell(scenario=s, rate=r, split=10, kind="bad") for s in bad.values() for r in RATES]
    for split, key, rates in _MORE:
        cells += [Cell(scenario=bad[key], rate=r, split=split, kind="bad") for r in rates]
    for scenario, rates in _listed():
        cells += [Cell(scenario=scenario, rate=r, split=10, kind="listed") for r in rates]
    for kind, scenario, rates in _boundaries():
        cells += [Cell(scenario=scenario, rate=r, split=10, kind=kind) for r in rates]
    return cells


def chosen_cells(pattern: str) -> list[Cell]:
    """Return the cells whose name or kind matches the glob *pattern*."""
    return [c for c in all_cells() if fnmatch(c.name, pattern) or fnmatch(c.kind, pattern)]
