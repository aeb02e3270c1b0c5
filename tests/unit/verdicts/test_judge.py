"""How a rule is judged: limits against a plain reference, verdicts, decisions, and every sentence to the letter."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags.flag import AA, Flag, arm
from killswitch.model import (
    Buckets,
    Counts,
    Finding,
    Limits,
    Measurement,
    Mode,
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
from killswitch.verdicts import judge
from killswitch.verdicts.compare import compare
from killswitch.verdicts.decide import DecisionKind, decide
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.verdicts.judge import Streak, judge_evidence, judge_threshold
from killswitch.verdicts.sentences import AA_SAID, offset_in_words
from tests.doubles.scripted_source import ERRORS, LATENCY, REFUSALS, THUMBS, rollout

TICK = 1_776_608_520.0  # 14:22:00
ROLLOUT = rollout(min_requests=100)
DOWN = Unreadable(Reason.SOURCE_DOWN, "connection refused")


def reading(canary: Measurement, control: Measurement) -> Reading:
    return Reading(canary, control, 300.0, ("a query",))


def rates(events: float, trials: float, control_events: float, control_trials: float) -> Reading:
    return reading(Counts(events, trials), Counts(control_events, control_trials))


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

OVER, WITHIN = rates(300, 1000, 100, 10000), rates(5, 1000, 100, 10000)


def walk(rule: Rule, *ticks: Reading, interval: float = 30.0) -> list[Finding]:
    streak, findings = Streak(), []
    for number, one in enumerate(ticks):
        finding, streak = judge_threshold(
            rule, compare(rule, one), streak, rollout=ROLLOUT, tick=TICK + number * interval, interval=interval
        )
        findings.append(finding)
    return findings


def test_for_two_ticks_in_a_row_means_two_and_says_how_far_it_is() -> None:
    twice = replace(ERRORS, for_ticks=2)
    first, second = walk(twice, OVER, OVER)
    assert (first.verdict, first.reason) == (Verdict.SUSPECT, None)
    assert first.sentence.endswith(", for 1 of 2 ticks in a row: if it stays over, it trips in 30 s")
    assert (first.over, first.proven_in) == (True, 30.0)
    assert second.verdict is Verdict.BREACH
    assert second.since == TICK


def test_a_tick_within_the_limit_begins_the_streak_anew() -> None:
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

EDGES = (0.5, 1.0, 2.0, 4.0, math.inf)


def histogram(*cumulative: float) -> Buckets:
    return Buckets(EDGES, cumulative)


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


# --- evidence -----------------------------------------------------------------------------------


KNOWN = EvidenceView(
    value=0.5, needed=400.0, since=TICK - 829, events_canary=160.0, trials_canary=1842.0, events_control=387.0,
    trials_control=35160.0, updated_at=TICK, until=TICK, warming_up=False, problem=None,
)  # fmt: skip


def by_evidence(rule: Rule, view: EvidenceView, one: Reading) -> Finding:
    return judge_evidence(rule, compare(rule, one), view, rollout=ROLLOUT, tick=TICK, fresh=60.0)


FINE = rates(11, 1000, 110, 10000)


def test_a_breach_by_evidence_says_since_when_its_rate_and_odds() -> None:
    finding = by_evidence(REFUSALS, KNOWN._replace(value=43_210.0), rates(60, 700, 110, 10000))
    assert finding.verdict is Verdict.BREACH
    assert finding.sentence == (
        "refusal_rate 8.7% (canary, 160 of 1,842 since 14:08:11) over control 1.1% + 5.0 pp; "
        "chance of this by luck under 1 in 43,000"
    )
    assert (finding.evidence, finding.needed, finding.since) == (43_210.0, 400.0, TICK - 829)


def test_evidence_trips_at_any_number_of_requests_and_any_window() -> None:
    for one in (rates(1, 3, 1, 3), reading(DOWN, DOWN), FINE):
        assert by_evidence(ERRORS, KNOWN._replace(value=401.0), one).verdict is Verdict.BREACH


def test_a_latency_breach_does_not_call_a_window_over_that_is_not() -> None:
    """Half of the window may be from before: "1.39 s over 1.5 x control 950 ms" was no sentence to wake up to."""
    control = histogram(0, 10000, 10000, 10000, 10000)
    for canary, over in ((histogram(0, 990, 1000, 1000, 1000), False), (histogram(0, 0, 500, 1000, 1000), True)):
        view = KNOWN._replace(value=500.0, events_canary=172, trials_canary=332)
        finding = by_evidence(LATENCY, view, reading(canary, control))
        assert finding.verdict is Verdict.BREACH
        assert finding.over is over
        assert (" over 1.5 x control" in finding.sentence) is over
        assert ("in the whole window, limit 1.5 x control" in finding.sentence) is not over
        assert "172 of 332 canary requests" in finding.sentence


def test_stale_evidence_is_no_breach_and_no_health() -> None:
    stale = by_evidence(ERRORS, KNOWN._replace(value=401.0, updated_at=TICK - 61, until=TICK - 61), FINE)
    assert (stale.verdict, stale.reason) == (Verdict.UNKNOWN, Reason.BEHIND)


@pytest.mark.parametrize("value", [0.5, 401.0])
def test_evidence_of_a_time_still_to_come_is_no_verdict(value: float) -> None:
    """The metric store's clock was ahead, and has been set right."""
    ahead = by_evidence(ERRORS, KNOWN._replace(value=value, updated_at=TICK + 3600, until=TICK + 3600), FINE)
    assert (ahead.verdict, ahead.reason) == (Verdict.UNKNOWN, Reason.BEHIND)
    assert "a time still to come" in ahead.sentence
    assert by_evidence(ERRORS, KNOWN._replace(until=TICK + 30), FINE).verdict is Verdict.HEALTHY
    assert by_evidence(ERRORS, KNOWN._replace(until=TICK + 31), FINE).reason is Reason.BEHIND


