"""The traffic that broke earlier versions of the mathematics, small; bench/ has it in full.

Everything is seeded, so a count here is a fact and not a chance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from bench import hard_cases, scenarios
from bench.cells import Cell, judge
from bench.scenarios import AT_THE_LIMIT, ERROR, HEALTHY, LATENCY, REFUSAL, THUMBS, Canary, Scenario, Weather, World
from bench.tables import upper_bound
from killswitch.verdicts.evidence.evariables import Array

pytestmark = pytest.mark.simulation

RUNS = 12
TICKS = 1000
BY_NAME = {scenario.name: scenario for scenario in scenarios.SCENARIOS}
CALM = BY_NAME["independent requests"]
MISSED = ("clumps of 4 in the canary alone", "clumps of 8 in the canary alone")
PROMISED = [scenario for scenario in scenarios.SCENARIOS if scenario.name not in MISSED]
SIX_HOURS = 720


def tripped(world: World, scenario: Scenario, canary: Canary, ticks: int = TICKS) -> Array:
    return judge(Cell(world, scenario, canary, RUNS, ticks))


@pytest.mark.parametrize("canary", [HEALTHY, AT_THE_LIMIT], ids=lambda canary: canary.name)
@pytest.mark.parametrize("scenario", PROMISED, ids=lambda scenario: scenario.name)
def test_a_canary_within_its_limits_is_not_tripped(scenario: Scenario, canary: Canary) -> None:
    assert not np.isfinite(tripped(World(), scenario, canary)).any()


@pytest.mark.parametrize(
    ("name", "canary", "measured"),
    [(MISSED[0], HEALTHY, 1), (MISSED[0], AT_THE_LIMIT, 23), (MISSED[1], HEALTHY, 3), (MISSED[1], AT_THE_LIMIT, 26)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_known_limit_clumps_in_the_canary_alone_trip_too_often(name: str, canary: Canary, measured: int) -> None:
    """These miss the promise: the table in docs/statistics.md, "False trips", says by how much and why.

    ``measured``: of 100 runs of six hours, any of the four rules; held to its upper bound of 95 %.
    """
    trips = np.isfinite(judge(Cell(World(), BY_NAME[name], canary, 100, SIX_HOURS))).any(axis=1)
    assert trips.mean() <= upper_bound(measured, 100)


@pytest.mark.parametrize("percent", [50.0, 99.0])
def test_a_large_canary_beside_a_small_control_is_not_tripped(percent: float) -> None:
    for scenario in (CALM, BY_NAME["outages of 95 and 99 %"], BY_NAME["clumps of 8"]):
        assert not np.isfinite(tripped(World(50.0, percent), scenario, AT_THE_LIMIT)).any()


def test_a_canary_30_percent_slower_in_a_common_slowdown_runs_on() -> None:
    slower = Canary("1.3 x", {}, lambda slow: np.full(slow.shape, 1.3))
    assert not np.isfinite(tripped(World(), BY_NAME["a slow-down of 3x"], slower)).any()


def test_after_a_common_outage_a_failing_canary_trips_in_minutes() -> None:
    def outage(ticks: npt.NDArray[np.intp], _runs: int, _rng: np.random.Generator) -> Weather:
        fair = scenarios.fair(len(ticks))
        level = np.where((ticks >= 100) & (ticks < 400), 0.95, np.nan)[:, None]
        return Weather(fair.traffic, fair.events, fair.flicker, fair.slowness, level)

    alone = Canary("fails alone", {ERROR: lambda p, _: np.maximum(p, 0.95)}, onset=400)
    first = tripped(World(), Scenario("outage", outage), alone, 500)[:, ERROR]
    assert np.all((first >= 400) & (first < 410))


@pytest.mark.parametrize(
    ("rule", "canary"),
    [
        (ERROR, Canary("errors", {ERROR: lambda p, _: np.full(p.shape, 0.1)}, onset=120)),
        (LATENCY, Canary("slow", {}, lambda slow: np.full(slow.shape, 2.0), onset=120)),
        (REFUSAL, Canary("refuses", {REFUSAL: lambda p, _: np.full(p.shape, 0.2)}, onset=120)),
        (THUMBS, Canary("disliked", {THUMBS: lambda p, _: np.full(p.shape, 0.05)}, onset=120)),
    ],
    ids=["errors", "latency", "refusals", "thumbs-down"],
)
def test_a_later_regression_trips_its_own_rule_in_ten_minutes(rule: int, canary: Canary) -> None:
    first = tripped(World(), CALM, canary, 160)
    assert np.all((first[:, rule] >= 120) & (first[:, rule] < 140))
    others = np.delete(first, rule, axis=1)
    assert not np.isfinite(others).any()


def test_retry_storms_do_not_trip_when_first_requests_are_judged() -> None:
    assert hard_cases.trips_of("retry storms, judged requests", RUNS) == 0


def test_most_days_of_retry_storms_on_plain_counters_do_not_trip() -> None:
    """Control's past shows that storms last minutes, and `bursts: auto` minds it; one day in six trips still."""
    assert hard_cases.trips_of("retry storms, plain counters", RUNS) <= RUNS // 3


def test_retry_storms_trip_with_short_bursts_as_documented() -> None:
    assert hard_cases.trips_of("retry storms, plain counters, `bursts: short`", RUNS) > RUNS // 2


def test_late_feedback_after_the_percent_was_lowered_does_not_trip() -> None:
    assert hard_cases.trips_of("50 to 5 % with late feedback", RUNS) == 0


def test_without_its_delay_stated_late_feedback_would_trip() -> None:
    assert hard_cases.trips_of("50 to 5 % with late feedback, delay not stated", RUNS) > RUNS // 2
