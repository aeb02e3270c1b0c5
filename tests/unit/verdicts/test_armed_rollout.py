"""What follows from an armed rollout is worked out once, and again for every other one."""

from __future__ import annotations

from dataclasses import replace

from killswitch.flags.flag import arm
from killswitch.model import Limits
from killswitch.verdicts.armed_rollout import ArmedRollout, PerArmedRollout
from tests.doubles.scripted_source import ERRORS, rollout

FLAG = arm(
    None, rollout="copilot", control="old", canary="new", percent=5.0, stage="ramp_5", now=1_776_600_000.0, by="ann"
)
ARMED = ArmedRollout(rollout(), FLAG, FLAG.armed_at)


def test_the_same_armed_rollout_is_worked_out_once() -> None:
    asked: list[ArmedRollout] = []
    per_armed = PerArmedRollout(asked.append)
    for _ in range(3):
        per_armed(ARMED)
    assert asked == [ARMED]


def test_other_rules_flag_or_arming_are_worked_out_again() -> None:
    others = [
        replace(ARMED, rollout=rollout(rules=(replace(ERRORS, limits=Limits(maximum=0.5)),))),
        replace(ARMED, flag=replace(FLAG, canary_percent=25.0)),
        replace(ARMED, armed_at=ARMED.armed_at + 30.0),
    ]
    per_armed = PerArmedRollout(lambda armed: armed)
    for armed in (ARMED, *others, ARMED):
        assert per_armed(armed) is armed


def test_what_nobody_watches_is_forgotten() -> None:
    asked: list[ArmedRollout] = []
    per_armed = PerArmedRollout(asked.append)
    per_armed(ARMED)
    per_armed.keep(set())
    per_armed(ARMED)
    assert len(asked) == 2
