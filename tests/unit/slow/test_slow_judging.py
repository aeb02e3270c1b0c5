"""One signal at one evaluation: the order of checks, both verdicts, and that an error is never data."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from killswitch.model import Reason, Unreadable, Verdict
from killswitch.slow.counts import DayCounts, Moments, RecentCounts, SlowCounts, StretchCounts, UserSpread
from killswitch.slow.findings import SlowFinding
from killswitch.slow.judging import judge_slow
from killswitch.slow_settings import SlowSignal
from tests.doubles.warehouses import signal_of

FIRST, LAST = 100, 109
SD = 30.0


def counts(drop: float = 0.0, *, canary: int = 1000, control: int = 19_000, answers: float = 1.0) -> SlowCounts:
    """Ten days of users who come once, ``drop`` lower in the canary."""
    of_control, of_canary = Moments(control, 70.0, SD**2), Moments(canary, 70.0 - drop, SD**2)
    known, here = Moments(control, 0.8, 0.16), Moments(canary, 0.8 * answers, 0.16)
    if answers == 1.0:
        known, here = Moments(control, 1.0, 0.0), Moments(canary, 1.0, 0.0)
    days = tuple(
        DayCounts(day, replace(of_control, users=control // 10), replace(of_canary, users=canary // 10))
        for day in range(FIRST, LAST + 1)
    )

    def spread(variance: float) -> UserSpread:
        return (
            UserSpread(variance * (1 / control + 1 / canary), control, canary) if control and canary else UserSpread()
        )

    return SlowCounts(
        FIRST, LAST, LAST + 1, days, (StretchCounts(0.05, of_control, of_canary, known, here),), spread(SD**2),
        replace(spread(0.16), control=control, canary=canary), rows=canary + control,
    )  # fmt: skip


def judged(found: SlowCounts | Unreadable, signal: SlowSignal | None = None, signals: int = 1) -> SlowFinding:
    return judge_slow(
        signal or signal_of(), found, signals=signals, evaluated_at=1_776_000_000.0, expected_day=LAST + 1
    )


def test_a_canary_like_control_is_healthy() -> None:
    found = judged(counts())
    assert found.verdict is Verdict.HEALTHY
    assert found.sentence == (
        "csat 70.00 (canary, 1,000 users) against 70.00 (control, 19,000): 0 lower, limit 3 lower; "
        "evidence none yet (pins at 1 in 110)"
    )
    assert found.literal.verdict is Verdict.HEALTHY


def test_a_proven_drop_beyond_the_limit_is_a_breach() -> None:
    found = judged(counts(8.0))
    assert found.verdict is Verdict.BREACH
    assert "8 lower, limit 3 lower; evidence 1 in " in found.sentence
    assert found.low is not None
    assert found.low > 3.0


def test_a_drop_that_may_be_luck_is_no_breach_by_evidence() -> None:
    """The literal rule pins it, and both verdicts are shown."""
    found = judged(counts(4.0, canary=200, control=3800))
    assert found.verdict is Verdict.HEALTHY
    assert found.literal.verdict is Verdict.BREACH
    assert (
        found.literal.sentence == "csat of the canary against control on the last 2 days: -4.00, -4.00; limit 3 lower"
    )
    assert found.literal_false_pins == pytest.approx(0.44, abs=0.03)
    assert found.literal_percent is None
    literal = judged(counts(4.0, canary=200, control=3800), signal_of(decide="threshold"))
    assert literal.verdict is Verdict.BREACH
    assert literal.by_evidence.verdict is Verdict.HEALTHY


def test_higher_is_worse_for_an_increase() -> None:
    signal = signal_of(name="refunds", low=0.0, high=1.0, max_drop=None, max_increase=0.01)
    few = Moments(19_000, 0.01, 0.0099)
    many = Moments(1000, 0.06, 0.0564)
    all_answered = Moments(1, 1.0, 0.0)
    found = SlowCounts(
        FIRST, LAST, LAST + 1, (DayCounts(LAST - 1, few, many), DayCounts(LAST, few, many)),
        (StretchCounts(0.05, few, many, replace(all_answered, users=19_000), replace(all_answered, users=1000)),),
        UserSpread(0.0099 / 19_000 + 0.0564 / 1000, 19_000, 1000), UserSpread(0.0, 19_000, 1000), rows=20_000,
    )  # fmt: skip
    assert judged(found, signal).sentence.startswith(
        "refunds 6.00% (canary, 1,000 users) against 1.00% (control, 19,000): 5 pp higher, limit 1 pp higher"
    )
    assert judged(found, signal).verdict is Verdict.BREACH
    assert judged(found, signal_of(low=0.0, high=1.0, max_drop=0.01)).verdict is Verdict.HEALTHY


def test_signals_share_the_budget() -> None:
    assert judged(counts(), signals=4).needed == pytest.approx(4 / 0.009)


def test_harm_of_the_newest_week_is_a_breach_and_says_since_when() -> None:
    whole, late = counts(1.0), counts(12.0)
    found = judged(replace(whole, recent=(RecentCounts(LAST - 2, late.stretches, late.values),)))
    assert found.verdict is Verdict.BREACH
    assert found.sentence.startswith("csat since 1970-04-18 58.00 (canary, 1,000 users) against 70.00")
    assert found.worse == pytest.approx(1.0)


def test_few_users_of_the_newest_week_add_nothing() -> None:
    whole, late = counts(1.0), counts(60.0, canary=19, control=361)
    found = judged(replace(whole, recent=(RecentCounts(LAST, late.stretches, late.values),)))
    assert found.evidence == pytest.approx(judged(whole).evidence or 0.0)


CHECKS: dict[Reason, dict[str, Any]] = {
    Reason.NO_DATA: {"newest": None},
    Reason.STALE: {"newest": LAST},
    Reason.GARBAGE: {"rows": 1000, "bad": 11, "left_out": {"no user": 11}},
    Reason.SETTLING: {"last": FIRST - 1},
}


@pytest.mark.parametrize("reason", CHECKS, ids=str)
def test_what_fails_a_check_is_unknown_however_bad_it_looks(reason: Reason) -> None:
    found = judged(replace(counts(30.0), **CHECKS[reason]))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, reason)
    assert found.by_evidence.verdict is found.literal.verdict is Verdict.UNKNOWN
    assert f"csat unknown ({reason})" in found.sentence


def test_staleness_comes_before_all_other_checks() -> None:
    found = judged(replace(counts(30.0, canary=9000), newest=LAST - 1, bad=20_000))
    assert found.reason is Reason.STALE
    assert "the newest row is of 1970-04-19, but rows of 1970-04-21 should be there" in found.sentence


def test_another_split_than_the_history_is_unknown() -> None:
    assert judged(counts(30.0, canary=2000)).reason is Reason.TRAFFIC_SPLIT


def test_all_users_in_one_cohort_are_unknown() -> None:
    assert judged(counts(0.0, control=0)).reason is Reason.TRAFFIC_SPLIT
    assert judged(counts(0.0, canary=0)).reason is Reason.TRAFFIC_SPLIT


def test_few_users_are_unknown() -> None:
    found = judged(counts(60.0, canary=19, control=361))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.TOO_FEW_USERS)


def test_a_day_with_half_the_users_of_a_week_ago_is_half_an_answer() -> None:
    found = judged(replace(counts(30.0), seen={LAST - 7: 2000, LAST: 740}))
    assert found.reason is Reason.PARTIAL_ANSWER
    assert "has 740 users, and a week before there were 2,000" in found.sentence


def test_as_many_users_as_a_week_ago_are_a_whole_answer() -> None:
    assert judged(replace(counts(), seen={LAST - 7: 2000, LAST: 1001})).verdict is Verdict.HEALTHY
    assert judged(replace(counts(), seen={LAST - 7: 30, LAST: 1})).verdict is Verdict.HEALTHY


def test_a_missing_day_is_a_gap_for_the_literal_rule_alone() -> None:
    whole = counts(8.0)
    found = judged(replace(whole, days=(*whole.days[:-2], whole.days[-1])))
    assert found.literal.reason is Reason.GAP
    assert found.verdict is Verdict.BREACH


def test_users_who_answer_less_often_make_health_unknown() -> None:
    found = judged(counts(0.0, answers=0.5))
    assert (found.verdict, found.reason) == (Verdict.UNKNOWN, Reason.RESPONSE_RATE)
    assert found.answers is not None
    assert found.answers.sentence == "40.0% of the canary's users answer and 80.0% of control's, limit 5 pp fewer"


def test_users_who_answer_less_often_hide_no_breach() -> None:
    assert judged(counts(10.0, answers=0.5)).verdict is Verdict.BREACH


@pytest.mark.parametrize("reason", [Reason.SOURCE_DOWN, Reason.SOURCE_TIMEOUT, Reason.PARTIAL_ANSWER])
def test_a_failed_read_is_unknown_with_its_reason(reason: Reason) -> None:
    found = judged(Unreadable(reason, "why"))
    assert (found.verdict, found.reason, found.sentence) == (Verdict.UNKNOWN, reason, f"csat unknown ({reason}): why")


def test_equal_values_everywhere_are_unknown() -> None:
    same = counts()
    flat = StretchCounts(0.05, Moments(950, 5.0, 0.0), Moments(50, 5.0, 0.0), Moments(950, 1.0), Moments(50, 1.0))
    found = judged(replace(same, stretches=(flat,), values=UserSpread(0.0, 950, 50)))
    assert (found.reason, found.evidence) == (Reason.NUMERIC, None)


def test_every_number_of_a_finding_is_finite() -> None:
    for drop in (-100.0, 0.0, 100.0):
        found = judged(counts(drop))
        assert all(math.isfinite(value) for value in (found.worse, found.low, found.high, found.evidence) if value)
