"""The verdict of a gate run: four numbers, in which order they decide, and what may never pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from killswitch.gate.judging import GateOutcome, judged, looks
from killswitch.gate.observations import Observation
from killswitch.roles.bars import Bars
from killswitch.roles.gate_record import GateNumber, GateVerdict
from tests.unit.gate.gate_rows import gate_rows

PASS, FAIL, FEW, APPROVAL, UNKNOWN = (
    GateVerdict.PASS,
    GateVerdict.FAIL,
    GateVerdict.TOO_FEW_ROWS,
    GateVerdict.NEEDS_APPROVAL,
    GateVerdict.UNKNOWN,
)


def outcome(rows: list[Observation], *, of: int | None = None, point_estimates: bool = False) -> GateOutcome:
    return judged(rows, Bars(), rows=of or len(rows), point_estimates=point_estimates)


def number(name: str, found: GateOutcome) -> GateNumber:
    return next(one for one in found.numbers if one.name == name)


def test_a_candidate_like_prod_passes_with_400_rows() -> None:
    found = outcome(gate_rows(400))
    assert found.verdict is PASS
    assert [one.name for one in found.numbers] == ["schema", "agreement", "latency", "cost"]
    assert {one.verdict for one in found.numbers} == {PASS}


def test_50_rows_without_a_failure_are_too_few_and_it_says_so() -> None:
    found = outcome(gate_rows(50))
    assert found.verdict is FEW
    schema = number("schema", found)
    assert schema.rows_missing == 249
    assert "50 rows cannot show 99.00%, even without a failure: 299 are needed" in schema.sentence


def test_the_reason_of_too_few_rows_is_short() -> None:
    """All sentences of all numbers were the headline: eleven lines on a screen, and again below it."""
    assert outcome(gate_rows(50)).why == (
        "schema, agreement and latency are not clear on 50 rows; about 249 more rows would probably decide"
    )
    assert outcome(gate_rows(290)).why == ("schema is not clear on 290 rows; about 10 more rows would probably decide")


def test_one_row_says_nothing_odd_of_how_many_more() -> None:
    """A cost of half of prod's was said to be near its bar, because one row has no interval."""
    found = outcome(gate_rows(1, dearer=0.5))
    assert found.why.endswith("how many rows would decide cannot be said yet")
    assert "too little is known to say how many" in number("cost", found).sentence
    assert "1 row is too few" not in number("latency", found).sentence
    assert "too few for the slowest 5%: at least 59 are needed" in number("latency", found).sentence


def test_a_cost_that_is_not_known_names_the_usage_that_lacks() -> None:
    """It asked for prices, which are checked before the run."""
    rows = [replace(one, candidate_cost=None) for one in gate_rows(60)]
    said = number("cost", outcome(rows)).sentence
    assert said.startswith("the cost of 60 of 60 rows is not known, because answers of the candidate do not say")
    assert "`usage`" in said
    both = [replace(one, prod_cost=None) for one in rows]
    assert "answers of prod and of the candidate" in number("cost", outcome(both)).sentence


def test_299_rows_without_a_failure_show_the_schema() -> None:
    assert number("schema", outcome(gate_rows(299))).verdict is PASS
    assert number("schema", outcome(gate_rows(298))).verdict is FEW


def test_a_single_row_decides_nothing() -> None:
    found = outcome(gate_rows(1))
    assert found.verdict is FEW
    assert number("cost", found).high is None


def test_a_candidate_that_always_fails_fails_at_the_first_look() -> None:
    found = outcome(gate_rows(79, failed=79), of=5000)
    assert found.verdict is FAIL
    assert number("latency", found).verdict is UNKNOWN
    assert found.why.startswith("schema: 0 of 79 answers")


def test_a_failed_call_is_a_mismatch_with_a_cost_and_no_latency() -> None:
    found = outcome(gate_rows(400, failed=4))
    assert number("schema", found).value == number("agreement", found).value == 0.99
    assert number("latency", found).rows == 396
    assert number("cost", found).rows == 400


def test_a_dearer_candidate_needs_approval() -> None:
    found = outcome(gate_rows(400, dearer=1.2))
    assert found.verdict is APPROVAL
    assert number("cost", found).value == pytest.approx(1.2, abs=0.001)


