"""Every limit of a rule file is a half plane."""

from __future__ import annotations

import math

import pytest

from killswitch.evidence.bounds import SMALLEST_SHIFT, Edge, HalfPlane, against_baseline, bounds_of, half_plane
from killswitch.model import Limits, QuantileSignal, QuerySignal, RatioSignal, Rule, Selector, Signal, Unit

RATE = RatioSignal((Selector("events"),), (Selector("trials"),))
P95 = QuantileSignal(Selector("latency"), 0.95)


def rule(limits: Limits, signal: Signal = RATE) -> Rule:
    return Rule("r", signal, limits, Unit.FRACTION)


@pytest.mark.parametrize(
    ("limits", "planes"),
    [
        (Limits(maximum=0.02), [HalfPlane(0, 0.02), HalfPlane(1, 0)]),
        (Limits(maximum=0.02, even_if_control_is_bad=True), [HalfPlane(0, 0.02)]),
        (Limits(max_increase=0.05), [HalfPlane(1, 0.05)]),
        (Limits(max_ratio=2.0, floor=0.005), [HalfPlane(2, 0), HalfPlane(0, 0.005)]),
    ],
)
def test_limits_of_rates_are_half_planes(limits: Limits, planes: list[HalfPlane]) -> None:
    assert [bound.half_plane for bound in bounds_of(rule(limits))] == planes


def test_limits_of_quantiles_speak_of_tails() -> None:
    limits = Limits(maximum=3.0, max_ratio=1.5, max_increase=0.2, floor=0.1)
    bounds = {bound.name: bound for bound in bounds_of(rule(limits, P95))}
    assert bounds["max"].half_plane.shift == pytest.approx(0.05)
    assert bounds["max"].canary_edge == Edge(0, 3.0)
    assert bounds["max_ratio"].canary_edge == Edge(1.5, 0)
    assert bounds["max_ratio"].control_edge == Edge(1.0, 0)
    assert bounds["max_increase"].canary_edge == Edge(1.0, 0.2)
    assert bounds["floor"].half_plane.shift == pytest.approx(0.05)
    assert {name for name, bound in bounds.items() if bound.needs_tau} == {"max_ratio", "max_increase"}


def test_a_free_query_has_no_counts_and_so_no_bounds() -> None:
    assert bounds_of(rule(Limits(maximum=1.0), QuerySignal("a", "b"))) == ()


def test_a_rule_without_limits_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="rule r has no limit"):
        bounds_of(rule(Limits()))


def test_a_limit_of_zero_is_tested_as_one_in_a_million() -> None:
    assert half_plane(0.0, 0.0) == HalfPlane(0.0, SMALLEST_SHIFT)


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf])
def test_a_limit_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        half_plane(1.0, bad)


def test_against_a_baseline_every_bound_is_an_absolute_limit() -> None:
    bounds = bounds_of(rule(Limits(maximum=0.02, max_increase=0.05, max_ratio=2.0)))
    limits = {bound.name: against_baseline(bound, 0.01).half_plane.shift for bound in bounds}
    assert limits == pytest.approx({"max": 0.02, "worse_than_control": 0.01, "max_increase": 0.06, "max_ratio": 0.02})
    assert all(against_baseline(bound, 0.01).half_plane.ratio == 0 for bound in bounds)
