from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.shadow_traffic import ShadowTraffic, drawn
from killswitch.shadow.criteria import Criteria, Measure, criteria_from
from killswitch.shadow.decision import GoNoGo, ShadowDecision, assess
from killswitch.shadow.evidence.columns import OUTCOMES, PairColumns
from killswitch.shadow.findings import CriterionFinding, CriterionState
from tests.doubles.shadow_records import pair

EQUAL = ShadowTraffic()
# enough for an equal canary to be proven so, by every criterion
ENOUGH = 40_000


def finding(decision: ShadowDecision, measure: Measure) -> CriterionFinding:
    return next(one for one in decision.criteria if one.criterion.measure is measure)


def test_an_equal_candidate_goes() -> None:
    decision = assess(drawn(EQUAL, ENOUGH, 1))
    assert decision.verdict is GoNoGo.GO, decision.sentence
    assert decision.sentence == "GO: 10 criteria proven"
    assert decision.more_pairs is None
    assert decision.advised_share == 0.1
    assert decision.pairs + decision.noise_pairs == ENOUGH


@pytest.mark.parametrize(
    ("fault", "pairs", "measure"),
    [
        (ShadowTraffic(only_candidate=0.078), 800, Measure.REFUSALS),
        (ShadowTraffic(errors=0.08), 3000, Measure.ERRORS),
        (ShadowTraffic(facts=0.03), 60_000, Measure.FACTS),
        (ShadowTraffic(equivalent=0.25), 3000, Measure.EQUIVALENT),
        (ShadowTraffic(similarity=0.6), 3000, Measure.SIMILARITY),
        (ShadowTraffic(broken=0.04), 2000, Measure.FORMAT),
        (ShadowTraffic(language=0.05), 4000, Measure.LANGUAGE),
        (ShadowTraffic(tool_calls=0.10), 4000, Measure.TOOL_CALLS),
        (ShadowTraffic(happy=0.84), 200, Measure.OPENINGS),
        (ShadowTraffic(slower=1.6), 4000, Measure.LATENCY_P95),
    ],
)
def test_each_fault_is_found_and_named(fault: ShadowTraffic, pairs: int, measure: Measure) -> None:
    decision = assess(drawn(fault, pairs, 4))
    assert decision.verdict is GoNoGo.NO_GO
    failed = [one for one in decision.criteria if one.standing is CriterionState.FAIL]
    assert measure in {one.criterion.measure for one in failed}
    assert all(one.sentence in decision.sentence for one in failed)


def test_a_faster_candidate_passes() -> None:
    decision = assess(drawn(ShadowTraffic(slower=0.4), 3000, 5))
    assert finding(decision, Measure.LATENCY_P95).standing is CriterionState.PASS


def test_not_yet_says_how_many_more_pairs() -> None:
    decision = assess(drawn(EQUAL, 12_000, 6))
    assert decision.verdict is GoNoGo.NOT_YET
    assert decision.more_pairs is not None
    assert 0 < decision.more_pairs < 10_000_000
    assert "more pairs needed" in decision.sentence
    assert decision.advised_share == 1.0


def test_a_fault_is_waited_for_no_longer_than_it_needs() -> None:
    """One criterion that fails decides: what the others and the classes would need is not waited for."""
    lying = ShadowTraffic(facts=0.09, classes=("billing", "orders"))
    decision = assess(drawn(lying, 1_000, 6))
    facts = finding(decision, Measure.FACTS)
    assert decision.verdict is GoNoGo.NOT_YET
    assert facts.nears_fail
    assert facts.more_pairs is not None
    assert max(one.more_pairs or 0 for one in decision.criteria) > 10 * facts.more_pairs
    assert max(one.more_pairs or 0 for one in decision.classes) > facts.more_pairs
    assert decision.more_pairs == facts.more_pairs
    assert assess(drawn(lying, 4_000, 6)).verdict is GoNoGo.NO_GO


def test_timing_out_on_bad_answers_does_not_look_good() -> None:
    """Where every bad answer becomes a timeout the canary has no refusal and no lie left, and is not let through."""
    hiding = drawn(ShadowTraffic(errors=0.05, only_candidate=0.0, facts=0.0, equivalent=0.99), 20_000, 7)
    decision = assess(hiding)
    assert decision.verdict is GoNoGo.NO_GO
    assert finding(decision, Measure.ERRORS).standing is CriterionState.FAIL


