"""The simulated service: routed by the flag, counted by the SDK, in simulated time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from killswitch.demo.pace import Pace
from killswitch.demo.service import live
from killswitch.demo.simulation import SimulatedClock, Simulation, SimulationState, cohort_metrics
from killswitch.demo.traffic import Regression, World
from killswitch.model import Cohort
from killswitch.router import Route, bucket

pytestmark = pytest.mark.simulation

_CONTROL = Route(Cohort.CONTROL, "old", "SPLIT", 3, 30)
_CANARY = Route(Cohort.CANARY, "new", "SPLIT", 3, 30)


class _Flag:
    """A router whose percent the test sets."""

    def __init__(self, percent: float = 20.0) -> None:
        self.percent = percent

    def routes(self) -> tuple[Route, ...]:
        return (_CONTROL, _CANARY)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Its routes are the same for ever."""

    def route(self, user: str) -> Route:
        return _CANARY if bucket("", user) < self.percent else _CONTROL


class _Scene:
    def __init__(self, flag: _Flag | None = None, regression: Regression = Regression.NONE, at: float = 0.0) -> None:
        self.flag = flag or _Flag()
        self.registry = CollectorRegistry()
        clock = SimulatedClock()
        self.simulation = Simulation(
            world=World(seed=3, rate=100.0, users=4_000),
            route=self.flag.route,
            metrics=cohort_metrics(self.flag, self.registry, clock),
            clock=clock,
            canary_model="new",
            regression=regression,
            regression_at=at,
        )

    def count(self, name: str, cohort: Cohort, **labels: str) -> float:
        model = "new" if cohort is Cohort.CANARY else "old"
        value = self.registry.get_sample_value(name, {"model": model, "cohort": cohort.value, **labels})
        assert value is not None, name
        return value

    def requests(self, cohort: Cohort, family: str = "llm_requests_total") -> float:
        outcomes = ("ok", "error", "timeout", "refused", "cancelled")
        return sum(self.count(family, cohort, outcome=outcome) for outcome in outcomes)


def test_the_state_and_the_metrics_tell_the_same_numbers() -> None:
    scene = _Scene()
    scene.simulation.advance(200.0)
    for cohort, tally in (
        (Cohort.CONTROL, scene.simulation.state.control),
        (Cohort.CANARY, scene.simulation.state.canary),
    ):
        assert tally.requests == scene.requests(cohort) > 0
        assert tally.errors == scene.count("llm_requests_total", cohort, outcome="error") > 0
        assert tally.refused == scene.count("llm_refusals_total", cohort) > 0
        assert tally.thumbs_down == scene.count("llm_thumbs_down_total", cohort) > 0


def test_users_are_split_as_the_flag_says() -> None:
    scene = _Scene(_Flag(20.0))
    scene.simulation.advance(60.0)
    share = scene.simulation.state.canary_share
    assert share is not None
    assert 0.15 < share < 0.25


def test_after_a_trip_the_canary_serves_nobody() -> None:
    scene = _Scene()
    scene.simulation.advance(60.0)
    scene.flag.percent = 0.0
    before = scene.simulation.state.canary.requests
    scene.simulation.advance(91.0)
    assert scene.simulation.state.canary.requests == before
    assert scene.simulation.state.canary_share == 0.0
    last = scene.simulation.state.last_canary_at
    assert last is not None
    assert last < 60.0


def test_thumbs_down_on_the_canary_come_even_after_the_trip() -> None:
    scene = _Scene(_Flag(100.0), Regression.THUMBS_DOWN)
    scene.simulation.advance(60.0)
    scene.flag.percent = 0.0
    before = scene.simulation.state.canary.thumbs_down
    scene.simulation.advance(160.0)
    assert scene.simulation.state.canary.thumbs_down > before


def test_only_the_canary_model_regresses_from_its_moment_on() -> None:
    """Only the canary's model regresses, and only from the configured moment on."""
    well, ill = _Scene(at=100.0), _Scene(regression=Regression.ERRORS, at=100.0)
    for scene in (well, ill):
        scene.simulation.advance(100.0)
    assert replace(ill.simulation.state, regression=Regression.NONE) == replace(
        well.simulation.state, regression=Regression.NONE
    )
    for scene in (well, ill):
        scene.simulation.advance(200.0)
    assert ill.simulation.state.control == well.simulation.state.control
    assert ill.simulation.state.canary.errors > 3 * well.simulation.state.canary.errors


def test_a_regression_can_begin_and_end_by_hand() -> None:
    scene = _Scene()
    scene.simulation.advance(50.0)
    scene.simulation.regress(Regression.REFUSALS)
    scene.simulation.advance(51.0)
    assert (scene.simulation.state.regression, scene.simulation.state.regression_at) == (Regression.REFUSALS, 50.0)
    scene.simulation.regress(Regression.NONE)
    before = scene.simulation.state.canary.refused
    scene.simulation.advance(81.0)
    assert scene.simulation.state.canary.refused - before < 0.05 * 0.2 * 100 * 30


def test_a_judged_request_is_a_users_first_in_five_minutes() -> None:
    """4,000 users make 30,000 requests in five minutes. Two of a user's periods meet 299 s."""
    scene = _Scene()
    scene.simulation.advance(299.0)
    judged = sum(scene.requests(cohort, "llm_judged_requests_total") for cohort in Cohort)
    assert 6_000 < judged <= 8_000
    scene.simulation.advance(598.0)
    assert judged + 3_500 < sum(scene.requests(cohort, "llm_judged_requests_total") for cohort in Cohort) <= 12_000


def test_latencies_are_recorded_and_not_slept() -> None:
    """A hundred simulated seconds hold hours of latency."""
    scene = _Scene()
    scene.simulation.advance(100.0)
    total_ms = sum(scene.count("llm_latency_ms_sum", cohort) for cohort in Cohort)
    requests = sum(scene.requests(cohort) for cohort in Cohort)
    assert 900 < total_ms / requests < 1_200


def test_the_world_advances_by_whole_slots() -> None:
    scene = _Scene()
    scene.simulation.advance(0.4)
    assert scene.simulation.state == SimulationState()
    scene.simulation.advance(1.2)
    assert scene.simulation.state.at == 1.0


def test_a_real_second_has_as_many_simulated_ones_as_speed() -> None:
    """A real second holds as many simulated seconds as `speed` says."""
    scene = _Scene()
    now = 100.0

    def clock() -> float:
        nonlocal now
        now += 0.01
        return now

    live(scene.simulation, Pace(20.0), asked_to_end=lambda: now > 103.0, clock=clock)
    assert 58.0 <= scene.simulation.state.at <= 60.5


def test_the_service_ends_when_its_parent_has_ended() -> None:
    scene = _Scene()
    parents = iter([42, 42, 42, 1])
    live(scene.simulation, Pace(60.0), asked_to_end=lambda: False, parent=lambda: next(parents))
    assert next(parents, None) is None
