"""Shares and ratios in words; the ends of an interval are rounded outwards, so that none looks better than it is."""

from __future__ import annotations

import math


def percent(share: float) -> str:
    """``0.98`` -> ``98.00%``."""
    return f"{100 * share:.2f}%"


def low_end(share: float) -> str:
    return f"{math.floor(share * 10_000 + 1e-9) / 100:.2f}%"


def high_end(share: float) -> str:
    return f"{math.ceil(share * 10_000 - 1e-9) / 100:.2f}%"


def ratio(value: float) -> str:
    """``1.2345`` -> ``1.235 times``."""
    return f"{value:.3f} times" if math.isfinite(value) else "any number of times"
