"""Quantiles, bins and the Wasserstein distance from counts are what they are from the values themselves."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.shadow.report.distributions import ValueCounts, quantile, spread, tally, wasserstein

VALUES = st.lists(st.integers(0, 5_000_000), min_size=1, max_size=60)


def counted(values: Sequence[int]) -> ValueCounts:
    distinct, counts = np.unique(np.array(values, np.int64), return_counts=True)
    return tally(distinct, counts.astype(np.int64))


NOTHING = counted([])


@given(VALUES, VALUES)
def test_the_distance_is_scipys(one: list[int], other: list[int]) -> None:
    stats = importlib.import_module("scipy.stats")  # 0.7 s, so not by every process that only collects
    found = wasserstein(counted(one), counted(other))
    assert found == pytest.approx(stats.wasserstein_distance(one, other), rel=1e-9, abs=1e-9)


@given(VALUES, st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_a_value_that_was_seen(values: list[int], share: float) -> None:
    assert quantile(counted(values), share) == np.quantile(values, share, method="inverted_cdf")


@given(VALUES, VALUES)
def test_every_answer_is_in_one_bin(one: list[int], other: list[int]) -> None:
    found = spread("tokens", counted(one), counted(other), (NOTHING, NOTHING))
    assert sum(found.control_bins) == len(one)
    assert sum(found.candidate_bins) == len(other)
    assert list(found.edges) == sorted(set(found.edges))
    assert len(found.edges) == len(found.control_bins) + 1
    assert found.edges[0] <= min(*one, *other)
    assert found.edges[-1] > max(*one, *other)


def test_the_shift_of_median_and_tail_is_the_canarys_less_controls() -> None:
    found = spread("tokens", counted([10] * 90 + [100] * 10), counted([20] * 90 + [400] * 10), (NOTHING, NOTHING))
    assert (found.shift_p50, found.shift_p95) == (10.0, 300.0)


def test_nothing_known_is_unknown_and_not_zero() -> None:
    found = spread("tokens", NOTHING, counted([5]), (NOTHING, NOTHING))
    assert found.control.p50 is None
    assert found.shift_p50 is None
    assert found.wasserstein is None


def test_a_negative_number_counts_as_unknown() -> None:
    found = tally(np.array([-5, 3], np.int64), np.array([2, 7], np.int64), unknown=1)
    assert (found.known, found.unknown) == (7, 3)


def test_milliseconds_are_shown_as_seconds() -> None:
    found = spread("seconds", counted([1500]), counted([2500]), (NOTHING, NOTHING), parts=1000)
    assert (found.control.p50, found.candidate.p50, found.wasserstein) == (1.5, 2.5, 1.0)
