"""Scheduled drills, on virtual time: when they are due, who makes them, and when one was missed."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from killswitch.drill.drills import LOOK_AT_SCHEDULES, SCHEDULE, TRY_AGAIN
from killswitch.drill.record import DrillOutcome
from killswitch.drill.schedule import LATE, first_due, next_due, schedule_in_words
from killswitch.drill.standing import to_document as standing_document
from killswitch.drill_settings import DrillSettings
from killswitch.pages.page import PageKind
from killswitch.stores import Put, keys
from killswitch.timestamps import DAY
from tests.doubles.drills import NAME, DrilledWorld, rules
from tests.doubles.memory_store import Call, Crash, Fault, MemoryStore
from tests.doubles.pages import AT

WEEKLY = DrillSettings(every=7, at=3 * 3600.0, time_zone="Europe/Berlin")
NIGHTLY = 'drill: {every: 1d, at: "03:00"}\n'


def local(at: float | None) -> str:
    assert at is not None
    return datetime.fromtimestamp(at, ZoneInfo("Europe/Berlin")).strftime("%m-%d %H:%M")


def until_due(world: DrilledWorld) -> None:
    """Let a replica find the schedule, and time pass until the drill is due."""
    world.drills.look()
    due = world.standing().due
    assert due is not None
    world.clock.advance(due - world.clock.wall())
    world.step()


def looks(world: DrilledWorld, count: int, every: float) -> None:
    for _ in range(count):
        world.clock.advance(every)
        world.step()
        for drills in world.replicas.values():
            drills.look()


def test_it_is_due_at_the_same_time_of_day_in_summer_and_winter() -> None:
    """Three in the morning is three in the morning on both sides of a change of the clock."""
    due = datetime(2026, 10, 20, 3, 0, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    after = next_due(WEEKLY, due, due)
    assert local(after) == "10-27 03:00"
    assert after is not None
    assert after - due == 7 * DAY + 3600.0


def test_days_without_a_replica_are_left_out() -> None:
    due = datetime(2026, 10, 20, 3, 0, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    assert local(next_due(WEEKLY, due, due + 15 * DAY)) == "11-10 03:00"


def test_first_drills_of_many_rollouts_fall_on_all_nights() -> None:
    """A thousand rollouts are not all drilled in one night."""
    due = [first_due(WEEKLY, f"rollout-{number}", AT) for number in range(200)]
    assert all(at is not None and AT < at <= AT + 8 * DAY for at in due)
    assert len({local(at) for at in due}) == 7


@pytest.mark.parametrize("settings", [DrillSettings(), DrillSettings(quiet=("* 2 * * *",))])
def test_without_a_schedule_nothing_is_due(settings: DrillSettings) -> None:
    assert first_due(settings, NAME, AT) is None
    assert next_due(settings, AT, AT) is None
    assert schedule_in_words(settings) == ""


def test_nothing_is_made_before_it_is_due() -> None:
    """A daemon that starts in the afternoon does not make up for last night."""
    world = DrilledWorld(NIGHTLY)
    looks(world, 5, LOOK_AT_SCHEDULES + 1.0)
    assert not world.kept()
    assert world.standing().schedule == "1d at 03:00 UTC"


def test_one_replica_makes_the_drill_that_is_due() -> None:
    world = DrilledWorld(NIGHTLY, replicas=3)
    until_due(world)
    looks(world, 4, LOOK_AT_SCHEDULES + 1.0)
    (record,) = world.kept()
    assert (record.by, record.outcome, record.live) == (SCHEDULE, DrillOutcome.PASSED, False)
    due = world.standing().due
    assert due is not None
    assert due > world.clock.wall()


def test_the_next_one_is_made_too() -> None:
    world = DrilledWorld(NIGHTLY)
    until_due(world)
    looks(world, 1, LOOK_AT_SCHEDULES + 1.0)
    until_due(world)
    looks(world, 1, LOOK_AT_SCHEDULES + 1.0)
    assert len(world.kept()) == 2


SURE = [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOSE_ANSWER, Fault.FAIL_BEFORE]


@pytest.mark.parametrize("fault", SURE)
def test_a_fault_at_any_call_loses_no_drill_and_makes_none_twice(fault: Fault) -> None:
    """Whatever strikes the replica that begins it: in the end there is one, timed or paged as failed."""
    for number in itertools.count():
        world = DrilledWorld(NIGHTLY, replicas=2)
        until_due(world)
        world.clock.advance(LOOK_AT_SCHEDULES)
        world.step()
        struck = struck_at(world, number, fault)
        with contextlib.suppress(Crash):
            world.drills.look()
        if not struck:
            return
        if fault in {Fault.CRASH_BEFORE, Fault.CRASH_AFTER}:
            del world.replicas["kill-0"]
        else:
            replica_store(world).fault = lambda _: None
        looks(world, 3, TRY_AGAIN + 1.0)
        (record,) = world.kept()
        assert record.outcome in {DrillOutcome.PASSED, DrillOutcome.FAILED}, f"{fault} at call {number}"
        assert len(world.pages(PageKind.DRILL_FAILED)) == (record.outcome is DrillOutcome.FAILED)
        due = world.standing().due
        assert due is not None
        assert due > world.clock.wall()


def replica_store(world: DrilledWorld) -> MemoryStore:
    store = world.drills._store
    assert isinstance(store, MemoryStore)
    return store


def struck_at(world: DrilledWorld, number: int, fault: Fault) -> list[Call]:
    """The call that was struck, once it is: the one of that number from now on. A dead process makes no further one."""
    store = replica_store(world)
    struck: list[Call] = []
    first = len(store.calls)

    def strike(call: Call) -> Fault | None:
        if struck and fault in {Fault.CRASH_BEFORE, Fault.CRASH_AFTER}:
            return Fault.CRASH_BEFORE
        if call.number != first + number:
            return None
        struck.append(call)
        return fault

    store.fault = strike
    return struck


def test_one_rollout_whose_documents_fail_keeps_no_other_back() -> None:
    """The store refuses what belongs to the first rollout; the second is drilled at its time."""
    world = DrilledWorld(NIGHTLY, replicas=1)
    first = replace(world.rollouts[NAME], name="aaa")
    world.rollouts = {"aaa": first, **world.rollouts}
    until_due(world)
    replica_store(world).fault = lambda call: Fault.FAIL_BEFORE if "aaa" in str(call.subject) else None
    looks(world, 1, LOOK_AT_SCHEDULES + 1.0)
    assert [one.outcome for one in world.kept()] == [DrillOutcome.PASSED]


def test_a_time_that_a_wrong_clock_wrote_is_worked_out_again() -> None:
    """A replica whose clock is ten years ahead writes when the next is due; without it, none was due for ten years."""
    world = DrilledWorld(NIGHTLY)
    world.drills.look()
    put = Put(keys.drill_standing(NAME), standing_document(replace(world.standing(), due=AT + 3650 * DAY)))
    world.server.commit("wrong clock", (), (put,))
    looks(world, 1, LOOK_AT_SCHEDULES + 1.0)
    due = world.standing().due
    assert due is not None
    assert due <= AT + 2 * DAY


def test_it_waits_for_better_weather() -> None:
    """It is tried again, and no refusal is kept."""
    world = DrilledWorld(NIGHTLY)
    until_due(world)
    world.source_problem = "Prometheus is down"
    looks(world, 3, TRY_AGAIN + 1.0)
    assert not world.kept()
    assert "Prometheus is down" in world.standing().why
    world.source_problem = None
    looks(world, 2, TRY_AGAIN + 1.0)
    assert world.kept()[0].outcome is DrillOutcome.PASSED
    assert not world.pages(PageKind.DRILL_MISSED)


def test_one_that_could_not_begin_is_paged_once() -> None:
    world = DrilledWorld(NIGHTLY, replicas=3)
    until_due(world)
    world.source_problem = "Prometheus is down"
    looks(world, 4, LATE / 3)
    (page,) = world.pages(PageKind.DRILL_MISSED)
    assert "Prometheus is down" in page.why
    assert world.standing().missed
    assert world.shown[NAME].missed


def test_nights_without_any_replica_are_paged_once() -> None:
    world = DrilledWorld(NIGHTLY)
    until_due(world)
    looks(world, 1, 5 * DAY)
    looks(world, 3, LOOK_AT_SCHEDULES + 1.0)
    (page,) = world.pages(PageKind.DRILL_MISSED)
    assert page.why == "no controller was running at that time"


def test_a_rollout_that_is_not_armed_misses_nothing() -> None:
    world = DrilledWorld(NIGHTLY)
    until_due(world)
    world.person.end(NAME)
    looks(world, 4, LATE / 2)
    assert not world.pages()
    assert not world.kept()


def test_a_changed_schedule_counts_from_its_change() -> None:
    world = DrilledWorld(NIGHTLY)
    until_due(world)
    world.rollouts[NAME] = rules('drill: {every: 7d, at: "12:00"}\n')
    looks(world, 1, LOOK_AT_SCHEDULES + 1.0)
    assert not world.kept()
    assert world.standing().schedule == "7d at 12:00 UTC"


def test_a_schedule_that_is_removed_ends() -> None:
    world = DrilledWorld(NIGHTLY)
    until_due(world)
    world.rollouts[NAME] = rules()
    looks(world, 3, LATE)
    assert world.standing().due is None
    assert not world.pages()
