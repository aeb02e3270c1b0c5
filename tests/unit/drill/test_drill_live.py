"""A live drill, on virtual time: it is undone by itself, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from killswitch.drill.live import ON_CONTROL, REARM_WITHIN, Restored, restored
from killswitch.drill.record import DrillOutcome
from killswitch.flags.bucketing import bucket
from killswitch.flags.document import from_document as flag_from_document
from killswitch.flags.document import to_document as flag_to_document
from killswitch.flags.flag import drilled
from killswitch.flags.transitions import Actor, State
from killswitch.pages import events, pin_events
from killswitch.pages.page import PageKind
from killswitch.stores import keys
from killswitch.trips.request import TripOutcome, TripRequest
from tests.doubles import pages
from tests.doubles.drills import NAME, DrilledWorld
from tests.doubles.memory_store import Crash

QUIET = 'drill: {quiet: "* * * * *"}\n'


def tripped_by_hand(world: DrilledWorld) -> TripRequest:
    draft = pages.incident_draft(NAME, automatic=False, by="bo", reason="it swears", rules=())
    return TripRequest(draft, None, Actor.PERSON, world.clock.wall(), pages.SETTINGS)


def once_on_control(world: DrilledWorld, do: Callable[[], object]) -> None:
    """Do it at the first step at which the drill has the flag."""
    done: list[object] = []

    def look() -> None:
        if not done and drilled(world.flag):
            done.append(do())

    world.at_each_step = look
    world.routers["r3"] = 3.0  # so that there is time for it


def test_everyone_gets_control_and_then_the_same_users_the_canary() -> None:
    world = DrilledWorld(QUIET)
    before = world.flag
    record = world.drilled(live=True)
    assert record.outcome is DrillOutcome.PASSED, record.problems
    _, on_control, after = world.flags_ever()
    assert (on_control.canary_percent, on_control.control) == (0.0, "model-old")
    assert before is not None
    assert (after.stage, after.canary_percent, after.canary) == (before.stage, before.canary_percent, before.canary)
    assert after.generation == before.generation + 1  # routers never obey one again that they have seen stopped
    assert [bucket(f"u{n}", after.salt) for n in range(50)] == [bucket(f"u{n}", before.salt) for n in range(50)]
    assert record.legs["rearm"] < ON_CONTROL


def test_it_is_armed_again_though_a_router_does_not_follow() -> None:
    """Users are not kept on control for a router that is stuck; the drill fails."""
    world = DrilledWorld(QUIET)
    world.put_report("r9", 2, 5.0)
    world.routers["r9"] = None
    first = world.server.get(keys.flag(NAME))
    assert first is not None
    world.put_report("r9", first.mod_revision, 5.0)
    record = world.drilled(live=True)
    assert record.outcome is DrillOutcome.FAILED
    assert ON_CONTROL <= record.legs["rearm"] < ON_CONTROL + 1.0
    assert world.flag is not None
    assert world.flag.armed


def test_no_incident_is_written_and_no_trip_is_paged() -> None:
    world = DrilledWorld(QUIET)
    world.drilled(live=True)
    assert not world.server.list(keys.INCIDENTS).items
    assert {page.kind for page in world.pages()} == {PageKind.DRILL}
    assert "live" in world.pages()[0].headline


def test_a_trip_by_hand_during_it_stays() -> None:
    """It is not "tripped already": it gets its incident, its page, and is not undone."""
    world = DrilledWorld(QUIET)
    results = []
    once_on_control(world, lambda: results.append(world.person.trip(tripped_by_hand(world))))
    record = world.drilled(live=True)
    assert results[0].outcome is TripOutcome.TRIPPED
    assert record.outcome is DrillOutcome.CUT_SHORT
    flag = world.flag
    assert flag is not None
    assert flag.state is State.TRIPPED
    assert flag.trip is not None
    assert (flag.trip.by, flag.trip.percent_before, flag.trip.drill) == ("bo", 5.0, None)
    assert world.server.get(keys.incident(NAME, 1)) is not None
    assert world.pages(PageKind.TRIPPED)


def test_a_trip_of_a_rule_that_was_decided_before_stays() -> None:
    """Decided on the armed flag, sent once the drill has it: the canary is bad, so it is not armed again."""
    world = DrilledWorld(QUIET)
    stored = world.person.stored(NAME)
    assert stored.flag is not None
    request = TripRequest(
        pages.incident_draft(NAME), 1, Actor.CONTROLLER, world.clock.wall(), pages.SETTINGS,
        armed_at=stored.flag.armed_at, stored=stored,
    )  # fmt: skip
    once_on_control(world, lambda: world.person.trip(request))
    record = world.drilled(live=True)
    assert record.outcome is DrillOutcome.CUT_SHORT
    assert world.flag is not None
    assert world.flag.state is State.TRIPPED
    assert not drilled(world.flag)


def test_a_pin_during_it_stays() -> None:
    world = DrilledWorld(QUIET)
    once_on_control(world, lambda: world.person.pin(tripped_by_hand(world)))
    world.drilled(live=True)
    assert world.flag is not None
    assert world.flag.state is State.PINNED
    # lifting the pin leaves a tripped flag, which only a person arms again
    world.person.unpin(
        NAME, reason="well", page=lambda flag: pin_events.unpinned(flag, reason="", by="", settings=pages.SETTINGS)
    )
    assert restored(world.store, world.kept()[0], wall=world.clock.wall) is Restored.NOT_OURS
    assert not drilled(world.flag)


def test_an_end_during_it_stays() -> None:
    world = DrilledWorld(QUIET)
    once_on_control(world, lambda: world.person.end(NAME))
    assert world.drilled(live=True).outcome is DrillOutcome.CUT_SHORT
    assert world.flag is None


def test_a_rearm_by_hand_during_it_stays() -> None:
    world = DrilledWorld(QUIET)

    def rearm() -> object:
        return world.person.rearm(
            NAME, reason="enough", percent=1.0, stage="ramp_1",
            page=lambda flag: events.re_armed(flag, reason="", by="", settings=pages.SETTINGS),
        )  # fmt: skip

    once_on_control(world, rearm)
    world.drilled(live=True)
    assert world.flag is not None
    assert (world.flag.stage, world.flag.generation) == ("ramp_1", 2)


def test_another_replica_arms_it_when_the_first_dies() -> None:
    """As soon as the dead one's claim has ended."""
    world = DrilledWorld(QUIET)

    def die() -> None:
        raise Crash

    once_on_control(world, die)
    world.ask(live=True)
    with pytest.raises(Crash):
        world.drills.look()
    assert drilled(world.flag)
    # the claim is revoked in a clean exit only: a killed process leaves it until it ends
    world.at_each_step = lambda: None
    world.sleep(16.0)
    world.replicas["kill-1"].look()
    assert world.flag is not None
    assert (world.flag.armed, world.flag.stage, world.flag.canary_percent) == (True, "ramp_5", 5.0)
    assert world.kept()[0].outcome is DrillOutcome.FAILED
    assert "kill-0 stopped during it" in world.kept()[0].problems[0]


