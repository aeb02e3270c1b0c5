from __future__ import annotations

import math

import pytest

from killswitch.shadow.criteria import DEFAULTS, OPTIONAL, Measure
from killswitch.shadow.evidence.betting import Excess, Sample
from killswitch.shadow.evidence.measures import NEVER_CONCURRENT, Compared
from killswitch.shadow.findings import CriterionFinding, CriterionState, compared_as_points, judged

LIMITS = {one.measure: one for one in (*DEFAULTS, *OPTIONAL)}


def signs(better: int, same: int, worse: int, measure: Measure = Measure.REFUSALS, reference: int = 14) -> Compared:
    """A paired comparison in which control had the event ``reference`` times."""
    pairs = better + same + worse
    return Compared(
        LIMITS[measure],
        (reference + worse - better) / pairs,
        reference / pairs,
        (worse - better) / pairs,
        LIMITS[measure].limit,
        pairs,
        evidence=Excess(Sample.of_signs(better, same, worse)),
    )


def of(comparison: Compared) -> CriterionFinding:
    return judged(comparison, wrong_go=0.01, wrong_no_go=0.001)


def test_a_proven_fault_says_its_numbers_and_its_margin() -> None:
    found = of(signs(2, 1142, 96))
    assert found.standing is CriterionState.FAIL
    assert found.sentence == "refusals: 8.7% against 1.1% (n = 1,240 pairs): worse by more than 0.50 pp"
    assert found.low > found.limit
    assert found.odds_worse >= found.odds_to_fail == 1000.0
    assert found.more_pairs is None


def test_a_proven_equal_is_a_pass_with_its_margin() -> None:
    found = of(signs(5, 9990, 5, reference=110))
    assert found.standing is CriterionState.PASS
    assert found.sentence == "refusals: 1.1% against 1.1% (n = 10,000 pairs): not worse by 0.50 pp"
    assert found.low < 0.0 < found.high < found.limit
    assert found.odds_within >= found.odds_to_pass == 100.0


def test_an_open_criterion_says_how_many_more_pairs() -> None:
    """The number is what it takes if all that follows is like what came."""
    comparison = signs(1, 998, 1)
    found = of(comparison)
    assert found.standing is CriterionState.NOT_YET
    assert found.more_pairs is not None
    assert found.reason == f"about {found.more_pairs:,} more pairs needed"
    assert comparison.evidence is not None
    needed = 1.0 + found.more_pairs / 1000
    assert comparison.evidence.grown(needed * 1.02).log_within(0.005) >= math.log(100)
    assert comparison.evidence.grown(needed * 0.98).log_within(0.005) < math.log(100)


@pytest.mark.parametrize(("worse", "state"), [(14, CriterionState.NOT_YET), (24, CriterionState.FAIL)])
def test_evidence_below_its_line_is_no_fail(worse: int, state: CriterionState) -> None:
    """Of 1,000 pairs 14 refused by the canary alone speak against it, yet not at 1 in 1,000; 24 do."""
    found = of(signs(0, 1000 - worse, worse))
    assert found.odds_worse > 1.5
    assert found.standing is state
    assert (found.odds_worse >= found.odds_to_fail) == (state is CriterionState.FAIL)


def test_a_candidate_at_the_margin_is_promised_no_number() -> None:
    found = of(signs(0, 9950, 50))
    assert found.standing is CriterionState.NOT_YET
    assert found.more_pairs is None
    assert found.reason == (
        "worse than control, not yet proven by how much; "
        "cannot be reached at these numbers: the canary is at the margin"
    )
    assert found.odds_worse_at_all > 1000


def test_what_is_never_comparable_says_why() -> None:
    comparison = Compared(LIMITS[Measure.LATENCY_P95], 2.1, 2.0, 1.05, 1.2, 900, why_not=NEVER_CONCURRENT)
    found = of(comparison)
    assert found.standing is CriterionState.NOT_YET
    assert compared_as_points(comparison).standing is CriterionState.NOT_YET
    assert found.sentence == f"p95 latency: 2.10 s against 2 s (n = 900 pairs): {NEVER_CONCURRENT}"


