"""Whether users are split as the flag's history says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from killswitch.slow.counts import Moments, StretchCounts
from killswitch.slow.traffic_split import log_mismatch, mismatch


def split(canary: int, control: int, share: float) -> StretchCounts:
    return StretchCounts(share, Moments(), Moments(), Moments(control), Moments(canary))


@pytest.mark.parametrize(("canary", "control"), [(50, 950), (40, 960), (5000, 95_000), (0, 0), (1, 2)])
def test_a_split_as_said_is_no_mismatch(canary: int, control: int) -> None:
    assert mismatch([split(canary, control, 0.05)]) is None


@pytest.mark.parametrize(("canary", "control"), [(100, 900), (4500, 95_000), (0, 1000), (1000, 0)])
def test_a_split_unlike_the_history_is_a_mismatch(canary: int, control: int) -> None:
    found = mismatch([split(50, 950, 0.05), split(canary, control, 0.05)])
    assert found is not None
    assert "the flag's history says 5.00%" in found


def test_the_split_is_rarely_doubted_by_luck() -> None:
    """Looked at each day for 30 days, 1,000 runs: at most 3 reach 1 in 1,000."""
    draw = np.random.default_rng(5)
    doubted = 0
    for _ in range(1000):
        canary = np.cumsum(draw.binomial(400, 0.05, 30))
        doubted += any(
            log_mismatch(int(one), 400 * (day + 1) - int(one), 0.05) >= math.log(1000) for day, one in enumerate(canary)
        )
    assert doubted <= 3


def test_a_share_of_nothing_or_all_allows_no_other_user() -> None:
    assert log_mismatch(1, 5, 0.0) == math.inf
    assert log_mismatch(0, 5, 0.0) == 0.0
    assert log_mismatch(5, 1, 1.0) == math.inf
    assert log_mismatch(5, 0, 1.0) == 0.0
