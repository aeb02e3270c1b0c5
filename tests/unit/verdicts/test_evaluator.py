"""What the judge remembers: windows that never reach before arming, streaks, twins, and one rule's bug."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest

from killswitch.flags.flag import arm
from killswitch.model import (
    Counts,
    Decide,
    Finding,
    Measurement,
    Reading,
    Readings,
    Reason,
    Rollout,
    Rule,
    Unreadable,
    Verdict,
    Want,
)
from killswitch.verdicts.armed_rollout import ArmedRollout
from killswitch.verdicts.evaluator import JUDGED, PER_USER, WINDOW, Evaluator, answer_all
from tests.doubles.scripted_source import ALL_RULES, ERRORS, REFUSALS, rollout

NOW = 1_776_600_000.0
Pair = tuple[Measurement, Measurement]
OVER, WITHIN = (Counts(30.0, 100.0), Counts(10.0, 1000.0)), (Counts(1.0, 100.0), Counts(10.0, 1000.0))


def armed_rollout(rules: Sequence[Rule] = (ERRORS,), armed_at: float = NOW, **changes: object) -> ArmedRollout:
    flag = arm(None, rollout="copilot", control="a", canary="b", percent=5.0, stage="x", now=armed_at, by="ann")
    return ArmedRollout(rollout("copilot", rules, decide=Decide.THRESHOLD, **changes), flag, armed_at)


def answers(wants: Sequence[Want], plain: Pair, twin: Pair | None = None) -> Readings:
    found: dict[tuple[str, str, str], Reading] = {}
    for want in wants:
        canary, control = twin if want.part == PER_USER and twin is not None else plain
        found[want.key] = Reading(canary, control, want.seconds, (want.part,))
    return found


def judged(evaluator: Evaluator, armed: ArmedRollout, tick: float, plain: Pair, twin: Pair | None = None) -> Finding:
    return evaluator.judge([armed], tick, answers(evaluator.wants([armed], tick), plain, twin))["copilot"][0]


@pytest.mark.parametrize(
    ("age", "seconds"), [(0.0, None), (29.9, None), (30.0, 30.0), (89.0, 60.0), (300.0, 300.0), (4000.0, 300.0)]
)
def test_no_window_reaches_back_before_arming(age: float, seconds: float | None) -> None:
    evaluator, tick = Evaluator(interval=30.0, step=30.0), NOW
    armed = armed_rollout(armed_at=tick - age)
    assert [want.seconds for want in evaluator.wants([armed], tick)] == ([] if seconds is None else [seconds])
    finding = judged(evaluator, armed, tick, OVER)
    assert (finding.reason is Reason.JUST_ARMED) is (seconds is None)


# of each field of a rule file: whether another value is a new beginning, so that no streak of the old one counts
STARTS_AGAIN = {
    "name": True, "control": True, "canary": True, "cohorts": True, "rules": True, "window": True,
    "min_requests": True, "decide": True, "false_trips_per_day": True, "bursts": True, "mode": True,
    "trip_when_blind_after": False, "page": False, "shadow": False, "spend": False, "plan": False, "slow": False,
    "alerts": False, "drill": False, "file": False, "digest": False, "lines": False,
}  # fmt: skip


def test_each_key_of_a_rule_file_is_judged_or_is_not() -> None:
    """A comment that moves a line, another plan or another receiver must not let a canary begin again."""
    assert {field.name for field in fields(Rollout)} == STARTS_AGAIN.keys()
    assert {name for name, judged in STARTS_AGAIN.items() if judged} == set(JUDGED)


@pytest.mark.parametrize("judged_otherwise", [False, True])
def test_a_streak_outlives_a_comment_and_no_other_limit(judged_otherwise: bool) -> None:
    evaluator = Evaluator(interval=30.0, step=30.0)
    armed = armed_rollout((replace(ERRORS, for_ticks=2),))
    judged(evaluator, armed, NOW + 600, OVER)
    rules = armed.rollout
    commented = replace(rules, lines={"error_rate": 9}, digest="b")
    edited = replace(armed, rollout=replace(rules, min_requests=99) if judged_otherwise else commented)
    finding = judged(evaluator, edited, NOW + 630, OVER)
    assert (finding.verdict is Verdict.BREACH) is not judged_otherwise


def test_every_rule_is_asked_for_and_answered_in_order() -> None:
    evaluator, armed = Evaluator(interval=30.0, step=30.0), armed_rollout(ALL_RULES)
    wants = evaluator.wants([armed], NOW + 600)
    assert [want.rule for want in wants] == [rule.name for rule in ALL_RULES]
    down = Unreadable(Reason.SOURCE_DOWN, "gone")
    findings = evaluator.judge([armed], NOW + 600, answer_all(wants, down))["copilot"]
    assert [f.rule for f in findings] == [rule.name for rule in ALL_RULES]
    assert {(f.verdict, f.reason) for f in findings} == {(Verdict.UNKNOWN, Reason.SOURCE_DOWN)}


def test_a_want_the_source_forgot_is_a_bug_and_not_health() -> None:
    evaluator, armed = Evaluator(interval=30.0, step=30.0), armed_rollout()
    finding = evaluator.judge([armed], NOW + 600, {})["copilot"][0]
    assert (finding.verdict, finding.reason) == (Verdict.UNKNOWN, Reason.INTERNAL_ERROR)


def test_the_per_user_signal_is_judged_once_both_have_it() -> None:
    evaluator = Evaluator(interval=30.0, step=30.0)
    armed = armed_rollout((replace(ERRORS, per_user=REFUSALS.signal),))
    missing = Unreadable(Reason.NO_DATA, "no series")
    none = (missing, missing)
    first = judged(evaluator, armed, NOW + 300, OVER, none)
    assert (first.verdict, first.queries, first.raw_canary) == (Verdict.BREACH, (WINDOW,), None)
    half = judged(evaluator, armed, NOW + 330, OVER, (WITHIN[0], none[1]))
    assert half.queries == (WINDOW,)
    both = judged(evaluator, armed, NOW + 360, OVER, WITHIN)
    assert (both.verdict, both.queries) == (Verdict.HEALTHY, (PER_USER,))
    assert both.raw_canary == pytest.approx(0.3)
    assert (both.raw_samples_canary, both.raw_samples_control) == tuple(side.trials for side in OVER)
    assert (first.raw_samples_canary, first.raw_samples_control) == (None, None)
    gone = judged(evaluator, armed, NOW + 390, OVER, none)
    assert (gone.verdict, gone.reason) == (Verdict.UNKNOWN, Reason.NO_DATA)


@pytest.mark.parametrize(
    "changed",
    [
        lambda armed: replace(armed, flag=replace(armed.flag, generation=2)),
        lambda armed: replace(armed, rollout=replace(armed.rollout, min_requests=49)),
        lambda armed: replace(armed, armed_at=armed.armed_at + 1),
    ],
    ids=["generation", "rules", "arming"],
)
def test_no_streak_is_inherited(changed: object) -> None:
    assert callable(changed)
    evaluator, armed = Evaluator(interval=30.0, step=30.0), armed_rollout((replace(ERRORS, for_ticks=2),))
    assert judged(evaluator, armed, NOW + 600, OVER).verdict is Verdict.SUSPECT
    assert judged(evaluator, changed(armed), NOW + 630, OVER).verdict is Verdict.SUSPECT
    assert judged(evaluator, changed(armed), NOW + 660, OVER).verdict is Verdict.BREACH


def test_a_rollout_that_is_forgotten_leaves_no_streak() -> None:
    evaluator, armed = Evaluator(interval=30.0, step=30.0), armed_rollout((replace(ERRORS, for_ticks=2),))
    judged(evaluator, armed, NOW + 600, OVER)
    evaluator.forget([])
    assert judged(evaluator, armed, NOW + 630, OVER).verdict is Verdict.SUSPECT


def test_lookback_fits_the_longest_streak_and_none_for_evidence() -> None:
    evaluator = Evaluator(interval=30.0, step=30.0)
    assert evaluator.lookback(armed_rollout((ERRORS, replace(REFUSALS, for_ticks=4)))) == 3
    armed = armed_rollout((ERRORS,))
    assert evaluator.lookback(replace(armed, rollout=replace(armed.rollout, decide=Decide.EVIDENCE))) == 0


def test_missing_evidence_is_no_licence_for_the_bare_comparison() -> None:
    evaluator, armed = Evaluator(interval=30.0, step=30.0), armed_rollout()
    armed = replace(armed, rollout=replace(armed.rollout, decide=Decide.EVIDENCE))
    finding = judged(evaluator, armed, NOW + 600, OVER)
    assert (finding.verdict, finding.reason) == (Verdict.UNKNOWN, Reason.BEHIND)


@pytest.mark.parametrize(("window", "shown"), [(1.0, 60.0), (90.0, 60.0), (150.0, 120.0), (300.0, 300.0)])
def test_a_window_of_steps_covers_whole_steps_and_says_so(window: float, shown: float) -> None:
    evaluator, armed = Evaluator(interval=30.0, step=60.0), armed_rollout()
    armed = replace(armed, rollout=replace(armed.rollout, decide=Decide.EVIDENCE, window=window))
    assert evaluator.window_seconds(armed, armed.armed_at + 3600.0) == shown
