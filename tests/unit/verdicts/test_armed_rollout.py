"""What follows from a case is worked out once, and anew for every other case."""

from __future__ import annotations

from dataclasses import replace

from killswitch.flags.flag import arm
from killswitch.model import Limits
from killswitch.verdicts.armed_rollout import ArmedRollout, PerArmedRollout
from tests.doubles.scripted_source import ERRORS, rollout

FLAG = arm(
    None, rollout="copilot", control="old", canary="new", percent=5.0, stage="ramp_5", now=1_776_600_000.0, by="ann"
)
CASE = ArmedRollout(rollout(), FLAG, FLAG.armed_at)


def test_the_same_case_is_worked_out_once() -> None:
    asked: list[ArmedRollout] = []
    of_case = PerArmedRollout(asked.append)
    for _ in range(3):
        of_case(CASE)
    assert asked == [CASE]


def test_other_rules_flag_or_arming_are_worked_out_again() -> None:
    others = [
        replace(CASE, rollout=rollout(rules=(replace(ERRORS, limits=Limits(maximum=0.5)),))),
        replace(CASE, flag=replace(FLAG, canary_percent=25.0)),
        replace(CASE, armed_at=CASE.armed_at + 30.0),
    ]
    of_case = PerArmedRollout(lambda case: case)
    for case in (CASE, *others, CASE):
        assert of_case(case) is case


def test_what_nobody_watches_is_forgotten() -> None:
    asked: list[ArmedRollout] = []
    of_case = PerArmedRollout(asked.append)
    of_case(CASE)
    of_case.keep(set())
    of_case(CASE)
    assert len(asked) == 2
