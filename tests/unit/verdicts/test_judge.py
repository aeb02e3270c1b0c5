"""How a rule is judged: limits beside a plain reference, streaks, quantiles, and every sentence to the letter."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.model import (
    Counts,
    Limits,
    QuantileSignal,
    QuerySignal,
    Reading,
    Reason,
    Rule,
    Scalar,
    Selector,
    Unit,
    Unreadable,
    Verdict,
)
from killswitch.verdicts.compare import compare
from killswitch.verdicts.judge import Streak, judge_threshold
from tests.doubles.scripted_source import ERRORS, LATENCY, REFUSALS, THUMBS
from tests.unit.verdicts.judged_readings import DOWN, OVER, ROLLOUT, TICK, WITHIN, histogram, rates, reading, walk

# --- limits -------------------------------------------------------------------------------------


bound = st.none() | st.sampled_from([0.01, 0.02, 0.05, 0.3])
limits = st.builds(
    Limits, maximum=bound, max_increase=bound, max_ratio=st.none() | st.sampled_from([1.2, 1.5, 2.0, 4.0]), floor=bound,
    even_if_control_is_bad=st.booleans(),
).filter(lambda one: any(v is not None for v in (one.maximum, one.max_increase, one.max_ratio, one.floor)))  # fmt: skip


def over_by_the_book(one: Limits, canary: float, control: float) -> bool:
    """A canary is over a rule when it is over every bound the rule states; `max` implies worse than control."""
    holds = True
    if one.maximum is not None:
        holds = holds and canary > one.maximum and (one.even_if_control_is_bad or canary > control)
    if one.max_increase is not None:
        holds = holds and canary > control + one.max_increase
    if one.max_ratio is not None:
        holds = holds and canary > control * one.max_ratio
    if one.floor is not None:
        holds = holds and canary > one.floor
    return holds


counts = st.integers(min_value=0, max_value=1000)


@given(limits, counts, counts, st.integers(min_value=1, max_value=1000), st.integers(min_value=1, max_value=1000))
def test_limits_compose_as_the_book_says(one: Limits, x: int, y: int, n: int, m: int) -> None:
    rule = replace(ERRORS, limits=one)
    found = compare(rule, rates(min(x, n), n, min(y, m), m))
    canary, control = min(x, n) / n, min(y, m) / m
    assert found.over is over_by_the_book(one, canary, control)
    assert found.limit is not None
    if found.over:
        assert canary > found.limit
    elif canary > found.limit:  # the limit shown is the largest of the bounds, so above it every bound is passed
        pytest.fail("within its bounds and over its limit")


@given(limits, counts, counts)
def test_equal_cohorts_are_never_over_unless_the_rule_says_so(one: Limits, x: int, n: int) -> None:
    n = max(n, x, 1)
    found = compare(replace(ERRORS, limits=one), rates(x, n, x, n))
    asked = one.even_if_control_is_bad or (one.maximum is None and one.max_increase is None and one.max_ratio is None)
    assert not found.over or asked


@pytest.mark.parametrize(
    ("rule", "values", "sentence"),
    [
        (ERRORS, (30, 1000, 100, 10000), "error_rate 3.0% (canary, n=1000) over 2.0%, control 1.0% (control n=10000)"),
        (ERRORS, (30, 1000, 2500, 100000), "error_rate 3.0% (canary, n=1000) over control 2.5% (control n=100000)"),
        (
            REFUSALS,
            (87, 1000, 110, 10000),
            "refusal_rate 8.7% (canary, n=1000) over control 1.1% + 5.0 pp (control n=10000)",
        ),
        (
            THUMBS,
            (30, 1000, 50, 10000),
            "thumbs_down_rate 3.0% (canary, n=1000) over 2 x control 0.50% (control n=10000)",
        ),
    ],
)
def test_a_breach_says_value_samples_and_how_the_limit_comes_about(
    rule: Rule, values: tuple[float, float, float, float], sentence: str
) -> None:
    finding, _ = judge_threshold(
        rule, compare(rule, rates(*values)), Streak(), rollout=ROLLOUT, tick=TICK, interval=30.0
    )
    assert (finding.verdict, finding.sentence) == (Verdict.BREACH, sentence)
    assert finding.queries == ("a query",)


def test_a_healthy_rule_says_within_what() -> None:
    finding, _ = judge_threshold(
        REFUSALS, compare(REFUSALS, rates(20, 1000, 110, 10000)), Streak(), rollout=ROLLOUT, tick=TICK, interval=30.0
    )
    assert finding.verdict is Verdict.HEALTHY
    assert finding.sentence == "refusal_rate 2.0% (canary, n=1000) within control 1.1% + 5.0 pp (control n=10000)"


# --- threshold ----------------------------------------------------------------------------------


def test_for_two_ticks_in_a_row_means_two_and_says_how_far_it_is() -> None:
    twice = replace(ERRORS, for_ticks=2)
    first, second = walk(twice, OVER, OVER)
    assert (first.verdict, first.reason) == (Verdict.SUSPECT, None)
    assert first.sentence.endswith(", for 1 of 2 ticks in a row: if it stays over, it trips in 30 s")
    assert (first.over, first.proven_in) == (True, 30.0)
    assert second.verdict is Verdict.BREACH
    assert second.since == TICK


def test_a_tick_within_the_limit_begins_the_streak_again() -> None:
    twice = replace(ERRORS, for_ticks=2)
    assert [f.verdict for f in walk(twice, OVER, WITHIN, OVER)] == [Verdict.SUSPECT, Verdict.HEALTHY, Verdict.SUSPECT]


@pytest.mark.parametrize(
    "blank", [reading(DOWN, DOWN), rates(1, 10, 1, 10), rates(0, 0, 0, 0), rates(math.nan, 10, 1, 10)]
)
def test_an_unknown_tick_moves_no_streak_in_either_direction(blank: Reading) -> None:
    twice = replace(ERRORS, for_ticks=2)
    verdicts = [f.verdict for f in walk(twice, OVER, blank, blank, OVER)]
    assert verdicts == [Verdict.SUSPECT, Verdict.UNKNOWN, Verdict.UNKNOWN, Verdict.BREACH]


def test_a_streak_whose_data_are_out_of_sight_is_forgotten() -> None:
    twice = replace(ERRORS, for_ticks=2)
    assert walk(twice, OVER, OVER, interval=301.0)[1].verdict is Verdict.SUSPECT


@pytest.mark.parametrize(
    ("values", "who"), [((50, 99, 10, 10000), "canary has 99"), ((500, 1000, 1, 99.9), "control has 99")]
)
def test_with_too_few_requests_nothing_is_said(values: tuple[float, float, float, float], who: str) -> None:
    (finding,) = walk(ERRORS, rates(*values))
    assert (finding.verdict, finding.reason) == (Verdict.UNKNOWN, Reason.TOO_FEW_REQUESTS)
    assert f"{who} requests in 5m, 100 are needed" in finding.sentence


def test_no_requests_at_all_are_too_few_and_no_blindness() -> None:
    (finding,) = walk(ERRORS, rates(0, 0, 10, 1000))
    assert finding.reason is Reason.TOO_FEW_REQUESTS
    assert finding.sentence == "error_rate unknown (TOO_FEW_REQUESTS): canary: no requests in the window"


def test_both_cohorts_bad_is_no_breach_and_says_so() -> None:
    (finding,) = walk(ERRORS, rates(300, 1000, 4000, 10000))
    assert (finding.verdict, finding.reason) == (Verdict.HEALTHY, Reason.CONTROL_TOO)
    assert finding.sentence == (
        "error_rate 30.0% (canary, n=1000) over 2.0%, but control is at 40.0%: "
        "both are bad, switching models would not help"
    )
    (anyway,) = walk(
        replace(ERRORS, limits=replace(ERRORS.limits, even_if_control_is_bad=True)), rates(300, 1000, 4000, 10000)
    )
    assert anyway.verdict is Verdict.BREACH


@pytest.mark.parametrize("odd", [Counts(math.nan, 10.0), Counts(-1.0, 10.0), Counts(1.0, math.inf), Counts(1.0, -3.0)])
def test_numbers_that_are_no_counts_are_numeric_and_never_data(odd: Counts) -> None:
    (finding,) = walk(ERRORS, reading(odd, Counts(1.0, 1000.0)))
    assert (finding.verdict, finding.reason) == (Verdict.UNKNOWN, Reason.NUMERIC)
    assert not finding.over


@pytest.mark.parametrize(
    "reason", [Reason.SOURCE_DOWN, Reason.GARBAGE, Reason.STALE, Reason.GAP, Reason.PARTIAL_ANSWER]
)
def test_what_could_not_be_read_is_unknown_for_its_own_reason(reason: Reason) -> None:
    (finding,) = walk(ERRORS, reading(Unreadable(reason, "as it is"), Counts(1.0, 1000.0)))
    assert (finding.verdict, finding.reason) == (Verdict.UNKNOWN, reason)
    assert finding.sentence == f"error_rate unknown ({reason.value}): canary: as it is"


# --- quantiles ----------------------------------------------------------------------------------


def test_a_slow_canary_is_over_a_ratio_of_controls_quantile() -> None:
    (finding,) = walk(LATENCY, reading(histogram(0, 0, 500, 1000, 1000), histogram(0, 10000, 10000, 10000, 10000)))
    assert finding.verdict is Verdict.BREACH
    assert finding.sentence == "latency_p95 3.80 s (canary, n=1000) over 1.5 x control 975 ms (control n=10000)"


def test_a_control_in_the_last_bucket_hides_the_comparison() -> None:
    (finding,) = walk(LATENCY, reading(histogram(0, 0, 500, 1000, 1000), histogram(0, 0, 0, 100, 1000)))
    assert (finding.verdict, finding.reason) == (Verdict.UNKNOWN, Reason.SATURATED)
    assert "control lies above the histogram's last bucket (4 s)" in finding.sentence


def test_a_canary_in_the_last_bucket_is_over_a_lower_limit() -> None:
    (finding,) = walk(LATENCY, reading(histogram(0, 0, 0, 100, 1000), histogram(0, 10000, 10000, 10000, 10000)))
    assert finding.verdict is Verdict.BREACH
    assert finding.sentence.startswith("latency_p95 above the last bucket (canary, n=1000) over 1.5 x control 975 ms")


def test_a_canary_and_limit_in_the_last_bucket_are_saturated() -> None:
    (finding,) = walk(LATENCY, reading(histogram(0, 0, 0, 100, 1000), histogram(0, 0, 0, 10000, 10000)))
    assert (finding.verdict, finding.reason) == (Verdict.UNKNOWN, Reason.SATURATED)


def test_a_free_query_knows_no_samples_and_is_judged_all_the_same() -> None:
    rule = Rule("queue", QuerySignal("a", "b"), Limits(max_ratio=2.0), Unit.NUMBER)
    (finding,) = walk(rule, reading(Scalar(9.0), Scalar(3.0)))
    assert finding.verdict is Verdict.BREACH
    assert finding.sentence == "queue 9 (canary) over 2 x control 3"
    (odd,) = walk(rule, reading(Scalar(math.nan), Scalar(3.0)))
    assert odd.reason is Reason.NUMERIC


def test_a_median_rule_reads_its_own_quantile() -> None:
    rule = Rule("latency_p50", QuantileSignal(Selector("b"), 0.5), Limits(maximum=1.0), Unit.SECONDS)
    (finding,) = walk(rule, reading(histogram(0, 0, 1000, 1000, 1000), histogram(1000, 1000, 1000, 1000, 1000)))
    assert finding.sentence == "latency_p50 1.50 s (canary, n=1000) over 1 s, control 250 ms (control n=1000)"
