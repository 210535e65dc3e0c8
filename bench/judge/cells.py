"""Runs cells: simulates, asks every rule, keeps when each acted. One process per core."""

import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np

from bench.judge import health, literature, peers, slipway
from bench.judge.numbers import Array, first_time
from bench.judge.scenarios import BUCKETS, SECONDS, Cell
from bench.judge.traffic import Rollouts, simulate

OURS = "Slipway"
LOADED = "Slipway + synthetic load"
STRICT = "Slipway strict"
PEERS = ("thresholds", "Flagger", "Argo", "alarm 2 of 3", "Kayenta")
LITERATURE = ("peeked z-test", "mSPRT", "Lindon-Malek", "safe 2x2")
RULES = (OURS, LOADED, STRICT, *PEERS, *LITERATURE)
_CHUNK = 1000  # rollouts at once: they fit the processor's cache
_SOON = 20  # buckets
HORIZON = BUCKETS * SECONDS


@dataclass(frozen=True)
class Row:
    """One rule in one cell. Times are seconds; inf where most never got there."""

    rule: str
    cell: str
    kind: str
    rate: int
    split: int
    replications: int
    detected: float  # share taken back: false in a healthy cell
    early: float  # share taken back before anything was wrong: not detected
    median: float  # since it is bad
    p95: float
    served: float  # failed requests until taken back, mean
    promoted: float | None  # share passed first; None: the rule does not say
    promoted_median: float | None


def run(cells: list[Cell], *, bad: int, healthy: int, jobs: int) -> Iterator[list[Row]]:
    """Yield the rows of each cell, in order."""
    counts = [bad if cell.kind in {"bad", "listed"} else healthy for cell in cells]
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run_cell, cells, counts)


def run_cell(cell: Cell, replications: int) -> list[Row]:
    """Return one row per rule, always from the same dice."""
    seed = zlib.crc32(cell.name.encode())
    parts = []
    for number, start in enumerate(range(0, replications, _CHUNK)):
        rng = np.random.default_rng([seed, number])
        rollouts = simulate(cell, min(_CHUNK, replications - start), rng)
        parts.append({name: _outcome(rollouts, *times) for name, times in ask(rollouts).items()})
    return [_row(cell, rule, [part[rule] for part in parts]) for rule in RULES]


def ask(rollouts: Rollouts) -> dict[str, tuple[Array, Array | None]]:
    """Return when each rule takes back and, where it says so, passes each rollout."""
    found: dict[str, tuple[Array, Array | None]] = {}
    plain = slipway.view(rollouts)
    is_bad = rollouts.cell.scenario.is_bad
    presets = (slipway.NORMAL, slipway.STRICT)
    found[OURS], found[STRICT] = _slipway(plain, presets, is_bad=is_bad)
    found[LOADED] = found[OURS]
    if rollouts.synthetic is not None:
        loaded = slipway.view(rollouts, synthetic=True)
        found[LOADED] = _slipway(loaded, presets[:1], is_bad=is_bad)[0]
    seen = peers.minutes_of(rollouts.canary)
    times = (
        peers.thresholds(rollouts),
        peers.flagger(seen),
        peers.argo(seen),
        peers.alarm(seen),
        peers.kayenta(rollouts, seen),
    )
    found |= {name: (time, None) for name, time in zip(PEERS, times, strict=True)}
    found |= {name: (time, None) for name, time in literature.all_of(rollouts).items()}
    return found


def _slipway(
    seen: slipway.View, presets: tuple[slipway.Settings, ...], *, is_bad: bool
) -> list[tuple[Array, Array]]:
    """Return when each preset takes back and passes; a bad release is mostly settled soon."""
    soon = _settle(seen.until(_SOON), presets) if is_bad else []
    if soon and all(np.isfinite(back).all() for back, _ in soon):
        return soon
    return _settle(seen, presets)


def _settle(seen: slipway.View, presets: tuple[slipway.Settings, ...]) -> list[tuple[Array, Array]]:
    common, proven = slipway.whatever_the_preset(seen), health.health(seen)
    found = []
    for settings in presets:
        joint = slipway.evidence(seen, settings, common)["joint"]
        back = first_time(joint >= 1 / settings.alpha, SECONDS)
        passed = health.promoted(seen, joint, settings, proven)
        found.append((back, first_time(passed, SECONDS)))
    return found


def _outcome(rollouts: Rollouts, back: Array, passed: Array | None) -> Array:
    """Return per rollout: when back, failures served until then, when passed (first)."""
    back = np.where(back <= HORIZON, back, np.inf)
    last = (np.minimum(back, HORIZON) / SECONDS).astype(int) - 1
    served = np.take_along_axis(rollouts.served, last[None], axis=0)[0]
    if passed is None:
        return np.stack([back, served, np.full_like(back, np.nan)])
    return np.stack([back, served, np.where(passed < back, passed, np.inf)])


def _row(cell: Cell, rule: str, parts: list[Array]) -> Row:
    back, served, passed = np.concatenate(parts, axis=1)
    says = not np.isnan(passed).any()
    early = back <= cell.scenario.onset
    since = np.where(early, np.inf, back - cell.scenario.onset)
    return Row(
        rule=rule,
        cell=cell.name,
        kind=cell.kind,
        rate=cell.rate,
        split=cell.split,
        replications=back.size,
        detected=float(np.isfinite(since).mean()),
        early=float(early.mean()),
        median=quantile(since, 0.5),
        p95=quantile(since, 0.95),
        served=float(served.mean()),
        promoted=float(np.isfinite(passed).mean()) if says else None,
        promoted_median=quantile(passed, 0.5) if says else None,
    )


def quantile(times: Array, share: float) -> float:
    """Return the nearest-rank quantile; inf counts as the largest."""
    rank = max(int(np.ceil(share * times.size)) - 1, 0)
    return float(np.sort(times)[rank])
