"""Every limit of a rule file is a half plane."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from killswitch.model import Limits, QuantileSignal, QuerySignal, RatioSignal, Rule, Selector, Signal, Unit
from killswitch.verdicts.evidence.tested_limits import (
    SMALLEST_SHIFT,
    Bound,
    Edge,
    HalfPlane,
    against_baseline,
    bounds_of,
    half_plane,
)

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


WHOLE = Limits(maximum=0.02, max_increase=0.05, max_ratio=2.0, floor=0.005)


def test_the_bounds_of_a_rate_are_exactly_these() -> None:
    assert bounds_of(rule(WHOLE)) == (
        Bound("max", HalfPlane(0.0, 0.02)),
        Bound("worse_than_control", HalfPlane(1.0, 0.0)),
        Bound("max_increase", HalfPlane(1.0, 0.05)),
        Bound("max_ratio", HalfPlane(2.0, 0.0)),
        Bound("floor", HalfPlane(0.0, 0.005)),
    )
    assert not any(bound.needs_tau for bound in bounds_of(rule(WHOLE)))


def test_the_bounds_of_a_quantile_are_exactly_these() -> None:
    limits = Limits(maximum=3.0, max_ratio=1.5, max_increase=0.2, floor=0.1)
    tail, worse, tau = HalfPlane(0.0, 1.0 - 0.95), HalfPlane(1.0, 0.0), Edge(1.0, 0.0)
    whole = (
        Bound("max", tail, Edge(0.0, 3.0), Edge(0.0, 3.0)),
        Bound("worse_than_control", worse, Edge(0.0, 3.0), Edge(0.0, 3.0)),
        Bound("max_increase", worse, Edge(1.0, 0.2), tau),
        Bound("max_ratio", worse, Edge(1.5, 0.0), tau),
        Bound("floor", tail, Edge(0.0, 0.1), Edge(0.0, 0.1)),
    )
    assert bounds_of(rule(limits, P95)) == whole
    even_if_bad = replace(limits, even_if_control_is_bad=True)
    assert bounds_of(rule(even_if_bad, P95)) == (whole[0], *whole[2:])


def test_only_a_plane_of_nothing_at_all_is_enlarged() -> None:
    assert half_plane(1.0, 0.0) == HalfPlane(1.0, 0.0)
    assert half_plane(0.0, 0.5) == HalfPlane(0.0, 0.5)


@pytest.mark.parametrize(("ratio", "shift"), [(-0.5, 0.1), (math.inf, 0.1), (math.nan, 0.1), (1.0, -0.1)])
def test_a_bound_that_is_no_number_is_said(ratio: float, shift: float) -> None:
    with pytest.raises(ValueError, match="a bound needs") as refused:
        half_plane(ratio, shift)
    assert str(refused.value) == (
        f"a bound needs finite numbers of at least 0, got ratio {ratio!r} and shift {shift!r}"
    )


def test_a_rule_without_limits_is_told_what_to_add() -> None:
    with pytest.raises(ValueError, match="has no limit") as refused:
        bounds_of(rule(Limits()))
    assert str(refused.value) == "rule r has no limit: add max, max_increase, max_ratio or floor"


def test_baseline_bounds_are_at_most_all_requests_and_edges_stay() -> None:
    bound = Bound("max_ratio", HalfPlane(2.0, 0.3), Edge(1.5, 0.0), Edge(1.0, 0.0))
    assert against_baseline(bound, 0.6) == replace(bound, half_plane=HalfPlane(0.0, 1.0))
    assert against_baseline(bound, 0.1) == replace(bound, half_plane=HalfPlane(0.0, 0.5))
