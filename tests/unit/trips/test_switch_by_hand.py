"""What a person does to a flag: arms, raises, re-arms and ends it, knowing what was changed."""

from __future__ import annotations

import pytest

from killswitch.cli.trip import request_by_hand
from killswitch.errors import BadDocument, IllegalTransition, NoFlag, OutcomeUnknown, Refused
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.document import to_document as flag_document
from killswitch.flags.flag import Flag
from killswitch.model import PageSettings
from killswitch.stores import Put, keys
from tests.doubles.memory_store import Call, Fault
from tests.unit.trips.switches import World, automatic, once, page


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER])
def test_a_persons_change_whose_answer_was_lost_is_recognised(world: World, fault: Fault) -> None:
    """Documents hold milliseconds: what was written comes back a little different from what was meant."""
    careless = world.switch("ann", once("commit", fault))
    armed = careless.arm("copilot", control="old", canary="new", percent=5.0, stage="ramp_5", salt="")
    assert armed.generation == 1
    careless = world.switch("ann", once("commit", fault))
    assert careless.set_stage("copilot", percent=1.0, stage="ramp_1").canary_percent == 1.0


def test_a_persons_change_that_may_still_come_is_unknown(world: World) -> None:
    """A person's change that may still be applied later is reported as unknown."""
    world.arm()
    with pytest.raises(OutcomeUnknown) as unknown:
        world.switch("ann", once("commit", Fault.APPLY_LATER)).set_stage("copilot", percent=1.0, stage="ramp_1")
    assert str(unknown.value) == (
        "the change of copilot was sent and no answer came; it has not been applied so far and may be still: look at "
        "`killswitch status` in a few seconds, then repeat it if needed"
    )


def test_two_people_at_once_do_not_overwrite_each_other(world: World) -> None:
    world.arm()

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.person.set_stage("copilot", percent=1.0, stage="ramp_1")
        return None

    with pytest.raises(Refused, match=r"^copilot was changed by someone else"):
        world.switch("bob", other).set_stage("copilot", percent=25.0, stage="ramp_25")
    flag = world.person.stored("copilot").flag
    assert flag is not None
    assert flag.canary_percent == 1.0


def test_a_rollout_without_a_flag_lists_those_with_one(world: World) -> None:
    world.arm()
    for attempt in (
        lambda: world.person.set_stage("nobody", percent=1.0, stage="x"),
        lambda: world.person.rearm("nobody", reason="r", percent=1.0, stage="x", page=page),
        lambda: world.person.end("nobody"),
        lambda: world.person.trip(request_by_hand("nobody", "r", PageSettings())),
    ):
        with pytest.raises(NoFlag, match=r"nobody has no flag.*rollouts with a flag: copilot"):
            attempt()


def test_an_unreadable_flag_is_shown_and_ended_not_overwritten(world: World) -> None:
    """A flag that cannot be read is shown, can be ended, and is not overwritten."""
    world.arm()
    world.server.commit("x", (), (Put(keys.flag("copilot"), b"{"), Put(keys.flag("other"), b"[]")))
    good, bad = world.person.everything()
    assert good == {}
    assert sorted(bad) == ["copilot", "other"]
    assert bad["other"] == "flag of other: not a JSON object"
    with pytest.raises(BadDocument):
        world.arm()
    world.person.end("copilot")
    assert world.person.stored("copilot").flag is None


def test_raising_to_100_percent_needs_a_stored_baseline(world: World) -> None:
    world.arm()
    with pytest.raises(IllegalTransition, match="no control cohort is left"):
        world.person.set_stage("copilot", percent=100.0, stage="all")
    world.server.commit("x", (), (Put(keys.baseline("copilot", 1), b"{}"),))
    assert world.person.set_stage("copilot", percent=100.0, stage="all").canary_percent == 100.0


def test_a_re_arm_puts_its_page_into_the_same_transaction(world: World) -> None:
    world.arm()
    world.switch("a").trip(automatic())
    flag = world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
    revisions = {
        c.revision for c in world.server.history if c.key in (keys.flag("copilot"), keys.outbox(page(flag).id))
    }
    assert max(revisions) == world.server.revision


def test_an_armed_flag_is_not_armed_over(world: World) -> None:
    before = world.arm(salt="pepper")
    assert before.salt == "pepper"
    with pytest.raises(IllegalTransition, match="it is armed already"):
        world.arm(percent=50.0)
    assert world.person.stored("copilot").flag == before_stored(before)


def before_stored(flag: Flag) -> Flag:
    return flag_from_document(flag_document(flag), rollout=flag.rollout)


def test_a_person_confirms_the_flag_as_it_is_and_as_it_will_be(world: World) -> None:
    world.arm()
    asked: list[tuple[Flag | None, Flag]] = []
    world.person.set_stage("copilot", percent=1.0, stage="ramp_1", agree=lambda *pair: asked.append(pair))
    assert [(now and now.canary_percent, then.canary_percent) for now, then in asked] == [(5.0, 1.0)]


def test_a_re_arm_takes_the_percent_and_stage_that_it_is_given(world: World) -> None:
    world.arm()
    world.switch("a").trip(automatic())
    flag = world.person.rearm("copilot", reason="fixed", percent=7.0, stage="custom", page=page)
    assert (flag.canary_percent, flag.stage) == (7.0, "custom")


def test_refusals_name_the_rollout(world: World) -> None:
    world.arm()
    with pytest.raises(IllegalTransition, match="for copilot"):
        world.person.set_stage("copilot", percent=101.0, stage="custom")
    world.switch("a").trip(automatic())
    with pytest.raises(IllegalTransition, match="cannot rearm copilot"):
        world.person.rearm("copilot", reason=" ", percent=1.0, stage="ramp_1", page=page)


def test_the_revision_of_a_flag_is_the_stores(world: World) -> None:
    assert world.person.revision("copilot") == 0
    world.arm()
    assert world.person.revision("copilot") == world.server.revision
