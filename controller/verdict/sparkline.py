"""A line of block characters: how something grew, in one line of a terminal."""

import math
from collections.abc import Sequence
from typing import Final

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_MOST: Final = 30  # characters


def sparkline(values: Sequence[float], *, full: float) -> str:
    """Return *values*, oldest first, on a logarithmic scale; the full block is *full* or more.

    What is 1 or less, or no number, is the lowest block. Of many values the strongest of each
    stretch is shown, so that nothing that was reached is hidden.
    """
    size = -(-len(values) // _MOST) or 1
    stretches = [values[max(end - size, 0) : end] for end in range(len(values), 0, -size)]
    return "".join(_block(max(stretch), full) for stretch in reversed(stretches))


def _block(value: float, full: float) -> str:
    if not value > 1.0:
        return _BLOCKS[0]
    if value >= full:
        return _BLOCKS[-1]
    return _BLOCKS[int(math.log(value) / math.log(full) * (len(_BLOCKS) - 1))]
