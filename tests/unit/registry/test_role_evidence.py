"""What lets a candidate take users: the newest run of its pair, or a waiver."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.errors import Refused
from killswitch.roles.gate_record import GateApproval, GateRecord, GateVerdict
from killswitch.roles.promotable import GateFacts, allowing_run, holding_waiver, why_no_waiver
from killswitch.roles.waiver import Waiver
from tests.doubles.gate_records import AT, NEW, OLD, gate_run, role, waiver

DAY = 86_400.0
PASS = gate_run()
APPROVED = GateApproval("bea@desk", AT - 60.0, "the price is agreed")
FAILED_BEFORE = gate_run("20260921T090000Z-a0", verdict=GateVerdict.FAIL, ended_at=AT - 7200.0)


def facts(*runs: GateRecord, waived: Waiver | None = None, taken_back_at: float | None = None) -> GateFacts:
    return GateFacts(role(), runs, waived, taken_back_at, setup="s" * 64, max_age=7 * DAY, now=AT)


def test_a_passed_run_of_this_pair_allows_it() -> None:
    assert allowing_run(facts(gate_run("20260920T120000Z-a0", prod="other"), PASS)) == PASS


def test_an_approved_run_allows_it() -> None:
    approved = replace(gate_run(verdict=GateVerdict.NEEDS_APPROVAL), approval=APPROVED)
    assert allowing_run(facts(approved)) == approved


def test_a_run_that_cannot_say_does_not_void_a_pass() -> None:
    later = gate_run("20260921T130000Z-a2", verdict=GateVerdict.TOO_FEW_ROWS, ended_at=AT - 60.0)
    assert allowing_run(facts(PASS, later)) == PASS


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (gate_run(prod="gpt-4"), r"no gate run of role triage .* has compared gpt-4.1\S* with gpt-5\S*; run it: `kill"),
        (gate_run(candidate="gpt-6"), "no gate run"),
        (gate_run(verdict=GateVerdict.FAIL), "says FAIL: agreement 0.93, bar 0.95; keep prod"),
        (gate_run(verdict=GateVerdict.NEEDS_APPROVAL), "needs approval.*role approve triage 20260921T120000Z-a1"),
        (gate_run(verdict=GateVerdict.TOO_FEW_ROWS), "says TOO_FEW_ROWS"),
        (gate_run(verdict=GateVerdict.UNKNOWN), "says UNKNOWN"),
        (gate_run(ended_at=AT - 8 * DAY), "is 8d old, over max_evidence_age of 7d"),
        (gate_run(ended_at=AT + 600.0), "in the future; check the clocks"),
        (gate_run(setup="t" * 64), "role file of triage has changed"),
        (gate_run(golden=""), "which golden set"),
    ],
)
def test_a_run_that_does_not_count_is_refused_with_the_fix(run: GateRecord, said: str) -> None:
    with pytest.raises(Refused, match=said):
        allowing_run(facts(run))


def test_a_later_fail_voids_a_pass() -> None:
    """Whatever its setup is: the bars may have been tightened, and the pair has not reached them."""
    later = gate_run("20260921T130000Z-a2", verdict=GateVerdict.FAIL, ended_at=AT - 60.0, setup="t" * 64)
    with pytest.raises(Refused, match="20260921T130000Z-a2 says FAIL"):
        allowing_run(facts(later, PASS))


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (PASS, "said FAIL of the same rows and setup, so it may be luck"),
        (gate_run(setup="t" * 64, bar=0.9), r"bar of agreement was changed since \(0.95, now 0.9\)"),
        (gate_run(setup="t" * 64, point_estimates=True), "leaves them out"),
        (gate_run(golden="h" * 64), "only the golden rows were changed"),
        (gate_run(setup="t" * 64), "only what answers are held against was changed"),
        (gate_run(setup="t" * 64, asking="q" * 64, bar=0.9), "bar of agreement was changed"),
    ],
)
def test_a_pass_shopped_for_after_a_fail_needs_a_person(passed: GateRecord, said: str) -> None:
    """The same question asked until it passes, an eased bar, or no intervals: a person must approve it."""
    asked = replace(facts(FAILED_BEFORE, passed), setup=passed.setup)
    with pytest.raises(Refused, match=said):
        allowing_run(asked)
    approved = replace(passed, approval=APPROVED)
    assert allowing_run(replace(asked, runs=(FAILED_BEFORE, approved))) == approved


@pytest.mark.parametrize("golden", ["g" * 64, "h" * 64])
def test_a_pass_after_a_fix_needs_no_one(golden: str) -> None:
    """Another prompt: what was asked is not what failed."""
    passed = gate_run(golden=golden, setup="t" * 64, asking="q" * 64)
    assert allowing_run(replace(facts(FAILED_BEFORE, passed), setup=passed.setup)) == passed


def test_a_cheaper_question_after_a_dear_run_needs_a_person() -> None:
    """A new table of prices, or luck, turns NEEDS_APPROVAL into PASS; once a person has approved, no one asks again."""
    dear = replace(FAILED_BEFORE, verdict=GateVerdict.NEEDS_APPROVAL)
    with pytest.raises(Refused, match="said NEEDS_APPROVAL of the same rows"):
        allowing_run(facts(dear, PASS))
    assert allowing_run(facts(replace(dear, approval=APPROVED), PASS)) == PASS


@pytest.mark.parametrize(("rows", "counts"), [(1, False), (49, False), (50, True)])
def test_plain_values_of_a_few_rows_need_a_person(rows: int, counts: bool) -> None:
    few = gate_run(point_estimates=True, asked_rows=rows)
    if counts:
        assert allowing_run(facts(few)) == few
        return
    with pytest.raises(Refused, match=r"plain values of .* role approve"):
        allowing_run(facts(few))
    assert allowing_run(facts(replace(few, approval=APPROVED))).asked_rows == rows


def test_nothing_counts_from_before_a_candidate_was_taken_back() -> None:
    asked = facts(PASS, waived=waiver(at=AT - 600.0), taken_back_at=AT - 300.0)
    with pytest.raises(Refused, match=r"was taken back at .*add golden rows that show what went wrong"):
        allowing_run(asked)
    assert holding_waiver(asked) is None
    assert "before the candidate was taken back" in str(why_no_waiver(asked))
    assert holding_waiver(replace(asked, waiver=waiver(at=AT - 60.0))) is not None


@pytest.mark.parametrize(
    ("waived", "said"),
    [
        (waiver(expires_at=AT), "the waiver of ann expired at"),
        (waiver(candidate="gpt-6"), "is for gpt-4.1.* and gpt-6, not for this pair"),
        (waiver(prod=None), "is for None and"),
        (waiver(at=AT + 60.0), "in the future; check the clocks"),
    ],
)
def test_a_waiver_that_does_not_hold_is_explained(waived: Waiver, said: str) -> None:
    asked = facts(waived=waived)
    assert holding_waiver(asked) is None
    assert said.split(".*", maxsplit=1)[0] in str(why_no_waiver(asked))


def test_a_role_without_prod_says_how_to_name_one() -> None:
    with pytest.raises(Refused, match="killswitch role create triage --prod MODEL"):
        allowing_run(replace(facts(PASS), role=role(prod=None)))
    assert holding_waiver(replace(facts(waived=waiver(prod=None)), role=role(prod=None))) is not None


def test_the_pair_is_exact() -> None:
    """A run the other way round is of no use."""
    with pytest.raises(Refused, match="no gate run"):
        allowing_run(facts(gate_run(prod=NEW, candidate=OLD)))
