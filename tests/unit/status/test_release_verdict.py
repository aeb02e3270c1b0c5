"""What others may release on: `healthy` only on young proof of this very step, `tripped` only of a tripped flag."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.flags.flag import Flag, set_stage
from killswitch.flags.transitions import Actor, State
from killswitch.model import Cohort, Finding, Matcher, Reason, Rollout, Verdict
from killswitch.status.release_verdict import ReleaseVerdict, Word, release_verdict
from killswitch.status.reports import CycleReport, RolloutReport
from tests.doubles import flags
from tests.doubles.flags import ROLLOUT
from tests.doubles.pages import BREACH, HEALTHY

TICK = 1_776_000_300.0
ARMED = flags.armed()
NO_ONE, AA = flags.armed(percent=0.0), flags.armed(stage="aa")
SHADOW = flags.armed(stage="shadow", percent=0.0)
UNKNOWN = replace(HEALTHY, verdict=Verdict.UNKNOWN, reason=Reason.TOO_FEW_REQUESTS, sentence="too few")
SUSPECT = replace(HEALTHY, verdict=Verdict.SUSPECT, sentence="suspect")
RULES = Rollout(ROLLOUT, "model-old", "model-new", {one: (Matcher("cohort", "=", one.value),) for one in Cohort}, ())


def report(flag: Flag | None = ARMED, *findings: Finding, last_good: float = TICK, **changes: Any) -> CycleReport:
    one = RolloutReport(ROLLOUT, "s", flag=flag, rules=RULES, findings=findings or (HEALTHY,), last_good=last_good)
    return replace(CycleReport(TICK, 1000.0, 0.1, {ROLLOUT: one}), **changes)


def verdict(flag: Flag = ARMED, cycle: CycleReport | None = None, **changes: Any) -> ReleaseVerdict:
    """Of a healthy rollout, but for what the test changes."""
    values: dict[str, Any] = {"age": 10.0, "oldest": 60.0, "stale": False, "held": False}
    return release_verdict(flag, report() if cycle is None else cycle, **{**values, **changes})


def test_young_proof_of_this_step_is_healthy() -> None:
    found = verdict()
    assert (found.word, found.may_go_on, found.roll_back) == (Word.HEALTHY, True, False)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (verdict(age=61.0), Word.UNKNOWN),
        (verdict(age=None), Word.UNKNOWN),
        (verdict(stale=True), Word.UNKNOWN),
        (verdict(held=None), Word.UNKNOWN),
        (verdict(held=True), Word.HELD),
        (verdict(cycle=report(ARMED, HEALTHY, UNKNOWN)), Word.UNKNOWN),
        (verdict(cycle=report(ARMED, HEALTHY, SUSPECT)), Word.SUSPECT),
        (verdict(cycle=report(ARMED, SUSPECT, BREACH, UNKNOWN)), Word.BREACH),
        (verdict(cycle=report(last_good=TICK - 30)), Word.UNKNOWN),
        (verdict(cycle=report(store_problem="etcd: no answer")), Word.UNKNOWN),
        (verdict(cycle=report(source_problem="prometheus: no answer")), Word.UNKNOWN),
        (verdict(cycle=report(flags.armed(generation=2))), Word.UNKNOWN),
        (verdict(cycle=report(None)), Word.UNKNOWN),
        (verdict(cycle=report(reports={})), Word.UNKNOWN),
        (verdict(NO_ONE, report(NO_ONE)), Word.UNKNOWN),
        (verdict(AA, report(AA)), Word.UNKNOWN),
        (verdict(SHADOW, report(SHADOW)), Word.UNKNOWN),
        (verdict(replace(ARMED, state=State.TRIPPED, canary_percent=0.0)), Word.UNKNOWN),
    ],
)
def test_whatever_is_missing_waits(found: ReleaseVerdict, word: Word) -> None:
    """The last row is an unreadable flag, which is shown as a tripped one without a trip."""
    assert found.word is word
    assert not found.may_go_on
    assert not found.roll_back
    assert found.sentence


def test_no_cycle_yet_waits() -> None:
    assert release_verdict(ARMED, None, age=None, oldest=60.0, stale=False, held=False).word is Word.UNKNOWN


def test_a_rollout_without_judged_rules_waits() -> None:
    one = RolloutReport(ROLLOUT, "s", flag=ARMED, rules=RULES, findings=(), last_good=TICK)
    assert verdict(cycle=CycleReport(TICK, 1000.0, 0.1, {ROLLOUT: one})).word is Word.UNKNOWN


def test_a_step_since_the_cycle_is_not_judged() -> None:
    raised = set_stage(
        ARMED, rollout=ROLLOUT, percent=60.0, stage="custom", now=TICK, by="ann", actor=Actor.PERSON
    )  # fmt: skip
    assert verdict(raised).word is Word.UNKNOWN


@given(
    age=st.none() | st.floats(0, 1e6),
    stale=st.booleans(),
    held=st.none() | st.booleans(),
    findings=st.lists(st.sampled_from([HEALTHY, SUSPECT, UNKNOWN, BREACH])),
)
def test_a_tripped_flag_is_rolled_back_whatever_else_is_not_known(
    age: float | None, stale: bool, held: bool | None, findings: list[Finding]
) -> None:
    """And of an armed one, nothing but young health of all rules goes on."""
    cycle = report(ARMED, *findings)
    assert verdict(flags.tripped(), cycle, age=age, stale=stale, held=held).roll_back
    found = verdict(ARMED, cycle, age=age, stale=stale, held=held)
    assert not found.roll_back
    proven = age is not None and age <= 60 and not stale and held is False
    assert found.may_go_on == (proven and all(one is HEALTHY for one in findings))