def test_over_in_the_window_and_not_proven_is_suspect() -> None:
    """Not healthy: it said so in green for minutes. It says how far the evidence is and how long it may take."""
    finding = by_evidence(ERRORS, KNOWN._replace(value=20.0), rates(30, 1000, 100, 10000))
    assert (finding.verdict, finding.reason, finding.over) == (Verdict.SUSPECT, None, True)
    assert finding.sentence.endswith(
        "not proven: evidence 1 in 20 (trips at 1 in 400), enough in about 14m at the pace since 14:08:11"
    )
    # 400 is the square of 20, so the second half takes as long as the first
    assert finding.proven_in == pytest.approx(829.0)
    assert decide([finding], flag(), ROLLOUT).sentence == f"0 of 1 rules healthy, 1 suspect; {finding.sentence}"


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (KNOWN._replace(value=0.4), "evidence none yet (trips at 1 in 400), too early to say when it would be enough"),
        (KNOWN._replace(value=20.0, since=None), "too early to say"),
        (KNOWN._replace(value=1.02), "at the pace since 14:08:11 takes hours more"),
    ],
)
def test_no_time_is_promised_where_evidence_has_no_pace(view: EvidenceView, words: str) -> None:
    finding = by_evidence(ERRORS, view, rates(30, 1000, 100, 10000))
    assert finding.verdict is Verdict.SUSPECT
    assert words in finding.sentence


def test_a_finding_carries_the_counts_since_its_excursion_began() -> None:
    """The row of a page said 5.4 % of the window where the sentence said 28 % since 20:10."""
    view = KNOWN._replace(value=500.0, events_canary=140, trials_canary=500, events_control=100, trials_control=10_000)
    finding = by_evidence(REFUSALS, view, rates(54, 1000, 110, 10000))
    assert finding.canary == pytest.approx(0.054)
    counted = finding.excursion
    assert counted is not None
    assert (counted.since, counted.canary, counted.control) == (TICK - 829, 0.28, 0.01)
    assert counted.limit == pytest.approx(0.06)
    slow = by_evidence(LATENCY, view, reading(histogram(0, 0, 500, 1000, 1000), histogram(0, 9000, 9999, 9999, 9999)))
    assert slow.excursion is not None
    assert (slow.excursion.canary, slow.excursion.limit) == (0.28, None)
    assert by_evidence(ERRORS, KNOWN._replace(trials_canary=0.0), FINE).excursion is None


@pytest.mark.parametrize(
    ("view", "one", "reason"),
    [
        (KNOWN._replace(warming_up=True), FINE, Reason.WARMING_UP),
        (KNOWN._replace(problem=Unreadable(Reason.GAP, "a scrape is missing")), FINE, Reason.GAP),
        (KNOWN, rates(1, 99, 110, 10000), Reason.TOO_FEW_REQUESTS),
        (KNOWN, reading(DOWN, DOWN), Reason.SOURCE_DOWN),
    ],
)
def test_healthy_by_evidence_needs_eyesight(view: EvidenceView, one: Reading, reason: Reason) -> None:
    """Evidence short of a breach is HEALTHY only where the window and the steps can be seen."""
    finding = by_evidence(ERRORS, view, one)
    assert (finding.verdict, finding.reason) == (Verdict.UNKNOWN, reason)


