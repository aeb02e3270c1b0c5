"""A fleet that cannot see its canary: what is paged, what trips, and what is not blindness."""

from __future__ import annotations

from dataclasses import replace

import pytest

from killswitch.model import Cohort, Counts, Decide, Measurement, Reason, Unreadable, Want
from killswitch.pages.page import PageKind
from killswitch.rules.loading import Rules
from killswitch.stores import keys
from tests.doubles.fleet import INTERVAL, START, Fleet
from tests.doubles.memory_store import Call, Fault
from tests.doubles.scripted_source import ERRORS, REFUSALS, Traffic, rollout
from tests.unit.controller.fleets import GOOD, assert_one_trip, blind, fleet_of, flips, writes

pytestmark = pytest.mark.simulation

DOWN = Unreadable(Reason.SOURCE_DOWN, "gone")


def test_a_canary_that_vanishes_is_blind_though_its_share_is_wrong() -> None:
    """TRAFFIC_SPLIT counted as sight: RECOVERED was paged, and `when_blind` never tripped."""

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        if cohort is Cohort.CANARY and tick > START + 900:
            return Unreadable(Reason.NO_DATA, "no series match")
        return busy(want, cohort, tick)

    busy = Traffic({Cohort.CONTROL: 1125.0, Cohort.CANARY: 375.0}, since=START)
    fleet = Fleet(script, rollout(rules=(ERRORS, REFUSALS), trip_when_blind_after=900.0))
    fleet.replica("a")
    fleet.arm(percent=25.0)
    assert fleet.run(100, until=fleet.tripped) < 100
    assert fleet.pages(PageKind.TRAFFIC_SPLIT)
    assert fleet.pages(PageKind.RECOVERED) == []
    assert "no series match" in fleet.sentences()[0]


def test_a_small_idle_canary_next_to_a_busy_control_is_not_blind() -> None:
    """Its counters stand still, and its share is wrong: that is paged once, and trips nothing."""

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        return Counts(0.0, 0.0) if cohort is Cohort.CANARY and tick > START + 900 else busy(want, cohort, tick)

    busy = Traffic({Cohort.CONTROL: 1125.0, Cohort.CANARY: 375.0}, since=START)
    fleet = Fleet(script, rollout(rules=(ERRORS, REFUSALS), trip_when_blind_after=900.0))
    fleet.replica("a")
    fleet.arm(percent=25.0)
    assert fleet.run(100, until=fleet.tripped) == 100
    assert [page.kind for page in fleet.pages()] == [PageKind.TRAFFIC_SPLIT]


def test_blindness_of_a_fleet_is_paged_once_at_the_second_tick() -> None:
    """BLIND is paged once for the whole fleet, at the second missed tick."""
    rollouts = [rollout(f"r{n}") for n in range(5)]
    fleet = Fleet(GOOD, *rollouts)
    for name in "abc":
        fleet.replica(name)
    for one in rollouts:
        fleet.arm(one.name)
    fleet.run(10)
    blind(fleet)
    fleet.run(1)
    assert fleet.pages(PageKind.BLIND) == []
    fleet.run(1)
    pages = fleet.pages(PageKind.BLIND)
    assert len(pages) == 1
    assert pages[0].payload["rollouts"] == [f"r{n}" for n in range(5)]
    fleet.run(60)
    assert len(fleet.pages(PageKind.BLIND)) == 1
    blind(fleet, down=False)
    fleet.run(3)
    recovered = fleet.pages(PageKind.RECOVERED)
    assert len(recovered) == 1
    assert recovered[0].follows == pages[0].id
    assert all(not fleet.flips(one.name) for one in rollouts)


def test_a_replica_that_is_blind_alone_neither_pages_nor_trips() -> None:
    fleet = fleet_of("a", "b", script=GOOD, trip_when_blind_after=120.0)
    fleet.run(5)
    fleet.replicas[0].source.down = True
    fleet.run(40)
    assert fleet.pages(PageKind.BLIND, PageKind.TRIPPED) == []
    assert "blind" in fleet.replicas[0].controller.latest.reports["copilot"].sentence  # type: ignore[union-attr]  # it ran


def test_a_replica_that_starts_in_an_outage_does_not_call_it_over() -> None:
    """What it has not seen it does not claim: no RECOVERED, no second BLIND."""
    fleet = fleet_of("a", "b", script=GOOD)
    fleet.run(10)
    blind(fleet)
    fleet.run(5)
    assert len(fleet.pages(PageKind.BLIND)) == 1
    fleet.kill(fleet.replicas[0])
    fleet.replica("c").source.down = True
    fleet.run(10)
    assert len(fleet.pages(PageKind.BLIND)) == 1
    assert fleet.pages(PageKind.RECOVERED) == []


