"""Power: delays from the engine itself, and what the bare rule costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.histories import History, openmetrics
from killswitch.model import Limits, Rollout, Rule
from killswitch.preflight.assumptions import AssumedTraffic, TrafficLevel, assumed, limit_of, measured, sizes, value_of
from killswitch.preflight.backtest.results import Terms
from killswitch.preflight.backtest.window_readings import step_readings
from killswitch.preflight.bare_cost import bare_cost
from killswitch.preflight.power import delay, smallest_percent
from killswitch.preflight.users import effective_users, unlucky_cohorts
from killswitch.rules.loading import load_text
from killswitch.sources.recording import Recording
from killswitch.verdicts.evidence_entry import STEP
from tests.unit.preflight.backtest.test_backtest import RULES

pytestmark = pytest.mark.simulation

LEVEL = TrafficLevel(50.0, 5.0)


@pytest.fixture
def rollout() -> Rollout:
    return load_text(RULES).rollouts[0]


def _rule(rollout: Rollout, name: str) -> Rule:
    return next(rule for rule in rollout.rules if rule.name == name)


def test_ten_percent_of_errors_are_seen_in_a_few_ticks(
    rollout: Rollout,
) -> None:
    """They are seen in a few ticks, and never before the information allows it."""
    rule = _rule(rollout, "error_rate")
    found = delay(rollout, rule, assumed(rule), LEVEL, 0.05, runs=60)
    assert found.at_start is not None
    assert found.later is not None
    assert found.bound is not None
    assert found.bound <= found.at_start <= 1.7 * found.bound + 60
    assert found.later <= 2.8 * found.bound + 60
    assert found.seen == 1.0


def test_larger_regressions_are_seen_sooner(rollout: Rollout) -> None:
    for name in ("error_rate", "latency_p95"):
        rule = _rule(rollout, name)
        found = [
            delay(rollout, rule, assumed(rule), LEVEL, value, runs=40).later for value in sizes(rule, assumed(rule))[2:]
        ]
        known = [each for each in found if each is not None]
        assert len(known) == len(found)
        assert known == sorted(known, reverse=True)


def test_what_is_not_seen_within_the_horizon_has_no_delay(rollout: Rollout) -> None:
    """A regression that is not seen within the horizon is reported as such, and no delay is guessed."""
    rule = _rule(rollout, "thumbs_down_rate")
    found = delay(rollout, rule, assumed(rule), TrafficLevel(1.0, 1.0), 0.012, horizon=3600.0, runs=40)
    assert found.later is None
    assert found.seen < 0.5


def test_a_canary_within_its_limit_has_no_bound_and_is_not_seen(rollout: Rollout) -> None:
    rule = _rule(rollout, "refusal_rate")
    found = delay(rollout, rule, assumed(rule), LEVEL, 0.03, horizon=7200.0, runs=40)
    assert found.bound is None
    assert found.seen == 0.0


def test_the_limit_follows_from_control_as_the_rule_says(rollout: Rollout) -> None:
    baseline = AssumedTraffic(0.011)
    assert limit_of(_rule(rollout, "refusal_rate"), baseline) == pytest.approx(0.061)
    assert limit_of(_rule(rollout, "error_rate"), AssumedTraffic(0.03)) == pytest.approx(0.03)
    latency = _rule(rollout, "latency_p95")
    assert limit_of(latency, assumed(latency)) == pytest.approx(1.5 * value_of(latency, assumed(latency)))


def test_the_bare_rule_costs_trips_only_near_the_limit(rollout: Rollout) -> None:
    """The bare rule costs trips if control is near its limit, and none if control is far from it."""
    near = bare_cost(rollout, _rule(rollout, "thumbs_down_rate"), AssumedTraffic(0.005), LEVEL, runs=20)
    far = bare_cost(rollout, _rule(rollout, "refusal_rate"), AssumedTraffic(0.011), LEVEL, runs=20)
    assert near.days_with_trip > 0.9
    assert near.trips_a_day > 5
    assert far.days_with_trip == 0.0


def test_three_ticks_in_a_row_cost_fewer_trips_than_one(rollout: Rollout) -> None:
    rule = _rule(rollout, "error_rate")
    once = bare_cost(rollout, rule, AssumedTraffic(0.01), LEVEL, runs=20)
    thrice = bare_cost(rollout, replace(rule, for_ticks=3), AssumedTraffic(0.01), LEVEL, runs=20)
    assert thrice.trips_a_day < once.trips_a_day


def test_the_smallest_percent_is_seen_in_nine_of_ten_runs(rollout: Rollout) -> None:
    """The smallest percent is the first at which nine of ten runs see the regression."""
    rule = _rule(rollout, "refusal_rate")
    percent, tried = smallest_percent(rollout, rule, AssumedTraffic(0.011), LEVEL, 0.087, runs=60)
    assert percent == 5.0
    assert [each for each, _ in tried] == [0.5, 1.0, 2.0, 5.0]
    assert smallest_percent(rollout, rule, AssumedTraffic(0.011), TrafficLevel(0.01, 5.0), 0.087, runs=20)[0] is None


def test_baselines_come_from_controls_own_history(tmp_path: Path, rollout: Rollout) -> None:
    (tmp_path / "x.om").write_text(openmetrics(History(seconds=7200)))
    source = Recording(tmp_path / "x.om")
    found, requests = measured(rollout, step_readings(source, rollout, Terms(*source.span)), (STEP,))
    assert found["error_rate"].share == pytest.approx(0.01, rel=0.1)
    assert found["refusal_rate"].share == pytest.approx(0.011, rel=0.1)
    assert value_of(_rule(rollout, "latency_p95"), found["latency_p95"]) == pytest.approx(1.88, rel=0.05)
    assert requests == pytest.approx(50 * 30 * 0.95, rel=0.02)
    assert not any(each.assumed for each in found.values())


def test_rules_with_several_bounds_are_simulated_as_one(rollout: Rollout) -> None:
    rule = replace(_rule(rollout, "error_rate"), limits=Limits(maximum=0.02, max_ratio=3.0, floor=0.015))
    found = delay(rollout, rule, AssumedTraffic(0.01), LEVEL, 0.1, runs=30)
    assert found.later is not None
    assert found.later <= 300


def test_few_users_count_like_fewer_still(rollout: Rollout) -> None:
    """Users of uneven activity count like fewer, and with more users unlucky cohorts are rarer."""
    rule = _rule(rollout, "error_rate")
    assert effective_users(2000, 5) == pytest.approx(100 / 4.22, rel=0.01)
    few, many = (unlucky_cohorts(rule, AssumedTraffic(0.01), users, 1.0) for users in (500, 50_000))
    assert few > 0.05
    assert many < few
