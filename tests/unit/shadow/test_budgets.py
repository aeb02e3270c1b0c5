"""Whole assessments of drawn traffic, looked at again and again: how often they are wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from bench.shadow_traffic import ShadowTraffic, drawn
from killswitch.shadow.criteria import DEFAULTS, Measure
from killswitch.shadow.decision import GoNoGo, assess
from killswitch.shadow.evidence.measures import compare

RUNS = 60
# of 60 runs of which 1 % may be wrong: more than three come by chance three times in 1,000
MOST_WRONG = 3
LOOKS = range(600, 6001, 600)
LIMITS = {one.measure: one for one in DEFAULTS}
EQUAL = ShadowTraffic()


def proven(traffic: ShadowTraffic, measure: Measure, *, worse: bool, runs: int = RUNS) -> int:
    """The runs in which one side is proven at 1 % at any look."""
    found = 0
    for seed in range(runs):
        columns = drawn(traffic, LOOKS[-1], 300 + seed)
        comparisons = (compare(columns.where(slice(0, size)), LIMITS[measure]) for size in LOOKS)
        evidence = [
            (one.evidence.log_worse if worse else one.evidence.log_within)(one.limit)
            for one in comparisons
            if one.evidence is not None
        ]
        found += max(evidence) >= math.log(100)
    return found


AT_THE_MARGIN = {
    Measure.ERRORS: replace(EQUAL, errors=0.015, errors_floor=0.010),
    Measure.FACTS: replace(EQUAL, facts=0.06, facts_floor=0.05),
    Measure.EQUIVALENT: replace(EQUAL, equivalent=0.42, equivalent_floor=0.60),
    Measure.SIMILARITY: replace(EQUAL, similarity=0.665, similarity_floor=0.70, errors=0.0, errors_floor=0.0),
    Measure.LATENCY_P95: replace(EQUAL, slower=1.2, errors=0.0, errors_floor=0.0),
}


@pytest.mark.simulation
@pytest.mark.parametrize("measure", AT_THE_MARGIN)
def test_at_the_margin_neither_side_is_proven(measure: Measure) -> None:
    """Wrong PASS and wrong FAIL, each at most 1 % over all looks; 60 runs each."""
    assert proven(AT_THE_MARGIN[measure], measure, worse=False) <= MOST_WRONG
    assert proven(AT_THE_MARGIN[measure], measure, worse=True) <= MOST_WRONG


@pytest.mark.simulation
def test_this_simulation_can_fail() -> None:
    """Twice the limit's ratio is proven worse, half of it within, in nearly every run."""
    assert proven(replace(EQUAL, slower=2.4), Measure.LATENCY_P95, worse=True, runs=5) >= 4
    assert proven(replace(EQUAL, slower=0.6), Measure.LATENCY_P95, worse=False, runs=5) >= 4


@pytest.mark.simulation
def test_an_equal_candidate_gets_no_no_go_however_often_one_looks() -> None:
    """Six classes, six looks, ten runs: the budget is 1 %, so more than one would be no luck."""
    traffic = replace(EQUAL, classes=tuple(f"class {number}" for number in range(6)))
    wrong = 0
    for seed in range(10):
        columns = drawn(traffic, 3000, 700 + seed)
        verdicts = {assess(columns.where(slice(0, size))).verdict for size in range(500, 3001, 500)}
        wrong += GoNoGo.NO_GO in verdicts
    assert wrong <= 1
