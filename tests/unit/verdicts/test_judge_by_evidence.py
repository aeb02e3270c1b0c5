"""How a rule is judged by evidence: what its breach says, and when it is neither breach nor health."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.model import Finding, Reading, Reason, Rule, Unreadable, Verdict
from killswitch.verdicts import judge
from killswitch.verdicts.compare import compare
from killswitch.verdicts.decide import decide
from killswitch.verdicts.evidence_view import EvidenceView
from killswitch.verdicts.judge import judge_evidence
from tests.doubles.scripted_source import ERRORS, LATENCY, REFUSALS, THUMBS
from tests.unit.verdicts.judged_readings import DOWN, OVER, ROLLOUT, TICK, flag, histogram, rates, reading, walk

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
