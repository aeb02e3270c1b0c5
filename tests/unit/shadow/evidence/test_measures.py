from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.shadow_traffic import ShadowTraffic, drawn
from killswitch.shadow.criteria import DEFAULTS, OPTIONAL, Criterion, Measure
from killswitch.shadow.evidence.columns import OUTCOMES, PairColumns
from killswitch.shadow.evidence.measures import Compared, compare, counted
from killswitch.shadow.findings import CriterionState, judged
from killswitch.shadow.record import PairRecord
from tests.doubles.shadow_records import pair, side

LIMITS = {one.measure: one for one in (*DEFAULTS, *OPTIONAL)}
REFUSED = side(outcome="refused", refused=True, opening="I can't help with that")
TIMED_OUT = side(outcome="timeout", seconds=30.0, opening="", cost_micros=None, output_tokens=None)


def compared(records: list[PairRecord], measure: Measure) -> Compared:
    wins = {record.pair: 1.0 for record in records}
    columns = PairColumns.of(records, wins=wins if measure is Measure.WIN_RATE else None)
    return compare(columns.where(counted(columns)), LIMITS[measure])


def alternating(candidates: list[PairRecord], floor: list[PairRecord]) -> list[PairRecord]:
    """As many noise pairs as candidates, one after the other, with new times and ids."""
    both = [record for two in zip(candidates, floor, strict=True) for record in two]
    return [replace(record, at=float(place), pair=f"p{place}") for place, record in enumerate(both)]


def test_refusals_are_compared_on_the_same_requests() -> None:
    records = [pair(0, other=REFUSED, control=REFUSED), pair(1, other=REFUSED), pair(2), pair(3, kind="noise")]
    found = compared(records, Measure.REFUSALS)
    assert (found.candidate, found.reference) == (2 / 3, 1 / 3)
    assert found.pairs == 3
    assert found.excess == pytest.approx(1 / 3)


def test_a_refusal_is_seen_by_its_outcome_or_its_flag() -> None:
    for refused in (side(refused=True), side(outcome="refused")):
        assert compared([pair(other=refused)], Measure.REFUSALS).candidate == 1.0


def test_an_answer_cut_at_its_limit_is_a_broken_format() -> None:
    """Both ways: where control alone was cut, the canary is better."""
    whole, cut = side(), side(finish_reason="max_tokens")
    sides = [(whole, cut), (whole, cut), (cut, whole), (cut, cut), (whole, whole)]
    found = compared([pair(at, control=one, other=two) for at, (one, two) in enumerate(sides)], Measure.FORMAT)
    assert (found.candidate, found.reference) == (3 / 5, 2 / 5)
    assert not found.why_no_pass
    many = [pair(at, other=cut if at % 10 == 0 else whole) for at in range(600)]
    found = compared(many, Measure.FORMAT)
    assert found.evidence is not None
    assert found.evidence.log_worse(found.limit) > math.log(1000)


def test_an_unknown_finish_reason_is_no_proof_of_a_format() -> None:
    """JSON that is broken is still proven. That nothing is broken is not, because answers may have been cut."""
    silent = side(finish_reason="")
    unknown = [pair(at, control=silent, other=silent) for at in range(3000)]
    within = judged(compared(unknown, Measure.FORMAT), wrong_go=0.01, wrong_no_go=0.01)
    assert within.odds_within > within.odds_to_pass
    assert within.standing is CriterionState.NOT_YET
    assert "finish reason) is unknown in 100% of the pairs" in within.sentence
    broken = [pair(at, control=silent, other=replace(silent, json="broken")) for at in range(600)]
    assert judged(compared(broken, Measure.FORMAT), wrong_go=0.01, wrong_no_go=0.01).standing is CriterionState.FAIL
    known = [pair(at, other=silent if at % 20 == 0 else side()) for at in range(3000)]
    assert judged(compared(known, Measure.FORMAT), wrong_go=0.01, wrong_no_go=0.01).standing is CriterionState.PASS


def test_a_candidate_that_times_out_stays_in_the_denominator() -> None:
    """Of ten requests five time out and the rest are answered well: 50 % errors, 50 % equivalent, not 100 %."""
    records = alternating(
        [pair(other=TIMED_OUT) if place % 2 else pair() for place in range(40)],
        [pair(kind="noise") for _ in range(40)],
    )
    assert compared(records, Measure.ERRORS).candidate == 0.5
    assert compared(records, Measure.ERRORS).reference == 0.0
    assert compared(records, Measure.EQUIVALENT).candidate == 0.5
    assert compared(records, Measure.SIMILARITY).candidate == pytest.approx(0.45)
    assert compared(records, Measure.REFUSALS).pairs == 40


