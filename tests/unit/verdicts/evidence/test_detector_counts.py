"""Counts that are impossible, absent, or at the edge of their range: they move no evidence, or finite evidence."""

from __future__ import annotations

import numpy as np
import pytest

from killswitch.verdicts.evidence import DetectorSpec, start
from killswitch.verdicts.evidence.tested_limits import WORSE_THAN_CONTROL, Bound, half_plane
from tests.unit.verdicts.evidence.counted_ticks import NAMES, run, steady, warm, with_row


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -3.0])
@pytest.mark.parametrize("name", NAMES)
def test_impossible_numbers_are_flagged_and_move_nothing(name: str, bad: float) -> None:
    state = warm()
    before, _ = run(state, steady(5, canary=0.3, control=0.01))
    after, trace = run(before, with_row(steady(1, canary=0.9, control=0.01), 0, **{name: bad}))
    assert trace.numeric.all()
    assert not trace.updated.any()
    assert np.array_equal(before.log_sums, after.log_sums)
    assert np.isfinite(after.past.control.events).all()


@pytest.mark.parametrize("cohort", ["canary", "control"])
def test_a_cohort_without_any_numbers_is_a_gap_and_not_an_alarm(cohort: str) -> None:
    state = warm()
    gone = with_row(steady(1, canary=0.9, control=0.01), 0, **{f"{cohort}_events": np.nan, f"{cohort}_trials": np.nan})
    after, trace = run(state, gone)
    assert not trace.numeric.any()
    assert not trace.updated.any()
    assert np.array_equal(state.log_sums, after.log_sums)


def test_an_absolute_limit_works_without_numbers_of_control() -> None:
    spec = DetectorSpec("even if control is bad", (Bound("max", half_plane(0.0, 0.02)),), 0.0025)
    gone = {"control_events": np.nan, "control_trials": np.nan}
    counts = steady(30, canary=0.5, control=0.0, width=1)
    for row in range(30):
        counts = with_row(counts, row, **gone)
    _, trace = run(start([spec]), counts)
    assert trace.breach.any(axis=0).all()


def test_a_rule_recovers_after_impossible_numbers() -> None:
    counts = with_row(steady(20, canary=0.3, control=0.01), 0, control_events=np.nan)
    _, trace = run(warm(), counts)
    assert trace.breach.any(axis=0).all()


def test_a_rounding_below_zero_is_zero_and_no_alarm() -> None:
    _, trace = run(warm(), with_row(steady(1, canary=0.0, control=0.01), 0, canary_events=-1e-12))
    assert trace.updated.all()
    assert not trace.numeric.any()


def test_more_events_than_trials_trip_nothing_that_is_healthy() -> None:
    # thumbs-down that trail their requests, in both cohorts alike
    counts = steady(500, canary=1.5, control=1.5)
    _, trace = run(warm(), counts)
    assert not trace.breach.any()
    assert np.isfinite(trace.evidence).all()


def test_fractional_counts_are_evidence_like_any_other() -> None:
    _, trace = run(warm(), steady(30, canary=0.2001, control=0.0103))
    assert trace.breach.any(axis=0).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_day_of_shares_of_zero_or_one_leaves_the_rules_able(share: float) -> None:
    state, trace = run(warm(), steady(2880, canary=share, control=share))
    assert not trace.breach.any()
    assert np.isfinite(trace.evidence).all()
    _, later = run(state, steady(120, canary=0.5, control=0.01))
    assert later.breach.any(axis=0).all()


@pytest.mark.parametrize(("n_c", "n_b"), [(0.0, 1425.0), (75.0, 0.0), (0.0, 0.0)])
def test_one_cohort_gone_moves_no_rule_that_compares(n_c: float, n_b: float) -> None:
    state = warm()
    after, trace = run(state, steady(50, canary=0.9, control=0.01, n_c=n_c, n_b=n_b))
    assert not trace.updated.any()
    assert np.array_equal(state.log_sums, after.log_sums)


def test_an_absolute_limit_alone_needs_no_control() -> None:
    spec = DetectorSpec("even if control is bad", (Bound("max", half_plane(0.0, 0.02)),), 0.0025)
    _, trace = run(start([spec]), steady(30, canary=0.5, control=0.0, n_b=0.0, width=1))
    assert trace.breach.any(axis=0).all()


def test_swapped_cohorts_of_a_good_canary_never_trip() -> None:
    # the "canary" is the old model with 95 % of traffic, the "control" is the bad one
    _, trace = run(warm(), steady(500, canary=0.01, control=0.2, n_c=1425, n_b=75))
    assert not trace.breach.any()


@pytest.mark.parametrize("limit", [0.0, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.01, 1.0])
def test_limits_of_zero_and_one_have_finite_evidence(limit: float, share: float) -> None:
    bounds = [
        (Bound("max", half_plane(0.0, limit)), Bound("worse", WORSE_THAN_CONTROL)),
        (Bound("max_increase", half_plane(1.0, limit)),),
    ]
    specs = [DetectorSpec(str(len(pair)), pair, 0.0025) for pair in bounds]
    _, trace = run(start(specs), steady(300, canary=share, control=share, width=3))
    assert np.isfinite(trace.evidence).all()
    assert not trace.breach.any()


def test_a_limit_of_zero_trips_on_a_canary_that_errs_alone() -> None:
    spec = DetectorSpec("none", (Bound("max", half_plane(0.0, 0.0)), Bound("worse", WORSE_THAN_CONTROL)), 0.0025)
    _, trace = run(start([spec]), steady(60, canary=0.1, control=0.0, width=2))
    assert trace.breach.any(axis=0).all()


def test_a_tiny_failing_canary_trips_after_about_ten_requests() -> None:
    counts = steady(30, canary=1.0, control=0.01, n_c=1.0, n_b=99.0)
    _, trace = run(warm(), counts, head_starts=np.where(np.arange(30)[:, None] == 0, 0.25, 0.0) * np.ones(3))
    first = trace.breach.argmax(axis=0) + 1
    assert trace.breach.any(axis=0).all()
    assert first.max() <= 12
