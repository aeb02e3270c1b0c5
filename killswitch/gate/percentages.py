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
    """``1.2345`` -> ``1.234 times``."""
    return f"{value:.3f} times"


def true_ratio(low: float, high: float) -> str:
    """What is known of a ratio from the ends of its interval; 0 and infinity are no ends."""
    floor, ceiling = (
        math.floor(low * 1000 + 1e-6) / 1000,
        math.inf if math.isinf(high) else math.ceil(high * 1000 - 1e-6) / 1000,
    )
    if math.isinf(ceiling):
        return f"the true ratio is at least {ratio(floor)}" if low > 0 else "nothing is known of the true ratio yet"
    return f"the true ratio is between {ratio(floor)} and {ratio(ceiling)}"
