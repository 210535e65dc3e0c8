"""Block e-variables: how much one bucket's counts speak against "within tolerance".

An e-variable is a non-negative number whose expectation is at most 1 while the hypothesis is true.
Betting on it bucket after bucket gives a wealth that exceeds 50 with probability 1/50 at most,
*however often one looks* (Ville's inequality). That is what lets the judge be asked at every poll.

The hypothesis is ``p_canary <= ratio * p_stable + absolute`` for failure probabilities that may
differ from request to request and from bucket to bucket, as long as whatever shakes one build
shakes both. The form for ratio 1 and absolute 0 is that of Turner, Ly, Grünwald, "Generic
E-variables for exact sequential k-sample tests" (arXiv 2106.02693); the affine one is ours.

Claim: ``E[S] <= 1`` for every point of the hypothesis. Given the past, ``E[S]`` is a product of
factors affine in each request's probability; by concavity of the logarithm it is at most
``exp h(q)`` with ``h(q) = nc ln g_c(absolute + ratio q) + nb ln g_b(q)``, q the mean probability of
stable. h is concave, ``h(q*) = 0``, and q* is chosen so that ``h'(q*) = 0``. Hence ``h <= 0``.
"""

from functools import lru_cache
from math import log, sqrt
from typing import Final, NamedTuple

_TINY: Final = 1e-12
_ROUNDS: Final = 60
_REMEMBERED: Final = 1 << 14  # bets: what was weighed once is weighed again at the next poll
_CLOSE: Final = 1e-8  # the last step of Newton squares it, and h is flat at q*


class Block(NamedTuple):
    """Counts of one bucket: requests and failures of the new build and of its control."""

    nc: float
    xc: float
    nb: float
    xb: float


@lru_cache(maxsize=_REMEMBERED)
def log_e(block: Block, a: float, b: float, ratio: float = 1.0, absolute: float = 0.0) -> float:
    """Return ``ln S`` of *block* for the bet that the new build fails at *a* and stable at *b*.

    With ``a > absolute + ratio * b`` it speaks against "within the tolerance", with a smaller *a*
    against "beyond it". 0.0 where either build has no requests: no control, no evidence.

    Args:
        block: counts, not negative, failures at most requests.
        a: what the new build is bet to fail at, inside (0, 1), chosen before the bucket was seen.
        b: the same of stable.
        ratio: of the margin, > 0.
        absolute: of the margin, >= 0.
    """
    nc, xc, nb, xb = block
    if nc <= 0 or nb <= 0:
        return 0.0
    if ratio == 1.0 and absolute == 0.0:
        q = c = (nc * a + nb * b) / (nc + nb)
    else:
        q = _balance(nc, nb, a, b, ratio, absolute)
        c = absolute + ratio * q
    return (
        xc * log(a / c)
        + (nc - xc) * log((1.0 - a) / (1.0 - c))
        + xb * log(b / q)
        + (nb - xb) * log((1.0 - b) / (1.0 - q))
    )


def log_e_alone(n: float, x: float, a: float, bound: float) -> float:
    """Return ``ln S`` of *x* failures in *n* requests against ``p <= bound`` (for ``a > bound``).

    Against ``p >= bound`` for a smaller *a*. It stands on a fixed bound and not on a concurrent
    control: what shakes both builds counts against the new one.
    """
    return x * log(a / bound) + (n - x) * log((1.0 - a) / (1.0 - bound))


def _balance(nc: float, nb: float, a: float, b: float, ratio: float, absolute: float) -> float:
    """Return q*: the root, between b and (a - absolute) / ratio, of the derivative of h."""
    meets = (a - absolute) / ratio  # where the bet would be no bet
    low, high = (b, meets) if b < meets else (meets, b)
    low = max(low, _TINY)
    high = min(high, (1.0 - absolute) / ratio - _TINY, 1.0 - _TINY)
    if high <= low:
        return low
    q = _guess(nc, nb, a, b, ratio + absolute / b)
    if not low < q < high:
        q = (low + high) / 2
    scale = nc * ratio
    for _ in range(_ROUNDS):  # Newton, kept inside the bracket: three or four rounds as a rule
        c = absolute + ratio * q
        vc, vb = c * (1.0 - c), q * (1.0 - q)
        pull_c, pull_b = (a - c) / vc, (b - q) / vb
        value = scale * pull_c + nb * pull_b
        slope = -scale * ratio * (1.0 + pull_c * (1.0 - 2.0 * c)) / vc
        slope -= nb * (1.0 + pull_b * (1.0 - 2.0 * q)) / vb
        step = value / slope if slope < 0 else high
        if abs(step) <= _CLOSE * q or high - low <= _CLOSE * high:
            return min(max(q - step, low), high)
        if value > 0:
            low = q
        else:
            high = q
        q -= step
        if not low < q < high:
            q = (low + high) / 2
    return q


def _guess(nc: float, nb: float, a: float, b: float, ratio: float) -> float:
    """Return q* for a margin without an absolute part: there it solves a quadratic."""
    square = ratio * (nc + nb)
    linear = nc * (a + ratio) + nb * (1.0 + ratio * b)
    inside = linear * linear - 4.0 * square * (nc * a + nb * b)
    return (linear - sqrt(max(inside, 0.0))) / (2.0 * square)