def test_without_noise_pairs_there_is_no_go() -> None:
    decision = assess(drawn(replace(EQUAL, noise=0.0), ENOUGH, 8))
    assert decision.verdict is GoNoGo.NOT_YET
    assert "errors: no noise pairs: control's own differences are not known" in decision.sentence
    assert decision.more_pairs is None


def test_noise_alone_is_not_yet() -> None:
    decision = assess(drawn(replace(EQUAL, noise=1.0), 500, 9))
    assert decision.verdict is GoNoGo.NOT_YET
    assert decision.pairs == 0


@pytest.mark.parametrize("records", [[], [pair()], [pair(kind="noise")], [pair(0.0), pair(1.0, prompt_class="one")]])
def test_none_and_one_pair_are_not_yet(records: list) -> None:  # type: ignore[type-arg]
    decision = assess(PairColumns.of(records))
    assert decision.verdict is GoNoGo.NOT_YET
    assert decision.sentence.startswith("NOT_YET: ")


@pytest.mark.parametrize("reason", ["budget", "pressure", "not_comparable", "side_effects"])
def test_a_sample_of_which_most_is_missing_is_no_go(reason: str) -> None:
    """Whatever the reason, and said: a million requests were sampled and 40,000 compared."""
    decision = assess(drawn(EQUAL, ENOUGH, 1, dropped={reason: 10**6}))
    assert decision.verdict is GoNoGo.NOT_YET
    assert decision.missing_share == pytest.approx(10**6 / (10**6 + decision.pairs))
    assert "97% of the sampled requests " in decision.sentence
    assert decision.more_pairs is None


def test_a_canary_out_of_quota_is_judged_by_survivors() -> None:
    """A request that is too large is 429 as well, so what is left over may be the easy ones."""
    columns = drawn(EQUAL, ENOUGH, 1)
    outcome = columns.other.outcome.copy()
    outcome[::7] = OUTCOMES.index("budget")
    decision = assess(replace(columns, other=replace(columns.other, outcome=outcome)))
    assert decision.verdict is GoNoGo.NOT_YET
    assert "14% of the sampled requests left no pair" in decision.sentence


def test_unknown_drops_are_not_none() -> None:
    columns = drawn(EQUAL, ENOUGH, 1)
    decision = assess(columns, drops_known=False)
    assert decision.verdict is GoNoGo.NOT_YET
    assert "what was dropped is unknown" in decision.sentence
    assert assess(drawn(ShadowTraffic(only_candidate=0.2), 2000, 2), drops_known=False).verdict is GoNoGo.NO_GO


@pytest.mark.parametrize(("lost", "verdict"), [(100, GoNoGo.GO), (9000, GoNoGo.NOT_YET)])
def test_what_left_no_pair_may_hide_bad_answers(lost: int, verdict: GoNoGo) -> None:
    """A queue that is full because the canary hangs drops the worst: over a tenth lost there is no GO."""
    decision = assess(drawn(EQUAL, ENOUGH, 1, dropped={"queue_full": lost, "budget": 10**4, "not_comparable": 10**4}))
    assert decision.verdict is verdict
    assert decision.dropped["queue_full"] == lost
    if verdict is GoNoGo.NOT_YET:
        assert "20% of the sampled requests left no pair, so what is compared are survivors" in decision.sentence


def test_noise_pairs_are_no_sampled_requests() -> None:
    """With control asked again for each request, a loss of 15 % would look like one of 8 % of both kinds together."""
    columns = drawn(replace(EQUAL, noise=0.5), ENOUGH, 1, dropped={"queue_full": 3500})
    decision = assess(columns)
    assert decision.lost_share == pytest.approx(3500 / (3500 + decision.pairs))
    assert decision.verdict is GoNoGo.NOT_YET


def test_a_floor_of_survivors_is_no_floor() -> None:
    """Control's second answers end in 429 when its quota is used up, maybe for the longest requests."""
    columns = drawn(EQUAL, ENOUGH, 1)
    outcome = columns.other.outcome.copy()
    outcome[np.flatnonzero(columns.noise)[::5]] = OUTCOMES.index("budget")
    decision = assess(replace(columns, other=replace(columns.other, outcome=outcome)))
    assert decision.lost_share == pytest.approx(0.2, abs=0.001)
    assert decision.verdict is GoNoGo.NOT_YET