def test_a_worse_candidate_that_is_dearer_fails() -> None:
    assert outcome(gate_rows(400, dearer=1.2, misfits=40)).verdict is FAIL


def test_a_dearer_candidate_waits_until_the_rest_is_known() -> None:
    assert outcome(gate_rows(50, dearer=1.2)).verdict is FEW


@pytest.mark.parametrize("side", ["prod", "candidate"])
def test_a_single_unknown_cost_makes_the_run_unknown(side: str) -> None:
    """It is never counted as nothing."""
    rows = gate_rows(400)
    rows[7] = replace(rows[7], prod_cost=None) if side == "prod" else replace(rows[7], candidate_cost=None)
    found = outcome(rows)
    assert found.verdict is UNKNOWN
    assert number("cost", found).value is None
    assert "1 of 400 rows is not known" in number("cost", found).sentence


def test_prods_lost_attempts_excuse_no_dearer_candidate() -> None:
    """3 % of prod's calls lost an attempt that may have cost 30 times an answer: a mean that no bill has shown."""
    rows = gate_rows(1000, dearer=1.2)
    stormy = [
        replace(one, prod_cost=30_000, prod_guessed=29_000) if at % 33 == 0 else one for at, one in enumerate(rows)
    ]
    assert outcome(stormy).verdict is not PASS
    assert "on 31 rows an attempt was lost" in number("cost", outcome(stormy)).sentence
    assert outcome(stormy, point_estimates=True).verdict is APPROVAL


def test_lost_attempts_of_the_candidate_make_it_no_dearer() -> None:
    """They may have been billed, so it does not pass; nor is it shown to be dearer."""
    rows = gate_rows(1000)
    stormy = [
        replace(one, candidate_cost=30_000, candidate_guessed=29_000) if at % 10 == 0 else one
        for at, one in enumerate(rows)
    ]
    assert number("cost", outcome(stormy)).verdict is FEW
    assert number("cost", outcome([replace(one, candidate_guessed=0) for one in stormy])).verdict is APPROVAL


def test_prods_cost_may_be_guessed_in_all_rows() -> None:
    guessed = [replace(one, prod_guessed=one.prod_cost or 0) for one in gate_rows(400)]
    assert outcome(guessed).verdict is UNKNOWN
    with pytest.raises(ValueError, match="guessed"):
        outcome([replace(one, prod_guessed=1_000_000) for one in gate_rows(400)])


def test_free_models_cost_no_more_than_each_other() -> None:
    free = [replace(one, prod_cost=0, candidate_cost=0) for one in gate_rows(400)]
    assert outcome(free).verdict is PASS
    dear = [replace(one, prod_cost=0) for one in gate_rows(400)]
    assert outcome(dear).verdict is APPROVAL


def test_a_slower_candidate_fails() -> None:
    found = outcome(gate_rows(400, slower=1.6))
    assert found.verdict is FAIL
    assert number("latency", found).value == pytest.approx(1.6)


def test_latencies_in_whole_milliseconds_with_ties_are_judged() -> None:
    rows = [replace(one, prod_seconds=0.012, candidate_seconds=0.012) for one in gate_rows(400)]
    assert number("latency", outcome(rows)).verdict is PASS
    rows = [replace(one, prod_seconds=0.0) for one in rows]
    assert number("latency", outcome(rows)).verdict is UNKNOWN


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("side", ["prod", "candidate"])
def test_what_is_no_latency_is_refused(side: str, bad: float) -> None:
    rows = gate_rows(60)
    rows[3] = replace(rows[3], prod_seconds=bad) if side == "prod" else replace(rows[3], candidate_seconds=bad)
    with pytest.raises(ValueError, match="row 3"):
        outcome(rows)


@pytest.mark.parametrize("count", [0, 61])
def test_rows_that_the_set_does_not_have_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="of a golden set of 60 rows"):
        outcome(gate_rows(max(count, 1))[:count], of=60)


def test_between_two_looks_nothing_is_decided() -> None:
    found = outcome(gate_rows(100, misfits=100), of=400)
    assert looks(400) == (50, 100, 200, 400)
    assert found.verdict is FAIL
    found = outcome(gate_rows(101, misfits=101), of=400)
    assert found.verdict is FEW
    assert "the next look is after 200" in found.why


