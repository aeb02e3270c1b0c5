"""The switch over a store whose every call may fail: one flip a generation, and nothing that went unnoticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from killswitch.cli.trip import request_by_hand
from killswitch.errors import KillswitchError, Unavailable
from killswitch.flags.incident import from_document
from killswitch.flags.transitions import State
from killswitch.model import PageSettings
from killswitch.stores import Compare, Delete, Put, keys
from killswitch.trips.flips import ATTEMPTS
from killswitch.trips.request import TripOutcome, TripRequest, TripResult
from tests.doubles.memory_store import Call, Fault
from tests.unit.trips.switches import World, automatic, once, page


@pytest.fixture
def world() -> World:
    return World()


def test_a_trip_writes_flag_incident_and_outbox_at_one_revision(world: World) -> None:
    world.arm()
    result = world.switch("a").trip(automatic())
    assert result == TripResult(TripOutcome.TRIPPED, "copilot.1", world.server.revision)
    written = {change.key: change.revision for change in world.server.history if change.by == "a"}
    line = keys.flag_change("copilot", world.clock.wall(), 1, 2, "trip")
    assert written == dict.fromkeys(
        [keys.flag("copilot"), keys.incident("copilot", 1), keys.outbox("copilot.1"), line], result.revision
    )


def test_a_second_trip_is_a_no_op_that_names_the_first(world: World) -> None:
    world.arm()
    world.switch("a").trip(automatic())
    again = world.switch("b").trip(automatic(by="b"))
    assert (again.outcome, again.incident) == (TripOutcome.ALREADY_TRIPPED, "copilot.1")
    assert (world.flips(), world.incidents()) == (1, 1)


@pytest.mark.parametrize("request_of", [automatic, lambda: request_by_hand("copilot", "by hand", PageSettings())])
@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.APPLY_LATER])
def test_a_trip_whose_answer_was_lost_is_reread_and_never_assumed(
    world: World, fault: Fault, request_of: Callable[[], TripRequest]
) -> None:
    """Also a person's, whose clock gives more digits than the document holds: it is theirs, and they page."""
    world.arm()
    result = world.switch("a", once("commit", fault)).trip(request_of())
    world.server.apply_late()
    flag = world.server.get(keys.flag("copilot"))
    assert flag is not None
    assert result == TripResult(TripOutcome.TRIPPED, "copilot.1", flag.mod_revision)
    assert (world.flips(), world.incidents()) == (1, 1)


def test_a_trip_on_a_flag_just_read_asks_for_nothing_more(world: World) -> None:
    world.arm()
    calls: list[str] = []
    switch = world.switch("a", lambda call: calls.append(call.name))
    request = replace(automatic(), stored=switch.everything()[0]["copilot"])
    calls.clear()
    assert switch.trip(request).outcome is TripOutcome.TRIPPED
    assert calls == ["commit"]


@pytest.mark.parametrize("fault", [Fault.LOSE_ANSWER, Fault.APPLY_LATER])
def test_a_trip_on_a_flag_just_read_is_reread_if_answer_was_lost(world: World, fault: Fault) -> None:
    world.arm()
    request = replace(automatic(), stored=world.person.stored("copilot"))
    result = world.switch("a", once("commit", fault)).trip(request)
    world.server.apply_late()
    assert result.outcome is TripOutcome.TRIPPED
    assert (world.flips(), world.incidents()) == (1, 1)


def test_a_flag_that_changed_since_its_read_is_read_again(world: World) -> None:
    world.arm()
    before = replace(automatic(), stored=world.person.stored("copilot"))
    later = replace(before, draft=replace(before.draft, by="b"))
    world.person.set_stage("copilot", percent=1.0, stage="ramp_1")
    assert world.switch("a").trip(before).outcome is TripOutcome.TRIPPED
    tripped = world.person.stored("copilot").flag
    assert tripped is not None
    assert tripped.trip is not None
    assert tripped.trip.percent_before == 1.0
    assert world.switch("b").trip(later).outcome is TripOutcome.ALREADY_TRIPPED
    world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
    assert world.switch("b").trip(later).outcome is TripOutcome.SUPERSEDED
    assert (world.flips(), world.incidents()) == (1, 1)


def test_a_verdict_about_an_older_generation_is_superseded(world: World) -> None:
    world.arm()
    world.switch("b").trip(automatic(by="b"))
    world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
    assert world.switch("a").trip(automatic()).outcome is TripOutcome.SUPERSEDED
    assert world.switch("a").trip(automatic(generation=2)).outcome is TripOutcome.TRIPPED


def test_a_late_trip_applied_after_a_re_arm_changes_nothing(world: World) -> None:
    """A trip that timed out and is applied after a re-arm changes nothing."""
    world.arm()
    lost = world.switch("a", lambda call: Fault.APPLY_LATER if call.name == "commit" else None)
    with pytest.raises(KillswitchError):
        lost.trip(automatic())
    world.switch("b").trip(automatic(by="b"))
    world.person.rearm("copilot", reason="fixed", percent=1.0, stage="ramp_1", page=page)
    world.server.apply_late()
    flag = world.person.stored("copilot").flag
    assert flag is not None
    assert (flag.generation, flag.state) == (2, State.ARMED)
    assert world.flips() == 1


