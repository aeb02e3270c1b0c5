"""A line of values as a row of blocks, for texts: one scale for all lines of a rule, a gap where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
GAP: Final = "·"
WIDTH: Final = 72  # an hour and ten minutes, in minutes


def sparkline(values: Sequence[float | None], top: float, width: int = WIDTH) -> str:
    """``values`` from 0 to ``top``, at most ``width`` characters; each shows the largest value of its part."""
    parts = math.ceil(len(values) / width) or 1
    pieces = [values[start : start + parts] for start in range(0, len(values), parts)]
    return "".join(_block(piece, top) for piece in pieces)


def _block(values: Sequence[float | None], top: float) -> str:
    there = [value for value in values if value is not None and not math.isnan(value)]
    if not there:
        return GAP
    largest = max(*there, 0.0)
    if not math.isfinite(largest):
        return _BLOCKS[-1]
    share = min(largest / top, 1.0) if top > 0 else 0.0
    return _BLOCKS[min(int(share * len(_BLOCKS)), len(_BLOCKS) - 1)]


def top_of(*lines: Sequence[float | None]) -> float:
    """The largest finite value of all lines, 0 without any."""
    return max((value for line in lines for value in line if value is not None and math.isfinite(value)), default=0.0)
