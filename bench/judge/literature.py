"""Sequential tests from the literature, on cumulative failed requests, at alpha 0.01.

They know no tolerance, no clumps and no other signal than failures.
"""

import math

import numpy as np

from bench.judge.numbers import Array, above, first_time, log_beta
from bench.judge.scenarios import SECONDS
from bench.judge.traffic import Rollouts

_ALPHA = 0.01
_MIXTURE = 0.01  # standard deviation of the difference that mSPRT mixes over: one point
_CONCENTRATION = 100.0  # of Lindon and Malek's Dirichlet
_PRIOR = 0.18  # of safestats' plug-in


def all_of(rollouts: Rollouts) -> dict[str, Array]:
    """Return when each test takes the release back; inf where nothing runs beside it."""
    names = ("peeked z-test", "mSPRT", "Lindon-Malek", "safe 2x2")
    shape = rollouts.canary.rows.shape[1]
    if rollouts.cell.split == 100:
        return {name: np.full(shape, np.inf) for name in names}
    c, s = rollouts.canary, rollouts.stable
    nc, xc, nb, xb = (np.cumsum(v, axis=0) for v in (c.rows, c.failed, s.rows, s.failed))
    share = rollouts.cell.share
    hits = (
        _z_test(nc, xc, nb, xb),
        _msprt(nc, xc, nb, xb),
        _lindon_malek(xc, xb, share),
        _safe(c.rows, c.failed, s.rows, s.failed),
    )
    return {name: first_time(hit, SECONDS) for name, hit in zip(names, hits, strict=True)}


def _difference(nc: Array, xc: Array, nb: Array, xb: Array) -> tuple[Array, Array, Array]:
    """Return the difference of rates, and its variance apart and pooled."""
    mc, mb = np.maximum(nc, 1), np.maximum(nb, 1)
    pc, pb, pooled = xc / mc, xb / mb, (xc + xb) / (mc + mb)
    apart = pc * (1 - pc) / mc + pb * (1 - pb) / mb
    return pc - pb, apart, pooled * (1 - pooled) * (1 / mc + 1 / mb)


def _z_test(nc: Array, xc: Array, nb: Array, xb: Array) -> Array:
    difference, _, variance = _difference(nc, xc, nb, xb)
    score = difference / np.sqrt(np.maximum(variance, 1e-300))
    return (variance > 0) & (above(np.clip(score, -9, 9)) < _ALPHA)


def _msprt(nc: Array, xc: Array, nb: Array, xb: Array) -> Array:
    difference, variance, _ = _difference(nc, xc, nb, xb)
    v, mix = np.maximum(variance, 1e-300), _MIXTURE**2
    logs = 0.5 * np.log(v / (v + mix)) + mix * difference**2 / (2 * v * (v + mix))
    return (variance > 0) & (xc >= 5) & (difference > 0) & (logs >= math.log(1 / _ALPHA))


def _lindon_malek(xc: Array, xb: Array, share: float) -> Array:
    a, b = _CONCENTRATION * share, _CONCENTRATION * (1 - share)
    logs = log_beta(a + xc, b + xb) - log_beta(np.array(a), np.array(b))
    logs -= xc * math.log(share) + xb * math.log(1 - share)
    return (xc > share * (xc + xb)) & (logs >= math.log(1 / _ALPHA))


def _safe(nc: Array, xc: Array, nb: Array, xb: Array) -> Array:
    """Turner, Ly and Grünwald's block e-variable with plugged-in rates."""
    shape = nc.shape[1]
    seen = np.zeros((4, shape))
    logs, hits = np.zeros(shape), []
    for block in zip(nc, xc, nb, xb, strict=True):
        pc = (seen[1] + _PRIOR) / (seen[0] + 2 * _PRIOR)
        pb = (seen[3] + _PRIOR) / (seen[2] + 2 * _PRIOR)
        logs = logs + np.where(pc > pb, _block(block, pc, pb), 0.0)
        hits.append(logs >= math.log(1 / _ALPHA))
        seen += np.array(block)
    return np.array(hits)


def _block(block: tuple[Array, ...], pc: Array, pb: Array) -> Array:
    n, x, m, y = block
    known = (n > 0) & (m > 0)
    q = (n * pc + m * pb) / np.maximum(n + m, 1)
    q = np.where(known, q, 0.5)
    found = x * np.log(pc / q) + (n - x) * np.log((1 - pc) / (1 - q))
    found += y * np.log(pb / q) + (m - y) * np.log((1 - pb) / (1 - q))
    return np.where(known, found, 0.0)