def test_older_rules_do_not_end_the_outage_of_a_new_rollout() -> None:
    fleet = Fleet(GOOD, rollout("old"), rollout("new"))
    a = fleet.replica("a")
    fleet.replica("b", rules=Rules({"old": fleet.rollouts["old"]}, "digest-0"))
    fleet.arm("old")
    fleet.arm("new")
    fleet.run(5)
    a.source.spoil = lambda want, _tick: DOWN if want.rollout == "new" else None
    fleet.run(20)
    assert len(fleet.pages(PageKind.BLIND)) == 1
    assert fleet.pages(PageKind.RECOVERED) == []


def test_a_blind_trip_is_not_held_up_by_replicas_also_blind() -> None:
    """All replicas evaluate the same ticks, so each writes its heartbeat between another's look and its trip."""
    fleet = fleet_of("a", "b", script=GOOD, trip_when_blind_after=300.0)
    a, b = fleet.replicas
    fleet.run(5)
    blind(fleet)

    def at_the_same_time(call: Call) -> Fault | None:
        if call.name == "commit" and any(w.key == keys.controller("a") for w in writes(call)):
            b.cycle()
        return None

    a.fail_store(at_the_same_time)
    fleet.run(20, until=fleet.tripped)
    assert_one_trip(fleet)
    assert fleet.told(PageKind.CANNOT_ACT) == []


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_trip_after_trips_once_for_any_number_of_blind_replicas(names: str) -> None:
    """`when_blind: trip_after` trips once, whatever the number of replicas that report their blindness."""
    fleet = fleet_of(*names, script=GOOD, trip_when_blind_after=600.0)
    fleet.run(10)
    blind(fleet)
    since = fleet.clock.wall()
    fleet.run(40, until=fleet.tripped)
    assert_one_trip(fleet)
    assert 600 <= fleet.clock.wall() - since + INTERVAL <= 600 + 4 * INTERVAL
    trip = fleet.flips()[0].trip
    assert trip is not None
    assert trip.rules == ()
    assert trip.reason.startswith("blind for 10m")
    assert fleet.told(PageKind.CANNOT_ACT) == []


def test_the_store_refuses_a_blind_trip_once_a_replica_sees() -> None:
    fleet = fleet_of("a", "b", script=GOOD, trip_when_blind_after=300.0)
    a, b = fleet.replicas
    fleet.run(5)
    blind(fleet)

    def b_sees_again(call: Call) -> Fault | None:
        # between a's decision and its transaction
        if flips(call):
            b.source.down = False
            b.cycle()
            b.source.down = True
        return None

    a.fail_store(b_sees_again)
    b.asleep = False
    fleet.replicas.remove(b)  # from here on b runs only when told to
    for _ in range(30):
        fleet.clock.advance(5)
        b.pulse()
        a.pulse()
        a.cycle()
    fleet.replicas.append(b)
    assert not fleet.tripped()


def test_a_quiet_canary_is_no_blindness() -> None:
    """Nobody asks anything at night: few requests, or none, are seen well enough."""

    def nothing(want: Want, cohort: Cohort, tick: float) -> Measurement:
        return Counts(0.0, 0.0)

    fleet = Fleet(nothing, rollout(rules=(ERRORS, REFUSALS), decide=Decide.THRESHOLD, trip_when_blind_after=300.0))
    fleet.replica("a")
    fleet.arm()
    fleet.run(40)
    assert fleet.pages() == []
    assert not fleet.tripped()
    assert "TOO_FEW_REQUESTS" in fleet.sentences()[0]


def test_a_canary_without_a_single_failure_is_not_blind() -> None:
    """Its counter is absent for good reason, and the policy for blindness would send everybody to the bad model."""

    def rate(_rollout: str, _rule: str, cohort: Cohort, tick: float) -> float:
        if cohort is Cohort.CANARY:
            return 0.0
        return 0.8 if START + 300 < tick <= START + 420 else 0.001

    traffic = Traffic(rate=rate, since=START)

    def script(want: Want, cohort: Cohort, tick: float) -> Measurement:
        found = traffic(want, cohort, tick)
        return replace(found, absent=True) if cohort is Cohort.CANARY and isinstance(found, Counts) else found

    fleet = Fleet(script, rollout(rules=(ERRORS,), trip_when_blind_after=600.0))
    fleet.replica("a")
    fleet.arm()
    fleet.run(60)
    assert fleet.pages() == []
    assert not fleet.tripped()
