"""The demo's world: one seed, one story."""

from __future__ import annotations

import math
from statistics import fmean

import pytest

from killswitch.demo.traffic import HEALTHY, REGRESSED, SLOT, Behaviour, ModelAnswer, Regression, World, day_factor
from killswitch.router import Outcome
from killswitch.timestamps import DAY

pytestmark = pytest.mark.simulation

# 200 requests a simulated second for 100 of them
_SLOTS = range(round(100 / SLOT))


def _world(seed: int = 7) -> World:
    return World(seed=seed, rate=200.0, users=5_000)


def _answers(behaviour: Behaviour) -> list[ModelAnswer]:
    world = _world()
    return [world.answer(request, behaviour) for slot in _SLOTS for request in world.arrivals(slot)]


def _share(answers: list[ModelAnswer], outcome: Outcome) -> float:
    return fmean(answer.outcome is outcome for answer in answers)


def test_one_seed_tells_one_story() -> None:
    assert [list(_world().arrivals(slot)) for slot in (0, 41)] == [list(_world().arrivals(slot)) for slot in (0, 41)]


def test_another_seed_tells_another() -> None:
    assert list(_world(1).arrivals(0)) != list(_world(2).arrivals(0))


def test_a_slot_does_not_depend_on_the_slots_before_it() -> None:
    """So a service that falls behind, or that is asked twice, tells the same story."""
    patient, hasty = _world(), _world()
    for slot in range(5):
        list(patient.arrivals(slot))
    assert list(patient.arrivals(5)) == list(hasty.arrivals(5))


def test_requests_of_a_slot_stand_in_order_within_it() -> None:
    times = [request.at for request in _world().arrivals(11)]
    assert times == sorted(times)
    assert times[0] >= 11 * SLOT
    assert times[-1] < 12 * SLOT


def test_there_are_as_many_requests_as_the_rate_and_the_hour_say() -> None:
    count = sum(1 for slot in _SLOTS for _ in _world().arrivals(slot))
    expected = 200.0 * 100 * day_factor(50.0)
    assert abs(count - expected) < 5 * math.sqrt(expected)


def test_a_day_is_as_busy_as_its_rate_on_average() -> None:
    assert fmean(day_factor(at) for at in range(0, round(DAY), 60)) == pytest.approx(1.0, abs=1e-6)


def test_rates_drift_by_less_than_a_rule_would_notice() -> None:
    """Both cohorts drift together, and never so far that a healthy canary passes 2 % errors."""
    world = _world()
    drift = [world.wander(at) for at in range(0, 20_000, 10)]
    assert 0.75 < min(drift) < 0.95
    assert 1.05 < max(drift) < 1.3


def test_a_healthy_model_answers_as_the_story_says() -> None:
    answers = _answers(HEALTHY)
    assert _share(answers, Outcome.ERROR) == pytest.approx(0.010, rel=0.4)
    assert _share(answers, Outcome.REFUSED) == pytest.approx(0.011, rel=0.4)
    assert fmean(answer.thumbs_down_after is not None for answer in answers) == pytest.approx(0.005, rel=0.5)


@pytest.mark.parametrize("kind", [kind for kind in Regression if kind is not Regression.NONE])
def test_a_regression_breaks_its_own_rule_and_no_other(kind: Regression) -> None:
    before, after = _answers(HEALTHY), _answers(REGRESSED[kind])

    def p95(answers: list[ModelAnswer]) -> float:
        return sorted(answer.latency_ms for answer in answers)[int(0.95 * len(answers))]

    def thumbs(answers: list[ModelAnswer]) -> float:
        return fmean(answer.thumbs_down_after is not None for answer in answers)

    broken = {
        Regression.ERRORS: _share(after, Outcome.ERROR) > 0.02,
        Regression.REFUSALS: _share(after, Outcome.REFUSED) > _share(before, Outcome.REFUSED) + 0.05,
        Regression.LATENCY: p95(after) > 1.5 * p95(before),
        Regression.THUMBS_DOWN: thumbs(after) > 2 * thumbs(before),
    }
    assert [rule for rule, breaks in broken.items() if breaks] == [kind]


def test_feedback_comes_later_than_its_answer() -> None:
    delays = [answer.thumbs_down_after for answer in _answers(HEALTHY) if answer.thumbs_down_after is not None]
    assert delays
    assert min(delays) >= 10.0
    assert max(delays) <= 90.0
