"""At which stage a re-arm begins, and which stages a person may choose for it."""

from __future__ import annotations

from killswitch.plan import Advance, Plan, PlanStage
from killswitch.ramps.rearming import first_stage, percent_of, stages_to_choose


def plan(*stages: tuple[str, float]) -> Plan:
    return Plan(Advance.BY_HAND, tuple(PlanStage(name, percent, 3600.0) for name, percent in stages))


OWN = plan(("shadow", 0.0), ("aa", 5.0), ("tiny", 2.0), ("ramp_5", 5.0), ("half", 50.0))


def test_without_a_plan_it_begins_at_ramp_1() -> None:
    assert first_stage(None) == "ramp_1"
    assert stages_to_choose(None, 25.0) == {"ramp_1": 1.0, "ramp_5": 5.0, "ramp_25": 25.0}


def test_with_a_plan_it_begins_at_the_first_stage_with_users() -> None:
    assert first_stage(OWN) == "tiny"
    assert first_stage(plan(("ramp_5", 5.0), ("ramp_1", 1.0))) == "ramp_1"


def test_no_stage_has_more_users_than_before_the_trip() -> None:
    assert stages_to_choose(OWN, 5.0) == {"tiny": 2.0, "ramp_5": 5.0}
    assert stages_to_choose(OWN, 99.0) == {"tiny": 2.0, "ramp_5": 5.0, "half": 50.0}


def test_the_first_stage_can_always_be_chosen() -> None:
    """Also where the trip came in a stage without users."""
    assert stages_to_choose(OWN, 0.0) == {"tiny": 2.0}
    assert stages_to_choose(None, 0.0) == {"ramp_1": 1.0}


def test_a_plan_of_shadow_alone_leaves_the_usual_stages() -> None:
    assert stages_to_choose(plan(("shadow", 0.0)), 5.0) == {"ramp_1": 1.0, "ramp_5": 5.0}


def test_a_percent_comes_from_the_plan_only_for_its_own_stages() -> None:
    assert percent_of(OWN, "tiny", None) == 2.0
    assert percent_of(OWN, "tiny", 7.0) == 7.0
    assert percent_of(OWN, "ramp_5", None) is None
    assert percent_of(None, "tiny", None) is None
