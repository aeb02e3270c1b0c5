"""Clocks that jump, step or disagree, and ticks that are missed: no verdict is lost and none is false."""

from __future__ import annotations

import itertools

import pytest

from killswitch.deadline import Deadline
from killswitch.model import Reason, Unreadable
from killswitch.pages.page import PageKind
from tests.doubles.fleet import INTERVAL, Fleet
from tests.doubles.scripted_source import ERRORS, ScriptedSource, rollout
from tests.unit.controller.fleets import BAD, BAD_LATE, GOOD, ONSET, ONSET_LATE, assert_one_trip, fleet_of

pytestmark = pytest.mark.simulation


def test_missed_ticks_are_counted_and_read_back() -> None:
    fleet = fleet_of("a")
    a = fleet.replicas[0]
    fleet.run(10)
    a.asleep = True
    fleet.run(7)
    a.asleep = False
    assert a.sample("killswitch_missed_ticks_total") == 0
    fleet.run(1)
    assert a.sample("killswitch_missed_ticks_total") == 6.0
    view = a.controller._evaluator.accumulator.view("copilot", ERRORS.name)
    assert view is not None
    assert view.updated_at == a.controller.latest.tick  # type: ignore[union-attr]  # it ran


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_jump_of_the_wall_clock_changes_no_verdict_and_no_trip(jump: float) -> None:
    calm, jumped = fleet_of("a"), fleet_of("a")
    calm.run(15)
    jumped.run(15)
    jumped.clock.jump_wall(jump)
    took = calm.run(40, until=calm.tripped), jumped.run(40, until=jumped.tripped)
    assert took[0] == took[1]
    assert calm.flips()[0].trip == jumped.flips()[0].trip


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_arming_with_a_clock_an_hour_off_is_watched_at_once(ahead: float) -> None:
    fleet = Fleet(BAD, rollout())
    fleet.replica("a")
    fleet.clock.jump_wall(ahead)
    fleet.arm()
    fleet.clock.jump_wall(-ahead)
    fleet.run(3)
    assert "rules healthy" in fleet.sentences()[0]
    fleet.run(60, until=fleet.tripped)
    assert_one_trip(fleet)
    trip = fleet.flips()[0].trip
    assert trip is not None
    assert ONSET < trip.at <= ONSET + 300


def _nothing_from_the_future(fleet: Fleet) -> None:
    for one in fleet.replicas:
        one.source.spoil = lambda _want, tick: Unreadable(Reason.GAP, "to come") if tick > fleet.clock.wall() else None


@pytest.mark.parametrize("step", [-3600.0, -40.0, 40.0, 600.0, 3600.0, 30 * 86_400.0])
def test_one_wrong_answer_of_the_sources_clock_costs_nothing(step: float) -> None:
    calm, stepped = (Fleet(BAD_LATE, rollout()) for _ in range(2))
    for fleet in (calm, stepped):
        fleet.replica("a")
        fleet.arm()
        _nothing_from_the_future(fleet)
        fleet.run(30)
    source = stepped.replicas[0].source
    source.offset += step
    stepped.run(1)
    source.offset -= step
    calm.run(1)
    assert calm.run(60, until=calm.tripped) == stepped.run(60, until=stepped.tripped)
    assert calm.flips()[0].updated_at == stepped.flips()[0].updated_at
    assert [page.kind for page in stepped.pages()] == [PageKind.TRIPPED]


@pytest.mark.parametrize("step", [600.0, 3600.0, 30 * 86_400.0])
def test_a_clock_step_taken_back_does_not_blind_for_as_long(step: float) -> None:
    """For ten minutes its clock is ahead; then it is set right, and what lay in the future is read again."""
    fleet = Fleet(BAD_LATE, rollout())
    a = fleet.replica("a")
    fleet.arm()
    _nothing_from_the_future(fleet)
    a.source.offset += step
    fleet.run(10)
    a.source.offset -= step
    fleet.run(4)
    assert "BEHIND" not in fleet.sentences()[0]
    view = a.controller._evaluator.accumulator.view("copilot", ERRORS.name)
    assert view is not None
    assert fleet.clock.wall() - 2 * INTERVAL <= view.until <= fleet.clock.wall()
    while fleet.clock.wall() < ONSET_LATE + 180:
        fleet.run(1)
    assert fleet.tripped()
    assert_one_trip(fleet)


class TwoClocks(ScriptedSource):
    """Two servers behind one name, asked by turns; the one that is ``ahead`` (seconds) answers first or second."""

    ahead = 40.0
    first = 1
    turns = 0

    def now(self, deadline: Deadline) -> float:
        TwoClocks.turns += 1
        return super().now(deadline) + (self.ahead if TwoClocks.turns % 2 == TwoClocks.first else 0.0)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("ahead", [40.0, 3600.0])
def test_two_clocks_behind_one_name_do_not_delay_a_trip(
    first: int, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clocks behind one name are reported in words, and delay no trip."""
    for name, value in (("turns", 0), ("first", first), ("ahead", ahead)):
        monkeypatch.setattr(TwoClocks, name, value)
    fleet = Fleet(BAD_LATE, rollout())
    a = fleet.replica("a")
    fleet.arm()
    a.controller._source = TwoClocks(fleet.clock, fleet.script)
    said: list[str | None] = []
    while fleet.clock.wall() < ONSET_LATE + 180:
        fleet.run(1)
        said.append(a.controller.latest.source_problem if a.controller.latest is not None else None)
    assert any("ahead of what it has said so far" in problem for problem in said if problem is not None)
    assert_one_trip(fleet)
    assert [page.kind for page in fleet.pages()] == [PageKind.TRIPPED]


def test_a_tick_is_judged_once_even_if_the_source_clock_jitters() -> None:
    fleet = fleet_of("a", script=GOOD)
    a = fleet.replicas[0]
    ticks: list[float] = []
    for jitter in itertools.cycle([0.0, -0.4, 0.4]):
        a.source.offset += jitter
        fleet.clock.advance(7)
        report = a.cycle()
        if report is not None:
            ticks.append(report.tick)
        if len(ticks) == 30:
            break
    assert ticks == sorted(set(ticks))