def test_a_small_class_that_is_nearly_proven_bad_stops_go() -> None:
    """3 % of the traffic, a fifth of it with other facts: odds of 46,000 to 1 against, where NO_GO needs 56,000."""
    size = 42_528
    columns = drawn(replace(EQUAL, classes=("large", "small")), 60_000, 28).where(slice(0, size))
    rng = np.random.default_rng(31)
    small = rng.random(60_000)[:size] < 0.03
    hit = small & ~columns.noise & (rng.random(60_000)[:size] < 0.2) & columns.comparable
    decision = assess(
        replace(
            columns,
            prompt_class=small.astype(np.int32),
            differences=columns.differences | hit.astype(np.uint16),
            equivalent=np.where(hit, 0, columns.equivalent).astype(np.int8),
        )
    )
    (found,) = [one for one in decision.classes if one.name == "small"]
    assert found.standing is CriterionState.NOT_YET
    assert not found.must_pass
    assert all(one.standing is CriterionState.PASS for one in decision.criteria)
    assert decision.verdict is GoNoGo.NOT_YET
    assert decision.sentence.startswith("NOT_YET: class small: changed facts: ")


def test_a_fault_is_no_go_whatever_was_lost() -> None:
    decision = assess(drawn(ShadowTraffic(only_candidate=0.2), 2000, 2, dropped={"queue_full": 10**6}))
    assert decision.verdict is GoNoGo.NO_GO


def test_budget_says_nothing_about_the_candidate_and_is_counted() -> None:
    columns = drawn(EQUAL, 5000, 10)
    outcome = columns.other.outcome.copy()
    outcome[::4] = OUTCOMES.index("budget")
    decision = assess(replace(columns, other=replace(columns.other, outcome=outcome)))
    assert decision.left_out == {"budget": 1250}
    assert decision.pairs + decision.noise_pairs == 3750
    assert finding(decision, Measure.ERRORS).candidate < 0.01


def test_pairs_cancelled_by_shutdowns_are_lost_not_well() -> None:
    """A shutdown cancels what still runs: the slowest answers. Over a tenth of them is like a queue that dropped."""
    columns = drawn(EQUAL, ENOUGH, 1)
    outcome = columns.other.outcome.copy()
    outcome[::7] = OUTCOMES.index("cancelled")
    decision = assess(replace(columns, other=replace(columns.other, outcome=outcome)))
    assert decision.lost_share == pytest.approx(1 / 7, abs=0.002)
    assert "left no pair" in decision.sentence
    assert decision.verdict is GoNoGo.NOT_YET


def test_pairs_in_any_order_are_judged_the_same() -> None:
    """A clock that was set back as pairs were recorded changes nothing."""
    columns = drawn(replace(EQUAL, only_candidate=0.03), 3000, 11)
    shuffled = columns.where(np.random.default_rng(1).permutation(columns.size))
    assert repr(assess(shuffled)) == repr(assess(columns))
    until = float(columns.at[2000])
    assert repr(assess(shuffled, until=until)) == repr(assess(columns, until=until))


def test_the_newest_pairs_can_be_left_for_later() -> None:
    columns = drawn(EQUAL, 1000, 12)
    decision = assess(columns, until=float(columns.at[600]))
    assert decision.pairs + decision.noise_pairs == 600


def hidden(classes: int, faulty: int, pairs: int) -> PairColumns:
    """A canary that refuses 15 % of one class and is like control in all others."""
    columns = drawn(replace(EQUAL, classes=tuple(f"class {n}" for n in range(classes))), pairs, 13)
    hit = (columns.prompt_class == faulty) & ~columns.noise & (np.random.default_rng(2).random(pairs) < 0.15)
    refused = columns.other.refused | (hit & (columns.other.outcome == 0))
    return replace(columns, other=replace(columns.other, refused=refused))


