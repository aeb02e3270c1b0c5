"""The verdict of a drill: the real engine, each kind of rule, made-up readings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from killswitch.drill.synthetic import beyond, usual
from killswitch.drill.verdict import Proven, VerdictRehearsal, rehearsed
from killswitch.flags.flag import STAGES, Flag, arm
from killswitch.model import Decide, Limits, Mode, Rollout, Rule, Verdict
from killswitch.rules.loading import load_folder
from tests.doubles.clock import VirtualClock
from tests.doubles.drills import rules
from tests.doubles.pages import AT

EXAMPLES = Path(__file__).parents[3] / "rules"
(EXAMPLE,) = [one for one in load_folder(EXAMPLES).rollouts if one.name == "support-copilot"]
HARD = replace(EXAMPLE, rules=tuple(replace(rule, limits=Limits(maximum=0.9)) for rule in EXAMPLE.rules[:1]))


def flag_of(rollout: Rollout, stage: str = "ramp_5") -> Flag:
    return arm(
        None, rollout=rollout.name, control=rollout.control, canary=rollout.canary, percent=STAGES[stage], stage=stage,
        now=AT - 1e5, by="ann", generation=7,
    )  # fmt: skip


def proven(rollout: Rollout, stage: str = "ramp_5") -> Proven | str:
    clock = VirtualClock()
    rehearsal = VerdictRehearsal(
        rollout, flag_of(rollout, stage), interval=30.0, step=30.0, now=AT, monotonic=clock.monotonic
    )
    return rehearsal.prove()


@pytest.mark.parametrize("decide", Decide)
@pytest.mark.parametrize("rule", EXAMPLE.rules, ids=lambda rule: rule.name)
def test_each_rule_is_broken_and_trips(rule: Rule, decide: Decide) -> None:
    """The one rule that is broken trips, and all others are healthy."""
    others = tuple(one for one in EXAMPLE.rules if one is not rule)
    found = proven(replace(EXAMPLE, rules=(rule, *others), decide=decide))
    assert isinstance(found, Proven)
    assert found.rules == (rule.name,) == (found.rule,)
    assert {one.rule for one in found.findings if one.verdict is Verdict.BREACH} == {rule.name}
    assert 0.0 < found.proven_after <= 300.0


@pytest.mark.parametrize("stage", STAGES)
def test_it_is_proven_in_every_stage(stage: str) -> None:
    """Also in stages in which one cohort has no users: the drill's own generation has both."""
    assert isinstance(proven(EXAMPLE, stage), Proven)


def test_it_has_a_generation_of_its_own() -> None:
    flag = flag_of(EXAMPLE)
    assert rehearsed(flag).generation == flag.generation + 1
    assert rehearsed(flag).rollout == flag.rollout


def test_a_dry_run_proves_it_too() -> None:
    assert isinstance(proven(replace(EXAMPLE, mode=Mode.DRY_RUN)), Proven)


def test_rules_that_never_trip_are_said() -> None:
    """A rule file that protects no one fails the drill."""
    deaf = replace(EXAMPLE, rules=EXAMPLE.rules[:1], min_requests=10**9, decide=Decide.THRESHOLD)
    found = proven(deaf)
    assert isinstance(found, str)
    assert EXAMPLE.rules[0].name in found


@pytest.mark.parametrize(
    "limits",
    [
        Limits(maximum=0.02),
        Limits(maximum=0.9),
        Limits(max_increase=0.05),
        Limits(max_ratio=2.0),
        Limits(max_ratio=1.5, floor=0.01),
        Limits(max_increase=0.05, max_ratio=2.0, maximum=0.5),
    ],
)
def test_the_broken_value_is_over_every_limit(limits: Limits) -> None:
    rule = replace(rules().rules[0], limits=limits)
    good, bad = usual(rule), beyond(rule)
    assert 0.0 < good < bad <= 1.0
    assert limits.maximum is None or good < limits.maximum < bad
    assert limits.max_increase is None or bad > good + limits.max_increase
    assert limits.max_ratio is None or bad > good * limits.max_ratio


def test_a_limit_close_to_everyone_is_broken_as_well() -> None:
    assert isinstance(proven(HARD), Proven)