def test_the_floor_keeps_its_own_survivors() -> None:
    """Control's second answers that time out count against the floor as the canary's do against the canary."""
    slow = [pair(other=TIMED_OUT) if place % 2 else pair() for place in range(40)]
    records = alternating(slow, [replace(record, kind="noise") for record in slow])
    for measure in (Measure.ERRORS, Measure.EQUIVALENT, Measure.SIMILARITY):
        found = compared(records, measure)
        assert found.candidate == pytest.approx(found.reference)


@pytest.mark.parametrize("outcome", ["budget", "cancelled"])
def test_money_and_a_shutdown_say_nothing_about_a_model(outcome: str) -> None:
    columns = PairColumns.of([pair(other=side(outcome=outcome)), pair(1.0)])
    assert counted(columns).tolist() == [False, True]


@pytest.mark.parametrize("measure", [Measure.ERRORS, Measure.SIMILARITY, Measure.EQUIVALENT, Measure.FACTS])
def test_without_noise_pairs_the_floor_is_not_known(measure: Measure) -> None:
    found = compared([pair(float(at)) for at in range(50)], measure)
    assert found.evidence is None
    assert found.why_not == "no noise pairs: control's own differences are not known"


def test_few_noise_pairs_are_counted_in_the_reason() -> None:
    records = [pair(float(at), kind="noise" if at < 7 else "candidate") for at in range(50)]
    assert compared(records, Measure.FACTS).why_not.startswith("7 noise pairs of 20")


def test_noise_alone_compares_nothing() -> None:
    records = [pair(float(at), kind="noise") for at in range(50)]
    for measure in set(LIMITS) - {Measure.PAIRS}:
        found = compared(records, measure)
        assert found.pairs == 0
        assert found.evidence is None or found.evidence.log_within(found.limit) == pytest.approx(0.0)


@pytest.mark.parametrize("measure", [*LIMITS])
def test_no_pair_and_one_pair_prove_nothing(measure: Measure) -> None:
    assert compared([], measure).why_not or measure is Measure.PAIRS
    one = compared([pair()], measure)
    if one.evidence is not None and not one.why_not:
        assert one.evidence.log_within(one.limit) < math.log(10)
        assert one.evidence.log_worse(one.limit) < math.log(10)


def test_an_unknown_similarity_is_left_out_and_not_zero() -> None:
    """One of forty is NaN: the mean is that of the rest. Of many unknown ones nothing is proven."""
    some = [pair(similarity=float("nan") if place == 3 else 0.8) for place in range(40)]
    floor = [pair(kind="noise", similarity=0.8) for _ in range(40)]
    found = compared(alternating(some, floor), Measure.SIMILARITY)
    assert found.candidate == pytest.approx(0.8)
    assert found.pairs == 39
    assert not found.why_not
    many = [pair(similarity=None if place % 2 else 0.8) for place in range(40)]
    assert compared(alternating(many, floor), Measure.SIMILARITY).why_not == "similarity is unknown in 25% of the pairs"


def test_what_is_not_comparable_is_neither_alike_nor_different() -> None:
    apart = pair(
        comparable=False, not_comparable="tools ran", similarity=None, equivalent=None, differences=("number",)
    )
    records = alternating([apart] * 20 + [pair()] * 20, [pair(kind="noise")] * 40)
    assert compared(records, Measure.EQUIVALENT).pairs == 20
    assert compared(records, Measure.FACTS).candidate == 0.0


def test_changed_facts_are_any_of_their_kinds() -> None:
    kinds = ("number", "date", "money", "percent", "url", "identifier", "negation", "name")
    records = alternating(
        [pair(differences=(kind,)) for kind in kinds] + [pair(differences=("length",))] * 12, [pair(kind="noise")] * 20
    )
    assert compared(records, Measure.FACTS).candidate == pytest.approx(8 / 20)


def test_broken_and_invalid_json_is_a_broken_format() -> None:
    records = [pair(float(at), other=side(json=json)) for at, json in enumerate(("broken", "invalid", "valid", "none"))]
    assert compared(records, Measure.FORMAT).candidate == 0.5


def test_latency_that_was_never_concurrent_is_shown_and_not_known() -> None:
    records = [pair(float(at), other=side(seconds=2.0)) for at in range(200)]
    found = compared(records, Measure.LATENCY_P95)
    assert found.evidence is None
    assert (found.candidate, found.reference, found.excess) == (2.0, 1.0, 2.0)
    assert found.why_not.startswith("never comparable")