def test_after_ten_minutes_only_a_person_arms_it() -> None:
    """No controller was alive: no canary gets its users back by itself that long after."""
    world = DrilledWorld(QUIET)

    def die() -> None:
        raise Crash

    once_on_control(world, die)
    world.ask(live=True)
    with pytest.raises(Crash):
        world.drills.look()
    world.at_each_step = lambda: None
    world.sleep(REARM_WITHIN + 1.0)
    world.replicas["kill-1"].look()
    assert drilled(world.flag)
    (page,) = world.pages(PageKind.DRILL_FAILED)
    assert "killswitch rearm copilot --stage ramp_5 --percent 5" in page.why


def test_a_flag_put_back_by_hand_is_not_armed() -> None:
    """Only the very drill's number, in the very generation, is undone."""
    world = DrilledWorld(QUIET)
    record = world.drilled(live=True)
    assert restored(world.store, record, wall=world.clock.wall) is Restored.REARMED  # what it left, unchanged
    world.person.trip(tripped_by_hand(world))
    assert restored(world.store, record, wall=world.clock.wall) is Restored.NOT_OURS


def test_a_later_drills_trip_is_not_undone_by_an_earlier_one() -> None:
    """A record that a slow replica still holds undoes its own drill alone."""
    world = DrilledWorld(QUIET)
    first = world.drilled(live=True)
    world.clock.advance(60.0)
    world.step()
    seen = []
    once_on_control(world, lambda: seen.append(restored(world.store, first, wall=world.clock.wall)))
    world.drilled(live=True)
    assert seen == [Restored.NOT_OURS]


def test_the_drills_number_is_in_the_flags_document() -> None:
    world = DrilledWorld(QUIET)
    world.drilled(live=True)
    flag = world.flags_ever()[1]
    assert flag.trip is not None
    assert flag.trip.drill == 1
    assert flag_from_document(flag_to_document(flag), rollout=NAME) == flag
