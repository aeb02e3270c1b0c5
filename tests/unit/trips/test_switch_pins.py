"""Pins in the store: one transaction with its page, and what stands in its way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.cli.trip import request_by_hand
from killswitch.errors import IllegalTransition, NoFlag, Refused
from killswitch.flags.flag import Flag
from killswitch.flags.transitions import State
from killswitch.model import PageSettings
from killswitch.pages import pin_events
from killswitch.pages.page import Page
from killswitch.stores import keys
from killswitch.trips.request import TripOutcome
from tests.doubles.memory_store import Call, Fault
from tests.unit.trips.switches import World, automatic, once, page


@pytest.fixture
def world() -> World:
    return World()


def _lifted(flag: Flag) -> Page:
    return pin_events.unpinned(flag, reason="looked", by="ann", settings=PageSettings())


def _state(world: World) -> State:
    flag = world.person.stored("copilot").flag
    assert flag is not None
    return flag.state


def _outbox(world: World) -> list[str]:
    return [item.key.removeprefix(keys.OUTBOX) for item in world.server.list(keys.OUTBOX).items]


def test_a_pin_is_one_flip_with_its_incident_and_its_page(world: World) -> None:
    world.arm()
    before = world.server.revision
    result = world.person.pin(automatic())
    assert (result.outcome, result.incident) == (TripOutcome.TRIPPED, "copilot.1")
    assert (result.revision, world.server.revision) == (before + 1, before + 1)
    assert (_state(world), world.incidents()) == (State.PINNED, 1)
    assert _outbox(world) == ["copilot.1"]
    (entry,) = world.server.list(keys.OUTBOX).items
    assert b'"kind": "PINNED"' in entry.value


def test_a_pin_whose_answer_was_lost_is_made_once(world: World) -> None:
    world.arm()
    result = world.switch("a", once("commit", Fault.LOSE_ANSWER)).pin(automatic())
    assert (result.outcome, world.incidents(), _state(world)) == (TripOutcome.TRIPPED, 1, State.PINNED)


def test_a_trip_that_comes_first_is_pinned_over(world: World) -> None:
    """A trip between the reading and the flip: the pin's transaction fails, and the trip is told, not the pin."""
    world.arm()

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.person.trip(automatic())
        return None

    assert world.switch("b", other).pin(automatic()).outcome is TripOutcome.ALREADY_TRIPPED
    assert world.person.pin(automatic()).outcome is TripOutcome.TRIPPED
    assert _state(world) is State.PINNED
    assert sorted(_outbox(world)) == ["copilot.1", "copilot.1.pinned.1776608520"]


def test_a_pinned_canary_is_armed_only_after_it_was_unpinned(world: World) -> None:
    world.arm()
    world.person.pin(request_by_hand("copilot", "csat fell", PageSettings()))
    with pytest.raises(IllegalTransition, match="killswitch unpin copilot"):
        world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
    with pytest.raises(IllegalTransition, match="killswitch unpin copilot"):
        world.person.end("copilot")
    assert world.person.unpin("copilot", reason="looked", page=_lifted).state is State.TRIPPED
    assert world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page).generation == 2


def test_a_pin_over_a_trip_that_was_re_armed_meanwhile_is_refused(world: World) -> None:
    """It was about the canary that had no users; a person has decided something else since."""
    world.arm()
    world.person.trip(automatic())

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
        return None

    with pytest.raises(Refused, match="changed by someone else"):
        world.switch("b", other).pin(automatic())
    assert _state(world) is State.ARMED


def test_a_second_pin_changes_nothing(world: World) -> None:
    world.arm()
    world.person.pin(automatic())
    before = world.server.revision
    assert world.person.pin(automatic(by="b")).outcome is TripOutcome.ALREADY_TRIPPED
    assert world.server.revision == before


def test_a_trip_of_a_pinned_canary_changes_nothing(world: World) -> None:
    world.arm()
    world.person.pin(automatic())
    assert world.person.trip(automatic()).outcome is TripOutcome.ALREADY_TRIPPED
    assert _state(world) is State.PINNED


def test_a_pin_of_nothing_is_refused(world: World) -> None:
    with pytest.raises(NoFlag):
        world.person.pin(replace(automatic(), generation=None))