def test_latency_is_compared_where_both_ran_at_once() -> None:
    records = [
        pair(float(at), concurrent=at % 2 == 0, other=side(seconds=1.0 if at % 2 == 0 else 9.0)) for at in range(1600)
    ]
    found = compared(records, Measure.LATENCY_P95)
    assert found.pairs == 800
    assert found.candidate == 1.0
    assert found.evidence is not None


def at_times(slow: float) -> list[PairRecord]:
    """Half of the pairs run at once; in a tenth of all, which do not, the canary takes ``slow`` times as long."""
    took = np.random.default_rng(6).lognormal(0.0, 0.5, (4000, 2))
    return [
        pair(
            float(at),
            concurrent=at % 10 < 5,
            control=side(seconds=float(theirs)),
            other=side(seconds=float(mine) * (slow if at % 10 == 9 else 1.0)),
        )
        for at, (theirs, mine) in enumerate(took)
    ]


def test_a_slow_candidate_hides_behind_no_queue() -> None:
    """While it is slow the queue is long, and nothing runs at once: no pair that counts would have a slow answer."""
    within = compared(at_times(1.0), Measure.LATENCY_P95).evidence
    hidden = compared(at_times(9.0), Measure.LATENCY_P95).evidence
    assert within is not None
    assert hidden is not None
    assert within.log_within(1.2) > math.log(100)
    assert hidden.log_within(1.2) < 0.0
    assert hidden.log_worse(1.2) < math.log(100)  # another load may be why


def test_times_that_are_mostly_unknown_prove_nothing() -> None:
    """A time below 0 is of a clock that was set, and no quick answer."""
    records = [pair(float(at), concurrent=True, other=side(seconds=-1.0 if at % 5 == 0 else 0.5)) for at in range(1000)]
    found = compared(records, Measure.LATENCY_P95)
    assert found.pairs == 800
    assert found.why_not == "the time is unknown in 20% of the pairs"


def test_timeouts_are_in_the_p95s_pairs_and_not_its_seconds() -> None:
    """They are errors. As endless answers they would make an equal canary slow: control's leave no pair."""
    records = [pair(float(at), concurrent=True, other=TIMED_OUT if at % 10 == 0 else side()) for at in range(300)]
    found = compared(records, Measure.LATENCY_P95)
    assert found.candidate == 1.0
    assert found.pairs == 300


def test_unknown_costs_are_not_free() -> None:
    records = [pair(float(at), other=side(cost_micros=None if at % 5 == 0 else 900)) for at in range(300)]
    found = compared(records, Measure.COST)
    assert found.pairs == 240
    assert found.candidate == 900.0
    assert found.why_not == "cost is unknown in 20% of the pairs"


def test_nobody_judged_means_no_win_rate() -> None:
    columns = PairColumns.of([pair()])
    assert compare(columns, LIMITS[Measure.WIN_RATE]).why_not == "no pair was judged"
    assert compared([pair()], Measure.WIN_RATE).candidate == 1.0


def test_an_outcome_of_a_newer_format_is_in_the_denominator_alone() -> None:
    records = [pair(0.0, other=side(outcome="thinking", refused=True)), pair(1.0)]
    assert compared(records, Measure.REFUSALS).candidate == 0.0
    assert compared(records, Measure.REFUSALS).pairs == 2


def test_equal_candidates_that_rarely_repeat_themselves_are_equivalent() -> None:
    """60 % equivalent, as control is with itself: far under 70 %, and at least 70 % of the floor."""
    found = compare(drawn(ShadowTraffic(), 4000, 1), LIMITS[Measure.EQUIVALENT])
    assert 0.57 < found.candidate < 0.63
    assert found.evidence is not None
    assert found.evidence.log_within(found.limit) > math.log(100)


def test_lies_above_the_floor_are_found() -> None:
    """2 % of the answers have other facts, beyond the 1 % that control changes by itself; the margin is one point."""
    found = compare(drawn(ShadowTraffic(facts=0.03), 60_000, 2), LIMITS[Measure.FACTS])
    assert found.evidence is not None
    assert found.evidence.log_worse(found.limit) > math.log(1750)


def test_every_outcome_has_a_place_in_the_traffic_of_the_bench() -> None:
    columns = drawn(ShadowTraffic(errors=0.05), 5000, 3)
    assert set(np.unique(columns.other.outcome)) == {OUTCOMES.index(name) for name in ("ok", "refused", "timeout")}
    assert isinstance(LIMITS[Measure.PAIRS], Criterion)