def test_a_fault_hidden_in_one_class_is_found_and_named_first() -> None:
    """15 % of a class that is 2.5 % of the traffic: 0.4 points of all, within the margin of all."""
    decision = assess(hidden(40, 17, 40_000))
    assert finding(decision, Measure.REFUSALS).standing is not CriterionState.FAIL
    assert decision.verdict is GoNoGo.NO_GO
    assert decision.classes[0].name == "class 17"
    assert decision.classes[0].standing is CriterionState.FAIL
    assert [one.standing for one in decision.classes[1:]].count(CriterionState.FAIL) == 0
    assert "class 17: refusals" in decision.sentence
    assert "worse by more than 1.0 pp" in decision.sentence


def test_small_classes_that_are_not_yet_do_not_block() -> None:
    decision = assess(drawn(replace(EQUAL, classes=tuple(f"c{n}" for n in range(12))), ENOUGH, 14))
    assert decision.verdict is GoNoGo.GO, decision.sentence
    assert {one.must_pass for one in decision.classes} == {False}
    assert any(one.standing is CriterionState.NOT_YET for one in decision.classes)


def test_a_class_with_much_of_the_traffic_must_pass() -> None:
    columns = drawn(replace(EQUAL, classes=("a", "b")), ENOUGH, 1)
    strict = replace(Criteria(), class_margin=0.1)
    decision = assess(columns, strict)
    assert decision.verdict is GoNoGo.NOT_YET
    assert {one.must_pass for one in decision.classes} == {True}
    assert "class a: " in decision.sentence
    assert assess(columns, replace(strict, class_share=0.9)).verdict is GoNoGo.GO


def test_a_class_with_one_pair_is_named_and_not_judged() -> None:
    columns = drawn(replace(EQUAL, classes=("all", "rare")), 3000, 15)
    classes = np.zeros(columns.size, dtype=np.int32)
    classes[int(np.flatnonzero(~columns.noise)[0])] = 1
    rare = next(one for one in assess(replace(columns, prompt_class=classes)).classes if one.name == "rare")
    assert (rare.pairs, rare.standing, rare.findings) == (1, CriterionState.NOT_YET, ())
    assert rare.sentence == "rare: 1 pair, too few to judge"


def test_one_class_alone_is_not_judged_twice() -> None:
    assert assess(drawn(EQUAL, 500, 1)).classes == ()


def test_latency_that_was_never_comparable_is_no_go() -> None:
    """However slow it is, nothing is known of it. A person may switch the criterion off, as the sentence says."""
    columns = drawn(replace(EQUAL, concurrent=False, slower=10.0), ENOUGH, 1)
    decision = assess(columns)
    assert decision.verdict is GoNoGo.NOT_YET
    assert decision.sentence.startswith("NOT_YET: p95 latency: never comparable: ")
    assert "latency_p95: false" in decision.sentence
    assert decision.more_pairs is None
    assert assess(columns, criteria_from({"latency_p95": False})).sentence == "GO: 9 criteria proven"


def test_as_points_an_equal_candidate_is_a_coin_flip() -> None:
    """Bare points at 12,000 pairs: of 20 equal candidates some go and some do not; none with 5,000 pairs."""
    criteria = criteria_from({"as_points": True, "similarity": False, "equivalent": False})
    verdicts = [assess(drawn(EQUAL, 12_000, seed), criteria).verdict for seed in range(20)]
    assert 3 <= verdicts.count(GoNoGo.GO) <= 17
    assert verdicts.count(GoNoGo.GO) + verdicts.count(GoNoGo.NO_GO) == 20
    early = assess(drawn(EQUAL, 5000, 1), criteria)
    assert early.verdict is GoNoGo.NOT_YET
    assert "pairs: " in early.sentence


def test_a_judge_gates_where_it_is_asked_for() -> None:
    columns = drawn(EQUAL, 4000, 16)
    wins = np.random.default_rng(3).choice([0.0, 0.5, 1.0], columns.size, p=[0.6, 0.2, 0.2]).astype(np.float32)
    columns = replace(columns, win=wins)
    assert Measure.WIN_RATE not in {one.criterion.measure for one in assess(columns).criteria}
    decision = assess(columns, criteria_from({"win_rate": True}))
    assert finding(decision, Measure.WIN_RATE).standing is CriterionState.FAIL
    assert "win rate: 30" in decision.sentence
    unjudged = assess(drawn(EQUAL, 4000, 16), criteria_from({"win_rate": True}))
    assert finding(unjudged, Measure.WIN_RATE).standing is CriterionState.NOT_YET
