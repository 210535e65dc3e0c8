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
_ADDED: Final = 5.0  # requests of our own per second to each build


def table() -> str:
    """Return it as Markdown."""
    head = ["Requests per second", "Share", *(f"fails {rate:.1%}" for rate in _RATES)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for traffic in _TRAFFIC:
        for share in _SHARES:
            cells = [f"{traffic:,}", f"{share:.0%}", *(_time(r, traffic, share) for r in _RATES)]
            lines.append(f"| {' | '.join(cells)} |")
    cells = ["any, with 5 of our own", "-", *(_time(rate, 2 * _ADDED, 0.5) for rate in _RATES)]
    lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _time(rate: float, traffic: float, share: float) -> str:
    seconds = seconds_to_notice(rate, usual=_USUAL, requests_per_second=traffic, share=share)
    if math.isinf(seconds) or seconds > _LONGEST:
        return "-"
    return f"{seconds:.0f} s" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f} min"
