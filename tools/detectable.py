"""The table of what the judge can see at which traffic in which time, from its own formula."""

import math
from typing import Final

from controller.verdict.detectable import seconds_to_notice

_RATES: Final = (0.002, 0.005, 0.01, 0.05, 0.5)
_TRAFFIC: Final = (1, 10, 100, 1000)
_SHARES: Final = (0.1, 0.5)
_USUAL: Final = 0.001
_LONGEST: Final = 3600.0
_MINUTE: Final = 60.0
_PER_POLL: Final = 100  # requests of our own to each build
_POLL_SECONDS: Final = 15.0


def table() -> str:
    """Return it as Markdown."""
    head = ["Requests per second", "Share", *(f"fails {rate:.1%}" for rate in _RATES)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for traffic in _TRAFFIC:
        for share in _SHARES:
            cells = [f"{traffic:,}", f"{share:.0%}", *(_time(r, traffic, share) for r in _RATES)]
            lines.append(f"| {' | '.join(cells)} |")
    added = 2 * _PER_POLL / _POLL_SECONDS
    cells = [f"any, {_PER_POLL} of ours per poll", "-", *(_time(r, added, 0.5) for r in _RATES)]
    lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _time(rate: float, traffic: float, share: float) -> str:
    seconds = seconds_to_notice(rate, usual=_USUAL, requests_per_second=traffic, share=share)
    if math.isinf(seconds) or seconds > _LONGEST:
        return "-"
    return f"{seconds:.0f} s" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} min"
