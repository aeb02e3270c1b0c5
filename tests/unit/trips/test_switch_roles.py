"""Every change of a flag by which users get the candidate of a role: none without evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.errors import BadDocument, IllegalTransition, Refused
from killswitch.flags.completion import complete
from killswitch.flags.document import to_document
from killswitch.flags.shadow_share import ShadowShare
from killswitch.flags.transitions import Actor
from killswitch.roles.armed_pair import ArmedPair, from_document
from killswitch.roles.pairs import PairKind
from killswitch.stores import Compare, Put, keys
from killswitch.trips.request import TripOutcome
from tests.unit.trips.switches import World, automatic, page

PAIR = ArmedPair("copilot", 0, "support", PairKind.UPGRADE, "old", "new", 2, 1000.0, "ann")
PASSED = replace(PAIR, gate_run="run-1")
IN_SHADOW = {"percent": 0.0, "stage": "shadow", "shadow": ShadowShare(5.0, {})}


@pytest.fixture
def world() -> World:
    return World()


def _rests_on(world: World, generation: int) -> ArmedPair | None:
    value = world.server.value(keys.gate_evidence("copilot", generation))
    return None if value is None else from_document(value, rollout="copilot", generation=generation)


def test_an_arming_with_evidence_keeps_it(world: World) -> None:
    world.arm(pair=PASSED)
    assert _rests_on(world, 1) == replace(PASSED, generation=1)


def test_users_get_no_candidate_without_evidence(world: World) -> None:
    with pytest.raises(Refused, match="has not passed the gate of role support"):
        world.arm(pair=PAIR)
    assert world.server.value(keys.flag("copilot")) is None


@pytest.mark.parametrize("stage", [IN_SHADOW, {"percent": 5.0, "stage": "aa"}])
def test_stages_that_no_user_sees_need_none(world: World, stage: dict[str, object]) -> None:
    world.arm(pair=PAIR, **stage)
    assert _rests_on(world, 1) == replace(PAIR, generation=1)


@pytest.mark.parametrize("stage", [IN_SHADOW, {"percent": 5.0, "stage": "aa"}])
@pytest.mark.parametrize("share", [("ramp_1", 1.0), ("full", 99.0), ("custom", 0.01)])
def test_no_stage_gives_users_more_without_evidence(
    world: World, stage: dict[str, object], share: tuple[str, float]
) -> None:
    world.arm(pair=PAIR, **stage)
    with pytest.raises(Refused, match="no user may get its canary"):
        world.person.set_stage("copilot", stage=share[0], percent=share[1])
    world.person.set_stage("copilot", stage=share[0], percent=share[1], pair=PASSED)
    assert _rests_on(world, 1) == replace(PASSED, generation=1)
    world.person.set_stage("copilot", stage="custom", percent=99.0)  # what it rests on is known by now


def test_a_waiver_that_has_ended_allows_no_more_users(world: World) -> None:
    now = world.clock.wall()
    world.arm(pair=replace(PAIR, waiver="ann: demo", waiver_ends=now + 60.0))
    world.clock.advance(61.0)
    with pytest.raises(Refused, match="the waiver that it rests on ended"):
        world.person.set_stage("copilot", stage="ramp_25", percent=25.0)
    assert world.person.set_stage("copilot", stage="ramp_1", percent=1.0).canary_percent == 1.0


def test_lowering_and_tripping_ask_for_nothing(world: World) -> None:
    world.arm(pair=PASSED)
    world.server.commit("x", (), (Put(keys.gate_evidence("copilot", 1), b"damaged"),))
    world.person.set_stage("copilot", stage="ramp_1", percent=1.0)
    with pytest.raises(BadDocument, match="end the rollout and arm it again"):
        world.person.set_stage("copilot", stage="ramp_5", percent=5.0)
    assert world.person.trip(automatic()).outcome is TripOutcome.TRIPPED


def test_a_rearm_needs_evidence_of_its_own(world: World) -> None:
    world.arm(pair=PASSED)
    world.person.trip(automatic())
    again: dict[str, object] = {"reason": "fixed", "percent": 1.0, "stage": "ramp_1", "page": page}
    with pytest.raises(Refused, match="no user may get its canary"):
        world.person.rearm("copilot", pair=PAIR, **again)  # type: ignore[arg-type]  # the test's keywords
    world.person.rearm("copilot", pair=replace(PASSED, gate_run="run-2"), **again)  # type: ignore[arg-type]
    assert _rests_on(world, 2) == replace(PASSED, gate_run="run-2", generation=2)


def test_models_that_the_role_no_longer_pins_are_refused(world: World) -> None:
    world.arm(pair=PAIR, **IN_SHADOW)
    with pytest.raises(Refused, match="role support pins old and newer"):
        world.person.set_stage("copilot", stage="ramp_1", percent=1.0, pair=replace(PASSED, canary="newer"))


def test_a_promotion_at_the_same_moment_keeps_it_from_arming(world: World) -> None:
    key = keys.role("support")
    world.server.commit("x", (), (Put(key, b"{}"),))
    with pytest.raises(Refused, match="changed by someone else"):
        world.arm(pair=PASSED, also=(Compare(key, 1234),))
    assert world.server.value(keys.flag("copilot")) is None


@pytest.mark.parametrize("state", ["armed", "tripped", "complete"])
def test_a_watch_replaces_its_earlier_life_at_once(world: World, state: str) -> None:
    """No router sees the rollout without a flag in between."""
    watch = replace(PAIR, kind=PairKind.WATCH)
    world.arm(pair=watch)
    if state == "tripped":
        world.person.trip(automatic())
    if state == "complete":
        flag = world.person.required("copilot").flag
        done = complete(flag, rollout="copilot", reason="", now=world.clock.wall(), by="ann", actor=Actor.PERSON)
        world.server.commit("x", (), (Put(keys.flag("copilot"), to_document(done)),))
    again = world.arm(
        pair=replace(watch, control="new", canary="newest"), control="new", canary="newest", replaces=True
    )
    assert (again.generation, again.control, again.canary, again.state) == (2, "new", "newest", "armed")
    values = [change.value for change in world.server.history if change.key == keys.flag("copilot")]
    assert None not in values


def test_a_pinned_life_is_not_replaced(world: World) -> None:
    world.arm()
    world.person.pin(replace(automatic(), pin=True))
    with pytest.raises(IllegalTransition, match="pinned"):
        world.arm(replaces=True)
