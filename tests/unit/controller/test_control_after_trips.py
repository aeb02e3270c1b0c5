"""A fleet after a trip at 25 %: control that drowns is paged once, one that takes the traffic is not, nothing moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from killswitch.model import Cohort
from killswitch.pages.page import PageKind
from tests.doubles.fleet import START, Fleet
from tests.doubles.scripted_source import ERRORS, HEALTHY_RATES, LATENCY, Traffic, rollout
from tests.unit.controller.fleets import blind, by_hand

pytestmark = pytest.mark.simulation

TRIPPED_AT = START + 600.0
Rates = Callable[[str, str, Cohort, float], float]


def control_from(at: float, **rates: float) -> Rates:
    def rate(_rollout: str, rule: str, cohort: Cohort, tick: float) -> float:
        usual = HEALTHY_RATES.get(rule, 1.0)
        return rates.get(rule, usual) if cohort is Cohort.CONTROL and tick > at else usual

    return rate


def tripped(rate: Rates, percent: float = 25.0, replicas: int = 2) -> Fleet:
    """Two replicas, a canary that was healthy for ten minutes, and a trip by hand."""
    mean = {Cohort.CONTROL: 1500.0 * (1 - percent / 100), Cohort.CANARY: 15.0 * percent}
    fleet = Fleet(Traffic(mean=mean, rate=rate, since=START), rollout(rules=(ERRORS, LATENCY)))
    for number in range(replicas):
        fleet.replica(f"r{number}")
    fleet.arm(percent=percent, stage="ramp")
    fleet.run(20)
    fleet.person.trip(replace(by_hand(), at=fleet.clock.wall()))
    return fleet


@pytest.mark.parametrize(("rule", "worse"), [("error_rate", 0.15), ("latency_p95", 4.0)])
def test_a_control_that_drowns_is_paged_once(rule: str, worse: float) -> None:
    fleet = tripped(control_from(TRIPPED_AT, **{rule: worse}))
    fleet.run(15)
    (page,) = fleet.pages(PageKind.CONTROL_DROWNS)
    assert rule in page.headline
    assert page.follows == fleet.pages(PageKind.TRIPPED)[0].id
    assert page.mention == fleet.pages(PageKind.TRIPPED)[0].mention
    flag = fleet.flag()
    assert flag is not None
    assert (flag.state, flag.canary_percent) == ("tripped", 0.0)


def test_a_control_that_takes_the_traffic_is_not_paged() -> None:
    fleet = tripped(control_from(TRIPPED_AT))
    fleet.run(70)
    assert fleet.pages(PageKind.CONTROL_DROWNS) == []


def test_a_trip_of_few_users_is_not_watched() -> None:
    fleet = tripped(control_from(TRIPPED_AT, error_rate=0.3), percent=5.0)
    fleet.run(20)
    assert fleet.pages(PageKind.CONTROL_DROWNS) == []


def test_a_drowning_after_half_an_hour_is_not_of_the_trip() -> None:
    fleet = tripped(control_from(TRIPPED_AT + 1900.0, error_rate=0.3))
    fleet.run(80)
    assert fleet.pages(PageKind.CONTROL_DROWNS) == []


def test_steps_that_could_not_be_read_are_read_later() -> None:
    """A metric store that is down right after the trip hides nothing for good, nor does a new replica."""
    fleet = tripped(control_from(TRIPPED_AT, error_rate=0.15), replicas=1)
    blind(fleet)
    fleet.run(6)
    assert fleet.pages(PageKind.CONTROL_DROWNS) == []
    blind(fleet, down=False)
    fleet.kill(fleet.replicas[0])
    fleet.replica("new")
    fleet.run(3)
    assert [page.kind for page in fleet.pages(PageKind.CONTROL_DROWNS)] == [PageKind.CONTROL_DROWNS]