def test_a_look_that_cannot_show_the_schema_passes_nothing() -> None:
    """At 300 of 600 rows all four numbers are good, and the whole error of passing is kept for the end."""
    found = outcome(gate_rows(300), of=600)
    assert {one.verdict for one in found.numbers} == {PASS}
    assert found.verdict is FEW
    assert outcome(gate_rows(600)).verdict is PASS


def test_a_number_exactly_at_its_bar_names_no_missing_rows() -> None:
    found = number("schema", outcome(gate_rows(1000, misfits=10)))
    assert (found.verdict, found.rows_missing) == (FEW, None)
    assert "too near to its bar to say" in found.sentence


def test_the_rows_missing_are_enough_at_the_same_rate() -> None:
    """3 failures of 600 are too few rows; with the rows that it asks for, at the same rate, the schema passes."""
    found = number("schema", outcome(gate_rows(600, misfits=3)))
    assert found.verdict is FEW
    assert found.rows_missing is not None
    size = 600 + found.rows_missing
    assert number("schema", outcome(gate_rows(size, misfits=size // 200))).verdict is PASS


def test_the_same_rows_say_the_same() -> None:
    rows = gate_rows(400, misfits=2, mismatches=9, own=7)
    assert outcome(rows) == outcome(list(rows))


Worse = Callable[[Observation], Observation]
_misses: Worse = lambda one: replace(one, schema_ok=False)  # noqa: E731  # a name for each way to be worse
_differs: Worse = lambda one: replace(one, agrees=False)  # noqa: E731
_slows: Worse = lambda one: replace(one, candidate_seconds=10 * (one.candidate_seconds or 1.0))  # noqa: E731


@given(st.integers(1, 1200), st.integers(0, 12), st.integers(0, 30), st.integers(0, 30), st.data())
@example(299, 0, 0, 0, None)
def test_a_failure_more_never_makes_a_verdict_better(
    count: int, misfits: int, mismatches: int, own: int, data: st.DataObject | None
) -> None:
    """Neither of a number nor of the run: a miss of the schema, or another answer than prod's, is never good."""
    rows = gate_rows(count, misfits=min(misfits, count), mismatches=min(mismatches, count), own=min(own, count))
    at = 150 if data is None else data.draw(st.integers(0, count - 1))
    before = outcome(rows)
    for worse, name in ((_misses, "schema"), (_differs, "agreement"), (_slows, "latency")):
        after = outcome([*rows[:at], worse(rows[at]), *rows[at + 1 :]])
        assert after.verdict is not PASS or before.verdict is PASS
        assert number(name, after).verdict is not PASS or number(name, before).verdict is PASS


def test_point_estimates_decide_by_the_values_alone() -> None:
    found = outcome(gate_rows(50, mismatches=2), point_estimates=True)
    assert found.verdict is PASS
    assert "a candidate of 97.00% would pass this with a chance of 21.81%" in number("schema", found).sentence
    assert "a candidate of 90.00% would pass this with a chance of 11.17%" in number("agreement", found).sentence
    assert outcome(gate_rows(50, mismatches=3), point_estimates=True).verdict is FAIL
    assert outcome(gate_rows(50, slower=1.31), point_estimates=True).verdict is FAIL
    assert outcome(gate_rows(50, dearer=1.06), point_estimates=True).verdict is APPROVAL


def test_point_estimates_ask_all_rows() -> None:
    assert outcome(gate_rows(50), of=100, point_estimates=True).verdict is FEW


def test_point_estimates_do_not_hide_an_unknown_cost() -> None:
    rows = gate_rows(50)
    rows[0] = replace(rows[0], candidate_cost=None)
    assert outcome(rows, point_estimates=True).verdict is UNKNOWN


def test_5000_rows_are_judged_with_little_work() -> None:
    """Judging is linear in the rows: no step copies or sorts them more than a few times."""
    draw = np.random.default_rng(2)
    seconds = np.exp(draw.normal(size=(5000, 2))).tolist()
    rows = [
        replace(one, prod_seconds=slow, candidate_seconds=other)
        for one, (slow, other) in zip(gate_rows(5000), seconds, strict=True)
    ]
    assert outcome(rows).verdict is PASS
