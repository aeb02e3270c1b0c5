"""Generations of a rollout go on across its ends, and nothing of an earlier one fits a later one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from killswitch.errors import IllegalTransition, Refused
from killswitch.stores import Delete, Put, keys
from killswitch.trips.request import TripOutcome
from tests.doubles.memory_store import Call, Fault
from tests.unit.trips.switches import World, automatic, once, page


@pytest.fixture
def world() -> World:
    return World()


def test_arming_after_an_end_continues_the_generations(world: World) -> None:
    """A late transaction of the old life must not fit the new one."""
    world.arm()
    world.switch("a").trip(automatic())
    world.person.end("copilot")
    assert world.arm().generation == 2


def test_a_generation_ended_without_a_trip_does_not_come_twice(world: World) -> None:
    assert world.arm().generation == 1
    world.person.end("copilot")
    assert world.arm().generation == 2
    world.switch("a").trip(automatic(generation=2))
    world.person.rearm("copilot", reason="fixed", percent=5.0, stage="again", page=page)
    world.server.commit("x", (), (Delete(keys.flag("copilot")),))  # by hand, without a word to the counter
    assert world.arm().generation == 4


def test_two_who_arm_and_end_at_once_never_share_a_generation(world: World) -> None:
    """The flag is absent before and after, so only the counter tells the second that a life has been between."""
    world.arm()
    world.person.end("copilot")

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.arm()
            world.person.end("copilot")
        return None

    with pytest.raises(Refused, match="changed by someone else"):
        world.switch("bob", other).arm("copilot", control="old", canary="new", percent=5.0, stage="s", salt="")
    assert world.arm().generation == 3


def test_no_life_begins_with_the_hold_of_an_earlier_one(world: World) -> None:
    """A hold that is typed as the rollout ends comes after the deletions of `end`, and `arm` deletes it."""
    world.arm()
    hold = Put(keys.hold("copilot"), b"{}")
    world.server.commit("bob", (), (hold,))
    world.person.end("copilot")
    assert world.server.value(hold.key) is None
    world.server.commit("bob", (), (hold,))
    world.arm()
    assert world.server.value(hold.key) is None


def test_a_hold_outlives_a_trip_and_a_rearm(world: World) -> None:
    world.arm()
    world.server.commit("bob", (), (Put(keys.hold("copilot"), b"{}"),))
    world.switch("a").trip(automatic())
    world.person.rearm("copilot", reason="fixed", percent=5.0, stage="again", page=page)
    assert world.server.value(keys.hold("copilot")) is not None


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"[]", b'{"generation": -5}', b'{"generation": true}', b'{"generation": 1e9}',
     b'{"generation": 9007199254740992}', b'{"generation": ' + b"9" * 900 + b"}", b" " * 5000],
)  # fmt: skip
def test_a_counter_nobody_understands_counts_as_none(world: World, nonsense: bytes) -> None:
    world.server.commit("x", (), (Put(keys.generation("copilot"), nonsense),))
    assert world.arm().generation == 1
    world.person.end("copilot")
    assert world.arm().generation == 2


def test_a_verdict_is_about_one_arming_not_one_generation(world: World) -> None:
    """An older release, or a person with etcdctl, may have ended the flag without counting."""
    armed = world.arm()
    request = replace(automatic(), armed_at=armed.armed_at)
    world.server.commit("x", (), (Delete(keys.flag("copilot")), Delete(keys.generation("copilot"))))
    world.clock.advance(5)
    assert world.arm().generation == 1
    assert world.switch("a").trip(request).outcome is TripOutcome.SUPERSEDED
    assert world.flips() == 0


def test_an_ended_life_leaves_no_baseline_and_no_notice_behind(world: World) -> None:
    world.arm()
    told = [Put(keys.notice("copilot", 1, f"kind{number}"), b"{}") for number in range(50)]
    old = [Put(keys.baseline("copilot", number), b"{}") for number in range(100, 150)]
    others = (Put(keys.baseline("copilot2", 1), b"{}"), Put(keys.notice("copilot2", 1, "kind"), b"{}"))
    for some in (told, old, others):
        world.server.commit("x", (), some)
    world.person.end("copilot")
    left = [*world.server.list(keys.BASELINES).items, *world.server.list(keys.NOTICES).items]
    assert [item.key for item in left] == [put.key for put in others]
    world.arm()
    with pytest.raises(IllegalTransition, match="no control cohort is left"):
        world.person.set_stage("copilot", percent=100.0, stage="all")


def test_more_remains_than_one_transaction_takes_go_in_several(world: World) -> None:
    world.arm()
    for block in range(4):
        numbers = range(100 * block, 100 * block + 100)
        world.server.commit("x", (), [Put(keys.notice("copilot", 1, f"kind{number}"), b"{}") for number in numbers])
    world.person.end("copilot")
    assert world.person.stored("copilot").flag is None
    assert world.server.list(keys.NOTICES).items == ()


def test_generations_are_counted_at_arming_and_at_the_end(world: World) -> None:
    """So that they go on where the flag, the counter or neither of them is left."""
    world.arm()
    world.server.commit("x", (), (Delete(keys.flag("copilot")),))
    assert world.arm().generation == 2
    world.server.commit("x", (), (Delete(keys.generation("copilot")),))
    world.person.end("copilot")
    assert world.arm().generation == 3
    world.switch("a").trip(automatic(generation=3))
    world.server.commit("x", (), (Delete(keys.flag("copilot")), Delete(keys.generation("copilot"))))
    assert world.arm().generation == 4  # an incident counts as well


def test_incidents_count_by_the_generation_in_their_keys(world: World) -> None:
    """Also one that stands beside the first of its generation; what is no generation counts as none."""
    world.server.commit("x", (), (Put(keys.incidents("copilot") + "notes", b"{}"),))
    assert world.arm().generation == 1
    stored = world.server.value(keys.generation("copilot"))
    assert json.loads(stored or b"") == {"rollout": "copilot", "generation": 1}
    world.person.end("copilot")
    world.server.commit("x", (), (Put(keys.incident("copilot", 3) + ".9", b"{}"),))
    assert world.arm().generation == 4


def test_a_re_arm_compares_the_counter(world: World) -> None:
    world.arm()
    world.switch("a").trip(automatic())

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.server.commit("x", (), (Put(keys.generation("copilot"), b'{"generation": 7}'),))
        return None

    with pytest.raises(Refused, match="changed by someone else"):
        world.switch("bob", other).rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)


def test_an_end_whose_answer_was_lost_is_recognised(world: World) -> None:
    world.arm()
    world.switch("ann", once("commit", Fault.LOSE_ANSWER)).end("copilot")
    assert world.person.stored("copilot").flag is None


@pytest.mark.parametrize(("name", "which"), [("list", 0), ("commit", 1)])
def test_an_end_does_not_fail_for_what_is_left_behind(world: World, name: str, which: int) -> None:
    world.arm()
    world.server.commit("x", (), (Put(keys.notice("copilot", 1, "kind"), b"{}"),))
    seen: list[Call] = []

    def fails(call: Call) -> Fault | None:
        if call.name != name:
            return None
        seen.append(call)
        return Fault.FAIL_BEFORE if len(seen) == which + 1 else None

    world.switch("ann", fails).end("copilot")
    assert world.person.stored("copilot").flag is None
    assert len(seen) > which