def test_an_expired_request_or_a_lost_guard_sends_nothing(world: World) -> None:
    """An expired request, or a guard that cannot hold, sends nothing."""
    world.arm()
    for request, outcome in (
        (replace(automatic(), still_valid=lambda: False), TripOutcome.EXPIRED),
        (replace(automatic(), guards=lambda: None), TripOutcome.SUPERSEDED),
    ):
        assert world.switch("a").trip(request).outcome is outcome
    assert world.flips() == 0


def test_a_guard_is_made_anew_for_every_attempt(world: World) -> None:
    world.arm()
    world.server.commit("x", (), (Put("/guard", b"1"),))
    guards: list[int] = []

    def guard() -> tuple[Compare, ...]:
        item = world.server.get("/guard")
        assert item is not None
        guards.append(item.mod_revision)
        if len(guards) < 3:
            world.server.commit("x", (), (Put("/guard", b"2"),))
        return (Compare("/guard", item.mod_revision),)

    assert world.switch("a").trip(replace(automatic(), guards=guard)).outcome is TripOutcome.TRIPPED
    assert len(set(guards)) == 3


def test_an_armed_flag_with_an_old_incident_can_still_be_tripped(world: World) -> None:
    """Somebody restored the flag from a backup: the old record is kept, and the new one stands beside it."""
    world.arm()
    armed = world.server.value(keys.flag("copilot"))
    assert armed is not None
    world.switch("a").trip(automatic())
    world.server.commit("backup", (), (Put(keys.flag("copilot"), armed), Delete(keys.outbox("copilot.1"))))
    assert world.switch("a").trip(automatic()).outcome is TripOutcome.TRIPPED
    flag = world.server.history[-1].revision  # of the second flip; the first one's key is taken
    beside = f"{keys.incident('copilot', 1)}.{flag - 1}"
    assert [item.key for item in world.server.list(keys.incidents("copilot")).items] == [
        keys.incident("copilot", 1),
        beside,
    ]


def test_all_flags_are_read_also_if_only_a_byte_has_changed(world: World) -> None:
    """Documents that stay the same are understood once; a restored backup may bring other bytes at any revision."""
    world.arm()
    reader = world.switch("a")
    first = reader.everything()[0]["copilot"]
    assert reader.everything()[0]["copilot"].flag is first.flag
    world.person.set_stage("copilot", percent=25.0, stage="ramp_25")
    changed = reader.everything()[0]["copilot"]
    assert changed.flag == reader.stored("copilot").flag
    assert changed.flag != first.flag
    world.server.commit("x", (), (Put(keys.flag("copilot"), b"{"),))
    good, bad = reader.everything()
    assert (list(good), list(bad)) == ([], ["copilot"])


def test_the_same_verdict_sent_twice_made_one_flip(world: World) -> None:
    """The second was not asked about a lost answer, so the flip is not claimed again."""
    world.arm()
    world.switch("a").trip(automatic())
    again = world.switch("a").trip(automatic())
    assert again == TripResult(TripOutcome.ALREADY_TRIPPED, "copilot.1")
    assert world.switch("a").trip(automatic(), sent=True).outcome is TripOutcome.TRIPPED
    assert world.switch("b").trip(automatic(by="b"), sent=True).outcome is TripOutcome.ALREADY_TRIPPED


def test_a_verdict_about_a_flag_that_ended_is_superseded(world: World) -> None:
    world.arm()
    world.person.end("copilot")
    assert world.switch("a").trip(automatic()) == TripResult(TripOutcome.SUPERSEDED)


def test_the_incident_is_written_by_the_name_that_the_flag_has(world: World) -> None:
    world.arm()
    world.switch("a").trip(automatic())
    flag = world.person.stored("copilot").flag
    written = world.server.value(keys.incident("copilot", 1))
    assert flag is not None
    assert flag.trip is not None
    assert written is not None
    record = from_document(written, rollout="copilot")
    assert (flag.trip.incident, record.id) == ("copilot.1", "copilot.1")
    assert (record.percent_before, record.stage_before, record.canary) == (5.0, "ramp_5", "new")


def test_a_flag_that_changes_at_every_attempt_is_left_for_later(world: World) -> None:
    world.arm()
    percents = iter(range(1, 99))

    def other(call: Call) -> Fault | None:
        if call.name == "commit":
            world.person.set_stage("copilot", percent=float(next(percents)), stage="custom")
        return None

    with pytest.raises(Unavailable) as refused:
        world.switch("a", other).trip(automatic())
    assert str(refused.value) == f"copilot changed {ATTEMPTS} times while it was being tripped; will try again"
    assert next(percents) == ATTEMPTS + 1
