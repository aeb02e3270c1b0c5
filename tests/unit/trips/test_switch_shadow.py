"""A decided comparison turns the shadow down: only lower, once a verdict, and never over a person's change."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from killswitch.errors import BadDocument, OutcomeUnknown, Refused
from killswitch.flags.flag import SHADOW, Flag
from killswitch.flags.shadow_share import NO_SHADOW, ShadowShare, shadow_share
from killswitch.stores import Put, keys
from killswitch.trips.switch import Switch
from tests.doubles.memory_store import Fault, MemoryStore
from tests.unit.trips.switches import World, once, page

PERCENTS = st.floats(0.0, 100.0)
SHARES = st.builds(shadow_share, PERCENTS, st.dictionaries(st.sampled_from("abc"), PERCENTS, max_size=3))


@pytest.fixture
def world() -> World:
    made = World()
    shadowed(made, shadow_share(20.0, {"billing": 100.0}))
    return made


def shadowed(world: World, share: ShadowShare) -> None:
    world.arm(percent=0.0, stage=SHADOW, shadow=share)


def raised(world: World, share: ShadowShare) -> None:
    world.person.set_stage("copilot", percent=0.0, stage=SHADOW, shadow=share)


def flag_of(world: World) -> Flag:
    found = world.person.stored("copilot").flag
    assert found is not None
    return found


def turn(switch: Switch, verdict: str = "GO", factor: float = 0.1) -> Flag:
    stored = switch.stored("copilot")
    return switch.turn_shadow_down("copilot", stored, verdict=verdict, factor=factor, reason=f"{verdict}: proven")


def test_each_class_is_turned_down_and_the_flag_says_why(world: World) -> None:
    """The stage and its beginning stay, so that evidence goes on."""
    before = flag_of(world)
    turned = turn(world.switch("shadow-decide"))
    now = flag_of(world)
    assert now.shadow_share == turned.shadow_share == ShadowShare(2.0, {"billing": 10.0})
    assert now.updated_by == "shadow-decide: GO: proven"
    assert (now.stage, now.stages, now.generation) == (SHADOW, before.stages, before.generation)


def test_a_verdict_turns_it_down_once_whoever_restarts(world: World) -> None:
    """A person who raises it again knows the verdict."""
    turn(world.switch("a"))
    raised(world, ShadowShare(50.0))
    assert turn(world.switch("b")).shadow_percent == 50.0
    assert (flag_of(world).shadow_percent, flag_of(world).updated_by) == (50.0, "ann")


def test_a_second_verdict_starts_from_what_there_was_before_the_first(world: World) -> None:
    """A tenth of a tenth would be too few pairs to see anything."""
    turn(world.switch("a"), "GO")
    assert turn(world.switch("a"), "NO_GO").shadow_share == ShadowShare(2.0, {"billing": 10.0})
    raised(world, ShadowShare(100.0))
    assert turn(world.switch("a"), "NO_GO").shadow_percent == 100.0


def test_nothing_is_left_with_a_factor_of_0(world: World) -> None:
    assert turn(world.switch("a"), "NO_GO", 0.0).shadow_share == NO_SHADOW
    assert flag_of(world).armed


def test_a_new_generation_is_turned_down_again(world: World) -> None:
    turn(world.switch("a"))
    world.person.end("copilot")
    assert world.server.get(keys.shadow_decision("copilot", 1)) is None
    shadowed(world, ShadowShare(20.0))
    assert turn(world.switch("a")).shadow_percent == 2.0


@pytest.mark.parametrize("change", ["raise", "trip and rearm", "leave the stage"])
def test_a_persons_change_meanwhile_is_left_as_it_is(world: World, change: str) -> None:
    """The flag has changed since the verdict was reached on it, so nothing is written, not even the verdict."""
    switch = world.switch("a")
    stored = switch.stored("copilot")
    if change == "raise":
        raised(world, ShadowShare(100.0))
    elif change == "leave the stage":
        world.person.set_stage("copilot", percent=1.0, stage="ramp_1")
    else:
        from killswitch.cli.trip import request_by_hand  # noqa: PLC0415  beside its only use
        from killswitch.model import PageSettings  # noqa: PLC0415

        world.person.trip(request_by_hand("copilot", "odd", PageSettings()))
        world.person.rearm("copilot", reason="fixed", percent=0.0, stage=SHADOW, page=page, shadow=ShadowShare(20.0))
    before = flag_of(world)
    with pytest.raises(Refused, match="changed by someone else"):
        switch.turn_shadow_down("copilot", stored, verdict="NO_GO", factor=0.0, reason="")
    assert flag_of(world) == before
    assert world.server.get(keys.shadow_decision("copilot", 1)) is None


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.APPLY_LATER])
def test_a_lost_answer_turns_it_down_once_at_most(world: World, fault: Fault) -> None:
    switch = world.switch("a", once("commit", fault))
    if fault is Fault.LOSE_ANSWER:
        assert turn(switch).shadow_percent == 2.0
    else:
        with pytest.raises(OutcomeUnknown):
            turn(switch)
    world.server.apply_late()
    raised(world, ShadowShare(50.0))
    assert turn(switch).shadow_percent == 50.0


def test_a_memory_that_cannot_be_read_changes_nothing(world: World) -> None:
    MemoryStore(world.server, "x").commit((), [Put(keys.shadow_decision("copilot", 1), b'{"verdicts": {"GO": 1}}')])
    before = flag_of(world)
    with pytest.raises(BadDocument, match="shadow decisions of copilot"):
        turn(world.switch("a"))
    assert flag_of(world) == before


@settings(max_examples=60, deadline=None)
@given(share=SHARES, second=SHARES, factor=st.floats(0.0, 1.0))
def test_it_never_raises_any_class(share: ShadowShare, second: ShadowShare, factor: float) -> None:
    """Neither at the first verdict nor at a second one, whatever people did in between."""
    world = World()
    shadowed(world, share)
    assert not turn(world.switch("a"), "GO", factor).shadow_share.exceeds(share)
    raised(world, second)
    assert not turn(world.switch("a"), "NO_GO", factor).shadow_share.exceeds(second)