def test_an_over_limit_rule_is_named_while_control_warms_up() -> None:
    over = by_evidence(ERRORS, KNOWN._replace(value=30.4, warming_up=True), rates(160, 1000, 100, 10000))
    fine = [by_evidence(replace(ERRORS, name=name), KNOWN._replace(warming_up=True), FINE) for name in ("a", "b", "c")]
    assert (over.verdict, over.reason) == (Verdict.UNKNOWN, Reason.WARMING_UP)
    said = decide([over, *fine], flag(), ROLLOUT).sentence
    assert "error_rate unknown (WARMING_UP): 16.0% (canary, n=1000) over 2.0%" in said
    assert "evidence 1 in 30 (trips at 1 in 400)" in said
    assert said.count("3 rules WARMING_UP: control's past is known for less than an hour") == 1


def test_a_rule_with_evidence_not_read_back_is_behind() -> None:
    finding = judge.not_gathered(ERRORS, compare(ERRORS, OVER))
    assert (finding.verdict, finding.reason, finding.over) == (Verdict.UNKNOWN, Reason.BEHIND, True)


# --- decisions ----------------------------------------------------------------------------------


def flag(percent: float = 5.0, stage: str = "ramp_5") -> Flag:
    return arm(None, rollout="copilot", control="a", canary="b", percent=percent, stage=stage, now=TICK, by="ann")


def finding(verdict: Verdict, reason: Reason | None = None, rule: str = "r") -> Finding:
    return Finding(rule, verdict, reason, f"{rule} {verdict.value} {reason}", Unit.FRACTION)


HEALTHY, BREACH = finding(Verdict.HEALTHY), finding(Verdict.BREACH, rule="bad")
UNKNOWNS = {reason: finding(Verdict.UNKNOWN, reason) for reason in Reason}
QUIET = (Reason.TOO_FEW_REQUESTS, Reason.JUST_ARMED, Reason.WARMING_UP)


@pytest.mark.parametrize(
    ("findings", "action"),
    [
        ([HEALTHY, HEALTHY], DecisionKind.HOLD),
        ([HEALTHY, BREACH], DecisionKind.TRIP),
        ([BREACH, UNKNOWNS[Reason.SOURCE_DOWN]], DecisionKind.TRIP),
        ([HEALTHY, UNKNOWNS[Reason.SOURCE_DOWN]], DecisionKind.HOLD),
        ([UNKNOWNS[Reason.SOURCE_DOWN]] * 2, DecisionKind.BLIND),
        ([UNKNOWNS[Reason.NO_DATA], UNKNOWNS[Reason.GARBAGE]], DecisionKind.BLIND),
        ([UNKNOWNS[Reason.NEVER_SEEN], UNKNOWNS[Reason.TOO_FEW_REQUESTS]], DecisionKind.HOLD),
        *(([UNKNOWNS[reason]] * 2, DecisionKind.HOLD) for reason in QUIET),
        ([finding(Verdict.HEALTHY, Reason.CONTROL_TOO)], DecisionKind.HOLD),
    ],
)
def test_the_table_of_decisions(findings: list[Finding], action: DecisionKind) -> None:
    decision = decide(findings, flag(), ROLLOUT)
    assert decision.action is action
    assert decision.tripping == ((BREACH,) if action is DecisionKind.TRIP else ())


def test_a_wrong_split_is_blindness_only_where_a_cohort_is_absent() -> None:
    measured = replace(UNKNOWNS[Reason.TRAFFIC_SPLIT], canary=0.01, control=0.01)
    assert decide([measured] * 2, flag(), ROLLOUT).action is DecisionKind.HOLD
    for absent in (replace(measured, canary=None), replace(measured, control=None)):
        assert decide([absent] * 2, flag(), ROLLOUT).action is DecisionKind.BLIND
    asleep = replace(measured, canary=None, samples_canary=0.0, samples_control=500.0)
    assert decide([asleep] * 2, flag(), ROLLOUT).action is DecisionKind.HOLD


def test_no_unknown_of_any_reason_trips_anything() -> None:
    for one in UNKNOWNS.values():
        assert decide([one, one], flag(), ROLLOUT).action in (DecisionKind.HOLD, DecisionKind.BLIND)