def test_a_reason_against_proof_is_stronger_than_the_proof() -> None:
    """Where a feature is unknown in many pairs, nothing is proven with the rest."""
    comparison = signs(0, 5000, 0)
    unknown = Compared(comparison.criterion, 0.0, 0.0, 0.0, 0.005, 5000, evidence=comparison.evidence, why_not="why")
    assert of(unknown).standing is CriterionState.NOT_YET
    assert of(unknown).reason == "why"


@pytest.mark.parametrize(
    ("measure", "numbers", "said"),
    [
        (Measure.FACTS, (0.03, 0.01), "changed facts: 3.0% against 1.0% of control against itself"),
        (Measure.SIMILARITY, (0.812, 0.83), "similarity: 0.812 against 0.83 of control against itself"),
        (Measure.LATENCY_P95, (2.1, 2.0), "p95 latency: 2.10 s against 2 s"),
        (Measure.COST, (900.0, math.nan), "cost a call: $0.0009 against unknown"),
        (Measure.TOKENS, (250.0, 300.0), "output tokens: 250 against 300"),
        (Measure.WIN_RATE, (0.48, 0.5), "win rate: 48.0% (n = 12 pairs)"),
        (Measure.ERRORS, (math.nan, math.nan), "errors: no pairs"),
    ],
)
def test_each_measure_is_said_in_its_own_unit(measure: Measure, numbers: tuple[float, float], said: str) -> None:
    comparison = Compared(LIMITS[measure], *numbers, 0.0, LIMITS[measure].limit, 12, why_not="no pairs")
    assert of(comparison).sentence.startswith(said)


@pytest.mark.parametrize(
    ("measure", "candidate", "excess", "standing"),
    [
        (Measure.ERRORS, 0.010, 0.0, CriterionState.PASS),
        (Measure.ERRORS, 0.011, 0.001, CriterionState.FAIL),
        (Measure.ERRORS, 0.01, math.nan, CriterionState.NOT_YET),
        (Measure.WIN_RATE, 0.50, 0.0, CriterionState.FAIL),
        (Measure.WIN_RATE, 0.51, -0.01, CriterionState.PASS),
        (Measure.SIMILARITY, 0.95, math.nan, CriterionState.FAIL),
        (Measure.SIMILARITY, 0.96, math.nan, CriterionState.PASS),
        (Measure.EQUIVALENT, 0.70, math.nan, CriterionState.PASS),
        (Measure.EQUIVALENT, 0.69, math.nan, CriterionState.FAIL),
        (Measure.EQUIVALENT, math.nan, math.nan, CriterionState.NOT_YET),
        (Measure.LATENCY_P95, 1.0, 1.19, CriterionState.PASS),
        (Measure.LATENCY_P95, 1.0, 1.2, CriterionState.FAIL),
        (Measure.PAIRS, 10_001, 10_001, CriterionState.PASS),
        (Measure.PAIRS, 10_000, 10_000, CriterionState.NOT_YET),
    ],
)
def test_as_points_the_bare_numbers_are_compared(
    measure: Measure, candidate: float, excess: float, standing: CriterionState
) -> None:
    pairs = int(candidate) if measure is Measure.PAIRS else 100
    comparison = Compared(LIMITS[measure], candidate, math.nan, excess, LIMITS[measure].limit, pairs)
    assert compared_as_points(comparison).standing is standing


def test_as_points_says_that_it_is_a_bare_point() -> None:
    comparison = Compared(LIMITS[Measure.ERRORS], 0.004, 0.003, 0.001, 0.005, 100, 10)
    assert compared_as_points(comparison).sentence == (
        "errors: 0.40% against 0.30% of control against itself (n = 100 pairs and 10 noise pairs): "
        "not above: no, as a bare point"
    )
