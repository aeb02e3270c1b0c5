"""What is decided from the findings of a rollout's rules, in every mode and stage."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.flags.flag import AA
from killswitch.model import Counts, Finding, Mode, Reading, Reason, Unit, Verdict
from killswitch.verdicts.decide import DecisionKind, decide
from killswitch.verdicts.sentences import AA_SAID, offset_in_words
from tests.doubles.scripted_source import ERRORS
from tests.unit.verdicts.judged_readings import ROLLOUT, flag


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
