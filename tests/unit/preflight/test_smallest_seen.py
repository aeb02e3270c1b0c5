"""The smallest regression that is seen in time: solved from the bound, and no better than the detector really is."""

from __future__ import annotations

import pytest

from killswitch.model import Rollout, Rule
from killswitch.preflight.assumptions import AssumedTraffic, TrafficLevel, assumed, limit_of
from killswitch.preflight.power import delay
from killswitch.preflight.smallest_seen import seen_in_words, smallest_within
from killswitch.rules.loading import load_text

LEVEL = TrafficLevel(50.0, 5.0)


@pytest.fixture
def rollout() -> Rollout:
    return load_text(b"rollout: copilot\ncontrol: old\ncanary: new\n").rollouts[0]


def rule_of(rollout: Rollout, name: str) -> Rule:
    return next(rule for rule in rollout.rules if rule.name == name)


@pytest.mark.simulation
@pytest.mark.parametrize("name", ["error_rate", "refusal_rate", "thumbs_down_rate", "latency_p95"])
def test_the_detector_sees_it_within_that_time(rollout: Rollout, name: str) -> None:
    """Simulated with the daemon's own detector: an hour into a stage, half of all cases are seen in time."""
    rule = rule_of(rollout, name)
    for seconds in (600.0, 3600.0):
        value = smallest_within(rollout, rule, assumed(rule), LEVEL, seconds)
        assert value is not None
        found = delay(rollout, rule, assumed(rule), LEVEL, value, horizon=4 * seconds, runs=60)
        assert found.later is not None
        assert found.later <= seconds


def test_more_time_and_more_traffic_show_smaller_regressions(rollout: Rollout) -> None:
    rule = rule_of(rollout, "error_rate")
    control = AssumedTraffic(0.004, assumed=False)
    soon, late = (smallest_within(rollout, rule, control, LEVEL, span) for span in (600.0, 3600.0))
    busy = smallest_within(rollout, rule, control, TrafficLevel(500.0, 5.0), 600.0)
    assert soon is not None
    assert late is not None
    assert busy is not None
    assert limit_of(rule, control) < busy < late < soon


def test_too_little_traffic_sees_nothing_and_says_so(rollout: Rollout) -> None:
    rule = rule_of(rollout, "error_rate")
    assert smallest_within(rollout, rule, assumed(rule), TrafficLevel(0.001, 5.0), 3600.0) is None
    assert seen_in_words(rollout, rule, assumed(rule), TrafficLevel(0.001, 5.0)) == "no regression is seen within 1h"
    few = seen_in_words(rollout, rule, assumed(rule), TrafficLevel(0.1, 5.0))
    assert few.endswith("within 1h, and none within 10m"), few