def test_a_dry_run_only_would_trip() -> None:
    decision = decide([BREACH], flag(), replace(ROLLOUT, mode=Mode.DRY_RUN))
    assert decision.action is DecisionKind.WOULD_TRIP
    assert decision.sentence.startswith("would trip (dry run): bad BREACH")


def test_in_stage_aa_a_breach_is_about_the_users() -> None:
    decision = decide([BREACH], flag(stage=AA), ROLLOUT)
    assert decision.action is DecisionKind.HOLD
    assert "choose another salt or more users" in decision.sentence


@pytest.mark.parametrize(
    ("events", "trials", "words"),
    [
        (1, 100, "interval"),
        (3, 100, "may be chance"),  # 3 % of 100 requests proves nothing about a limit of 2 %
        (1500, 100_000, "these users differ: choose another salt"),
        (3000, 100_000, "over the limit of 2.0%, so an equally good canary would be tripped"),
    ],
)
def test_stage_aa_advises_only_what_is_certain(events: float, trials: float, words: str) -> None:
    reading = Reading(Counts(events, trials), Counts(10_000, 1_000_000), 3600.0)
    said = offset_in_words(ERRORS, reading, 1.0)
    assert said is not None
    assert words in said
    assert ("another salt" in said) == (trials > 1000)


def test_what_stage_aa_measures_stays_out_of_the_cycles_sentence() -> None:
    """Four rules that wait for one reason are one clause, and only advice is repeated beside it."""
    waiting = [
        replace(one, sentence=f"{one.rule} unknown (WARMING_UP): wait{AA_SAID}these users have 0.{number}%{more}")
        for number, (one, more) in enumerate(
            [
                (finding(Verdict.UNKNOWN, Reason.WARMING_UP, "a"), ""),
                (finding(Verdict.UNKNOWN, Reason.WARMING_UP, "b"), "; choose another salt or more users"),
            ]
        )
    ]
    assert decide(waiting, flag(stage=AA), ROLLOUT).sentence == (
        "0 of 2 rules healthy; 2 rules WARMING_UP: wait; "
        "b in stage aa: these users have 0.1%; choose another salt or more users"
    )


def test_silence_of_a_canary_with_no_users_is_expected() -> None:
    silent = [UNKNOWNS[Reason.NO_DATA]] * 4
    assert decide(silent, flag(0.0, "shadow"), ROLLOUT).action is DecisionKind.HOLD
    assert decide(silent, flag(), ROLLOUT).action is DecisionKind.BLIND


def test_a_trip_by_two_rules_names_both_in_one_sentence() -> None:
    other = finding(Verdict.BREACH, rule="worse")
    decision = decide([BREACH, HEALTHY, other], flag(), ROLLOUT)
    assert decision.sentence == f"{BREACH.sentence}; {other.sentence}"
    assert decision.tripping == (BREACH, other)


# --- counts that no service can have ------------------------------------------------------------


def test_well_more_events_than_trials_are_numeric_not_a_breach() -> None:
    """ "thumbs_down_rate 194.4 % (35 of 18)" tripped a healthy canary: those thumbs were of other requests."""
    assert THUMBS.delay > 0
    counted = KNOWN._replace(value=1e6, events_canary=35, trials_canary=18, events_control=3, trials_control=9000)
    finding = by_evidence(THUMBS, counted, FINE)
    assert (finding.verdict, finding.reason) == (Verdict.UNKNOWN, Reason.NUMERIC)
    assert "canary has 35 events of 18 since 14:08:11: the events are not of these requests" in finding.sentence
    (bare,) = walk(ERRORS, rates(300, 200, 1, 10000))
    assert (bare.verdict, bare.reason) == (Verdict.UNKNOWN, Reason.NUMERIC)
    window = by_evidence(ERRORS, KNOWN._replace(value=1e6), rates(300, 200, 1, 10000))
    assert (window.verdict, window.reason) == (Verdict.UNKNOWN, Reason.NUMERIC)


def test_a_total_failure_with_some_late_events_is_a_breach() -> None:
    failed = KNOWN._replace(value=1e6, events_canary=110, trials_canary=100, events_control=3, trials_control=9000)
    assert by_evidence(ERRORS, failed, rates(110, 100, 110, 10000)).verdict is Verdict.BREACH
    assert walk(ERRORS, rates(110, 100, 110, 10000))[0].verdict is Verdict.BREACH
