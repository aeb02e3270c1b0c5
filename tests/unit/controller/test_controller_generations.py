"""What was decided or said of one generation, or of a rollout's earlier life, does not touch the next."""

from __future__ import annotations

import pytest

from killswitch.flags.flag import Flag
from killswitch.flags.transitions import State
from killswitch.model import Cohort, Mode
from killswitch.pages.page import PageKind
from killswitch.stores import Delete, keys
from tests.doubles.fleet import START, Fleet, no_fault
from tests.doubles.memory_store import Fault
from tests.doubles.scripted_source import ERRORS, HEALTHY_RATES, Traffic, canary_from, rollout
from tests.unit.controller.fleets import BAD_SOON, GOOD, ONSET, by_hand, fleet_of, flips

pytestmark = pytest.mark.simulation


def test_a_verdict_before_a_re_arm_does_not_trip_after_it() -> None:
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    a.fail_store(lambda call: Fault.FAIL_BEFORE if flips(call) else None)
    fleet.run(60, until=lambda: "copilot" in a.controller._acting.trips.under_way)
    fleet.person.trip(by_hand())
    fleet.rearm()
    a.fail_store(no_fault)
    a.controller.retry()
    a.controller._acting.trips.wait(10)
    flag = fleet.flag()
    assert flag is not None
    assert (flag.generation, flag.state) == (2, State.ARMED)


def _begin_again(fleet: Fleet) -> Flag:
    """The rollout is ended and another life begun, within one tick."""
    fleet.person.end("copilot")
    fleet.clock.advance(3)
    return fleet.person.arm("copilot", control="model-old", canary="model-new", percent=5.0, stage="s", salt="other")


def test_what_an_ended_life_did_does_not_trip_the_next_one() -> None:
    """In stage `aa` a breach trips nothing; the ramp begins with other users, healthy ones."""
    end = START + 1800
    bad, good = canary_from(START + 300, error_rate=0.05), canary_from(START + 1e6)

    def rate(name: str, rule: str, cohort: Cohort, at: float) -> float:
        return (bad if at <= end else good)(name, rule, cohort, at)

    fleet = Fleet(Traffic(rate=rate, since=START - 4000), rollout())
    fleet.replica("a")
    fleet.arm(stage="aa")
    while fleet.clock.wall() < end + 12:
        fleet.run(1)
    assert "error_rate" in fleet.sentences()[0]
    assert _begin_again(fleet).generation == 2
    assert fleet.run(20, until=fleet.tripped) == 20


def test_a_verdict_on_an_ended_life_does_not_commit_on_the_next() -> None:
    fleet = fleet_of("a", script=BAD_SOON)
    a = fleet.replicas[0]
    a.fail_store(lambda call: Fault.FAIL_BEFORE if flips(call) else None)
    fleet.run(60, until=lambda: "copilot" in a.controller._acting.trips.under_way)
    _begin_again(fleet)
    a.fail_store(no_fault)
    a.controller.retry()
    a.controller._acting.trips.wait(10)
    assert not fleet.tripped()
    assert a.controller._acting.trips.under_way == {}


def test_what_was_said_of_an_ended_life_is_said_again_of_the_next() -> None:
    fleet = fleet_of("a", "b", mode=Mode.DRY_RUN)
    fleet.run(60)
    fleet.person.end("copilot")
    fleet.run(5)
    fleet.arm()
    fleet.run(60)
    pages = fleet.pages(PageKind.WOULD_TRIP)
    assert [page.generation for page in pages] == [1, 2]
    assert all("dry run" in page.headline and "dry run" not in page.why for page in pages)


def test_a_watch_is_about_one_arming_not_one_generation() -> None:
    """A flag put there without counting, by an older release or by hand, is not judged by the old one's windows."""
    fleet = fleet_of("a", script=GOOD)
    fleet.run(20)
    watch = fleet.replicas[0].controller._armings.by_rollout["copilot"]
    before = fleet.flag()
    assert before is not None
    fleet.server.commit("x", (), (Delete(keys.flag("copilot")), Delete(keys.generation("copilot"))))
    again = fleet.arm()
    assert again.generation == before.generation
    fleet.run(1)
    renewed = fleet.replicas[0].controller._armings.by_rollout["copilot"]
    assert renewed is not watch
    assert renewed.armed_at >= again.armed_at - 0.001


@pytest.mark.parametrize("behind", [0.0, 3600.0])
def test_a_re_armed_rollout_is_not_tripped_by_its_old_data(behind: float) -> None:
    """Not even where the person's clock runs an hour behind: routers took a while to follow the trip."""

    def rate(name: str, rule: str, cohort: Cohort, tick: float) -> float:
        bad = rule == ERRORS.name and cohort is Cohort.CANARY and ONSET < tick <= ONSET + 600
        return 0.9 if bad else HEALTHY_RATES.get(rule, 1.0)

    fleet = fleet_of("a", script=Traffic(rate=rate, since=START))
    fleet.run(60, until=fleet.tripped)
    fleet.run(25)
    fleet.clock.jump_wall(-behind)
    fleet.rearm()
    fleet.clock.jump_wall(behind)
    fleet.run(40)
    flag = fleet.flag()
    assert flag is not None
    assert (flag.generation, flag.state) == (2, State.ARMED)
