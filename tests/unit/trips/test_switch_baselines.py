"""Baselines: kept for one life of a rollout, and refused where they are about another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.errors import NoFlag, Refused
from killswitch.stores import Put, keys
from killswitch.verdicts.baseline import Baseline
from tests.doubles.memory_store import Call, Fault
from tests.unit.trips.switches import World, automatic, once


@pytest.fixture
def world() -> World:
    return World()


STORED = Baseline("copilot", 1, 1_776_608_400.0, 86_400.0, {"error_rate": 0.01})


def test_a_baseline_is_read_back_and_a_bad_one_is_named(world: World) -> None:
    world.arm()
    world.person.keep_baseline(STORED)
    newer = replace(STORED, values={"error_rate": 0.02})
    world.person.keep_baseline(newer)
    bad = {keys.BASELINES + "a/what": b"{}", keys.baseline("copilot", 2): b"[]"}
    world.server.commit("x", (), [Put(key, value) for key, value in bad.items()])
    good, wrong = world.person.baselines()
    assert good == {("copilot", 1): newer}
    assert list(wrong) == [("copilot", 2)]
    assert "not a JSON object" in wrong["copilot", 2]


def test_a_baseline_of_another_life_or_tripped_flag_is_refused(world: World) -> None:
    """A baseline of another generation, or of a tripped flag, is refused."""
    world.arm()
    with pytest.raises(Refused, match=r"^copilot is not armed in generation 2 any more$"):
        world.person.keep_baseline(replace(STORED, generation=2))
    world.switch("a").trip(automatic())
    with pytest.raises(Refused, match=r"^copilot is not armed in generation 1 any more$"):
        world.person.keep_baseline(STORED)
    with pytest.raises(NoFlag, match="nobody has no flag"):
        world.person.keep_baseline(replace(STORED, rollout="nobody"))
    assert world.person.baselines() == ({}, {})


def test_a_baseline_is_not_kept_for_a_flag_that_changes_meanwhile(world: World) -> None:
    world.arm()

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.switch("b").trip(automatic(by="b"))
        return None

    with pytest.raises(Refused, match=r"^copilot was changed by someone else"):
        world.switch("ann", other).keep_baseline(STORED)
    assert world.person.baselines() == ({}, {})


def test_a_baseline_whose_answer_was_lost_is_kept(world: World) -> None:
    world.arm()
    world.switch("ann", once("commit", Fault.LOSE_ANSWER)).keep_baseline(STORED)
    assert world.person.baselines()[0] == {("copilot", 1): STORED}
